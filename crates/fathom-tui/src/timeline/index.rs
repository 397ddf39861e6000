//! What is known of a trace after a pass over it: where its slices begin and which calls are open there.

use super::spool::Place;
use fathom_analysis::{Callee, Frame, Origin, Paused};

/// No node.
pub(crate) const NONE: u32 = u32::MAX;

/// How much an index may hold before it is made coarser.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Events that a slice has, at least, unless it is the last.
    pub(crate) events: u64,
    /// Slices.
    pub(crate) slices: usize,
    /// Open calls that are kept, of all slices together: 64 bytes each.
    pub(crate) nodes: usize,
    /// States of tasks that are kept, of all slices together.
    pub(crate) states: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { events: 1 << 15, slices: 4096, nodes: 1 << 20, states: 1 << 19 }
    }
}

/// Of a stack, so many calls are kept from either end. What is between them is known to be there, but not what it is.
const KEPT: usize = 256;

/// A call that is open at the beginning of a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) frame: Frame,
    /// Number of the event that began it.
    pub(crate) event: u64,
    /// When it ended, ns; 0 as long as that is not known.
    pub(crate) end: u64,
    /// Number of the event that ended it.
    pub(crate) end_event: u64,
    /// The next one further out that is kept.
    pub(crate) parent: u32,
    /// How many calls it is in.
    pub(crate) depth: u32,
    /// Whether something is called from it behind the slice that it begins in.
    pub(crate) calls_later: bool,
}

/// A task at the beginning of a slice.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// The slice. The state holds for later ones, too, until there is another.
    pub(crate) slice: u32,
    /// The innermost open call.
    pub(crate) top: u32,
    pub(crate) paused: Paused,
}

/// A run of events.
#[derive(Clone, Debug)]
pub(crate) struct SliceInfo {
    /// Reading begins at the first event of this time (ns)...
    pub(crate) seek: u64,
    /// ...and leaves out so many.
    pub(crate) skip: u64,
    /// Number of the first event.
    pub(crate) first: u64,
    /// How many events it has.
    pub(crate) events: u64,
    /// Time of its first event, ns.
    pub(crate) from: u64,
    /// The largest time in it, ns.
    pub(crate) to: u64,
    /// Indexes of the tasks that have events in it, ascending.
    pub(crate) tasks: Vec<u32>,
    /// What is called in it.
    pub(crate) called: Called,
    /// The longest of the calls that begin in it, ns. Calls that have not ended yet are not among them.
    pub(crate) longest: u64,
    /// Whether there are arguments or return values.
    pub(crate) payloads: bool,
    /// Where its events are, if they are kept.
    pub(crate) place: Option<Place>,
}

/// A set of callees that may say yes to others, too, but never no to its members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Called([u64; 16]);

impl Called {
    #[inline]
    fn bit(callee: Callee) -> (usize, u64) {
        let hash = (callee.index() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        ((hash / 64) as usize, 1 << (hash % 64))
    }

    #[inline]
    pub(crate) fn insert(&mut self, callee: Callee) {
        let (word, bit) = Called::bit(callee);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    pub(crate) fn may_have(&self, callee: Callee) -> bool {
        let (word, bit) = Called::bit(callee);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    fn join(&mut self, other: &Called) {
        self.0.iter_mut().zip(other.0).for_each(|(word, more)| *word |= more);
    }
}

/// What stands for an event in a set of callees.
pub(crate) fn of_event(id: u64) -> Callee {
    Callee::at((id as usize & 0xff_ffff) | 0x4000_0000)
}

/// What is known so far.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) slices: Vec<SliceInfo>,
    pub(crate) nodes: Vec<Node>,
    /// For each task its states, ascending by slice.
    pub(crate) states: Vec<Vec<State>>,
    /// For each task how many levels are not indented for: recording began inside of calls.
    pub(crate) hidden: Vec<u32>,
    /// All callees so far have a place below this one.
    pub(crate) callees: usize,
    /// Ids of the events that are no calls.
    pub(crate) events: Vec<u64>,
    /// Whether the whole trace has been read.
    pub(crate) complete: bool,
}

/// An open call as it is handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    pub(crate) frame: Frame,
    /// Number of the event that began it; none for calls of which only the number is known.
    pub(crate) event: Option<u64>,
    /// When it ended, ns; 0 if that is not known.
    pub(crate) end: u64,
    /// Number of the event that ended it; 0 if that is not known.
    pub(crate) end_event: u64,
}

impl Index {
    /// An index of nothing, for that many tasks.
    pub(crate) fn new(tasks: usize) -> Index {
        Index { states: vec![Vec::new(); tasks], hidden: vec![0; tasks], ..Index::default() }
    }

