//! Events that trace-cmd's plugins print in their own words. The texts were found by looking at what trace-cmd 3.1.6
//! prints.

use super::ftrace::Place;
use super::names::Names;
use super::symbols::Symbols;
use fathom_ftrace::{Endian, Field, Format, number};

/// An event that a plugin prints.
#[derive(Debug, Clone)]
pub(crate) enum Plugin {
    SchedSwitch {
        prev: Task,
        state: Place,
        next: Task,
    },
    SchedWakeup {
        task: Task,
        success: Option<Place>,
        cpu: Place,
    },
    /// The place of the allocation before the event's own text.
    CallSite(Place),
    TimerStart {
        timer: Place,
        function: Place,
        expires: Place,
        soft_expires: Place,
    },
    TimerExpire {
        timer: Place,
        now: Place,
        function: Place,
    },
    Futex {
        uaddr: Place,
        op: Place,
        val: Place,
        utime: Place,
        uaddr2: Place,
        val3: Place,
    },
    TlbFlush {
        pages: Place,
        reason: Place,
    },
}

/// The fields that describe a task.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    comm: Field,
    pid: Place,
    prio: Place,
}

impl Task {
    fn of(format: &Format, prefix: &str) -> Option<Self> {
        Some(Self {
            comm: format.field(&format!("{prefix}comm"))?.clone(),
            pid: Place::of(format, &format!("{prefix}pid"))?,
            prio: Place::of(format, &format!("{prefix}prio"))?,
        })
    }

    /// Writes `comm:pid [prio]`, and keeps the name for other lines.
    fn write(&self, out: &mut Vec<u8>, record: &[u8], endian: Endian, names: &mut Names, signed: bool) {
        let comm = self.comm.text(record, endian).unwrap_or_default();
        let pid = self.pid.get(record, endian);
        names.learn(pid as u32 as i32, comm);
        out.extend_from_slice(comm);
        out.push(b':');
        number::decimal(out, pid);
        out.extend_from_slice(b" [");
        if signed {
            number::signed(out, i64::from(self.prio.get(record, endian) as u32 as i32));
        } else {
            number::decimal(out, self.prio.get(record, endian));
        }
        out.push(b']');
    }
}

/// Events whose text comes after the place they were called from.
const ALLOCATIONS: [&str; 6] =
    ["kfree", "kmalloc", "kmalloc_node", "kmem_cache_alloc", "kmem_cache_alloc_node", "kmem_cache_free"];

impl Plugin {
    /// The plugin that prints an event, if there is one and the event has the fields that it needs.
    pub(crate) fn of(format: &Format) -> Option<Self> {
        let place = |name| Place::of(format, name);
        Some(match (format.system.as_str(), format.name.as_str()) {
            ("sched", "sched_switch") => Self::SchedSwitch {
                prev: Task::of(format, "prev_")?,
                state: place("prev_state")?,
                next: Task::of(format, "next_")?,
            },
            ("sched", "sched_wakeup" | "sched_wakeup_new") => Self::SchedWakeup {
                task: Task::of(format, "")?,
                success: place("success"),
                cpu: place("target_cpu")?,
            },
            ("kmem", name) if ALLOCATIONS.contains(&name) => Self::CallSite(place("call_site")?),
            ("timer", "hrtimer_start") => Self::TimerStart {
                timer: place("hrtimer")?,
                function: place("function")?,
                expires: place("expires")?,
                soft_expires: place("softexpires")?,
            },
            ("timer", "hrtimer_expire_entry") => Self::TimerExpire {
                timer: place("hrtimer")?,
                now: place("now")?,
                function: place("function")?,
            },
            ("syscalls", "sys_enter_futex") => Self::Futex {
                uaddr: place("uaddr")?,
                op: place("op")?,
                val: place("val")?,
                utime: place("utime")?,
                uaddr2: place("uaddr2")?,
                val3: place("val3")?,
            },
            ("tlb", "tlb_flush") => Self::TlbFlush { pages: place("pages")?, reason: place("reason")? },
            _ => return None,
        })
    }

