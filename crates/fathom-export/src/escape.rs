//! Names from the traced program inside other languages: they are hostile until escaped.

/// Appends `text` as the inside of a JSON string (RFC 8259, section 7).
pub(crate) fn json(text: &str, out: &mut Vec<u8>) {
    for &byte in text.as_bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.push(b'0' + (byte >> 4));
                out.push(b"0123456789abcdef"[usize::from(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
}

/// `text` as the inside of a JSON string.
pub(crate) fn json_text(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    json(text, &mut out);
    out
}

/// `text` as text or attribute of an HTML page.
pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// `text` as a quoted label of a mermaid diagram in an HTML page. Mermaid has character references of its own
/// (`#quot;`, `#35;`), which it reads after the browser has read those of HTML; names that need neither
/// stay as they are.
pub(crate) fn mermaid(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("#quot;"),
            '#' => out.push_str("#35;"),
            '&' => out.push_str("#amp;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '`' => out.push_str("#96;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// `text` as the inside of a quoted string of the DOT language: only the quote is special there, and a
/// backslash before it would be read together with it.
pub(crate) fn dot(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// `text` as a frame of a folded stack: `;` separates frames, a line break ends the stack.
pub(crate) fn frame(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            ';' => ':',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_language_is_left_alone_by_plain_names() {
        for name in ["main", "std::vector", "operator()", "a.b@@V_1", "größe"] {
            assert_eq!(json_text(name), name.as_bytes());
            assert_eq!(html(name), name);
            assert_eq!(mermaid(name), name);
            assert_eq!(dot(name), name);
            assert_eq!(frame(name), name);
        }
    }

    #[test]
    fn nothing_breaks_out() {
        let evil = "\"];</div><script>alert(1)</script>\n`#;\\";
        assert!(!mermaid(evil).contains(['"', '<', '>', '\n', '`']));
        assert!(!html(evil).contains(['"', '<', '>', '\n']));
        assert!(!dot(evil).replace("\\\\", "").replace("\\\"", "").contains(['"', '\\', '\n']));
        assert!(!frame(evil).contains([';', '\n']));
    }

    proptest! {
        #[test]
        fn json_is_what_serde_json_reads(text: String) {
            let quoted = [b"\"", json_text(&text).as_slice(), b"\""].concat();
            prop_assert_eq!(serde_json::from_slice::<String>(&quoted).unwrap(), text);
        }

        #[test]
        fn json_is_what_serde_json_writes(text in "[\\x00-\\x7f]*") {
            let quoted = [b"\"", json_text(&text).as_slice(), b"\""].concat();
            prop_assert_eq!(quoted, serde_json::to_vec(&text).unwrap());
        }
    }
}
