//! One pass over all code of a module: what leads where.
//!
//! The code is cut at every address where something is known to begin or end, and each piece is decoded from its
//! beginning, so that a table of numbers between two functions spoils nothing but itself. Where bytes cannot be decoded the
//! pass goes on with the next byte.

use std::ops::Range;

use fathom_symbols::Image;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register, RflagsBits};

use crate::marks::Marks;
use crate::relocate::never_goes_on;
use crate::stack::{Depth, Look, Looks};
use crate::unwind::{Rows, Unwind};

/// The flags that instructions compute.
pub(crate) const FLAGS: u32 =
    RflagsBits::CF | RflagsBits::PF | RflagsBits::AF | RflagsBits::ZF | RflagsBits::SF | RflagsBits::OF;

/// The flags that an instruction takes. A system call has the kernel put all of them into r11, where nobody looks.
pub(crate) fn flags_read(instruction: &Instruction) -> u32 {
    if instruction.mnemonic() == Mnemonic::Syscall { 0 } else { instruction.rflags_read() }
}

/// Bytes between two addresses where something begins or ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Where the padding at its end begins; `end` if there is none.
    pub(crate) padding: u64,
    /// It cannot be decoded, or its last instruction reaches over its end.
    pub(crate) is_undecodable: bool,
    /// Control may run from its end into what follows.
    pub(crate) is_open: bool,
    /// It has a jump through a register or memory.
    pub(crate) jumps_indirectly: bool,
    /// It takes the address of code in itself, other than its beginning.
    pub(crate) names_itself: bool,
    /// It reads or changes its return address.
    pub(crate) sees_return: bool,
    /// It takes arguments off its caller's stack when it returns.
    pub(crate) pops_arguments: bool,
}

/// What the pass finds.
pub(crate) struct Found {
    /// Ascending.
    pub(crate) pieces: Vec<Piece>,
    /// Targets of direct calls.
    pub(crate) called: Marks,
    /// Targets of other direct jumps.
    pub(crate) jumped: Marks,
    /// Addresses that instructions hold.
    pub(crate) pointed: Marks,
    /// Jumps to an address where something begins, or to the first instruction behind its `endbr64`: from, to.
    pub(crate) entered: Vec<(u64, u64)>,
    /// Addresses outside of code that instructions hold: what could be tables.
    pub(crate) tables: Vec<u64>,
    /// Targets of calls behind which flags are looked at.
    pub(crate) flags_out: Vec<u64>,
}

/// What the pass has to know.
pub(crate) struct Ground<'g, 'd> {
    pub(crate) image: &'d Image,
    pub(crate) unwind: &'g Unwind<'d>,
    /// From the first to the last byte of code.
    pub(crate) range: Range<u64>,
    /// Where something begins.
    pub(crate) starts: &'g Marks,
    /// Slots of library functions that look at where they return to, and their stubs.
    pub(crate) watchers: &'g [u64],
    /// Numbers in instructions can be addresses: the module lies where it was linked.
    pub(crate) is_fixed: bool,
}

impl Found {
    fn new(range: &Range<u64>) -> Found {
        Found {
            pieces: Vec::new(),
            called: Marks::new(range.clone()),
            jumped: Marks::new(range.clone()),
            pointed: Marks::new(range.clone()),
            entered: Vec::new(),
            tables: Vec::new(),
            flags_out: Vec::new(),
        }
    }

    fn absorb(&mut self, other: Found) {
        self.pieces.extend(other.pieces);
        self.called.absorb(&other.called);
        self.jumped.absorb(&other.jumped);
        self.pointed.absorb(&other.pointed);
        self.entered.extend(other.entered);
        self.tables.extend(other.tables);
        self.flags_out.extend(other.flags_out);
    }
}

/// A piece that has not been looked at: its first address and its bytes.
pub(crate) type Raw<'d> = (u64, &'d [u8]);

