//! What is to be recorded: options as data.

use crate::EventPatterns;
use fathom_filter::Specs;

/// An action on a signal that the program gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalAction {
    /// Switch recording on.
    TraceOn,
    /// Switch recording off.
    TraceOff,
    /// End the recording.
    Finish,
}

/// Which calls are recorded, and what with them. The default records all calls and nothing else.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Filters, triggers, arguments and return values, in the order given.
    pub specs: Specs,
    /// Levels that are recorded, 0 for all.
    pub depth: u32,
    /// ns that a call must take.
    pub time: u64,
    /// Bytes that a function must have.
    pub size: u32,
    /// Whether recording begins switched on.
    pub on: bool,
    /// Record the arguments and return values of all functions whose types are known.
    pub auto_args: bool,
    /// Record on which processor a task runs, when that changes.
    pub watch_cpu: bool,
    /// Record the value of a global variable of the executable when it changes.
    pub watch_variable: Option<String>,
    /// What signals do.
    pub signals: Vec<(u8, SignalAction)>,
    /// Leave return addresses alone and estimate when calls end.
    pub estimate: bool,
    /// Frames of the shadow stack; calls below are not recorded.
    pub max_stack: Option<u32>,
    /// The selection can be changed while the program runs.
    pub changeable: bool,
    /// Events. Those among them that are static probes are recorded with the calls; they stay as they are when the
    /// selection changes.
    pub events: EventPatterns,
}

impl Default for Selection {
    fn default() -> Self {
        Selection {
            specs: Specs::new(),
            depth: 0,
            time: 0,
            size: 0,
            on: true,
            auto_args: false,
            watch_cpu: false,
            watch_variable: None,
            signals: Vec::new(),
            estimate: false,
            max_stack: None,
            changeable: false,
            events: EventPatterns::default(),
        }
    }
}

impl Selection {
    /// Whether it selects anything: if not, the hooks have nothing to decide.
    pub fn is_everything(&self) -> bool {
        self.specs.is_empty()
            && self.depth == 0
            && self.time == 0
            && self.size == 0
            && self.on
            && !self.auto_args
            && !self.watch_cpu
            && self.watch_variable.is_none()
            && self.signals.is_empty()
            && !self.estimate
            && self.max_stack.is_none()
            && !self.changeable
            && !self.events.may_have_probes()
    }
}
