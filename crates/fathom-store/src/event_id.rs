//! Ids of events that are not kernel tracepoints or probes of the program (source: data format, section 7).

/// Ids below this are the numbers of the kernel's own events.
pub const BUILT_IN: u64 = 100_000;
/// A watched variable has another value; the payload is its address and the value.
pub const WATCH_VARIABLE: u64 = 100_012;
/// Where the function that is entered next is called from; the payload is the return address.
pub const CALLSITE: u64 = 100_013;
/// A task got a processor.
pub const SCHED_IN: u64 = 200_001;
/// A task lost its processor because it waits for something.
pub const SCHED_OUT: u64 = 200_002;
/// A task was off its processor: made by views out of the two above, never stored.
pub const SCHEDULE: u64 = 200_003;
/// A task came to be.
pub const TASK_NEW: u64 = 200_004;
/// A task ended.
pub const TASK_EXIT: u64 = 200_005;
/// A task was named; the payload is the name, without a NUL.
pub const TASK_NAME: u64 = 200_006;
/// A task lost its processor to another one.
pub const SCHED_OUT_PREEMPTED: u64 = 200_007;
/// A task was off its processor, taken by another: made by views, never stored.
pub const SCHEDULE_PREEMPTED: u64 = 200_008;
/// The open calls at the entry of a function, made by the filtering layer for `backtrace` and never stored; the payload
/// is their addresses, the outermost first, 8 bytes each in the machine's order.
pub const BACKTRACE: u64 = 200_101;
/// First id of the probes of the program, which `events.txt` names.
pub const USER: u64 = 1_000_000;
/// A message from `extern.dat`; the payload is its text.
pub const EXTERNAL: u64 = 2_000_000;

/// Whether it is one of the kernel's own events.
pub fn is_kernel(id: u64) -> bool {
    id < BUILT_IN
}

/// Whether the event tells when a task had a processor.
pub fn is_sched(id: u64) -> bool {
    matches!(id, SCHED_IN | SCHED_OUT | SCHEDULE | SCHED_OUT_PREEMPTED | SCHEDULE_PREEMPTED)
}

/// The name that views show, when it doesn't depend on the trace.
pub fn name(id: u64) -> Option<&'static str> {
    Some(match id {
        100_001 => "read:proc/statm",
        100_002 => "read:page-fault",
        100_003 => "diff:proc/statm",
        100_004 => "diff:page-fault",
        100_005 => "read:pmu-cycle",
        100_006 => "diff:pmu-cycle",
        100_007 => "read:pmu-cache",
        100_008 => "diff:pmu-cache",
        100_009 => "read:pmu-branch",
        100_010 => "diff:pmu-branch",
        100_011 => "watch:cpu",
        WATCH_VARIABLE => "watch:var",
        CALLSITE => "callsite",
        SCHED_IN => "linux:sched-in",
        SCHED_OUT => "linux:sched-out",
        SCHEDULE => "linux:schedule",
        TASK_NEW => "linux:task-new",
        TASK_EXIT => "linux:task-exit",
        TASK_NAME => "linux:task-name",
        SCHED_OUT_PREEMPTED => "linux:sched-out (pre-empted)",
        SCHEDULE_PREEMPTED => "linux:schedule (pre-empted)",
        EXTERNAL => "external-data",
        _ => return None,
    })
}