    /// Writes an event. False when its own `print fmt` shall be used for it, or for the rest of it.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        record: &[u8],
        endian: Endian,
        symbols: &Symbols,
        names: &mut Names,
    ) -> bool {
        match self {
            Self::SchedSwitch { prev, state, next } => {
                prev.write(out, record, endian, names, true);
                out.push(b' ');
                write_state(out, state.get(record, endian));
                out.extend_from_slice(b" ==> ");
                next.write(out, record, endian, names, true);
            }
            Self::SchedWakeup { task, success, cpu } => {
                task.write(out, record, endian, names, false);
                if let Some(success) = success {
                    out.extend_from_slice(b" success=");
                    number::decimal(out, success.get(record, endian));
                }
                out.extend_from_slice(b" CPU:");
                number::padded(out, cpu.get(record, endian), 3, b'0');
            }
            Self::CallSite(place) => {
                let address = place.get(record, endian);
                if let Some((name, begin)) = symbols.find(address) {
                    out.push(b'(');
                    out.extend_from_slice(name);
                    out.extend_from_slice(b"+0x");
                    number::hex(out, address.wrapping_sub(begin));
                    out.extend_from_slice(b") ");
                }
                return false;
            }
            Self::TimerStart { timer, function, expires, soft_expires } => {
                labelled(out, b"hrtimer=0x", |out| number::hex(out, timer.get(record, endian)));
                labelled(out, b" function=", |out| {
                    timer_function(out, function.get(record, endian), symbols);
                });
                labelled(out, b" expires=", |out| number::decimal(out, expires.get(record, endian)));
                labelled(out, b" softexpires=", |out| number::decimal(out, soft_expires.get(record, endian)));
            }
            Self::TimerExpire { timer, now, function } => {
                labelled(out, b"hrtimer=0x", |out| number::hex(out, timer.get(record, endian)));
                labelled(out, b" now=", |out| number::decimal(out, now.get(record, endian)));
                labelled(out, b" function=", |out| {
                    timer_function(out, function.get(record, endian), symbols);
                });
            }
            Self::Futex { .. } => return self.write_futex(out, record, endian),
            Self::TlbFlush { pages, reason } => {
                labelled(out, b"pages=", |out| number::signed(out, pages.signed(record, endian)));
                let reason = reason.get(record, endian);
                out.extend_from_slice(b" reason=");
                out.extend_from_slice(FLUSHES.get(reason as usize).map_or(b"", |text| text.as_bytes()));
                out.extend_from_slice(b" (");
                number::decimal(out, reason);
                out.push(b')');
            }
        }
        true
    }

    fn write_futex(&self, out: &mut Vec<u8>, record: &[u8], endian: Endian) -> bool {
        let Self::Futex { uaddr, op, val, utime, uaddr2, val3 } = self else { return false };
        let operation = op.get(record, endian);
        let known = usize::try_from(operation & !0x180).ok().filter(|number| *number != 2);
        let Some((name, arguments)) = known.and_then(|number| FUTEX.get(number)) else { return false };
        labelled(out, b"op=", |out| out.extend_from_slice(name.as_bytes()));
        if operation & 0x80 != 0 {
            out.extend_from_slice(b"|FUTEX_PRIVATE_FLAG");
        }
        if operation & 0x100 != 0 {
            out.extend_from_slice(b"|FUTEX_CLOCK_REALTIME");
        }
        labelled(out, b" uaddr=0x", |out| number::hex(out, uaddr.get(record, endian)));
        for argument in arguments.bytes() {
            match argument {
                b'v' => labelled(out, b" val=0x", |out| hex8(out, val.get(record, endian))),
                b'n' => labelled(out, b" val=", |out| number::decimal(out, val.get(record, endian))),
                b't' => labelled(out, b" utime=0x", |out| hex8(out, utime.get(record, endian))),
                b'2' => labelled(out, b" val2=", |out| number::decimal(out, utime.get(record, endian))),
                b'u' => labelled(out, b" uaddr2=0x", |out| hex8(out, uaddr2.get(record, endian))),
                _ => labelled(out, b" val3=0x", |out| hex8(out, val3.get(record, endian))),
            }
        }
        true
    }
}

/// Operations of futex(2), and which arguments are printed: `v` and `n` are val in hex and decimal, `t` utime, `2` the
/// same as a number, `u` uaddr2, `3` val3. FUTEX_FD is no more.
const FUTEX: [(&str, &str); 13] = [
    ("FUTEX_WAIT", "vt"),
    ("FUTEX_WAKE", "n"),
    ("", ""),
    ("FUTEX_REQUEUE", "n2u"),
    ("FUTEX_CMP_REQUEUE", "n2u3"),
    ("FUTEX_WAKE_OP", "n2u3"),
    ("FUTEX_LOCK_PI", "t"),
    ("FUTEX_UNLOCK_PI", ""),
    ("FUTEX_TRYLOCK_PI", ""),
    ("FUTEX_WAIT_BITSET", "vt3"),
    ("FUTEX_WAKE_BITSET", "n3"),
    ("FUTEX_WAIT_REQUEUE_PI", "vtu3"),
    ("FUTEX_CMP_REQUEUE_PI", "n2u3"),
];

/// Reasons of `tlb_flush`.
const FLUSHES: [&str; 4] =
    ["flush on task switch", "remote shootdown", "local shootdown", "local mm shootdown"];

fn labelled(out: &mut Vec<u8>, label: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(label);
    write(out);
}

fn hex8(out: &mut Vec<u8>, value: u64) {
    let digits = (64 - value.leading_zeros()).div_ceil(4).max(8);
    number::hex_fixed(out, value, digits as usize);
}

/// The function of a timer: its name, with what is missing to the symbol's begin.
fn timer_function(out: &mut Vec<u8>, address: u64, symbols: &Symbols) {
    let Some((name, begin)) = symbols.find(address) else {
        out.extend_from_slice(b"0x");
        hex8(out, address);
        return;
    };
    out.extend_from_slice(name);
    out.extend_from_slice(b"/0x");
    number::hex(out, begin.wrapping_sub(address));
}

/// The letters of a task's state; bits above the known ones say how it was preempted.
fn write_state(out: &mut Vec<u8>, state: u64) {
    const LETTERS: &[u8; 8] = b"SDTtZXxW";
    if state & 0xff == 0 {
        out.push(b'R');
        return;
    }
    let mut first = true;
    for (bit, letter) in LETTERS.iter().enumerate() {
        if state & (1 << bit) != 0 {
            if !first {
                out.push(b'|');
            }
            out.push(*letter);
            first = false;
        }
    }
}