/// Goes over all pieces (ascending), with some threads.
pub(crate) fn sweep(ground: &Ground<'_, '_>, pieces: &[Raw<'_>], threads: usize) -> Found {
    let total: usize = pieces.iter().map(|piece| piece.1.len()).sum();
    let share = total / threads.max(1) + 1;
    let mut parts = Vec::new();
    let mut rest = pieces;
    while !rest.is_empty() {
        let mut size = 0;
        let count = rest.iter().take_while(|piece| {
            size += piece.1.len();
            size <= share
        });
        let (part, others) = rest.split_at(count.count().max(1));
        parts.push(part);
        rest = others;
    }
    let mut all = Found::new(&ground.range);
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            parts.iter().map(|part| scope.spawn(|| Sweeper::new(ground).run(part))).collect();
        for worker in workers {
            match worker.join() {
                Ok(found) => all.absorb(found),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    all.tables.sort_unstable();
    all.tables.dedup();
    all.entered.sort_unstable_by_key(|&(from, to)| (to, from));
    all
}

struct Sweeper<'s, 'g, 'd> {
    ground: &'s Ground<'g, 'd>,
    found: Found,
    looks: Looks,
    rows: Rows,
    /// The target of a call, and the flags that have not been computed again since.
    after_call: (u64, u32),
}

impl<'s, 'g, 'd> Sweeper<'s, 'g, 'd> {
    fn new(ground: &'s Ground<'g, 'd>) -> Self {
        Sweeper {
            ground,
            found: Found::new(&ground.range),
            looks: Looks::default(),
            rows: Rows::new(),
            after_call: (0, 0),
        }
    }

    fn run(mut self, pieces: &[Raw<'_>]) -> Found {
        self.found.pieces.reserve(pieces.len());
        for &(start, bytes) in pieces {
            let piece = self.piece(start, bytes);
            self.found.pieces.push(piece);
        }
        self.found
    }

    fn piece(&mut self, start: u64, bytes: &[u8]) -> Piece {
        let end = start.wrapping_add(bytes.len() as u64);
        let mut piece = Piece { start, end, padding: end, ..Piece::default() };
        let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        let frame = self.ground.unwind.covering(start);
        let mut depth = Depth::new(frame.is_none() && self.ground.starts.contains(start));
        // Nothing has been run yet that could go on.
        let mut ended = true;
        let mut padding = None;
        self.after_call.1 = 0;
        self.looks.clear();
        while decoder.can_decode() {
            let at = decoder.position();
            decoder.decode_out(&mut instruction);
            if instruction.is_invalid() {
                piece.is_undecodable = true;
                ended = false;
                padding = None;
                // Always inside: something could be decoded.
                let _ = decoder.set_position(at + 1);
                decoder.set_ip(start.wrapping_add(at as u64 + 1));
                continue;
            }
            if ended && matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3) {
                padding.get_or_insert(instruction.ip());
                continue;
            }
            padding = None;
            ended = never_goes_on(&instruction);
            self.instruction(&instruction, &mut piece);
            if let Some(look) = Look::of(&instruction) {
                if frame.is_some() {
                    self.looks.push(instruction.ip(), look);
                } else {
                    piece.sees_return |= depth.sees(look);
                }
            }
            depth.follow(&instruction);
        }
        piece.padding = padding.unwrap_or(end);
        piece.is_open = !ended;
        if let Some(frame) = frame {
            piece.sees_return = self.looks.see_return(self.ground.unwind, frame, &mut self.rows);
        }
        piece
    }

    fn instruction(&mut self, instruction: &Instruction, piece: &mut Piece) {
        if self.after_call.1 != 0 {
            self.flags(instruction);
        }
        match instruction.flow_control() {
            FlowControl::Next => {}
            FlowControl::Call if instruction.op0_kind() == OpKind::NearBranch64 => {
                let target = instruction.near_branch64();
                self.found.called.insert(target);
                self.after_call = (target, FLAGS);
            }
            FlowControl::UnconditionalBranch
            | FlowControl::ConditionalBranch
            | FlowControl::XbeginXabortXend => {
                if instruction.op0_kind() == OpKind::NearBranch64 {
                    self.jump(instruction.ip(), instruction.near_branch64());
                }
                self.after_call.1 = 0;
            }
            FlowControl::IndirectBranch => {
                piece.jumps_indirectly = true;
                let slot = instruction.ip_rel_memory_address();
                if instruction.memory_base() == Register::RIP && self.ground.watchers.contains(&slot) {
                    self.found.entered.push((instruction.ip(), slot));
                }
                self.after_call.1 = 0;
            }
            FlowControl::Return => {
                piece.pops_arguments |= instruction.op_count() != 0;
                self.after_call.1 = 0;
            }
            FlowControl::Call | FlowControl::IndirectCall => self.after_call.1 = 0,
            FlowControl::Interrupt | FlowControl::Exception => {}
        }
        self.operands(instruction, piece);
    }

    fn jump(&mut self, from: u64, to: u64) {
        self.found.jumped.insert(to);
        let starts = self.ground.starts;
        let is_watcher = !self.ground.range.contains(&to) && self.ground.watchers.contains(&to);
        if starts.contains(to) || starts.contains(to.wrapping_sub(4)) || is_watcher {
            self.found.entered.push((from, to));
        }
    }

    /// Follows flags from a call until they have been computed again.
    fn flags(&mut self, instruction: &Instruction) {
        let (target, open) = self.after_call;
        if flags_read(instruction) & open != 0 {
            self.found.flags_out.push(target);
            self.after_call.1 = 0;
        } else {
            self.after_call.1 = open & !instruction.rflags_modified();
        }
    }

    /// Addresses that an instruction holds.
    fn operands(&mut self, instruction: &Instruction, piece: &mut Piece) {
        if instruction.memory_base() == Register::RIP {
            self.address(instruction.ip_rel_memory_address(), piece);
        }
        if !self.ground.is_fixed {
            return;
        }
        for operand in 0..instruction.op_count() {
            let value = match instruction.op_kind(operand) {
                OpKind::Immediate32 => u64::from(instruction.immediate32()),
                OpKind::Immediate32to64 => instruction.immediate32to64().cast_unsigned(),
                OpKind::Immediate64 => instruction.immediate64(),
                OpKind::Memory if instruction.memory_base() != Register::RIP => {
                    instruction.memory_displacement64()
                }
                _ => continue,
            };
            // Less than any address where a program is linked.
            if value >= 0x1_0000 {
                self.address(value.wrapping_sub(self.ground.image.link_base()), piece);
            }
        }
    }

    fn address(&mut self, addr: u64, piece: &mut Piece) {
        let is_code = self.ground.range.contains(&addr);
        if is_code {
            self.found.pointed.insert(addr);
            piece.names_itself |= addr > piece.start && addr < piece.end;
        }
        if !is_code || !self.ground.starts.contains(addr) {
            self.found.tables.push(addr);
        }
    }
}
