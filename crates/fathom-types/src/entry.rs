//! Where the debug information says that a parameter is at the entry of its function.
//!
//! The rules of the ABI hold for functions that anybody can call. A compiler that knows all callers of a function may
//! change it: leave arguments out, or pass what they point to. So for those, what was optimised is believed only as far
//! as the debug information says where it is.

use crate::dwarf::{Debug, Node};
use crate::fetch::{INTEGER, Register};
use crate::prototype::Function;
use crate::sysv::Where;
use crate::{Piece, Place};
use gimli::{AttributeValue, Expression, Operation};

/// Bytes of code from the beginning of a function in which registers still have what they had.
const SOON: u64 = 64;

type Reader = fathom_symbols::lines::Reader;

/// What is known about a parameter.
#[derive(Debug)]
pub(crate) enum At {
    /// It is there.
    Here(Where),
    /// It is not passed.
    Nowhere,
    /// It may be passed, but where can't be said.
    Unknown,
}

/// What the debug information says of a parameter's place.
enum Said {
    Registers(Vec<Register>),
    /// In memory that this register points to.
    Behind(Register),
    /// A word above the return address.
    Stack(u32),
    /// In the function's own memory: it was not optimised.
    Stored,
    /// A few instructions later it is in this register, or in memory that it points to.
    Later(Register),
    /// It is somewhere.
    Unclear,
    /// It is nowhere, or its value is known.
    Nothing,
}

/// Knows which functions are to be asked about.
pub(crate) struct EntryPlaces {
    /// Address of the first instruction, as linked.
    start: Option<u64>,
    doubtful: bool,
    /// The compiler may have left arguments out, so that later ones move up.
    movable: bool,
    /// It has.
    shifted: bool,
    /// An argument is not passed, or nobody knows: the compiler may know its value and pass anything.
    lost: bool,
    frame: Option<FrameBase>,
}

/// What offsets in a frame are counted from: a register by its DWARF number, or the address above the return address.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FrameBase(u16);

const RBP: FrameBase = FrameBase(6);
const RSP: FrameBase = FrameBase(7);
const CFA: FrameBase = FrameBase(u16::MAX);

impl EntryPlaces {
    /// The compiler of Rust knows all callers of nearly every function, and tells if it leaves arguments out.
    pub(crate) fn of(debug: &Debug, function: &Function, symbol: &str, rust: bool) -> EntryPlaces {
        // GCC names what it made of a function for callers it knows.
        let made_over = [".isra.", ".constprop.", ".part."].iter().any(|part| symbol.contains(part));
        let node = function.entries.first();
        let start = node.and_then(|node| start(debug, node));
        let frame = node.and_then(frame_base);
        // "nocall": not called as the rules say.
        let changed = node.and_then(|node| node.number(gimli::DW_AT_calling_convention)) == Some(3);
        let doubtful = made_over || changed || rust || !function.external();
        let movable = made_over || changed || !rust;
        // What returns nothing that anybody uses may return anything.
        let lost = changed || symbol.contains(".isra.");
        EntryPlaces { start, doubtful, movable, shifted: false, lost, frame }
    }

    /// Whether the function's first instruction is at an address, as linked.
    pub(crate) fn begins_at(&self, addr: u64) -> bool {
        self.start == Some(addr)
    }

    /// Whether what the function returns can be believed.
    pub(crate) fn returns(&self) -> bool {
        !self.lost
    }

