//! Copies values out of registers, the stack and memory, as the plan's fetches say.
//!
//! Memory that a value points to may not be there: `memory.rs` sees to that.

use crate::memory;
use fathom_abi::plan::{
    self, FETCH_BYTES, FETCH_MEMORY, FETCH_SEQUENCE, FETCH_TEXT, FETCH_TEXT_LENGTH, FROM_INTEGER, FROM_LOAD,
    FROM_RESULT, FROM_STACK, FROM_VECTOR, FROM_X87, Fetch, PAYLOAD_LIMIT, Part, Rule, SEQUENCE_ABSENT,
    SEQUENCE_UNREADABLE, TEXT_LIMIT,
};

/// Where the arguments of a call are.
#[derive(Clone, Copy)]
pub(crate) struct Arguments<'a> {
    /// rdi, rsi, rdx, rcx, r8, r9.
    pub(crate) integers: &'a [usize; 6],
    /// xmm0 to xmm15, 16 bytes each.
    pub(crate) vectors: *const u8,
    /// Address of the first word of the stack behind the return address.
    pub(crate) stack: usize,
}

/// Where the results of a call are.
#[derive(Clone, Copy)]
pub(crate) struct Results<'a> {
    /// rcx, rdx, rax: as they were pushed.
    pub(crate) integers: &'a [usize; 3],
    /// As in [`Arguments`].
    pub(crate) vectors: *const u8,
}

/// Values on their way, in memory of the thread's own.
pub(crate) struct Payload<'m> {
    memory: &'m mut [u8],
    len: usize,
}

