//! Values of options: sizes and times.

use std::time::Duration;

/// A size in bytes: a number (`0x` for hexadecimal) with an optional `k`, `m` or `g`, each 1024 times the
/// one before.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("a size is a number, with k, m or g if wanted, for example 256k, not '{text}'");
    let (digits, shift) = match text.chars().last().map(|c| c.to_ascii_lowercase()) {
        Some('k') => (&text[..text.len() - 1], 10),
        Some('m') => (&text[..text.len() - 1], 20),
        Some('g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).map_err(|_| bad())?,
        None => digits.parse::<u64>().map_err(|_| bad())?,
    };
    if number == 0 {
        return Err("a size of zero holds nothing".to_owned());
    }
    number.checked_mul(1 << shift).ok_or_else(|| format!("the size {text} does not fit 64 bits"))
}

/// A time: up to nine digits before and after the decimal point and a unit, nanoseconds without one.
pub(crate) fn sample_time(text: &str) -> Result<Duration, String> {
    let time = time(text, 9)?;
    if time.is_zero() {
        return Err("a sample has to take some time, at least 1ns".to_owned());
    }
    Ok(time)
}

/// A time with at most `digits` digits before and after the decimal point.
fn time(text: &str, digits: usize) -> Result<Duration, String> {
    let bad = || format!("a time is a number with ns, us, ms, s or m, for example 10us, not '{text}'");
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') {
        return Err(bad());
    }
    if whole.len() > digits || fraction.len() > digits {
        return Err(format!("a time has at most {digits} digits before and after the decimal point"));
    }
    let unit: u64 = match unit {
        "" | "ns" | "nsec" => 1,
        "us" | "usec" => 1_000,
        "ms" | "msec" => 1_000_000,
        "s" | "sec" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        _ => return Err(bad()),
    };
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    let scale = 10u64.pow(u32::try_from(fraction.len()).map_err(|_| bad())?);
    let fraction: u64 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| bad())? };
    let part = u128::from(fraction) * u128::from(unit) / u128::from(scale);
    let total = u128::from(whole) * u128::from(unit) + part;
    u64::try_from(total).map(Duration::from_nanos).map_err(|_| format!("the time {text} is too long"))
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
}
