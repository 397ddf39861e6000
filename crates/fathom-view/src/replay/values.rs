//! Arguments and return values.

use crate::color::{Color, Paint};
use fathom_analysis::Callee;
use fathom_store::args::{ArgFormat, ArgSpec, Value, values};
use fathom_store::{Endian, Event, FunctionKind, Resolver, Trace};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Longer lists are cut.
const LONGEST: usize = 1024;

/// Formats payloads.
pub(super) struct Values<'t> {
    trace: &'t dyn Trace,
    paint: Paint,
    endian: Endian,
    /// Specs of callees met so far.
    specs: Vec<Option<Arc<[ArgSpec]>>>,
    /// Enumerators by the name of their type, largest first. Read when the first enumeration is met.
    enums: Option<FxHashMap<String, Vec<(i64, String)>>>,
}

impl<'t> Values<'t> {
    pub(super) fn new(trace: &'t dyn Trace, paint: Paint) -> Self {
        Values { trace, paint, endian: trace.info().endian, specs: Vec::new(), enums: None }
    }

    /// The values of an entry separated by commas, or that of an exit; none when nothing was recorded.
    pub(super) fn text(
        &mut self,
        callee: Callee,
        event: &Event,
        payload: &[u8],
        resolver: &mut dyn Resolver,
    ) -> Option<String> {
        if payload.is_empty() {
            return None;
        }
        let specs = self.specs_of(callee)?;
        let mut text = String::new();
        for value in values(&specs, event.kind, payload, self.endian) {
            if !text.is_empty() {
                text.push_str(", ");
            }
            self.put(&mut text, &value, event.time, resolver);
            if text.len() > LONGEST {
                let cut = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
                text.truncate(cut);
                break;
            }
        }
        // A payload that no spec tells of has no values.
        (!text.is_empty()).then_some(text)
    }

    fn specs_of(&mut self, callee: Callee) -> Option<Arc<[ArgSpec]>> {
        let id = callee.function()?;
        if self.specs.len() <= callee.index() {
            self.specs.resize(callee.index() + 1, None);
        }
        let slot = self.specs.get_mut(callee.index())?;
        Some(slot.get_or_insert_with(|| self.trace.arg_specs(id)).clone())
    }

    fn put(&mut self, text: &mut String, value: &Value, time: u64, resolver: &mut dyn Resolver) {
        let bytes = value.bytes;
        let number = self.number(bytes);
        let name = value.spec.type_name.as_deref().unwrap_or_default();
        match value.spec.format {
            ArgFormat::Auto => text.push_str(&auto(number, bytes.len())),
            ArgFormat::Signed => text.push_str(&signed(number, bytes.len()).to_string()),
            ArgFormat::Unsigned if number > 100_000 => text.push_str(&format!("{number:#x}")),
            ArgFormat::Unsigned => text.push_str(&number.to_string()),
            ArgFormat::Hex if number == 0 => text.push('0'),
            ArgFormat::Hex => text.push_str(&format!("{number:#x}")),
            ArgFormat::Octal if number == 0 => text.push('0'),
            ArgFormat::Octal => text.push_str(&format!("0{number:o}")),
            ArgFormat::String if bytes == [0xff; 4] => self.tint(text, Color::Magenta, "NULL"),
            ArgFormat::StdString if bytes == [0xff; 4] => self.tint(text, Color::Magenta, "NULL"),
            ArgFormat::String => self.tint(text, Color::Magenta, &format!("\"{}\"", escaped(bytes))),
            ArgFormat::StdString => {
                self.tint(text, Color::Magenta, &format!("\"{}\"", escaped(bytes)));
                text.push('s');
            }
            ArgFormat::Char => {
                let byte = bytes.first().copied().unwrap_or(0);
                self.tint(text, Color::Magenta, &format!("'{}'", escaped(&[byte])));
            }
            ArgFormat::Float => text.push_str(&self.float(bytes)),
            ArgFormat::Pointer => self.pointer(text, number, time, resolver),
            ArgFormat::Enum => self.enumerators(text, name, signed(number, bytes.len())),
            ArgFormat::Struct => {
                if !name.starts_with("<lambda") {
                    self.tint(text, Color::Cyan, name);
                }
                text.push_str(if value.spec.size == 0 { "{}" } else { "{...}" });
            }
        }
    }

    fn tint(&self, text: &mut String, color: Color, part: &str) {
        text.push_str(self.paint.on(color));
        text.push_str(part);
        text.push_str(self.paint.off());
    }

    fn number(&self, bytes: &[u8]) -> u64 {
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        match self.endian {
            Endian::Little => bytes.iter().take(8).rev().fold(0, add),
            Endian::Big => bytes.iter().take(8).fold(0, add),
        }
    }

    fn float(&self, bytes: &[u8]) -> String {
        let value = match bytes.len() {
            4 => f64::from(f32::from_bits(self.number(bytes) as u32)),
            10.. => extended(bytes),
            _ => f64::from_bits(self.number(bytes)),
        };
        match value {
            v if v.is_nan() => if v.is_sign_negative() { "-nan" } else { "nan" }.to_owned(),
            v => format!("{v:.6}"),
        }
    }

    fn pointer(&self, text: &mut String, addr: u64, time: u64, resolver: &mut dyn Resolver) {
        if addr == 0 {
            return text.push('0');
        }
        let function = self.trace.function(resolver.resolve(time, addr));
        if function.kind != FunctionKind::Unknown && function.addr == addr {
            let sign = if self.paint == Paint::Html { "&amp;" } else { "&" };
            self.tint(text, Color::Cyan, &format!("{sign}{}", function.name));
        } else {
            text.push_str(&format!("{addr:#x}"));
        }
    }

