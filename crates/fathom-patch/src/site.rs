//! What is written where to patch a function.

/// Length of a jump with a distance of 32 bits.
pub const JUMP: usize = 5;
/// Length of a jump with a distance of 8 bits.
pub const HOP: usize = 2;
/// The most bytes that [`Site::original`] has: all but one of those that are overwritten, and an instruction.
pub const ORIGINAL_LIMIT: usize = 20;
/// The most bytes that [`Site::code`] has: five instructions of one byte each at most, the last of which may be a longer
/// one, each grown to the longest form that there is for it, and a jump.
pub const CODE_LIMIT: usize = 64;

/// How one function is patched.
///
/// The patched function begins with a jump to a *stub* that the runtime makes within 1 GiB of the module. The stub does what
/// it does, as if in front of the function, and goes on at its copy of [`code`](Site::code), which runs the
/// instructions that were overwritten and jumps to the rest of the function.
///
/// # What a stub must preserve
///
/// Whoever calls the function may be compiled together with it and know what it does (`-fipa-ra`, link-time
/// optimisation, hand-written assembly). At `code`, rsp and **every register** must be as they were at the entry: all 16
/// general ones, rax, r10 and r11 among them, all of the vector registers in their full width, mask registers, x87
/// state, MXCSR, and the direction flag. The other flags need not be: a function that takes flags from its caller is no
/// site. Nothing above rsp may have changed but the return address at `[rsp]`; what is below rsp is free (a function's red
/// zone begins with the function).
///
/// When the function returns, the same holds for every register on the way back to the caller; the flags again are
/// free: functions whose callers look at flags afterwards are no sites. The return address may be replaced: a function
/// that looks at it is no site, but functions that the code calls and unwinders may.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// Module-relative address of the first byte that is overwritten: the function's first, or the one behind its
    /// `endbr64`.
    pub at: u64,
    /// The bytes that must stand at `at`, or nothing may be written. At least as many as are overwritten.
    pub original: Vec<u8>,
    /// Without one, a jump of [`JUMP`] bytes to the stub is written at `at`. With one, that jump is written there, and a
    /// hop of [`HOP`] bytes to it at `at`; the jump must be written first.
    pub island: Option<Island>,
    /// The instructions that were overwritten, for any address, ending in a jump to the rest of the function if they go
    /// on there. The fixups are zero.
    pub code: Vec<u8>,
    /// What depends on where the code will be.
    pub fixups: Vec<Fixup>,
}

impl Site {
    /// How many bytes at `at` are overwritten.
    pub fn written(&self) -> usize {
        if self.island.is_some() { HOP } else { JUMP }
    }

    /// The module-relative address that can be gone to in place of the code, when there is nothing in the code but a jump
    /// (the overwritten instructions were NOPs).
    pub fn rest(&self) -> Option<u64> {
        match (self.code.as_slice(), self.fixups.as_slice()) {
            ([0xe9, 0, 0, 0, 0], [Fixup { at: 1, to, kind: FixupKind::Distance }]) => Some(*to),
            _ => None,
        }
    }

    /// The hop to the island: what is written at `at`. `None` if there is no island, or it is out of reach.
    pub fn hop(&self) -> Option<[u8; HOP]> {
        let from = self.at.wrapping_add(HOP as u64);
        let distance = i8::try_from(self.island.as_ref()?.at.wrapping_sub(from).cast_signed()).ok()?;
        Some([0xeb, distance.cast_unsigned()])
    }
}

/// Padding between functions that has room for a jump to a stub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Island {
    /// Module-relative address of the padding's part that is overwritten: [`JUMP`] bytes. No two sites share any.
    pub at: u64,
    /// What must stand there.
    pub original: [u8; JUMP],
}

/// A place in [`Site::code`] that depends on where the code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fixup {
    /// Offset in the code.
    pub at: u8,
    /// How wide it is and what it is counted from.
    pub kind: FixupKind,
    /// What it leads to, module-relative. For a distance that is not at the end of its instruction, less by what
    /// follows, so that [`FixupKind::Distance`] is right; it may then wrap around, and lie outside of the module.
    pub to: u64,
}

/// How a [`Fixup`] is filled in. Little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FixupKind {
    /// 32 bits: `to` plus the module's base, less the address behind these four bytes. If that does not fit in a signed 32-bit
    /// number, the function cannot be patched.
    Distance,
    /// 64 bits: `to` plus the module's base.
    Address,
}
