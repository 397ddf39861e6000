//! Which calls are recorded or shown, by the filters and triggers that were given: one state for each task, changed at
//! the entry of functions that a rule is about and restored when they end.
//!
//! The runtime runs this while recording and the readers over a recording, so both come to the same result. What needs
//! the end of a call (time limits, caller filters) is not decided here.
//!
//! The order of the decisions is that of uftrace, with two differences on purpose: a function that is left out by its
//! source location or its size still has the effect of its other actions on what it calls, and what a function has
//! changed is always undone when it ends.

/// The function begins what is recorded: it and what it calls (`-F`).
pub const FILTER_IN: u32 = 1 << 0;
/// Neither the function nor what it calls is recorded (`-N`).
pub const FILTER_OUT: u32 = 1 << 1;
/// The function itself is left out, what it calls is one level further out (`hide`, or its source location).
pub const HIDE: u32 = 1 << 2;
/// [`Rule::depth`] counts.
pub const DEPTH: u32 = 1 << 3;
/// [`Rule::time`] counts.
pub const TIME: u32 = 1 << 4;
/// [`Rule::size`] counts.
pub const SIZE: u32 = 1 << 5;
/// Recorded however short it is.
pub const TRACE: u32 = 1 << 6;
/// Recording is switched on for all tasks.
pub const TRACE_ON: u32 = 1 << 7;
/// Recording is switched off for all tasks.
pub const TRACE_OFF: u32 = 1 << 8;
/// The recording ends.
pub const FINISH: u32 = 1 << 9;
/// The function is the target of a caller filter (`-C`).
pub const CALLER: u32 = 1 << 10;
/// Return addresses are restored while the function runs.
pub const RECOVER: u32 = 1 << 11;
/// The address that the function is called from is recorded.
pub const CALLSITE: u32 = 1 << 12;

/// What is to be done at one function. All that was said about it, merged.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The constants of this module.
    pub flags: u32,
    /// Levels that are recorded from here on, this one included.
    pub depth: u32,
    /// Time that a call must take here and below; in the unit that the caller uses.
    pub time: u64,
    /// Bytes that functions must have here and below.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
}

/// What holds for a task at some moment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Open calls of functions with [`FILTER_IN`].
    pub inside: u32,
    /// Open calls of functions with [`FILTER_OUT`].
    pub outside: u32,
    /// Levels used.
    pub depth: u32,
    /// Levels allowed.
    pub max_depth: u32,
    /// Time that a call must take.
    pub time: u64,
    /// Bytes that a function must have.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not recorded and has changed nothing.
    Skip,
    /// It is not recorded, but the state before it has to be restored when it ends. If it is the target of a caller
    /// filter ([`CALLER`]) and took long enough while recording was on, the open calls around it are recorded then.
    Hidden,
    /// It is recorded; the state before it has to be restored when it ends.
    Shown,
}

impl State {
    /// At the start of a task.
    pub const fn new(max_depth: u32, time: u64, size: u32) -> State {
        State { inside: 0, outside: 0, depth: 0, max_depth, time, size, reserved: 0 }
    }