    /// The enumerator with that value, or those it is the sum of.
    fn enumerators(&mut self, text: &mut String, name: &str, value: i64) {
        let enums = self.enums.get_or_insert_with(|| definitions(&self.trace.enum_definitions()));
        let Some(known) = enums.get(name).filter(|known| !known.is_empty()) else {
            return text.push_str(&format!("<ENUM?> {value:x}"));
        };
        let mut parts: Vec<String> = Vec::new();
        match known.iter().find(|(v, _)| *v == value) {
            Some((_, name)) => parts.push(name.clone()),
            None => {
                let mut rest = value;
                for (v, name) in known {
                    if *v >= 0 && rest >= *v {
                        rest -= *v;
                        parts.push(name.clone());
                    }
                    if rest == 0 {
                        break;
                    }
                }
                match (rest, parts.last_mut()) {
                    (0, Some(_)) => {}
                    (rest, Some(last)) => last.push_str(&format!("+{rest:#x}")),
                    (rest, None) => parts.push(format!("{rest:#x}")),
                }
            }
        }
        let bold = match self.paint {
            Paint::Plain => "|",
            Paint::Terminal => "\x1b[1m|\x1b[0m",
            Paint::Html => "<span style='font-weight:bold'>|</span>",
        };
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                text.push_str(bold);
            }
            self.tint(text, Color::Blue, part);
        }
    }
}

/// With the sign of a number of that many bytes.
fn signed(number: u64, len: usize) -> i64 {
    let unused = 64 - 8 * len.clamp(1, 8) as u32;
    (number << unused).cast_signed() >> unused
}

/// Small numbers in decimal, others in hex.
fn auto(number: u64, len: usize) -> String {
    let value = number.cast_signed();
    if (-100_000..=100_000).contains(&value) {
        return value.to_string();
    }
    match (number, len) {
        // What is not extended to a whole register is likely to be a small negative number.
        (0xffff_0001..=0xffff_ffff, 4 | 8) => (number as u32).cast_signed().to_string(),
        _ => format!("{number:#x}"),
    }
}

/// A number of x87, which has an explicit leading one, as near as it can be had.
fn extended(bytes: &[u8]) -> f64 {
    let mantissa = bytes.get(..8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    let head = bytes.get(8..10).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes);
    let sign = if head & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(head & 0x7fff);
    match (exponent, mantissa) {
        (0x7fff, 0x8000_0000_0000_0000) => sign * f64::INFINITY,
        (0x7fff, _) => f64::NAN,
        // In two steps, as the power alone may be out of range.
        _ => {
            sign * mantissa as f64
                * 2f64.powi((exponent - 16_383) / 2)
                * 2f64.powi((exponent - 16_383 + 1) / 2 - 63)
        }
    }
}

/// Text with the escapes that the layout knows; untouched when it is not ASCII.
fn escaped(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if !bytes.is_ascii() {
        return text.into_owned();
    }
    text.replace('\n', "\\n").replace('\x08', "\\b").replace('\0', "\\0")
}

/// Parses `enum NAME {A,B=4}`, the first definition of each name.
fn definitions(list: &[String]) -> FxHashMap<String, Vec<(i64, String)>> {
    let mut all = FxHashMap::default();
    for text in list {
        let Some((head, body)) = text.trim().strip_prefix("enum ").and_then(|t| t.split_once('{')) else {
            continue;
        };
        let mut next = 0;
        let mut known = Vec::new();
        for item in body.trim_end().trim_end_matches('}').split(',').map(str::trim).filter(|i| !i.is_empty())
        {
            let (name, value) = item.split_once('=').unwrap_or((item, ""));
            let value = parse_number(value.trim()).unwrap_or(next);
            next = value.wrapping_add(1);
            known.push((value, name.trim().to_owned()));
        }
        known.sort_by_key(|(value, _)| std::cmp::Reverse(*value));
        all.entry(head.trim().to_owned()).or_insert(known);
    }
    all
}

fn parse_number(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok()?,
        None if digits.len() > 1 && digits.starts_with('0') => i64::from_str_radix(digits, 8).ok()?,
        None => digits.parse().ok()?,
    };
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All values were printed by uftrace 0.13.
    #[test]
    fn numbers() {
        assert_eq!(auto(0xffff_fffd, 4), "-3");
        assert_eq!(auto(0xffff_fffd, 8), "-3");
        assert_eq!(auto(100_000, 8), "100000");
        assert_eq!(auto(100_001, 8), "0x186a1");
        assert_eq!(auto((-100_001i64).cast_unsigned(), 8), "0xfffffffffffe795f");
        assert_eq!(signed(0xfff9, 2), -7);
        let mut ld = 0xa000_0000_0000_0000u64.to_le_bytes().to_vec();
        ld.extend(0x3fffu16.to_le_bytes());
        assert_eq!(extended(&ld), 1.25);
        assert_eq!(extended(&[0; 10]), 0.0);
    }

    #[test]
    fn texts() {
        assert_eq!(escaped(b"a\n\"\t\\\x08\0"), "a\\n\"\t\\\\b\\0");
        assert_eq!(escaped("\u{e9}\n".as_bytes()), "\u{e9}\n");
    }

    #[test]
    fn enumerations() {
        let all = definitions(&["enum hue {RED,BLUE=4,PINK}".into(), "enum m { A = 0x10, B = -1, }".into()]);
        assert_eq!(all["hue"], [(5, "PINK".to_owned()), (4, "BLUE".to_owned()), (0, "RED".to_owned())]);
        assert_eq!(all["m"], [(16, "A".to_owned()), (-1, "B".to_owned())]);
    }
}
