//! Events whose payload begins with an address: watched variables and places of calls.

use fathom_store::{Class, Endian, FunctionKind, Info, Resolver, Trace, event_id};

/// What such an event says; none for other events and when the payload is too short. The resolver is that of its task,
/// `time` in ns is when the event was.
///
/// `counter=0x2a`, or `[0x404028]=0x2a` for a variable without a name; `from main` for the place of a call.
pub fn place_text(
    trace: &dyn Trace,
    resolver: &mut (dyn Resolver + '_),
    id: u64,
    time: u64,
    payload: &[u8],
) -> Option<String> {
    if !matches!(id, event_id::WATCH_VARIABLE | event_id::CALLSITE) {
        return None;
    }
    let place = Place::read(trace.info(), payload)?;
    let function = trace.function(resolver.resolve(time, place.addr));
    let is_known = function.kind != FunctionKind::Unknown;
    Some(match (id == event_id::CALLSITE, is_known) {
        (true, true) => format!("from {}", function.name),
        (true, false) => format!("from {:#x}", place.addr),
        (false, true) => format!("{}={:#x}", function.name, place.value?),
        (false, false) => format!("[{:#x}]={:#x}", place.addr, place.value?),
    })
}

/// Where a call was made from, by what was recorded before it as [`event_id::CALLSITE`]: `main.c:12`, or `main+0x1c` when the line is not known.
/// None when the payload is too short.
pub fn caller_text(
    trace: &dyn Trace,
    resolver: &mut (dyn Resolver + '_),
    time: u64,
    payload: &[u8],
) -> Option<String> {
    let addr = Place::read(trace.info(), payload)?.addr;
    // What is recorded is where the call returns to: another line, or another function behind a call that never does.
    let place = resolver.place(time, addr.saturating_sub(1));
    if let Some(line) = place.line {
        return Some(format!("{}:{}", line.file, line.line));
    }
    let function = trace.function(place.function);
    Some(match function.kind {
        FunctionKind::Unknown => format!("{addr:#x}"),
        _ => format!("{}+{:#x}", function.name, place.offset.saturating_add(1)),
    })
}

struct Place {
    addr: u64,
    /// The number behind the address, of 1 to 8 bytes.
    value: Option<u64>,
}

impl Place {
    fn read(info: &Info, payload: &[u8]) -> Option<Place> {
        let width = if info.class == Class::Bits32 { 4 } else { 8 };
        let (addr, rest) = payload.split_at_checked(width)?;
        let value = (1..=8).contains(&rest.len()).then(|| number(rest, info.endian));
        Some(Place { addr: number(addr, info.endian), value })
    }
}

/// A number of up to 8 bytes.
fn number(bytes: &[u8], endian: Endian) -> u64 {
    let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    match endian {
        Endian::Little => bytes.iter().rev().fold(0, add),
        Endian::Big => bytes.iter().fold(0, add),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(class: Class, endian: Endian, payload: &[u8]) -> Option<(u64, Option<u64>)> {
        let info = Info { class, endian, ..Info::default() };
        Place::read(&info, payload).map(|place| (place.addr, place.value))
    }

    #[test]
    fn payloads_of_all_machines() {
        let wide = [0x28, 0x40, 0x40, 0, 0, 0, 0, 0, 0x2a, 1];
        assert_eq!(read(Class::Bits64, Endian::Little, &wide), Some((0x40_4028, Some(0x12a))));
        assert_eq!(read(Class::Bits64, Endian::Little, &wide[..8]), Some((0x40_4028, None)));
        assert_eq!(read(Class::Bits64, Endian::Little, &wide[..7]), None);
        assert_eq!(read(Class::Bits32, Endian::Big, &[0, 1, 2, 3, 0, 9]), Some((0x10203, Some(9))));
        assert_eq!(read(Class::Bits32, Endian::Big, &[0; 13]), Some((0, None)), "no number has 9 bytes");
    }
}