impl<'m> Payload<'m> {
    pub(crate) fn new(memory: &'m mut [u8]) -> Payload<'m> {
        Payload { memory, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends; false when there is no room.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        let end = self.len + bytes.len();
        if end > self.memory.len() || end > 2 * PAYLOAD_LIMIT {
            return false;
        }
        self.memory[self.len..end].copy_from_slice(bytes);
        self.len = end;
        true
    }

    /// Appends zeroes and gives them out to be filled.
    fn extend(&mut self, len: usize) -> Option<&mut [u8]> {
        let (start, end) = (self.len, self.len + len);
        if end > self.memory.len() || end > 2 * PAYLOAD_LIMIT {
            return None;
        }
        self.len = end;
        let bytes = &mut self.memory[start..end];
        bytes.fill(0);
        Some(bytes)
    }

    /// Appends the low bytes of a word, without calling anything for it.
    fn push_word(&mut self, value: u64, size: usize) -> bool {
        let Some(place) = self.memory.get_mut(self.len..).and_then(<[u8]>::first_chunk_mut::<8>) else {
            return false;
        };
        *place = (value & (u64::MAX >> (64 - 8 * size.clamp(1, 8)))).to_le_bytes();
        self.len += size;
        true
    }

    /// Zeroes up to a multiple of `unit`, at most 8.
    pub(crate) fn pad(&mut self, unit: usize) -> bool {
        let missing = self.len.next_multiple_of(unit) - self.len;
        missing == 0 || self.push_word(0, missing)
    }
}

/// Copies the arguments. When they are too many for a record, none is there.
pub(crate) fn arguments(fetches: &[Fetch], from: &Arguments<'_>, payload: &mut Payload<'_>) {
    all(fetches, &|part, out| argument_part(part, from, out), from.stack, payload);
}

/// Copies the results.
pub(crate) fn results(fetches: &[Fetch], from: &Results<'_>, payload: &mut Payload<'_>) {
    all(fetches, &|part, out| result_part(part, from, out), 0, payload);
}

fn all(fetches: &[Fetch], part: &dyn Fn(&Part, &mut [u8]), stack: usize, payload: &mut Payload<'_>) {
    for fetch in fetches {
        if !one(fetch, part, stack, payload) || !payload.pad(4) || payload.len() > PAYLOAD_LIMIT {
            payload.clear();
            return;
        }
    }
    if !payload.pad(8) {
        payload.clear();
    }
}

/// The largest value that is copied whole.
const MOST: usize = 1000;

fn one(fetch: &Fetch, part: &dyn Fn(&Part, &mut [u8]), stack: usize, payload: &mut Payload<'_>) -> bool {
    let word = |index: usize| {
        let mut bytes = [0; 8];
        part(&fetch.part[index], &mut bytes);
        usize::from_le_bytes(bytes)
    };
    let size = usize::from(fetch.size).min(MOST);
    match fetch.kind {
        // What is above the significant bytes in a register is anything.
        FETCH_BYTES if fetch.parts == 1 && size <= 8 => {
            let bits = 8 * u32::from(fetch.part[0].size.clamp(1, 8));
            payload.push_word(word(0) as u64 & (u64::MAX >> (64 - bits)), size)
        }
        FETCH_BYTES => {
            let Some(bytes) = payload.extend(size) else { return false };
            let mut at = 0;
            for piece in fetch.part.iter().take(usize::from(fetch.parts)) {
                let rest = size - at;
                // A single part on the stack can be longer than what its size can say.
                let len = if fetch.parts == 1 { rest } else { usize::from(piece.size).min(rest) };
                part(piece, &mut bytes[at..at + len]);
                at += len;
            }
            true
        }
        FETCH_MEMORY => {
            let from = word(0).wrapping_add_signed(fetch.number as isize);
            payload.extend(size).is_some_and(|bytes| {
                let got = memory::read(from, stack, bytes);
                bytes[got..].fill(0xff);
                true
            })
        }
        FETCH_TEXT | FETCH_TEXT_LENGTH | FETCH_SEQUENCE
            if fetch.parts == 3 && word(2) as u64 == fetch.absent =>
        {
            if fetch.kind == FETCH_SEQUENCE {
                sequence((SEQUENCE_ABSENT, 0, 0), size, stack, payload)
            } else {
                push_text(payload, &[0xff; 4])
            }
        }
        FETCH_TEXT => text(word(0), None, stack, payload),
        FETCH_TEXT_LENGTH => text(word(0), Some(word(1)), stack, payload),
        FETCH_SEQUENCE => {
            let elements = size.saturating_sub(8) / (fetch.number.max(1) as usize);
            let bytes = word(1).min(elements) * fetch.number.max(1) as usize;
            sequence((word(1) as u64, word(0), bytes), size, stack, payload)
        }
        _ => false,
    }
}

/// Number of elements, and some of their bytes.
fn sequence(
    (count, address, len): (u64, usize, usize),
    size: usize,
    stack: usize,
    payload: &mut Payload<'_>,
) -> bool {
    let Some(bytes) = payload.extend(size.max(8)) else { return false };
    let (number, elements) = bytes.split_at_mut(8);
    let elements = &mut elements[..len.min(size.saturating_sub(8))];
    let whole = elements.is_empty() || memory::read(address, stack, elements) == elements.len();
    if !whole {
        elements.fill(0);
    }
    number.copy_from_slice(&(if whole { count } else { SEQUENCE_UNREADABLE }).to_le_bytes());
    true
}

/// Length and bytes.
fn push_text(payload: &mut Payload<'_>, text: &[u8]) -> bool {
    payload.push(&(text.len() as u16).to_le_bytes()) && payload.push(text)
}

/// A text, up to its NUL or of a known length. A longer one ends in three dots; what cannot be read is shown as an address.
fn text(address: usize, len: Option<usize>, stack: usize, payload: &mut Payload<'_>) -> bool {
    if address == 0 {
        return push_text(payload, if len.is_some() { b"" } else { b"NULL" });
    }
    let start = payload.len;
    let wanted = len.unwrap_or(usize::MAX).min(TEXT_LIMIT + 1);
    let Some(place) = payload.memory.get_mut(start..start + 2 + TEXT_LIMIT + 1) else { return false };
    let (head, bytes) = place.split_at_mut(2);
    let Some(mut end) = memory::read_text(address, len.is_none(), stack, &mut bytes[..wanted]) else {
        return push_text(payload, address_text(address, &mut [0; 24]));
    };
    if end > TEXT_LIMIT {
        end = TEXT_LIMIT;
        bytes[TEXT_LIMIT - 3..TEXT_LIMIT].copy_from_slice(b"...");
    }
    head.copy_from_slice(&(end as u16).to_le_bytes());
    payload.len = start + 2 + end;
    true
}

/// `<0x123>`.
fn address_text(mut address: usize, out: &mut [u8; 24]) -> &[u8] {
    let mut at = out.len() - 1;
    out[at] = b'>';
    loop {
        at -= 1;
        out[at] = b"0123456789abcdef"[address & 15];
        address >>= 4;
        if address == 0 {
            break;
        }
    }
    at -= 3;
    out[at..at + 3].copy_from_slice(b"<0x");
    &out[at..]
}

/// A piece of an argument. What does not exist is zero.
fn argument_part(part: &Part, from: &Arguments<'_>, out: &mut [u8]) {
    let index = usize::from(part.index);
    match part.from & !FROM_LOAD {
        FROM_INTEGER => {
            let value = from.integers.get(index).copied().unwrap_or(0);
            place(part, value, from.stack, out);
        }
        FROM_VECTOR => vector(from.vectors, index, out),
        FROM_STACK if (1..=100).contains(&index) => {
            let address = from.stack + 8 * (index - 1);
            if part.from & FROM_LOAD != 0 {
                // SAFETY: an argument's word on the stack of the running function.
                let value = unsafe { (address as *const usize).read() };
                place(part, value, from.stack, out);
            } else {
                memory::read(address, from.stack, out);
            }
        }
        _ => {}
    }
}

fn result_part(part: &Part, from: &Results<'_>, out: &mut [u8]) {
    let index = usize::from(part.index);
    match part.from & !FROM_LOAD {
        FROM_RESULT => {
            let value = from.integers[2 - index.min(2)];
            place(part, value, 0, out);
        }
        FROM_VECTOR => vector(from.vectors, index, out),
        FROM_X87 if index == 0 => {
            let mut value = [0u8; 10];
            // SAFETY: the plan says that the function returns a number on the x87 stack; it goes back there.
            unsafe {
                core::arch::asm!(
                    "fstp tbyte ptr [{0}]", "fld tbyte ptr [{0}]",
                    in(reg) value.as_mut_ptr(), options(nostack, preserves_flags)
                );
            }
            let len = out.len().min(value.len());
            out[..len].copy_from_slice(&value[..len]);
        }
        _ => {}
    }
}

/// A register's value, or what it points to.
fn place(part: &Part, value: usize, stack: usize, out: &mut [u8]) {
    if part.from & FROM_LOAD != 0 {
        memory::read(value.wrapping_add_signed(part.offset as isize), stack, out);
        return;
    }
    let bytes = value.to_le_bytes();
    let len = out.len().min(bytes.len());
    out[..len].copy_from_slice(&bytes[..len]);
}

fn vector(vectors: *const u8, index: usize, out: &mut [u8]) {
    if index > 15 {
        return;
    }
    let len = out.len().min(16);
    // SAFETY: the hook has saved sixteen registers of sixteen bytes there.
    unsafe { core::ptr::copy_nonoverlapping(vectors.add(16 * index), out.as_mut_ptr(), len) };
}

/// Whether the condition of a rule holds for a call.
pub(crate) fn holds(rule: &Rule, arguments: &Arguments<'_>) -> bool {
    let bits = u32::from(rule.condition_size.clamp(1, 8)) * 8;
    let raw = arguments.integers.get(usize::from(rule.condition_arg)).copied().unwrap_or(0) as u64;
    let cut = |value: u64| value << (64 - bits) >> (64 - bits);
    let wide = |value: u64| ((value << (64 - bits)) as i64) >> (64 - bits);
    let (a, b) = (cut(raw), cut(rule.condition_value));
    let order = if rule.condition_signed != 0 {
        wide(raw).cmp(&(rule.condition_value as i64))
    } else {
        a.cmp(&rule.condition_value)
    };
    match rule.condition {
        plan::CONDITION_EQ => a == b,
        plan::CONDITION_NE => a != b,
        plan::CONDITION_GT => order.is_gt(),
        plan::CONDITION_GE => order.is_ge(),
        plan::CONDITION_LT => order.is_lt(),
        plan::CONDITION_LE => order.is_le(),
        plan::CONDITION_AND => a & b != 0,
        _ => true,
    }
}
