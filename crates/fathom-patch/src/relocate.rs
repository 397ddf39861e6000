//! Instructions from the beginning of a function, rewritten so that they do the same elsewhere.
//!
//! Most are copied. What changes:
//!
//! | instruction | becomes |
//! | --- | --- |
//! | NOP | nothing |
//! | operand relative to rip | the same with another distance |
//! | jump of any width | jump with a distance of 32 bits |
//! | `loop`, `jrcxz` | the same over a jump past a jump: `loop 1f; jmp 2f; 1: jmp target; 2:` |
//! | call | the original return address is pushed (`push [rip + x]`), then it jumps |
//!
//! A call that is pushed and jumped returns into the original function, so that what it calls, and whoever unwinds from
//! there, sees the stack that it would have seen.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use crate::reason::Reason;
use crate::site::{Fixup, FixupKind, JUMP};

/// What has become of the first instructions of a function.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    /// How many bytes of the function they are. Less than asked for when the last one never goes on.
    pub(crate) len: usize,
    pub(crate) code: Vec<u8>,
    pub(crate) fixups: Vec<Fixup>,
}

/// Moves instructions that begin at `at` until at least `need` bytes are moved, or until one never goes on.
pub(crate) fn relocate(bytes: &[u8], at: u64, need: usize) -> Result<Moved, Reason> {
    let mut out = Writer::default();
    let mut decoder = Decoder::with_ip(64, bytes, at, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut len = 0;
    while len < need {
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            return Err(Reason::Undecodable);
        }
        let end = len + instruction.len();
        let original = bytes.get(len..end).ok_or(Reason::Undecodable)?;
        out.add(&decoder, &instruction, original, end >= need)?;
        len = end;
        // A moved call returns into the function itself.
        if never_goes_on(&instruction) || out.pushed {
            return Ok(Moved { len, code: out.code, fixups: out.fixups });
        }
    }
    out.jump(at.wrapping_add(len as u64));
    Ok(Moved { len, code: out.code, fixups: out.fixups })
}

/// Whether control never reaches the next instruction. A call may return, a system call too.
pub(crate) fn never_goes_on(instruction: &Instruction) -> bool {
    match instruction.flow_control() {
        FlowControl::Return | FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => true,
        FlowControl::Exception => instruction.mnemonic() == Mnemonic::Ud2,
        _ => false,
    }
}

#[derive(Default)]
struct Writer {
    code: Vec<u8>,
    fixups: Vec<Fixup>,
    /// A return address is pushed.
    pushed: bool,
}

