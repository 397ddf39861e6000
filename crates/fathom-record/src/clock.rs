//! From raw clock readings to nanoseconds of the trace clock.
//!
//! The TSC's rate is not written anywhere that can be trusted, and the clocks of the system are slewed. So the recorder takes
//! both at the same moment every now and then (an *anchor*), and a reading between two anchors is interpolated
//! linearly. An anchor, once used, stays: conversion is the same for all threads, monotonic, and repeatable after a
//! crash from the anchors in the journal.

use std::io::{self, Write};

/// A clock of the system, for the times in a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceClock {
    /// CLOCK_MONOTONIC.
    #[default]
    Monotonic,
    /// CLOCK_MONOTONIC_RAW: no time server adjusts it.
    MonotonicRaw,
    /// CLOCK_BOOTTIME: it goes on while the machine sleeps.
    Boot,
    /// CLOCK_REALTIME: the time of day, which may be set.
    Realtime,
}

impl TraceClock {
    const ALL: [TraceClock; 4] =
        [TraceClock::Monotonic, TraceClock::MonotonicRaw, TraceClock::Boot, TraceClock::Realtime];

    /// The number that the kernel knows it by (`clockid_t`).
    #[must_use]
    pub fn id(self) -> i32 {
        match self {
            TraceClock::Monotonic => libc::CLOCK_MONOTONIC,
            TraceClock::MonotonicRaw => libc::CLOCK_MONOTONIC_RAW,
            TraceClock::Boot => libc::CLOCK_BOOTTIME,
            TraceClock::Realtime => libc::CLOCK_REALTIME,
        }
    }

    /// The clock of a number.
    pub(crate) fn of_id(id: i32) -> Option<TraceClock> {
        TraceClock::ALL.into_iter().find(|clock| clock.id() == id)
    }

    /// What it shows now, ns.
    pub(crate) fn now(self) -> u64 {
        use rustix::time::ClockId;
        let id = match self {
            TraceClock::Monotonic => ClockId::Monotonic,
            TraceClock::MonotonicRaw => ClockId::MonotonicRaw,
            TraceClock::Boot => ClockId::Boottime,
            TraceClock::Realtime => ClockId::Realtime,
        };
        let t = rustix::time::clock_gettime(id);
        t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
    }
}

/// What readings are made of, and what becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Readings are of the time stamp counter, otherwise of CLOCK_MONOTONIC in ns.
    pub(crate) tsc: bool,
    pub(crate) clock: TraceClock,
}

impl Source {
    fn is_converted(self) -> bool {
        self.tsc || self.clock != TraceClock::Monotonic
    }

    fn raw(self) -> u64 {
        if self.tsc { rdtsc() } else { TraceClock::Monotonic.now() }
    }
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    /// Raw clock.
    pub(crate) raw: u64,
    /// The trace's clock, ns.
    pub(crate) ns: u64,
}

/// Bytes of an anchor in the journal.
const ANCHOR_SIZE: usize = 16;

impl Anchor {
    /// Reads both clocks; the pair that took least of some attempts.
    pub(crate) fn take(source: Source) -> Anchor {
        let mut best = (u64::MAX, Anchor { raw: 0, ns: 0 });
        for _ in 0..5 {
            let before = source.raw();
            let ns = source.clock.now();
            let after = source.raw();
            let width = after.wrapping_sub(before);
            if width < best.0 {
                best = (width, Anchor { raw: before + width / 2, ns });
            }
        }
        best.1
    }

    /// As it is in the journal.
    pub(crate) fn to_bytes(self) -> [u8; ANCHOR_SIZE] {
        let mut bytes = [0; ANCHOR_SIZE];
        bytes[..8].copy_from_slice(&self.raw.to_le_bytes());
        bytes[8..].copy_from_slice(&self.ns.to_le_bytes());
        bytes
    }
}

/// The time stamp counter.
fn rdtsc() -> u64 {
    crate::sys::rdtsc()
}

/// Whether the TSC counts at one rate on all processors and in all states, as the kernel sees it.
pub(crate) fn tsc_is_usable(clocksource: &str, cpu_flags: &str) -> bool {
    let has = |flag| cpu_flags.split_ascii_whitespace().any(|f| f == flag);
    clocksource.trim() == "tsc" || (has("constant_tsc") && has("nonstop_tsc") && clocksource.trim() != "hpet")
}