    /// Number of the event behind the last one that is known.
    pub(crate) fn known(&self) -> u64 {
        self.slices.last().map_or(0, |slice| slice.first + slice.events)
    }

    /// The slice that an event is in; the last one for those behind it.
    pub(crate) fn slice_of(&self, event: u64) -> Option<usize> {
        self.slices
            .partition_point(|slice| slice.first <= event)
            .checked_sub(1)
            .or((!self.slices.is_empty()).then_some(0))
    }

    /// The last slice that begins no later than a time.
    pub(crate) fn slice_at(&self, time: u64) -> Option<usize> {
        self.slices
            .partition_point(|slice| slice.from <= time)
            .checked_sub(1)
            .or((!self.slices.is_empty()).then_some(0))
    }

    /// What is known of a task at the beginning of a slice; none before its first event.
    pub(crate) fn state(&self, task: u32, slice: usize) -> Option<&State> {
        let states = self.states.get(task as usize)?;
        let at = states.partition_point(|state| state.slice as usize <= slice);
        states.get(at.checked_sub(1)?)
    }

    /// The open calls of a task at the beginning of a slice, outermost first.
    pub(crate) fn open(&self, task: u32, slice: usize) -> Vec<Open> {
        let mut open = Vec::new();
        let mut at = self.state(task, slice).map_or(NONE, |state| state.top);
        while let Some(node) = self.nodes.get(at as usize) {
            open.push(Open {
                frame: node.frame,
                event: Some(node.event),
                end: node.end,
                end_event: node.end_event,
            });
            let above = self.nodes.get(node.parent as usize).map_or(0, |parent| parent.depth + 1);
            for missing in (above..node.depth).rev() {
                open.push(unknown(missing, &node.frame));
            }
            at = node.parent;
        }
        open.reverse();
        open
    }

    /// Follows the open calls from the innermost that is kept outwards.
    pub(crate) fn chain(&self, task: u32, slice: usize) -> impl Iterator<Item = &Node> {
        let top = self.state(task, slice).and_then(|state| self.nodes.get(state.top as usize));
        std::iter::successors(top, |node| self.nodes.get(node.parent as usize))
    }

    /// Makes half as many slices of those that there are.
    pub(crate) fn thin(&mut self, saved: &mut [Vec<u32>]) {
        let mut joined: Vec<SliceInfo> = Vec::with_capacity(self.slices.len() / 2 + 1);
        for (number, slice) in self.slices.drain(..).enumerate() {
            match joined.last_mut() {
                Some(before) if number % 2 == 1 => before.join(slice),
                _ => joined.push(slice),
            }
        }
        self.slices = joined;
        for states in &mut self.states {
            let mut kept: Vec<State> = Vec::with_capacity(states.len() / 2 + 1);
            for mut state in states.drain(..) {
                // The state at the middle of two slices is that at their end if there is no later one.
                state.slice = state.slice.div_ceil(2);
                if kept.last().is_some_and(|last| last.slice == state.slice) {
                    kept.pop();
                }
                kept.push(state);
            }
            *states = kept;
        }
        self.collect(saved);
    }

    /// Drops nodes that no state needs.
    fn collect(&mut self, saved: &mut [Vec<u32>]) {
        let mut places = vec![NONE; self.nodes.len()];
        let tops = self.states.iter().flatten().map(|state| state.top);
        let tops: Vec<u32> = tops.chain(saved.iter().flatten().copied()).collect();
        for top in tops {
            let mut at = top;
            while let Some(place) = places.get_mut(at as usize)
                && *place == NONE
            {
                *place = 0;
                at = self.nodes.get(at as usize).map_or(NONE, |node| node.parent);
            }
        }
        let mut kept = Vec::new();
        for (node, place) in self.nodes.drain(..).zip(&mut places) {
            if *place != NONE {
                *place = kept.len() as u32;
                kept.push(node);
            }
        }
        let moved = |at: u32| places.get(at as usize).copied().unwrap_or(NONE);
        kept.iter_mut().for_each(|node: &mut Node| node.parent = moved(node.parent));
        self.states.iter_mut().flatten().for_each(|state| state.top = moved(state.top));
        saved.iter_mut().flatten().for_each(|at| *at = moved(*at));
        self.nodes = kept;
    }