impl Writer {
    /// Adds one instruction. `last`: nothing of the original that is behind it will be overwritten.
    fn add(
        &mut self,
        decoder: &Decoder<'_>,
        instruction: &Instruction,
        original: &[u8],
        last: bool,
    ) -> Result<(), Reason> {
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::Exception => {
                if instruction.mnemonic() != Mnemonic::Nop {
                    self.copy(decoder, instruction, original)?;
                }
            }
            FlowControl::UnconditionalBranch if instruction.is_jmp_short_or_near() => {
                self.jump(target(instruction)?);
            }
            FlowControl::ConditionalBranch => self.conditional(instruction, original)?,
            FlowControl::Return if instruction.mnemonic() == Mnemonic::Ret => {
                self.copy(decoder, instruction, original)?;
            }
            FlowControl::IndirectBranch if is_near_indirect(instruction) => {
                self.copy(decoder, instruction, original)?;
            }
            // Its return address has to be one that stays.
            FlowControl::Call if last && instruction.is_call_near() => {
                self.push(instruction.next_ip());
                self.jump(target(instruction)?);
                self.place_pushed();
            }
            FlowControl::IndirectCall if last && is_near_indirect(instruction) && !uses_rsp(instruction) => {
                self.push(instruction.next_ip());
                let start = self.code.len();
                self.copy(decoder, instruction, original)?;
                self.call_to_jump(start)?;
                self.place_pushed();
            }
            // A system call is no call here: the kernel goes on behind it.
            FlowControl::Call if matches!(instruction.mnemonic(), Mnemonic::Syscall) => {
                self.copy(decoder, instruction, original)?;
            }
            FlowControl::XbeginXabortXend if instruction.mnemonic() == Mnemonic::Xend => {
                self.copy(decoder, instruction, original)?;
            }
            _ => return Err(Reason::Unmovable),
        }
        Ok(())
    }

    /// Copies an instruction, with a fixup where it has an operand relative to rip.
    fn copy(
        &mut self,
        decoder: &Decoder<'_>,
        instruction: &Instruction,
        original: &[u8],
    ) -> Result<(), Reason> {
        let start = self.code.len();
        self.code.extend_from_slice(original);
        if !instruction.is_ip_rel_memory_operand() {
            return Ok(());
        }
        let offsets = decoder.get_constant_offsets(instruction);
        if instruction.memory_base() != Register::RIP || offsets.displacement_size() != 4 {
            return Err(Reason::Unmovable);
        }
        let offset = offsets.displacement_offset();
        // The processor counts from the end of the instruction, a fixup from the end of the distance.
        let behind = original.len().checked_sub(offset + 4).ok_or(Reason::Unmovable)?;
        let to = instruction.ip_rel_memory_address().wrapping_sub(behind as u64);
        self.fix(start + offset, FixupKind::Distance, 4, to);
        Ok(())
    }

    fn fix(&mut self, at: usize, kind: FixupKind, width: usize, to: u64) {
        if let Some(place) = self.code.get_mut(at..at + width) {
            place.fill(0);
        }
        // `code` is shorter than CODE_LIMIT.
        self.fixups.push(Fixup { at: at as u8, kind, to });
    }

    /// A distance at the end of an instruction.
    fn distance(&mut self, to: u64) {
        let at = self.code.len();
        self.code.extend_from_slice(&[0; 4]);
        self.fix(at, FixupKind::Distance, 4, to);
    }

    fn jump(&mut self, to: u64) {
        self.code.push(0xe9);
        self.distance(to);
    }

    fn conditional(&mut self, instruction: &Instruction, original: &[u8]) -> Result<(), Reason> {
        let to = target(instruction)?;
        if instruction.is_jcc_short_or_near() {
            // The opcodes of both forms end in the four bits that the condition has in Intel's manual, volume 1,
            // appendix B.
            let condition = match original {
                [.., opcode, _] if instruction.is_jcc_short() => opcode & 0xf,
                [.., opcode, _, _, _, _] if instruction.is_jcc_near() => opcode & 0xf,
                _ => return Err(Reason::Unmovable),
            };
            self.code.extend_from_slice(&[0x0f, 0x80 | condition]);
            self.distance(to);
            return Ok(());
        }
        let is_short = instruction.is_jcx_short() || instruction.is_loop() || instruction.is_loopcc();
        let Some((_, head)) = original.split_last().filter(|_| is_short) else {
            return Err(Reason::Unmovable);
        };
        self.code.extend_from_slice(head);
        self.code.push(2);
        self.code.extend_from_slice(&[0xeb, JUMP as u8]);
        self.jump(to);
        Ok(())
    }

    /// `push qword ptr [rip + x]`; what is pushed comes with [`place_pushed`](Writer::place_pushed).
    fn push(&mut self, address: u64) {
        self.pushed = true;
        self.code.extend_from_slice(&[0xff, 0x35, 0, 0, 0, 0]);
        // Kept here until it is known where it will stand.
        self.fixups.push(Fixup { at: (self.code.len() - 4) as u8, kind: FixupKind::Address, to: address });
    }

    /// Places the pushed address behind the code: nothing goes on there.
    fn place_pushed(&mut self) {
        let at = self.code.len();
        self.code.extend_from_slice(&[0; 8]);
        let Some(fixup) = self.fixups.iter_mut().find(|fixup| fixup.kind == FixupKind::Address) else {
            return;
        };
        let push = usize::from(std::mem::replace(&mut fixup.at, at as u8));
        // Within the code: the same wherever it is.
        let distance = (at - (push + 4)) as u32;
        if let Some(place) = self.code.get_mut(push..push + 4) {
            place.copy_from_slice(&distance.to_le_bytes());
        }
    }

    /// Makes the indirect call that begins at `start` a jump: `ff /2` becomes `ff /4`.
    fn call_to_jump(&mut self, start: usize) -> Result<(), Reason> {
        let code = self.code.get_mut(start..).unwrap_or_default();
        let is_prefix =
            |byte: &u8| matches!(byte, 0x2e | 0x36 | 0x3e | 0x26 | 0x64..=0x67 | 0xf2 | 0xf3 | 0x40..=0x4f);
        let prefixes = code.iter().take_while(|byte| is_prefix(byte)).count();
        match code.get_mut(prefixes..) {
            Some([0xff, modrm, ..]) if *modrm & 0x38 == 0x10 => {
                *modrm = (*modrm & 0xc7) | 0x20;
                Ok(())
            }
            _ => Err(Reason::Unmovable),
        }
    }
}

/// Where a direct jump or call leads.
fn target(instruction: &Instruction) -> Result<u64, Reason> {
    match instruction.op0_kind() {
        OpKind::NearBranch64 => Ok(instruction.near_branch64()),
        _ => Err(Reason::Unmovable),
    }
}

fn is_near_indirect(instruction: &Instruction) -> bool {
    matches!(instruction.code(), Code::Jmp_rm64 | Code::Call_rm64)
}

/// Whether an indirect call finds its target through rsp, which the pushed address moves.
fn uses_rsp(instruction: &Instruction) -> bool {
    let registers = [instruction.op0_register(), instruction.memory_base(), instruction.memory_index()];
    registers.iter().any(|register| register.full_register() == Register::RSP)
}

#[cfg(test)]
mod tests;
