//! Time stamps: what is added to them, and how they are written.

use super::{Input, Settings};
use crate::options::Tsc2Nsec;
use crate::recording::Buffer;
use fathom_ftrace::line::{Line, NUMBER, Short};

/// How the time stamps of a file become those of the report.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Correction {
    /// Added to the recorded number, in the clock's unit.
    pub(crate) before: i64,
    /// Cycles to nanoseconds.
    pub(crate) cycles: Option<Tsc2Nsec>,
    /// The clock's frequency: the number becomes nanoseconds.
    pub(crate) hertz: Option<u64>,
    /// Added after that, in nanoseconds.
    pub(crate) after: i64,
}

impl Correction {
    /// What the options of a recording and those of the report say.
    pub(crate) fn of(input: &Input, settings: &Settings) -> Self {
        if settings.raw_times {
            return Self::default();
        }
        let options = &input.recording.options;
        let date = if settings.date { options.date().unwrap_or_default() } else { 0 };
        let cycles = options.tsc2nsec(input.recording.header.endian);
        Self {
            before: input.offset,
            cycles: cycles.filter(|_| input.hertz.is_none()),
            hertz: input.hertz,
            after: date.wrapping_add(options.offset().unwrap_or_default()),
        }
    }

    /// The corrected number.
    #[inline]
    pub(crate) fn apply(&self, time: u64) -> u64 {
        let mut time = time.wrapping_add_signed(self.before);
        if let Some(cycles) = self.cycles {
            let product = u128::from(time) * u128::from(cycles.mult);
            time = (product >> (cycles.shift & 127)) as u64;
        }
        if let Some(hertz) = self.hertz {
            time = (time as f64 * (1_000_000_000.0 / hertz as f64)) as u64;
        }
        time.wrapping_add_signed(self.after)
    }
}

/// How time stamps are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeForm {
    /// Seconds, rounded to microseconds.
    Microseconds,
    /// Seconds with nanoseconds.
    Nanoseconds,
    /// The number as it is: clocks that do not count nanoseconds.
    Plain,
}

impl TimeForm {
    /// That of a buffer, by the name of its clock: cycles and counters are not times, and unknown clocks may not be.
    pub(crate) fn of_buffer(buffer: &Buffer, settings: &Settings, correction: &Correction) -> Self {
        let known = matches!(
            buffer.clock.as_str(),
            "" | "local" | "global" | "uptime" | "perf" | "mono" | "mono_raw" | "boot" | "tai" | "tsc2nsec"
        );
        // Numbers as they were recorded are seconds only where nobody says which clock they are of.
        if settings.raw_times && !buffer.clock.is_empty()
            || !known && correction.cycles.is_none() && correction.hertz.is_none()
        {
            Self::Plain
        } else if settings.nanoseconds {
            Self::Nanoseconds
        } else {
            Self::Microseconds
        }
    }

    /// Writes a time stamp with the space before it.
    pub(crate) fn write(self, out: &mut Vec<u8>, time: u64) {
        Line::append(out, Stamps::ROOM, |line| Stamps::of(self).write(line, time));
    }
}

/// Time stamps of lines, of which most have the seconds of the one before.
pub(crate) struct Stamps {
    pub(crate) form: TimeForm,
    seconds: u64,
    /// The seconds with the space before and the point behind them.
    text: Short,
}

impl Stamps {
    /// The most bytes of one.
    pub(crate) const ROOM: usize = 2 + NUMBER + 9;

    pub(crate) fn of(form: TimeForm) -> Self {
        Self { form, seconds: 0, text: seconds_text(0) }
    }

    /// Writes one as a part of a line.
    #[inline(always)]
    pub(crate) fn write(&mut self, line: &mut Line<'_>, time: u64) {
        if self.form == TimeForm::Plain {
            return line.padded(time, 12, b' ');
        }
        let (mut seconds, nanoseconds) = (time / 1_000_000_000, (time % 1_000_000_000) as u32);
        let rounding = if self.form == TimeForm::Nanoseconds { 0 } else { 500 };
        let microseconds = (nanoseconds + rounding) / 1000;
        seconds += u64::from(microseconds == 1_000_000);
        if seconds != self.seconds {
            (self.seconds, self.text) = (seconds, seconds_text(seconds));
        }
        line.short(&self.text);
        line.fixed(microseconds % 1_000_000, 6);
        if self.form == TimeForm::Nanoseconds {
            line.fixed(nanoseconds % 1000, 3);
        }
    }
}

fn seconds_text(seconds: u64) -> Short {
    // At most 22 bytes.
    Short::new(format!(" {seconds:5}.").as_bytes()).unwrap_or(Short::EMPTY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(form: TimeForm, time: u64) -> String {
        let mut out = Vec::new();
        form.write(&mut out, time);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn seconds_are_rounded_to_microseconds() {
        assert_eq!(text(TimeForm::Microseconds, 1499), "     0.000001");
        assert_eq!(text(TimeForm::Microseconds, 1500), "     0.000002");
        assert_eq!(text(TimeForm::Microseconds, 999_999_500), "     1.000000");
        assert_eq!(text(TimeForm::Nanoseconds, 999_999_500), "     0.999999500");
        assert_eq!(text(TimeForm::Microseconds, 123_456_789_012_345_678), " 123456789.012346");
        assert_eq!(text(TimeForm::Plain, 1007), "        1007");
    }
}
