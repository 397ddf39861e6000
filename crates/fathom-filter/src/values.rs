//! Times and sizes as options and triggers have them.

/// A time in ns: at most `digits` digits before and after the decimal point, and a unit; nanoseconds without one.
///
/// # Errors
///
/// What is wrong.
pub fn time(text: &str, digits: usize) -> Result<u64, String> {
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
    u64::try_from(total).map_err(|_| format!("the time {text} is too long"))
}

/// A size in bytes: a number (`0x` for hexadecimal) with an optional `k`, `m` or `g`, each 1024 times the one before.
///
/// # Errors
///
/// What is wrong.
pub fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("a size is a number, with k, m or g if wanted, for example 256k, not '{text}'");
    let (digits, factor) = match text.as_bytes().last().map(u8::to_ascii_lowercase) {
        Some(b'k') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm') => (&text[..text.len() - 1], 1 << 20),
        Some(b'g') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).map_err(|_| bad())?,
        None => digits.parse::<u64>().map_err(|_| bad())?,
    };
    number.checked_mul(factor).ok_or_else(|| format!("the size {text} does not fit 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(time("10us", 3), Ok(10_000));
        assert_eq!(time("1.5ms", 3), Ok(1_500_000));
        assert_eq!(
            time("0.0005us", 3),
            Err("a time has at most 3 digits before and after the decimal point".into())
        );
        assert_eq!(time("0", 3), Ok(0));
        for bad in ["", "us", "-5", "1x", "1.2.3s"] {
            assert!(time(bad, 3).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(size("0x10"), Ok(16));
        assert_eq!(size("2K"), Ok(2048));
        for bad in ["", "k", "12q", "-1", "99999999999g", "1é"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
