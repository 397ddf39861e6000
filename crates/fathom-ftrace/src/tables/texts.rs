use rustc_hash::FxHashMap;

/// Texts in the kernel that records have only the address of: `printk_formats`.
#[derive(Debug, Default)]
pub struct Texts {
    by_address: FxHashMap<u64, Box<[u8]>>,
}

impl Texts {
    /// Reads lines `0xADDRESS : "text"`. Lines that are none are passed over.
    pub fn parse(text: &[u8]) -> Texts {
        let mut texts = Texts::default();
        for line in text.split(|byte| *byte == b'\n') {
            if let Some((address, text)) = line_of(line) {
                texts.by_address.insert(address, text);
            }
        }
        texts
    }

    /// The text at `address`.
    #[inline]
    pub fn get(&self, address: u64) -> Option<&[u8]> {
        self.by_address.get(&address).map(|text| &**text)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }
}

fn line_of(line: &[u8]) -> Option<(u64, Box<[u8]>)> {
    let colon = line.windows(3).position(|bytes| bytes == b" : ")?;
    let address = std::str::from_utf8(&line[..colon]).ok()?.trim();
    let address = u64::from_str_radix(address.strip_prefix("0x").unwrap_or(address), 16).ok()?;
    let quoted = line[colon + 3..].trim_ascii().strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut text = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter().copied();
    while let Some(byte) = bytes.next() {
        text.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(other) => other,
                None => b'\\',
            },
            other => other,
        });
    }
    Some((address, text.into_boxed_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_escapes() {
        let texts = Texts::parse(
            b"0xffffffff8246d2dd : \"CPU_ON\"\n0x10 : \"a \\\"b\\\"\\n\"\nnonsense\n0x11 : none\n",
        );
        assert_eq!(texts.len(), 2);
        assert_eq!(texts.get(0xffff_ffff_8246_d2dd), Some(&b"CPU_ON"[..]));
        assert_eq!(texts.get(0x10), Some(&b"a \"b\"\n"[..]));
    }
}
