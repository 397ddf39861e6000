//! Values of options: sizes and times.

use fathom_analysis::filter::{Bound, TimeRange};
use fathom_filter::values;
use std::time::Duration;

/// The size of a buffer in bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    match values::size(text)? {
        0 => Err("a size of zero holds nothing".to_owned()),
        size => Ok(size),
    }
}

/// The size that functions must have, in bytes.
pub(crate) fn function_size(text: &str) -> Result<u32, String> {
    let size = size(text)?;
    u32::try_from(size).map_err(|_| format!("no function has {size} bytes"))
}

/// How long calls must take, in ns: up to three digits before and after the decimal point.
pub(crate) fn threshold(text: &str) -> Result<u64, String> {
    values::time(text, 3)
}

/// A range of time: `FROM~TO`, where either can be left out. With a unit they are times since the first record, without
/// one seconds of the trace's clock.
pub(crate) fn range(text: &str) -> Result<TimeRange, String> {
    let bad = || {
        let example = "for example 10us~2ms, ~1s or 1234.567~1235";
        format!("a time range is FROM~TO, {example}, not '{text}'")
    };
    let (from, to) = text.split_once('~').ok_or_else(bad)?;
    let range = TimeRange { from: bound(from.trim())?, to: bound(to.trim())? };
    match (range.from, range.to) {
        (None, None) => Err(bad()),
        (Some(Bound::At(_)), Some(Bound::Since(_))) | (Some(Bound::Since(_)), Some(Bound::At(_))) => {
            Err(format!("both ends of '{text}' need a unit, or none has one"))
        }
        (Some(Bound::At(from) | Bound::Since(from)), Some(Bound::At(to) | Bound::Since(to))) if from > to => {
            Err(format!("'{text}' ends before it begins"))
        }
        _ => Ok(range),
    }
}

fn bound(text: &str) -> Result<Option<Bound>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.ends_with(|c: char| c.is_ascii_alphabetic()) {
        return values::time(text, 9).map(|time| Some(Bound::Since(time)));
    }
    // As the time field shows it: seconds with up to nine decimals.
    values::time(&format!("{text}s"), 9).map(|time| Some(Bound::At(time)))
}

/// Numbers of tasks, separated by commas.
pub(crate) fn tids(text: &str) -> Result<Vec<i32>, String> {
    let one = |word: &str| {
        let tid = word.trim().parse().ok().filter(|tid| *tid > 0);
        tid.ok_or_else(|| format!("'{}' is no number of a task", word.trim()))
    };
    text.split([',', ';']).map(one).collect()
}

/// A time: up to nine digits before and after the decimal point and a unit, nanoseconds without one.
pub(crate) fn sample_time(text: &str) -> Result<Duration, String> {
    let time = Duration::from_nanos(values::time(text, 9)?);
    if time.is_zero() {
        return Err("a sample has to take some time, at least 1ns".to_owned());
    }
    Ok(time)
}

/// A time that a person waits for: seconds without a unit.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let bare = text.ends_with(|c: char| c.is_ascii_digit());
    let time = if bare { values::time(&format!("{text}s"), 9) } else { values::time(text, 9) };
    Ok(Duration::from_nanos(time?))
}

/// A time as it can be typed: with the largest unit that needs no more than three digits behind the decimal point, which
/// is what the peer reads, too.
pub(crate) fn time_text(ns: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];
    let fits = |(_, unit): &&(&str, u64)| ns >= *unit && (ns % unit * 1000).is_multiple_of(*unit);
    let (name, unit) = UNITS.iter().find(fits).unwrap_or(&("ns", 1));
    let thousandths = ns % unit * 1000 / unit;
    let fraction = format!(".{thousandths:03}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    format!("{}{fraction}{name}", ns / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("0x1000"), Ok(4096));
        assert_eq!(size("128K"), Ok(128 << 10));
        assert_eq!(size("2m"), Ok(2 << 20));
        assert_eq!(size("1g"), Ok(1 << 30));
        for bad in ["", "k", "12q", "-1", "0", "99999999999g", "1é"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(sample_time("10us"), Ok(Duration::from_micros(10)));
        assert_eq!(sample_time("1.5ms"), Ok(Duration::from_micros(1500)));
        assert_eq!(sample_time("100"), Ok(Duration::from_nanos(100)));
        assert_eq!(sample_time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(sample_time("0.000000001s"), Ok(Duration::from_nanos(1)));
        for bad in ["", "us", ".5s", "1.2.3s", "5 s", "1h", "0", "1234567890s", "1.1234567890s"] {
            assert!(sample_time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges() {
        let (since, at) = (|n| Some(Bound::Since(n)), |n| Some(Bound::At(n)));
        assert_eq!(range("10us~2ms"), Ok(TimeRange { from: since(10_000), to: since(2_000_000) }));
        assert_eq!(range("~1s"), Ok(TimeRange { from: None, to: since(1_000_000_000) }));
        assert_eq!(range("1876.861141746~"), Ok(TimeRange { from: at(1_876_861_141_746), to: None }));
        for bad in ["", "~", "5us", "1us~2", "3us~2us", "x~", "1.2.3~"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tasks() {
        assert_eq!(tids("1, 22;3"), Ok(vec![1, 22, 3]));
        for bad in ["", "0", "-1", "x", "1,,2"] {
            assert!(tids(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_typed_as_the_peer_reads_them() {
        for (ns, text) in [
            (1_000_000, "1ms"),
            (999, "999ns"),
            (1_500, "1.5us"),
            (1_001_000, "1.001ms"),
            (60_000_000_000, "60s"),
        ] {
            assert_eq!(time_text(ns), text);
            assert_eq!(threshold(text), Ok(ns));
        }
    }
}