    /// Whether it holds more than it may.
    pub(crate) fn is_over(&self, limits: &Limits) -> bool {
        self.slices.len() >= limits.slices
            || self.nodes.len() > limits.nodes
            || self.states.iter().map(Vec::len).sum::<usize>() > limits.states
    }

    /// Keeps the open calls of a task. `saved` has the nodes of those that have been kept before, [`NONE`] for those
    /// between that are not kept; `event` gives the number of a call's event.
    pub(crate) fn save(
        &mut self,
        frames: &[Frame],
        saved: &mut Vec<u32>,
        event: impl Fn(&Frame) -> u64,
    ) -> u32 {
        saved.truncate(frames.len());
        // What was in the middle of a deep stack may have become its end.
        while saved.last() == Some(&NONE) {
            saved.pop();
        }
        let mut parent = saved.iter().rev().copied().find(|at| *at != NONE).unwrap_or(NONE);
        for (depth, frame) in frames.iter().enumerate().skip(saved.len()) {
            if depth >= KEPT && depth + KEPT < frames.len() {
                saved.push(NONE);
                continue;
            }
            let node = Node {
                frame: *frame,
                event: event(frame),
                end: 0,
                end_event: 0,
                parent,
                depth: depth as u32,
                calls_later: false,
            };
            parent = self.nodes.len() as u32;
            saved.push(parent);
            self.nodes.push(node);
        }
        parent
    }
}

/// A call that nothing is known of.
fn unknown(level: u32, inner: &Frame) -> Open {
    let frame = Frame {
        callee: Callee::UNKNOWN,
        addr: 0,
        level,
        origin: Origin::Assumed,
        children: 0,
        tag: 0,
        ..*inner
    };
    Open { frame, event: None, end: 0, end_event: 0 }
}

impl SliceInfo {
    /// Adds the slice that comes next.
    fn join(&mut self, next: SliceInfo) {
        self.events += next.events;
        self.to = self.to.max(next.to);
        self.tasks.extend(next.tasks);
        self.tasks.sort_unstable();
        self.tasks.dedup();
        self.called.join(&next.called);
        self.longest = self.longest.max(next.longest);
        self.payloads |= next.payloads;
        self.place = match (self.place, next.place) {
            (Some(place), Some(next)) => Some(place.and(next)),
            _ => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_callees_never_forgets() {
        let mut called = Called::default();
        let members: Vec<Callee> = (0..200).step_by(7).map(Callee::at).collect();
        members.iter().for_each(|callee| called.insert(*callee));
        assert!(members.iter().all(|callee| called.may_have(*callee)));
        let others = (1000..2000).filter(|index| called.may_have(Callee::at(*index))).count();
        assert!(others < 100, "{others}");
    }

    #[test]
    fn deep_stacks_are_kept_at_both_ends() {
        let frame = |level: u32| Frame {
            start: u64::from(level),
            children: 0,
            addr: 7,
            level,
            callee: Callee::at(5),
            tag: level,
            origin: Origin::Called,
        };
        let frames: Vec<Frame> = (0..1000).map(frame).collect();
        let mut index = Index::new(1);
        let mut saved = Vec::new();
        let top = index.save(&frames, &mut saved, |frame| u64::from(frame.tag));
        assert_eq!(index.nodes.len(), 512);
        index.states[0].push(State { slice: 1, top, paused: Paused::default() });
        let open = index.open(0, 3);
        assert_eq!(open.len(), 1000);
        assert!(open.iter().enumerate().all(|(at, open)| open.frame.level as usize == at));
        assert_eq!(open.iter().filter(|open| open.event.is_none()).count(), 488);
        assert!(index.open(0, 0).is_empty());
        // Nothing is kept twice.
        index.save(&frames[..900], &mut saved, |frame| u64::from(frame.tag));
        assert_eq!(index.nodes.len(), 512);
        // What comes to the end of the stack is kept then.
        let top = index.save(&frames[..500], &mut saved, |frame| u64::from(frame.tag));
        index.states[0].push(State { slice: 5, top, paused: Paused::default() });
        assert!(index.open(0, 5).iter().enumerate().all(|(at, open)| open.event == Some(at as u64)));
        assert_eq!(index.open(0, 5).len(), 500);
    }
}
