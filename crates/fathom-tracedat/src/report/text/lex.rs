//! The words of a `print fmt`.

/// A word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Name(String),
    /// A number and its suffix.
    Number(u64, String),
    Text(Vec<u8>),
    Sign(&'static str),
}

/// Longer ones first.
const SIGNS: [&str; 35] = [
    "...", "->", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "++", "--", "(", ")", "[", "]", "{", "}",
    ",", ";", "?", ":", "+", "-", "*", "/", "%", "&", "|", "^", "~", "!", "<", ">", "=",
];

/// Cuts a text into words; `None` where one is not a word of C.
pub(crate) fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut list: Vec<Token> = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let after = match first {
            '"' => {
                let (bytes, after) = quoted(&rest[1..], b'"')?;
                match list.last_mut() {
                    // Texts side by side are one.
                    Some(Token::Text(before)) => before.extend_from_slice(&bytes),
                    _ => list.push(Token::Text(bytes)),
                }
                after
            }
            '\'' => {
                let (bytes, after) = quoted(&rest[1..], b'\'')?;
                let &[byte] = bytes.as_slice() else { return None };
                list.push(Token::Number(byte.into(), String::new()));
                after
            }
            '0'..='9' => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
                list.push(number(&rest[..end])?);
                &rest[end..]
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                list.push(Token::Name(rest[..end].to_owned()));
                &rest[end..]
            }
            _ => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign))?;
                list.push(Token::Sign(sign));
                &rest[sign.len()..]
            }
        };
        rest = after.trim_start();
    }
    Some(list)
}

/// The bytes up to the closing quote, and what is behind it.
fn quoted(text: &str, quote: u8) -> Option<(Vec<u8>, &str)> {
    let source = text.as_bytes();
    let mut bytes = Vec::new();
    let mut at = 0;
    loop {
        let byte = *source.get(at)?;
        at += 1;
        if byte == quote {
            return Some((bytes, text.get(at..)?));
        }
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let escaped = *source.get(at)?;
        at += 1;
        bytes.push(match escaped {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'0'..=b'7' => {
                let digits = source[at - 1..].iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7'));
                let count = digits.count();
                let value = u32::from_str_radix(text.get(at - 1..at - 1 + count)?, 8).ok()?;
                at += count - 1;
                value as u8
            }
            b'x' => {
                let count = source[at..].iter().take(2).take_while(|byte| byte.is_ascii_hexdigit()).count();
                let value = u8::from_str_radix(text.get(at..at + count)?, 16).ok()?;
                at += count;
                value
            }
            other => other,
        });
    }
}

fn number(text: &str) -> Option<Token> {
    let digits = text.trim_end_matches(['u', 'U', 'l', 'L']);
    let suffix = text[digits.len()..].to_ascii_lowercase();
    let value = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        u64::from_str_radix(hex, 16).ok()?
    } else if digits.len() > 1 && digits.starts_with('0') {
        u64::from_str_radix(digits, 8).ok()?
    } else {
        digits.parse().ok()?
    };
    // Numbers above those of an int are those of a long; only hexadecimal ones may be unsigned without saying so.
    let mut suffix = suffix;
    if value > i32::MAX as u64 && !suffix.contains('l') {
        if value > u64::from(u32::MAX) || (!digits.starts_with('0') && !suffix.contains('u')) {
            suffix.push('l');
        } else if !suffix.contains('u') {
            suffix.push('u');
        }
    }
    if value > i64::MAX as u64 && !suffix.contains('u') {
        suffix.push('u');
    }
    Some(Token::Number(value, suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_c() {
        let found = tokens(r#""a\n" "\x41\101%", 0x80000000, 10UL, 'A' -> <<"#).unwrap();
        let sign = Token::Sign;
        assert_eq!(
            found,
            [
                Token::Text(b"a\nAA%".to_vec()),
                sign(","),
                Token::Number(0x8000_0000, "u".into()),
                sign(","),
                Token::Number(10, "ul".into()),
                sign(","),
                Token::Number(65, String::new()),
                sign("->"),
                sign("<<"),
            ]
        );
        assert_eq!(tokens("\"open"), None);
        assert_eq!(tokens("1 @ 2"), None);
    }
}