    /// Where an argument of so many bytes is, which by the rules would be at `by_rule`.
    pub(crate) fn check(
        &mut self,
        debug: &Debug,
        concrete: Option<&Node>,
        bytes: u64,
        by_rule: Option<Where>,
    ) -> At {
        let rule = |place: Option<Where>| place.map_or(At::Unknown, At::Here);
        if !self.doubtful {
            return rule(by_rule);
        }
        let said = concrete.map_or(Said::Nothing, |node| self.said(debug, node));
        let at = match (said, &by_rule) {
            // The compiler doesn't say where it is at the very beginning, but a moment later it is where it belongs.
            (Said::Later(register), Some(place)) if is_in(place, register) => At::Here(place.clone()),
            // It is used, so its address is passed, whatever becomes of that later.
            (Said::Later(_) | Said::Unclear, Some(place @ Where::Behind(_))) if !self.movable => {
                At::Here(place.clone())
            }
            (Said::Later(_) | Said::Unclear, _) => At::Unknown,
            (said, by_rule) => self.place_of(said, bytes, by_rule.clone()),
        };
        self.shifted |= self.movable
            && match (&at, &by_rule) {
                (At::Here(place), Some(by_rule)) => place != by_rule,
                _ => true,
            };
        self.lost |= !matches!(at, At::Here(_));
        at
    }

    fn place_of(&self, said: Said, bytes: u64, by_rule: Option<Where>) -> At {
        match (said, by_rule) {
            (Said::Stored, Some(by_rule)) if !self.shifted => At::Here(by_rule),
            (Said::Stored, _) => At::Unknown,
            // Nothing to be passed.
            (_, Some(Where::Pieces(pieces))) if pieces.is_empty() => At::Here(Where::Pieces(pieces)),
            (Said::Nothing, _) => At::Nowhere,
            (Said::Stack(word), by_rule) => {
                let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
                match by_rule {
                    Some(Where::Behind(_)) => At::Here(Where::Behind(Place::Stack(word))),
                    _ => At::Here(Where::Pieces(vec![Piece { place: Place::Stack(word), bytes }])),
                }
            }
            (Said::Registers(_), Some(Where::Behind(_))) => At::Unknown,
            (Said::Behind(register), Some(Where::Behind(_))) => {
                At::Here(Where::Behind(Place::Register(register)))
            }
            // The compiler passes an address where the rules know a value.
            (Said::Behind(_), _) => At::Unknown,
            // As many as by the rules, for as many bytes each.
            (Said::Registers(registers), Some(Where::Pieces(mut pieces)))
                if registers.len() == pieces.len() =>
            {
                for (piece, register) in pieces.iter_mut().zip(registers) {
                    piece.place = Place::Register(register);
                    piece.bytes = piece.bytes.min(register.bytes());
                }
                At::Here(Where::Pieces(pieces))
            }
            (Said::Registers(_) | Said::Later(_) | Said::Unclear, _) => At::Unknown,
        }
    }

    fn said(&self, debug: &Debug, node: &Node) -> Said {
        match node.die.attr_value(gimli::DW_AT_location) {
            None => Said::Nothing,
            Some(AttributeValue::Exprloc(expression)) => {
                self.place(node, expression).unwrap_or(Said::Unclear)
            }
            Some(list) => self.listed(debug, node, list).unwrap_or(Said::Unclear),
        }
    }

    /// What a list of locations says of the first instruction, or else of one soon after it.
    fn listed(&self, debug: &Debug, node: &Node, list: AttributeValue<Reader>) -> Option<Said> {
        let dwarf = debug.map.dwarf_of(&node.entry);
        let mut list = dwarf.attr_locations(&node.entry.unit, list).ok()??;
        let start = self.start?;
        while let Some(entry) = list.next().ok()? {
            if entry.range.begin <= start && start < entry.range.end {
                return self.place(node, entry.data);
            }
            if entry.range.begin > start {
                let soon = entry.range.begin - start <= SOON;
                return match self.place(node, entry.data)? {
                    Said::Registers(registers) if soon && registers.len() == 1 => {
                        registers.first().copied().map(Said::Later)
                    }
                    Said::Behind(register) if soon => Some(Said::Later(register)),
                    Said::Nothing => Some(Said::Nothing),
                    _ => Some(Said::Unclear),
                };
            }
        }
        None
    }

