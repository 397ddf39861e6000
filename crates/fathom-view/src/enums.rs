//! Enumerations: the names of numbers.

use crate::values::{auto, signed};
use fathom_store::Trace;
use rustc_hash::FxHashMap;

/// The enumerations of a trace.
#[derive(Debug, Default)]
pub struct Enums {
    /// Enumerators by the name of their type, largest first.
    known: FxHashMap<String, Vec<(i64, String)>>,
}

impl Enums {
    /// Those that the specs of a trace mention.
    pub fn of(trace: &dyn Trace) -> Enums {
        Enums::parse(&trace.enum_definitions())
    }

    /// Reads `enum NAME {A,B=4}`, the first definition of each name.
    fn parse(list: &[String]) -> Enums {
        let mut known = FxHashMap::default();
        for text in list {
            let head = text.trim().strip_prefix("enum ").and_then(|text| text.split_once('{'));
            let Some((name, body)) = head else { continue };
            known.entry(name.trim().to_owned()).or_insert_with(|| enumerators(body));
        }
        Enums { known }
    }

    /// The enumerator with the value, or else those it is the sum of, taken from the largest on; or the number. None if
    /// the type is not known.
    pub fn parts(&self, name: &str, number: u64) -> Option<Vec<String>> {
        let known = self.known.get(name).filter(|known| !known.is_empty())?;
        // What is recorded with eight bytes is an int as a rule, and may be negative.
        let narrow = u32::try_from(number).ok().map(|narrow| signed(narrow.into(), 4));
        let is = |value: i64| value == number.cast_signed() || Some(value) == narrow;
        if let Some((_, name)) = known.iter().find(|(value, _)| is(*value)) {
            return Some(vec![name.clone()]);
        }
        let mut parts: Vec<String> = Vec::new();
        let mut rest = narrow.unwrap_or(number.cast_signed());
        for (value, name) in known {
            if rest == 0 {
                break;
            }
            if *value >= 0 && rest >= *value {
                rest -= *value;
                parts.push(name.clone());
            }
        }
        match (rest, parts.last_mut()) {
            (0, Some(_)) => {}
            (rest, Some(last)) => last.push_str(&format!("+{rest:#x}")),
            (_, None) => parts.push(auto(number, 8)),
        }
        Some(parts)
    }
}

/// `A,B=4`, largest first.
fn enumerators(body: &str) -> Vec<(i64, String)> {
    let mut next = 0;
    let mut known = Vec::new();
    let items = body.trim_end().trim_end_matches('}').split(',').map(str::trim);
    for item in items.filter(|item| !item.is_empty()) {
        let (name, value) = item.split_once('=').unwrap_or((item, ""));
        let value = parse_number(value.trim()).unwrap_or(next);
        next = value.wrapping_add(1);
        known.push((value, name.trim().to_owned()));
    }
    known.sort_by_key(|(value, _)| std::cmp::Reverse(*value));
    known
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

    #[test]
    fn definitions() {
        let all = Enums::parse(&["enum hue {RED,BLUE=4,PINK}".into(), "enum m { A = 0x10, B = -1, }".into()]);
        assert_eq!(all.known["hue"], [(5, "PINK".to_owned()), (4, "BLUE".to_owned()), (0, "RED".to_owned())]);
        assert_eq!(all.known["m"], [(16, "A".to_owned()), (-1, "B".to_owned())]);
    }

    /// As uftrace 0.13 shows them.
    #[test]
    fn sums() {
        let list = ["enum sp {S0,S1,S4=4,S8=8}", "enum nz {Z2=2,Z4=4}", "enum ng {N1=-1,N5=5}"];
        let all = Enums::parse(&list.map(str::to_owned));
        let shown =
            |name: &str, number: i64| all.parts(name, number.cast_unsigned()).map(|parts| parts.join("|"));
        let sp = |number| shown("sp", number).unwrap();
        assert_eq!([sp(5), sp(13), sp(0)], ["S4|S1", "S8|S4|S1", "S0"]);
        assert_eq!([sp(16), sp(2)], ["S8|S4|S1|S0+0x3", "S1|S0+0x1"]);
        assert_eq!([sp(0xffff_fffe), sp(0xfffc_f2c0)], ["-2", "0xfffcf2c0"]);
        let nz = |number| shown("nz", number).unwrap();
        assert_eq!([nz(1), nz(6), nz(7), nz(0)], ["1", "Z4|Z2", "Z4|Z2+0x1", "0"]);
        let ng = |number| shown("ng", number).unwrap();
        assert_eq!([ng(0xffff_ffff), ng(-1), ng(0xffff_fff9)], ["N1", "N1", "-7"]);
        assert_eq!(shown("no", 0), None);
    }
}
