//! Ranges of time (`-r`).

/// One end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// ns of the trace clock.
    At(u64),
    /// ns since the first record of the trace.
    Since(u64),
}

/// From when to when, both included; open where there is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// The first moment.
    pub from: Option<Bound>,
    /// The last one.
    pub to: Option<Bound>,
}

/// A range in the trace clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl TimeRange {
    /// Whether a bound counts from the first record.
    pub fn is_relative(self) -> bool {
        [self.from, self.to].iter().any(|bound| matches!(bound, Some(Bound::Since(_))))
    }

    /// In the trace clock; `first` finds the time of the first record.
    pub(crate) fn resolve<E>(self, first: impl FnOnce() -> Result<u64, E>) -> Result<Span, E> {
        let first = if self.is_relative() { first()? } else { 0 };
        let time = |bound: Bound| match bound {
            Bound::At(time) => time,
            Bound::Since(time) => first.saturating_add(time),
        };
        Ok(Span { from: self.from.map_or(0, time), to: self.to.map_or(u64::MAX, time) })
    }
}

impl Span {
    /// The part of a list in ascending order of time that is in it.
    pub(crate) fn of<T>(self, list: &[T], time: impl Fn(&T) -> u64) -> &[T] {
        let from = list.partition_point(|one| time(one) < self.from);
        let to = list.partition_point(|one| time(one) <= self.to);
        list.get(from..to).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_included() {
        let range = TimeRange { from: Some(Bound::Since(10)), to: Some(Bound::At(120)) };
        let span = range.resolve(|| Ok::<_, ()>(100)).unwrap();
        assert_eq!(span, Span { from: 110, to: 120 });
        assert_eq!(span.of(&[100, 110, 115, 120, 121], |time| *time), [110, 115, 120]);
        let all = TimeRange::default().resolve(|| Err(())).unwrap();
        assert_eq!(all, Span { from: 0, to: u64::MAX });
        assert_eq!(Span { from: 5, to: 3 }.of(&[3, 4, 5], |time| *time), [0; 0]);
    }
}