    fn place(&self, node: &Node, expression: Expression<Reader>) -> Option<Said> {
        let mut operations = expression.operations(node.entry.unit.encoding());
        let mut registers = Vec::new();
        while let Some(operation) = operations.next().ok()? {
            match operation {
                Operation::Register { register } => registers.push(from_number(register.0)?),
                Operation::Piece { .. } if !registers.is_empty() => {}
                // Its value, which is computed from nothing that is passed.
                Operation::UnsignedConstant { .. }
                | Operation::SignedConstant { .. }
                | Operation::ImplicitValue { .. }
                    if registers.is_empty() =>
                {
                    return Some(Said::Nothing);
                }
                Operation::RegisterOffset { register, offset, .. } if registers.is_empty() => {
                    return match (FrameBase(register.0), offset) {
                        (RBP | RSP, _) => Some(Said::Stored),
                        (_, 0) => {
                            let register = from_number(register.0)?;
                            Some(if is_part(&mut operations)? {
                                Said::Registers(vec![register])
                            } else {
                                Said::Behind(register)
                            })
                        }
                        _ => None,
                    };
                }
                Operation::FrameOffset { offset } if registers.is_empty() => {
                    return self.in_frame(offset);
                }
                _ => return None,
            }
        }
        (!registers.is_empty()).then_some(Said::Registers(registers))
    }

    /// An offset from the frame base: above the return address arguments, below it the function's own memory.
    fn in_frame(&self, offset: i64) -> Option<Said> {
        let above = match self.frame? {
            CFA => offset,
            // The frame pointer is two words below.
            RBP => offset.checked_sub(16)?,
            // The stack pointer of the function's body, which is anywhere below.
            RSP => return Some(Said::Stored),
            _ => return None,
        };
        if above < 0 {
            return Some(Said::Stored);
        }
        u32::try_from(above / 8 + 1).ok().map(Said::Stack)
    }
}

/// Whether what follows a register makes the low bits of it the value, as for `bool`. False if nothing follows, None if
/// it is something else.
fn is_part(operations: &mut gimli::OperationIter<Reader>) -> Option<bool> {
    let mut any = false;
    while let Some(operation) = operations.next().ok()? {
        any = true;
        match operation {
            Operation::UnsignedConstant { .. } | Operation::And | Operation::Convert { .. } => {}
            Operation::StackValue => return operations.next().ok()?.is_none().then_some(true),
            _ => return None,
        }
    }
    (!any).then_some(false)
}

/// Whether a value, or the pointer to it, is in that register.
fn is_in(place: &Where, register: Register) -> bool {
    let register = Place::Register(register);
    match place {
        Where::Behind(place) => *place == register,
        Where::Pieces(pieces) => matches!(pieces.as_slice(), [piece] if piece.place == register),
    }
}

/// Address of a function's first instruction, as linked.
fn start(debug: &Debug, node: &Node) -> Option<u64> {
    let dwarf = debug.map.dwarf_of(&node.entry);
    let low = node.die.attr_value(gimli::DW_AT_low_pc);
    if let Some(low) = low {
        return dwarf.attr_address(&node.entry.unit, low).ok()?;
    }
    let mut ranges = dwarf.die_ranges(&node.entry.unit, &node.die).ok()?;
    ranges.next().ok()?.map(|range| range.begin)
}

fn frame_base(node: &Node) -> Option<FrameBase> {
    let AttributeValue::Exprloc(expression) = node.die.attr_value(gimli::DW_AT_frame_base)? else {
        return None;
    };
    match expression.operations(node.entry.unit.encoding()).next().ok()?? {
        Operation::CallFrameCFA => Some(CFA),
        Operation::Register { register } => Some(FrameBase(register.0)),
        _ => None,
    }
}

/// Numbers of figure 3.36 of the ABI.
fn from_number(number: u16) -> Option<Register> {
    Some(match number {
        1 => Register::Rdx,
        2 => Register::Rcx,
        4 => Register::Rsi,
        5 => Register::Rdi,
        8 => INTEGER[4],
        9 => INTEGER[5],
        17..=24 => Register::Xmm((number - 17) as u8),
        _ => return None,
    })
}