/// The conversion.
#[derive(Debug)]
pub(crate) struct Clock {
    /// Ascending; empty when raw readings are nanoseconds already.
    anchors: Vec<Anchor>,
    source: Source,
    journal: Option<std::fs::File>,
}

impl Clock {
    /// A clock for a recording that starts now. Waits some milliseconds for a second anchor, so that the first
    /// readings have a rate.
    pub(crate) fn start(source: Source, journal: Option<std::fs::File>) -> Clock {
        let mut clock = Clock { anchors: Vec::new(), source, journal };
        if source.is_converted() {
            clock.add(Anchor::take(source));
        }
        clock
    }

    /// A clock from a journal.
    pub(crate) fn from_journal(source: Source, bytes: &[u8]) -> Clock {
        let anchors = bytes
            .chunks_exact(ANCHOR_SIZE)
            .map(|c| {
                let word = |at: usize| u64::from_le_bytes(c[at..at + 8].try_into().unwrap_or_default());
                Anchor { raw: word(0), ns: word(8) }
            })
            .collect();
        Clock { anchors, source, journal: None }
    }

    /// Makes sure that readings up to now lie between anchors. Call before converting what has been read.
    pub(crate) fn update(&mut self) -> io::Result<()> {
        if !self.source.is_converted() {
            return Ok(());
        }
        let anchor = Anchor::take(self.source);
        if self.add(anchor) {
            self.thin();
            if let Some(journal) = &mut self.journal {
                journal.write_all(&anchor.to_bytes())?;
            }
        }
        Ok(())
    }

    /// Adds an anchor unless the clocks have not moved.
    fn add(&mut self, anchor: Anchor) -> bool {
        if self.anchors.last().is_some_and(|last| anchor.raw <= last.raw || anchor.ns < last.ns) {
            return false;
        }
        let first = self.anchors.is_empty();
        self.anchors.push(anchor);
        if first && let Some(journal) = &mut self.journal {
            return journal.write_all(&anchor.to_bytes()).is_ok();
        }
        true
    }

    /// Drops anchors that lie close together and far back, so that their number does not grow with every pass.
    fn thin(&mut self) {
        const KEEP: usize = 8192;
        const GAP_NS: u64 = 100_000_000;
        if self.anchors.len() < 2 * KEEP {
            return;
        }
        let recent = self.anchors.split_off(self.anchors.len() - KEEP);
        let mut last = 0;
        self.anchors.retain(|a| {
            let keep = last == 0 || a.ns - last >= GAP_NS;
            if keep {
                last = a.ns;
            }
            keep
        });
        self.anchors.extend(recent);
    }

    /// A converter that remembers its place. Readings should ascend; any order is correct.
    pub(crate) fn converter(&self) -> Converter<'_> {
        Converter { clock: self, segment: (0, 0), origin: 0, base: 0, scale: 0 }
    }

    /// Raw units per ns, as measured since the first anchor.
    pub(crate) fn ticks(&self) -> f64 {
        match (self.anchors.first(), self.anchors.last()) {
            (Some(first), Some(last)) if self.source.tsc && last.ns > first.ns => {
                (last.raw - first.raw) as f64 / (last.ns - first.ns) as f64
            }
            _ => 1.0,
        }
    }

    /// One reading in ns.
    pub(crate) fn convert(&self, raw: u64) -> u64 {
        self.converter().convert(raw)
    }
}

/// See [`Clock::converter`].
#[derive(Debug)]
pub(crate) struct Converter<'c> {
    clock: &'c Clock,
    /// Raw readings that the current scale is for.
    segment: (u64, u64),
    /// Raw reading that is `base` ns.
    origin: u64,
    base: u64,
    /// ns per tick, 32 fractional bits.
    scale: u64,
}

