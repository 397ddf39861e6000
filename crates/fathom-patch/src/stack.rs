//! Which instructions look at their function's return address.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use crate::unwind::{Cfa, Frame, Rows, Unwind};

/// What an instruction looks at on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// So many bytes from rsp plus something.
    Rsp(i64, i64),
    /// So many bytes from rbp plus something.
    Rbp(i64, i64),
}

impl Look {
    /// What `instruction` reads or writes, if it is on the stack where a return address could be. Calls and returns do not
    /// look.
    pub(crate) fn of(instruction: &Instruction) -> Option<Look> {
        let mnemonic = instruction.mnemonic();
        if mnemonic == Mnemonic::Pop {
            return Some(Look::Rsp(0, 8));
        }
        let base = instruction.memory_base();
        if !matches!(base, Register::RSP | Register::RBP)
            || matches!(mnemonic, Mnemonic::Lea | Mnemonic::Nop)
            || instruction.memory_index() != Register::None
        {
            return None;
        }
        let offset = instruction.memory_displacement64().cast_signed();
        let size = instruction.memory_size().size().max(1) as i64;
        match base {
            Register::RSP if offset >= 0 => Some(Look::Rsp(offset, size)),
            // A frame pointer is at least one word below the return address.
            Register::RBP if (0..=8).contains(&offset) => Some(Look::Rbp(offset, size)),
            _ => None,
        }
    }

    fn sees(self, cfa: Cfa) -> bool {
        let (offset, size, cfa) = match (self, cfa) {
            (Look::Rsp(offset, size), Cfa::Rsp(cfa)) | (Look::Rbp(offset, size), Cfa::Rbp(cfa)) => {
                (offset, size, cfa)
            }
            _ => return false,
        };
        offset < cfa && offset.saturating_add(size) > cfa.saturating_sub(8)
    }
}

/// The looks of a piece of code that has unwind information.
#[derive(Default)]
pub(crate) struct Looks(Vec<(u64, Look)>);

impl Looks {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn push(&mut self, addr: u64, look: Look) {
        self.0.push((addr, look));
    }

    /// Whether any of them is at the return address.
    pub(crate) fn see_return<'d>(&self, unwind: &Unwind<'d>, frame: &Frame<'d>, rows: &mut Rows) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let mut sees = false;
        unwind.rules(frame, self.0.iter().map(|look| look.0), rows, |index, cfa| {
            sees |= self.0.get(index).is_some_and(|look| look.1.sees(cfa));
        });
        sees
    }
}

/// The same where there is no unwind information: followed from the beginning of a function to its first jump away.
pub(crate) struct Depth {
    /// Bytes from rsp to what is above the return address.
    rsp: Option<i64>,
    rbp: Option<i64>,
}

impl Depth {
    /// `is_known`: at the beginning of a function.
    pub(crate) fn new(is_known: bool) -> Depth {
        Depth { rsp: is_known.then_some(8), rbp: None }
    }

    pub(crate) fn sees(&self, look: Look) -> bool {
        self.rsp.is_some_and(|cfa| look.sees(Cfa::Rsp(cfa)))
            || self.rbp.is_some_and(|cfa| look.sees(Cfa::Rbp(cfa)))
    }

    /// What an instruction does to it.
    pub(crate) fn follow(&mut self, instruction: &Instruction) {
        if self.rsp.is_none() && self.rbp.is_none() {
            return;
        }
        if crate::relocate::never_goes_on(instruction) {
            *self = Depth::new(false);
            return;
        }
        let to = instruction.op0_register();
        let number = match instruction.op1_kind() {
            OpKind::Immediate8to64 => Some(instruction.immediate8to64()),
            OpKind::Immediate32to64 => Some(instruction.immediate32to64()),
            _ => None,
        };
        match instruction.mnemonic() {
            Mnemonic::Mov if to == Register::RBP && instruction.op1_register() == Register::RSP => {
                self.rbp = self.rsp;
            }
            Mnemonic::Sub if to == Register::RSP => self.move_by(number),
            Mnemonic::Add if to == Register::RSP => self.move_by(number.and_then(i64::checked_neg)),
            Mnemonic::Cmp | Mnemonic::Test => {}
            _ if to == Register::RSP || instruction.mnemonic() == Mnemonic::Leave => self.rsp = None,
            _ if instruction.is_stack_instruction() && !is_call(instruction) => {
                self.move_by(Some(-i64::from(instruction.stack_pointer_increment())));
            }
            _ => {}
        }
        let pops_rbp = to == Register::RBP && instruction.mnemonic() != Mnemonic::Push;
        if pops_rbp && instruction.op1_register() != Register::RSP {
            self.rbp = None;
        }
    }

    fn move_by(&mut self, bytes: Option<i64>) {
        self.rsp = self.rsp.zip(bytes).and_then(|(rsp, bytes)| rsp.checked_add(bytes));
    }
}

fn is_call(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Call | Mnemonic::Syscall)
}
