//! Arguments and return values as text.

use crate::color::{Color, Paint};
use crate::enums::Enums;
use fathom_analysis::Callee;
use fathom_store::args::{ArgFormat, ArgSpec, Value, values};
use fathom_store::{Endian, Event, FunctionKind, Resolver, Trace};
use fathom_types::layout::{Layout, Layouts, character};
use std::sync::Arc;

/// Longer lists are cut.
const LONGEST: usize = 1024;
/// The enumeration whose values are shown as octal numbers: modes of files, which 0.13 has no format for.
const MODE: &str = "mode_t";

/// Formats payloads.
pub struct Values<'t> {
    trace: &'t dyn Trace,
    paint: Paint,
    /// Whether the text is for programs: then texts have more escapes.
    machine: bool,
    endian: Endian,
    /// Specs of callees met so far.
    specs: Vec<Option<Arc<[ArgSpec]>>>,
    /// Read when the first enumeration is met.
    enums: Option<Enums>,
    /// Types that no format letter describes; read when the first is met.
    layouts: Option<Layouts>,
}

impl<'t> Values<'t> {
    /// As people read them.
    pub fn new(trace: &'t dyn Trace, paint: Paint) -> Self {
        let endian = trace.info().endian;
        Values { trace, paint, machine: false, endian, specs: Vec::new(), enums: None, layouts: None }
    }

    /// As other programs read them: without colours, and unusual bytes of texts as `\x1b`.
    pub fn for_machines(trace: &'t dyn Trace) -> Self {
        Values { machine: true, ..Values::new(trace, Paint::Plain) }
    }

    /// The values of an entry separated by commas, or that of an exit; none when nothing was recorded.
    pub fn text(
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
        let name = value.spec.type_name.as_deref().unwrap_or_default();
        let described =
            !matches!(value.spec.format, ArgFormat::Enum | ArgFormat::Pointer) && !name.is_empty();
        if described && let Some(layout) = self.layout(name) {
            let shown = layout.show(bytes, &mut |addr| self.address(addr, time, resolver));
            return self.tint_layout(text, value.spec.format, &shown);
        }
        let number = self.number(bytes);
        match value.spec.format {
            ArgFormat::Auto => text.push_str(&auto(number, bytes.len())),
            ArgFormat::Signed => text.push_str(&signed(number, bytes.len()).to_string()),
            ArgFormat::Unsigned if number > 100_000 => text.push_str(&format!("{number:#x}")),
            ArgFormat::Unsigned => text.push_str(&number.to_string()),
            ArgFormat::Hex if number == 0 => text.push('0'),
            ArgFormat::Hex => text.push_str(&format!("{number:#x}")),
            ArgFormat::Octal => text.push_str(&octal(number)),
            ArgFormat::String if bytes == [0xff; 4] => self.tint(text, Color::Magenta, "NULL"),
            ArgFormat::StdString if bytes == [0xff; 4] => self.tint(text, Color::Magenta, "NULL"),
            ArgFormat::String => self.tint(text, Color::Magenta, &format!("\"{}\"", self.escaped(bytes))),
            ArgFormat::StdString => {
                self.tint(text, Color::Magenta, &format!("\"{}\"", self.escaped(bytes)));
                text.push('s');
            }
            // A character of Rust.
            ArgFormat::Char if bytes.len() == 4 => self.tint(text, Color::Magenta, &character(number as u32)),
            ArgFormat::Char => {
                let byte = bytes.first().copied().unwrap_or(0);
                self.tint(text, Color::Magenta, &format!("'{}'", self.escaped(&[byte])));
            }
            ArgFormat::Float => text.push_str(&self.float(bytes)),
            ArgFormat::Pointer => self.pointer(text, number, time, resolver),
            ArgFormat::Enum if name == MODE => text.push_str(&octal(number)),
            ArgFormat::Enum => self.enumerators(text, name, number),
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

    fn layout(&mut self, name: &str) -> Option<Layout> {
        let trace = self.trace;
        let layouts = self.layouts.get_or_insert_with(|| {
            let lines = trace.type_definitions();
            Layouts::parse(lines.iter().map(String::as_str))
        });
        layouts.get(name).cloned()
    }

    /// In the colour of what is like it.
    fn tint_layout(&self, text: &mut String, format: ArgFormat, shown: &str) {
        match format {
            ArgFormat::String => self.tint(text, Color::Magenta, shown),
            ArgFormat::Struct => self.tint(text, Color::Cyan, shown),
            _ => text.push_str(shown),
        }
    }

    fn pointer(&self, text: &mut String, addr: u64, time: u64, resolver: &mut dyn Resolver) {
        let shown = self.address(addr, time, resolver);
        if shown.starts_with('&') { self.tint(text, Color::Cyan, &shown) } else { text.push_str(&shown) }
    }

    fn address(&self, addr: u64, time: u64, resolver: &mut dyn Resolver) -> String {
        if addr == 0 {
            return "0".to_owned();
        }
        let function = self.trace.function(resolver.resolve(time, addr));
        if function.kind != FunctionKind::Unknown && function.addr == addr {
            let sign = if self.paint == Paint::Html { "&amp;" } else { "&" };
            format!("{sign}{}", function.name)
        } else {
            format!("{addr:#x}")
        }
    }

    /// The enumerator with that value, or those it is the sum of, or the number.
    fn enumerators(&mut self, text: &mut String, name: &str, number: u64) {
        let trace = self.trace;
        let enums = self.enums.get_or_insert_with(|| Enums::of(trace));
        let Some(parts) = enums.parts(name, number) else {
            return text.push_str(&format!("<ENUM?> {number:x}"));
        };
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

    /// Text with the escapes that the layout knows.
    fn escaped(&self, bytes: &[u8]) -> String {
        if self.machine { machine_escaped(bytes) } else { escaped(bytes) }
    }
}

/// Octal with a leading zero.
fn octal(number: u64) -> String {
    if number == 0 { "0".to_owned() } else { format!("0{number:o}") }
}

/// With the sign of a number of that many bytes.
pub fn signed(number: u64, len: usize) -> i64 {
    let unused = 64 - 8 * len.clamp(1, 8) as u32;
    (number << unused).cast_signed() >> unused
}

/// Small numbers in decimal, others in hex.
pub(crate) fn auto(number: u64, len: usize) -> String {
    // As the peer has it: narrow ones have a sign, others are as wide as a register.
    let value = if len < 4 { signed(number, len) } else { number.cast_signed() };
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
pub fn extended(bytes: &[u8]) -> f64 {
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

/// Text in which everything that is not plain ASCII is escaped.
fn machine_escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b' '..=b'~' => text.push(char::from(*byte)),
            byte => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
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
        assert_eq!(
            machine_escaped("tab\there\x01\\ \u{e9}\n\0".as_bytes()),
            r"tab\there\x01\ \xc3\xa9\n\x00"
        );
    }
}
