//! What the payload of an event says.

use fathom_store::{Endian, event_id, probe};

/// The text in brackets after an event's name, with signs on differences; none when the event has no payload that
/// is known here.
pub(crate) fn event_text(id: u64, payload: &[u8], endian: Endian) -> Option<String> {
    let value = |index: usize| -> Option<u64> {
        let bytes = payload.get(index * 8..index * 8 + 8)?.try_into().ok()?;
        Some(match endian {
            Endian::Little => u64::from_le_bytes(bytes),
            Endian::Big => u64::from_be_bytes(bytes),
        })
    };
    let (a, b) = (value(0), value(1));
    let signed = |v: u64| format!("{:+}", v.cast_signed());
    Some(match id {
        100_001 => format!("vmsize={}KB vmrss={}KB shared={}KB", a?, b?, value(2)?),
        100_003 => {
            format!("vmsize={}KB vmrss={}KB shared={}KB", signed(a?), signed(b?), signed(value(2)?))
        }
        100_002 => format!("major={} minor={}", a?, b?),
        100_004 => format!("major={} minor={}", signed(a?), signed(b?)),
        100_005 => format!("cycles={} instructions={}", a?, b?),
        100_006 => {
            let (cycles, instructions) = (a?, b?);
            let rate = ratio(" IPC=", instructions.cast_signed() as f64, cycles.cast_signed(), "");
            format!("cycles={} instructions={}{rate}", signed(cycles), signed(instructions))
        }
        100_007 => format!("refers={} misses={}", a?, b?),
        100_008 => {
            let (all, missed) = (a?.cast_signed(), b?.cast_signed());
            format!("refers={all:+} misses={missed:+}{}", hits(" hit=", all, missed))
        }
        100_009 => format!("branch={} misses={}", a?, b?),
        100_010 => {
            let (all, missed) = (a?.cast_signed(), b?.cast_signed());
            format!("branch={all:+} misses={missed:+}{}", hits(" predict=", all, missed))
        }
        100_011 => format!("cpu={}", word(payload, endian)?),
        event_id::TASK_NAME => format!("comm=\"{}\"", String::from_utf8_lossy(payload)),
        // Events of the kernel carry their text.
        id if event_id::is_kernel(id) && !payload.is_empty() => String::from_utf8_lossy(payload).into_owned(),
        event_id::USER..event_id::EXTERNAL => probe::text(payload, endian)?,
        _ => return None,
    })
}

/// Percentage of those that are not missed.
fn hits(name: &str, all: i64, missed: i64) -> String {
    ratio(name, all.wrapping_sub(missed) as f64 * 100.0, all, "%")
}

/// Nothing where there is nothing to compare with, as where counters cannot be read.
fn ratio(name: &str, part: f64, whole: i64, unit: &str) -> String {
    if whole == 0 { String::new() } else { format!("{name}{:.2}{unit}", part / whole as f64) }
}

fn word(payload: &[u8], endian: Endian) -> Option<i32> {
    let bytes = payload.get(..4)?.try_into().ok()?;
    Some(match endian {
        Endian::Little => i32::from_le_bytes(bytes),
        Endian::Big => i32::from_be_bytes(bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(id: u64, values: &[i64]) -> Option<String> {
        let payload: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        event_text(id, &payload, Endian::Little)
    }

    #[test]
    fn each_kind() {
        assert_eq!(text(100_001, &[15492, 7568, 5452]).unwrap(), "vmsize=15492KB vmrss=7568KB shared=5452KB");
        assert_eq!(text(100_003, &[0, 4, -8]).unwrap(), "vmsize=+0KB vmrss=+4KB shared=-8KB");
        assert_eq!(text(100_004, &[0, 1]).unwrap(), "major=+0 minor=+1");
        assert_eq!(text(100_006, &[200, 100]).unwrap(), "cycles=+200 instructions=+100 IPC=0.50");
        assert_eq!(text(100_008, &[200, 50]).unwrap(), "refers=+200 misses=+50 hit=75.00%");
        assert_eq!(text(100_006, &[0, 0]).unwrap(), "cycles=+0 instructions=+0");
        assert_eq!(text(100_008, &[0, 0]).unwrap(), "refers=+0 misses=+0");
        assert_eq!(text(100_010, &[200, 50]).unwrap(), "branch=+200 misses=+50 predict=75.00%");
        assert_eq!(event_text(100_011, &[1, 0, 0, 0], Endian::Little).unwrap(), "cpu=1");
        assert_eq!(event_text(100_011, &[0, 0, 0, 1], Endian::Big).unwrap(), "cpu=1");
        assert_eq!(event_text(1_000_007, &[5, 0, 0, 0, 0, 0, 0, 0, 4], Endian::Little).unwrap(), "arg1=5");
        assert_eq!(event_text(event_id::TASK_NAME, b"sh", Endian::Little).unwrap(), "comm=\"sh\"");
    }

    #[test]
    fn damaged_payloads_have_no_text() {
        assert_eq!(text(100_001, &[1, 2]), None);
        assert_eq!(event_text(100_011, &[1], Endian::Little), None);
        assert_eq!(text(1_000_000, &[1]), None);
    }
}
