//! What is called: functions, and the two pseudo functions that time off the processor is booked on.

use fathom_store::{FunctionId, Trace, event_id};
use std::sync::Arc;

/// Something that takes time: a function of the trace, or being off the processor. Dense from 0, so that a `Vec`
/// can be indexed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Callee(u32);

impl Callee {
    /// Waiting for something.
    pub const SCHEDULE: Callee = Callee(0);
    /// Waiting for the processor that another task took.
    pub const PREEMPTED: Callee = Callee(1);
    const PSEUDO: u32 = 2;
    /// A call of which only the exit was recorded, and that hasn't come yet.
    pub const UNKNOWN: Callee = Callee(u32::MAX);

    /// The place in a table with an element for each callee.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// The callee at a place of such a table.
    pub fn at(index: usize) -> Callee {
        u32::try_from(index).map_or(Callee::UNKNOWN, Callee)
    }

    /// The function, if it is one.
    pub fn function(self) -> Option<FunctionId> {
        (self != Callee::UNKNOWN).then(|| self.0.checked_sub(Callee::PSEUDO).map(FunctionId)).flatten()
    }

    /// Whether it stands for time off the processor.
    pub fn is_schedule(self) -> bool {
        self.0 < Callee::PSEUDO
    }

    /// The name that views show.
    pub fn name(self, trace: &dyn Trace) -> Arc<str> {
        let pseudo = match self {
            Callee::SCHEDULE => event_id::name(event_id::SCHEDULE),
            Callee::PREEMPTED => event_id::name(event_id::SCHEDULE_PREEMPTED),
            Callee::UNKNOWN => Some("<0>"),
            _ => None,
        };
        match (pseudo, self.function()) {
            (None, Some(id)) => trace.function(id).name,
            (name, _) => name.unwrap_or_default().into(),
        }
    }
}

impl From<FunctionId> for Callee {
    #[inline]
    fn from(id: FunctionId) -> Self {
        // A trace with four thousand million functions has other troubles than the last two of them.
        Callee(id.0.saturating_add(Callee::PSEUDO))
    }
}

/// What a function does to the call stack, judged by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing: it is entered once and left once.
    Ordinary,
    /// Returns again when somebody jumps.
    Setjmp,
    /// Does not return but makes another function return again.
    Longjmp,
    /// Returns in the child, too.
    Fork,
    /// Starts a new program if it succeeds.
    Exec,
    /// Goes on with another stack of the same task.
    Switch,
}

impl Role {
    /// The role of the function of that name.
    pub fn of(name: &str) -> Role {
        match name {
            "setjmp" | "_setjmp" | "sigsetjmp" | "__sigsetjmp" => Role::Setjmp,
            "longjmp" | "_longjmp" | "siglongjmp" | "__longjmp_chk" => Role::Longjmp,
            "fork" | "vfork" | "daemon" | "posix.fork" => Role::Fork,
            "execl" | "execlp" | "execle" | "execv" | "execve" | "execvp" | "execvpe" => Role::Exec,
            "swapcontext" | "setcontext" | "jump_fcontext" | "swap_context" => Role::Switch,
            _ => Role::Ordinary,
        }
    }
}

/// Remembers the roles of callees.
#[derive(Default)]
pub struct Roles(Vec<Option<Role>>);

impl Roles {
    /// The role of a callee.
    pub fn get(&mut self, trace: &dyn Trace, callee: Callee) -> Role {
        let Some(id) = callee.function() else { return Role::Ordinary };
        if self.0.len() <= callee.index() {
            self.0.resize(callee.index() + 1, None);
        }
        match self.0.get_mut(callee.index()) {
            Some(slot) => *slot.get_or_insert_with(|| Role::of(&trace.function(id).name)),
            None => Role::Ordinary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_store::memory::MemoryTrace;

    #[test]
    fn names() {
        let mut trace = MemoryTrace::new();
        trace.call(1, 1, 2, "vfork@plt");
        let addr = trace.address_of("vfork@plt");
        let id = trace.resolver(1).resolve(1, addr);
        let callee = Callee::from(id);
        assert_eq!(&*callee.name(&trace), "vfork");
        assert_eq!(callee.function(), Some(id));
        assert_eq!(Callee::at(callee.index()), callee);
        assert_eq!(Roles::default().get(&trace, callee), Role::Fork);
        assert_eq!(&*Callee::PREEMPTED.name(&trace), "linux:schedule (pre-empted)");
        assert_eq!(Callee::UNKNOWN.function(), None);
    }
}
