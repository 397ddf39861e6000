//! When recording is switched on and off. It is switched for all tasks, by whichever gets there.

use std::sync::Arc;

/// One switching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Switch {
    /// ns of the trace clock.
    pub(crate) time: u64,
    /// Index of the task that does it.
    pub(crate) task: u32,
    pub(crate) to: State,
}

/// What it is switched to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    On,
    Off,
    /// Off for good.
    Finished,
}

/// All switchings, in the order of time.
#[derive(Clone, Debug)]
pub(crate) struct Switches {
    on: bool,
    list: Arc<[Switch]>,
}

impl Switches {
    /// None: it is on, or off, all the time.
    pub(crate) fn new(on: bool) -> Switches {
        Switches { on, list: Arc::new([]) }
    }

    /// Those of all tasks; those of one task are in order.
    pub(crate) fn sorted(on: bool, mut list: Vec<Switch>) -> Switches {
        list.sort_by_key(|switch| (switch.time, switch.task));
        if let Some(end) = list.iter().position(|switch| switch.to == State::Finished) {
            list.truncate(end + 1);
        }
        Switches { on, list: list.into() }
    }

    /// Follows them as the task of that index sees them.
    pub(crate) fn cursor(&self, task: u32) -> Cursor {
        Cursor { list: self.list.clone(), next: 0, task, on: self.on, finished: false }
    }
}

/// Whether recording is on, at the moment that a task has come to.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    list: Arc<[Switch]>,
    next: usize,
    task: u32,
    on: bool,
    finished: bool,
}

impl Cursor {
    /// Goes on to a moment. What this task itself switches at that moment is [`Cursor::switch`]'s to say, which knows the
    /// event.
    #[inline]
    pub(crate) fn advance(&mut self, time: u64) {
        while let Some(switch) = self.list.get(self.next)
            && (switch.time, switch.task) < (time, self.task)
        {
            self.next += 1;
            self.switch(switch.to);
        }
    }

    /// This task switches.
    pub(crate) fn switch(&mut self, to: State) {
        self.on = to == State::On;
        self.finished |= to == State::Finished;
    }

    /// Whether it is off for good.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on && !self.finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_order_of_time_and_tasks() {
        let switch = |time, task, to| Switch { time, task, to };
        let all = vec![
            switch(30, 0, State::Off),
            switch(10, 1, State::On),
            switch(30, 1, State::On),
            switch(50, 1, State::Finished),
            switch(60, 1, State::On),
        ];
        let switches = Switches::sorted(false, all);
        let seen = |task: u32| {
            let mut cursor = switches.cursor(task);
            [9, 10, 11, 30, 31, 50, 61].map(|time| {
                cursor.advance(time);
                cursor.is_on()
            })
        };
        assert_eq!(seen(2), [false, true, true, true, true, false, false]);
        // What it switches itself comes at the event that does it.
        assert_eq!(seen(1), [false, false, true, false, true, true, false]);
    }
}
