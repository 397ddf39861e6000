//! What the payload of an event says (source: data format, section 7.2; output formats, section 2.3).

use fathom_store::{Endian, Info, event_id, probe};
use std::fmt::Write;

/// The payload of the event `id` in words; empty when there is nothing to say. `info` tells the byte order.
pub fn event_text(info: &Info, id: u64, payload: &[u8]) -> String {
    let values = Values { payload, big: info.endian == Endian::Big };
    let mut text = String::new();
    // Formatting into a String does not fail.
    let _ = match id {
        100_001 | 100_003 => {
            let [size, rss, shared] = values.words();
            if id == 100_001 {
                write!(text, "vmsize={size}KB vmrss={rss}KB shared={shared}KB")
            } else {
                let [size, rss, shared] = [size, rss, shared].map(u64::cast_signed);
                write!(text, "vmsize={size}KB vmrss={rss}KB shared={shared}KB")
            }
        }
        100_002 => pair(&mut text, values.words(), ["major", "minor"]),
        100_004 => signed(&mut text, values.words(), ["major", "minor"]),
        100_005 => pair(&mut text, values.words(), ["cycles", "instructions"]),
        100_006 => signed(&mut text, values.words(), ["cycles", "instructions"]),
        100_007 => pair(&mut text, values.words(), ["refers", "misses"]),
        100_008 => signed(&mut text, values.words(), ["refers", "misses"]),
        100_009 => pair(&mut text, values.words(), ["branch", "misses"]),
        100_010 => signed(&mut text, values.words(), ["branch", "misses"]),
        100_011 => write!(text, "cpu={}", values.int()),
        event_id::TASK_NAME => write!(text, "comm=\"{}\"", String::from_utf8_lossy(payload)),
        event_id::EXTERNAL => write!(text, "msg=\"{}\"", String::from_utf8_lossy(payload)),
        event_id::USER..event_id::EXTERNAL => {
            text.write_str(&probe::text(payload, info.endian).unwrap_or_default())
        }
        _ => Ok(()),
    };
    text
}

fn pair(text: &mut String, [a, b]: [u64; 2], [first, second]: [&str; 2]) -> std::fmt::Result {
    write!(text, "{first}={a} {second}={b}")
}

fn signed(text: &mut String, values: [u64; 2], [first, second]: [&str; 2]) -> std::fmt::Result {
    let [a, b] = values.map(u64::cast_signed);
    write!(text, "{first}={a} {second}={b}")
}

/// A payload as numbers; what is missing reads as 0.
struct Values<'a> {
    payload: &'a [u8],
    big: bool,
}

impl Values<'_> {
    fn words<const N: usize>(&self) -> [u64; N] {
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(self.payload.chunks_exact(8)) {
            let bytes = bytes.try_into().unwrap_or_default();
            *word = if self.big { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) };
        }
        words
    }

    fn int(&self) -> i32 {
        let bytes = self.payload.get(..4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        if self.big { i32::from_be_bytes(bytes) } else { i32::from_le_bytes(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let words = |list: &[i64]| list.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
        let info = Info { endian: Endian::Little, ..Info::default() };
        let text = |id, payload: &[u8]| event_text(&info, id, payload);
        assert_eq!(text(100_001, &words(&[15500, 7940, 5752])), "vmsize=15500KB vmrss=7940KB shared=5752KB");
        assert_eq!(text(100_003, &words(&[-4, 0, 4])), "vmsize=-4KB vmrss=0KB shared=4KB");
        assert_eq!(text(100_004, &words(&[-1, 2])), "major=-1 minor=2");
        assert_eq!(text(100_011, &3i32.to_le_bytes()), "cpu=3");
        assert_eq!(text(event_id::TASK_NAME, b"x"), "comm=\"x\"");
        assert_eq!(text(event_id::USER, &[5, 0, 0, 0, 0, 0, 0, 0, 4]), "arg1=5");
        assert_eq!(text(event_id::USER, &[5]), "");
        assert_eq!(text(event_id::SCHED_IN, &[]), "");
        assert_eq!(text(100_002, &[1, 2]), "major=0 minor=0");
        let big = Info { endian: Endian::Big, ..Info::default() };
        assert_eq!(event_text(&big, 100_011, &[0, 0, 0, 5]), "cpu=5");
    }
}
