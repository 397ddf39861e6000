//! Why functions are not patched.

use std::fmt;

/// Why a whole module is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// It is not code for x86-64, or not a program or library.
    Machine,
    /// It is the dynamic linker: it runs before there is anything to record with, and inside of every first call.
    DynamicLinker,
    /// It was made by the Go compiler: its runtime moves stacks and checks every return address on them.
    Go,
    /// Its functions grow their stack themselves (`-fsplit-stack`), and `__morestack` counts on the return address.
    SplitStack,
    /// It has no code.
    NoCode,
    /// Its code is spread over far more addresses than the file has bytes.
    Scattered,
}

impl Refusal {
    /// One word that does not change.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::Machine => "machine",
            Refusal::DynamicLinker => "dynamic-linker",
            Refusal::Go => "go",
            Refusal::SplitStack => "split-stack",
            Refusal::NoCode => "no-code",
            Refusal::Scattered => "scattered",
        }
    }

    /// A sentence about the module.
    pub fn sentence(self) -> &'static str {
        match self {
            Refusal::Machine => "it is not a program or library for x86-64",
            Refusal::DynamicLinker => "it is the dynamic linker, which runs while nothing is ready to record",
            Refusal::Go => "it is a Go program, whose runtime checks and moves return addresses",
            Refusal::SplitStack => "its functions grow their stacks themselves (-fsplit-stack)",
            Refusal::NoCode => "it has no code",
            Refusal::Scattered => "its code is spread over more addresses than there can be",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

/// Why a function is not patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// Only one source says that a function begins here.
    Bounds,
    /// It begins inside of another, and nothing says how its stack looks there.
    Inside,
    /// It cannot be decoded as a whole.
    Undecodable,
    /// Something leads into the bytes that would be overwritten: a jump, an entry of a jump table, a pointer.
    Target,
    /// A landing pad or a guarded range of the exception tables is in these bytes.
    Unwinder,
    /// It jumps back to its own beginning, so that entries could not be told from rounds of a loop.
    Loop,
    /// It computes where it jumps to from an address of its own code.
    ComputedJump,
    /// An instruction at its beginning cannot be moved.
    Unmovable,
    /// It is too short, and there is no padding near it.
    Short,
    /// It reads its own return address, or its frame's.
    ReturnAddress,
    /// It takes flags from its caller.
    FlagsIn,
    /// It gives flags to its caller.
    FlagsOut,
    /// Its stack at the beginning does not have the return address on top.
    Frame,
    /// It returns twice, switches stacks, takes part in unwinding, or runs when nothing may be recorded.
    Special,
    /// The loader changes its bytes.
    Relocated,
}

impl Reason {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Reason; 15] = [
        Reason::Bounds,
        Reason::Inside,
        Reason::Undecodable,
        Reason::Target,
        Reason::Unwinder,
        Reason::Loop,
        Reason::ComputedJump,
        Reason::Unmovable,
        Reason::Short,
        Reason::ReturnAddress,
        Reason::FlagsIn,
        Reason::FlagsOut,
        Reason::Frame,
        Reason::Special,
        Reason::Relocated,
    ];

    /// One word that does not change, for reports that programs read.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Bounds => "bounds",
            Reason::Inside => "inside",
            Reason::Undecodable => "undecodable",
            Reason::Target => "target",
            Reason::Unwinder => "unwinder",
            Reason::Loop => "loop",
            Reason::ComputedJump => "computed-jump",
            Reason::Unmovable => "unmovable",
            Reason::Short => "short",
            Reason::ReturnAddress => "return-address",
            Reason::FlagsIn => "flags-in",
            Reason::FlagsOut => "flags-out",
            Reason::Frame => "frame",
            Reason::Special => "special",
            Reason::Relocated => "relocated",
        }
    }

    /// The reason with this [name](Reason::name).
    pub fn from_name(name: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// A sentence about the function.
    pub fn sentence(self) -> &'static str {
        match self {
            Reason::Bounds => "only one source says that a function begins here",
            Reason::Inside => "it begins inside of another function",
            Reason::Undecodable => "it cannot be decoded as a whole",
            Reason::Target => "something leads into the bytes that would be overwritten",
            Reason::Unwinder => "the exception tables mention the bytes that would be overwritten",
            Reason::Loop => "it jumps back to its own beginning",
            Reason::ComputedJump => "it computes where in its own code it jumps to",
            Reason::Unmovable => "an instruction at its beginning cannot be moved",
            Reason::Short => "it is too short, and there is no padding near it",
            Reason::ReturnAddress => "it looks at its return address",
            Reason::FlagsIn => "it takes flags from its caller",
            Reason::FlagsOut => "it gives flags to its caller",
            Reason::Frame => "the return address is not on top of the stack when it begins",
            Reason::Special => {
                "it returns twice, switches stacks, unwinds them, or runs when nothing may be recorded"
            }
            Reason::Relocated => "the loader changes the bytes that would be overwritten",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert_eq!(Reason::from_name(reason.name()), Some(reason));
            assert!(!reason.sentence().ends_with('.'), "sentences are put into others");
        }
        assert_eq!(Reason::from_name("none"), None);
    }
}
