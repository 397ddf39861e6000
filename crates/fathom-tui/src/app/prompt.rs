//! A line that the user types.

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A part of a name.
    Name,
    /// A part of an argument or a return value.
    Value,
    /// A duration.
    Longer,
    /// A moment.
    Time,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prompt {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

impl Prompt {
    pub(crate) fn new(kind: Kind) -> Prompt {
        Prompt { kind, text: String::new() }
    }

    /// What stands before the text.
    pub(crate) fn label(&self) -> &'static str {
        match self.kind {
            Kind::Name => "search: ",
            Kind::Value => "search in arguments and return values: ",
            Kind::Longer => "next call longer than (8us, 1.5ms, 2s): ",
            Kind::Time => "go to (time since the beginning as 8us, 2s, or a timestamp): ",
        }
    }
}

/// A duration in ns: a number with ns, us, ms, s, m or h; without a unit it is ns.
pub(crate) fn duration(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split)?;
    let factor = match unit.trim() {
        "" | "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" | "sec" => 1e9,
        "m" | "min" => 60e9,
        "h" | "hour" => 3600e9,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    Some((number * factor).round() as u64)
}

/// A moment in ns of the trace clock: a duration with a unit counts from `begin`, a plain number is in seconds.
pub(crate) fn moment(text: &str, begin: u64) -> Option<u64> {
    let text = text.trim();
    if text.ends_with(|c: char| c.is_ascii_digit()) {
        let (seconds, rest) = text.split_once('.').unwrap_or((text, ""));
        let nanos: String = rest.chars().chain("000000000".chars()).take(9).collect();
        let nanos: u64 = nanos.parse().ok()?;
        return seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos);
    }
    begin.checked_add(duration(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_moments() {
        assert_eq!(duration("8us"), Some(8_000));
        assert_eq!(duration(" 1.5 ms "), Some(1_500_000));
        assert_eq!(duration("70"), Some(70));
        assert_eq!(duration("2m"), Some(120_000_000_000));
        assert_eq!(duration("2x"), None);
        assert_eq!(duration("ms"), None);
        assert_eq!(duration(""), None);
        assert_eq!(moment("1us", 500), Some(1_500));
        assert_eq!(moment("1207.883328604", 500), Some(1_207_883_328_604));
        assert_eq!(moment("3", 500), Some(3_000_000_000));
        assert_eq!(moment("x", 500), None);
    }
}