    /// A call begins. `rule` is that of its function, `size` its size in bytes. `opt_in` tells whether there are
    /// functions with [`FILTER_IN`] at all, `on` whether recording is switched on. The caller keeps a copy of the state
    /// from before for the call's end.
    ///
    /// [`TRACE_ON`], [`TRACE_OFF`] and [`FINISH`] are the caller's to carry out, when the verdict is not
    /// [`Verdict::Skip`]. They count for the call itself.
    pub fn enter(&mut self, rule: &Rule, size: u32, opt_in: bool, on: bool) -> Verdict {
        if self.outside > 0 {
            return Verdict::Skip;
        }
        if rule.flags & FILTER_OUT != 0 {
            self.outside += 1;
            self.depth = 0;
            return Verdict::Hidden;
        }
        if rule.flags & FILTER_IN != 0 {
            self.inside += 1;
            self.depth = 0;
        } else if opt_in && self.inside == 0 {
            return Verdict::Skip;
        }
        // The end of a target counts although it is not recorded itself: what led to it is.
        let changes =
            rule.flags & (FILTER_IN | DEPTH | TIME | SIZE | TRACE_ON | TRACE_OFF | FINISH | CALLER) != 0;
        if rule.flags & DEPTH != 0 {
            (self.depth, self.max_depth) = (0, rule.depth);
        }
        if rule.flags & TIME != 0 {
            self.time = rule.time;
        }
        if rule.flags & SIZE != 0 {
            self.size = rule.size;
        }
        let on = match rule.flags & (TRACE_ON | TRACE_OFF) {
            TRACE_ON => true,
            TRACE_OFF => false,
            _ => on,
        };
        if !on || rule.flags & HIDE != 0 || size < self.size || self.depth >= self.max_depth {
            return if changes { Verdict::Hidden } else { Verdict::Skip };
        }
        self.depth += 1;
        Verdict::Shown
    }
}

const _: () = assert!(size_of::<Rule>() == 24);
const _: () = assert!(size_of::<State>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Rule = Rule { flags: 0, depth: 0, time: 0, size: 0, reserved: 0 };

    fn rule(flags: u32) -> Rule {
        Rule { flags, ..PLAIN }
    }

    #[test]
    fn opt_in_functions_begin_what_is_shown() {
        let mut state = State::new(2, 0, 0);
        assert_eq!(state.enter(&PLAIN, 10, true, true), Verdict::Skip);
        assert_eq!(state.enter(&rule(FILTER_IN), 10, true, true), Verdict::Shown);
        assert_eq!(state.enter(&PLAIN, 10, true, true), Verdict::Shown);
        assert_eq!(state.enter(&PLAIN, 10, true, true), Verdict::Skip, "too deep");
        assert_eq!((state.inside, state.depth), (1, 2));
    }

    #[test]
    fn opt_out_functions_end_it() {
        let mut state = State::new(1024, 0, 0);
        assert_eq!(state.enter(&rule(FILTER_OUT), 10, false, true), Verdict::Hidden);
        assert_eq!(state.enter(&rule(FILTER_IN), 10, true, true), Verdict::Skip);
    }

    #[test]
    fn switched_off_and_on() {
        let mut state = State::new(1, 0, 0);
        assert_eq!(state.enter(&PLAIN, 10, false, false), Verdict::Skip);
        assert_eq!(state.enter(&rule(TRACE_OFF), 10, false, true), Verdict::Hidden);
        assert_eq!(state.enter(&rule(TRACE_ON), 10, false, false), Verdict::Shown);
        // The call that ends the recording is the last in it.
        let mut state = State::new(1, 0, 0);
        assert_eq!(state.enter(&rule(FINISH), 10, false, true), Verdict::Shown);
    }

    #[test]
    fn hidden_functions_use_no_level_and_still_act() {
        let mut state = State::new(1024, 0, 16);
        assert_eq!(state.enter(&rule(HIDE), 20, false, true), Verdict::Skip);
        assert_eq!(state.enter(&PLAIN, 8, false, true), Verdict::Skip);
        let limit = Rule { flags: HIDE | DEPTH, depth: 1, ..PLAIN };
        assert_eq!(state.enter(&limit, 20, false, true), Verdict::Hidden);
        assert_eq!(state.enter(&PLAIN, 20, false, true), Verdict::Shown);
        assert_eq!(state.enter(&PLAIN, 20, false, true), Verdict::Skip);
    }

    #[test]
    fn the_end_of_a_hidden_target_is_seen() {
        let mut state = State::new(0, 0, 0);
        assert_eq!(state.enter(&rule(CALLER), 20, false, true), Verdict::Hidden);
        assert_eq!(state.enter(&rule(CALLER | HIDE), 20, false, true), Verdict::Hidden);
        state.outside = 1;
        assert_eq!(state.enter(&rule(CALLER), 20, false, true), Verdict::Skip);
    }
}