impl Converter<'_> {
    /// Converts one reading.
    #[inline]
    pub(crate) fn convert(&mut self, raw: u64) -> u64 {
        if !self.clock.source.is_converted() {
            return raw;
        }
        if raw < self.segment.0 || raw >= self.segment.1 {
            self.find(raw);
        }
        let ticks = raw.wrapping_sub(self.origin);
        if (ticks as i64) < 0 {
            // Before the first anchor.
            let back = (u128::from(ticks.wrapping_neg()) * u128::from(self.scale)) >> 32;
            return self.base.saturating_sub(back as u64);
        }
        self.base + ((u128::from(ticks) * u128::from(self.scale)) >> 32) as u64
    }

    fn find(&mut self, raw: u64) {
        let anchors = &self.clock.anchors;
        let after = anchors.partition_point(|a| a.raw <= raw);
        let (a, b) = match (anchors.len(), after) {
            (0 | 1, _) => {
                // No rate yet: the reading is next to the only anchor.
                let a = anchors.first().copied().unwrap_or(Anchor { raw, ns: 0 });
                (self.segment, self.origin, self.base, self.scale) = ((0, u64::MAX), a.raw, a.ns, 1 << 31);
                return;
            }
            (_, 0) => (anchors[0], anchors[1]),
            (n, i) if i == n => (anchors[n - 2], anchors[n - 1]),
            (_, i) => (anchors[i - 1], anchors[i]),
        };
        let start = if after == 0 { 0 } else { a.raw };
        let end = if after == anchors.len() { u64::MAX } else { b.raw };
        self.segment = (start, end);
        (self.origin, self.base) = (a.raw, a.ns);
        self.scale = ((u128::from(b.ns - a.ns) << 32) / u128::from(b.raw - a.raw)) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TSC: Source = Source { tsc: true, clock: TraceClock::Monotonic };

    fn clock(anchors: &[(u64, u64)]) -> Clock {
        Clock {
            anchors: anchors.iter().map(|&(raw, ns)| Anchor { raw, ns }).collect(),
            source: TSC,
            journal: None,
        }
    }

    #[test]
    fn interpolates_between_anchors_and_goes_on_at_the_ends() {
        let c = clock(&[(1000, 500), (3000, 1500), (5000, 3500)]);
        assert_eq!(c.convert(1000), 500);
        assert_eq!(c.convert(2000), 1000);
        assert_eq!(c.convert(4000), 2500);
        assert_eq!(c.convert(6000), 4500);
        assert_eq!(c.convert(800), 400);
    }

    #[test]
    fn nanoseconds_pass_through() {
        let source = Source { tsc: false, clock: TraceClock::Monotonic };
        let c = Clock { anchors: Vec::new(), source, journal: None };
        assert_eq!(c.convert(42), 42);
    }

    #[test]
    fn a_journal_gives_the_same_conversion() {
        let c = clock(&[(1000, 500), (3000, 1500)]);
        let bytes: Vec<u8> = c.anchors.iter().flat_map(|a| a.to_bytes()).collect();
        assert_eq!(Clock::from_journal(TSC, &bytes).convert(2222), c.convert(2222));
    }

    #[test]
    fn real_clocks_agree() {
        let pause = || std::thread::sleep(std::time::Duration::from_millis(20));
        for clock in TraceClock::ALL {
            for tsc in [true, false] {
                let source = Source { tsc, clock };
                let mut c = Clock::start(source, None);
                pause();
                let between = Anchor::take(source);
                pause();
                c.update().unwrap();
                let error = c.convert(between.raw).abs_diff(between.ns);
                assert!(error < 100_000, "{source:?}: {error} ns off");
            }
            assert_eq!(TraceClock::of_id(clock.id()), Some(clock));
        }
    }

    proptest! {
        #[test]
        fn monotonic(steps in proptest::collection::vec((1u64..1 << 33, 0u64..1 << 32), 2..20),
                     mut readings in proptest::collection::vec(0u64..1 << 38, 2..50)) {
            let (mut raw, mut ns) = (0, 0);
            let anchors: Vec<_> = steps.iter().map(|&(r, n)| { raw += r; ns += n; (raw, ns) }).collect();
            let c = clock(&anchors);
            readings.sort_unstable();
            let mut converter = c.converter();
            let times: Vec<u64> = readings.iter().map(|&r| converter.convert(r)).collect();
            prop_assert!(times.windows(2).all(|w| w[0] <= w[1]));
        }
    }
}
