//! Names that some kernels leave in their `print fmt`s where others put numbers, and whose values do not change:
//! they are part of the interface to programs, or have been the same in all kernels that have them.

const NAMES: [(&str, i64); 45] = [
    ("TCP_ESTABLISHED", 1),
    ("TCP_SYN_SENT", 2),
    ("TCP_SYN_RECV", 3),
    ("TCP_FIN_WAIT1", 4),
    ("TCP_FIN_WAIT2", 5),
    ("TCP_TIME_WAIT", 6),
    ("TCP_CLOSE", 7),
    ("TCP_CLOSE_WAIT", 8),
    ("TCP_LAST_ACK", 9),
    ("TCP_LISTEN", 10),
    ("TCP_CLOSING", 11),
    ("TCP_NEW_SYN_RECV", 12),
    ("IOPRIO_CLASS_NONE", 0),
    ("IOPRIO_CLASS_RT", 1),
    ("IOPRIO_CLASS_BE", 2),
    ("IOPRIO_CLASS_IDLE", 3),
    ("IOPRIO_CLASS_INVALID", 7),
    ("PM_QOS_ADD_REQ", 0),
    ("PM_QOS_UPDATE_REQ", 1),
    ("PM_QOS_REMOVE_REQ", 2),
    ("HI_SOFTIRQ", 0),
    ("TIMER_SOFTIRQ", 1),
    ("NET_TX_SOFTIRQ", 2),
    ("NET_RX_SOFTIRQ", 3),
    ("BLOCK_SOFTIRQ", 4),
    ("IRQ_POLL_SOFTIRQ", 5),
    ("TASKLET_SOFTIRQ", 6),
    ("SCHED_SOFTIRQ", 7),
    ("HRTIMER_SOFTIRQ", 8),
    ("RCU_SOFTIRQ", 9),
    ("HRTIMER_MODE_ABS", 0),
    ("HRTIMER_MODE_REL", 1),
    ("HRTIMER_MODE_PINNED", 2),
    ("HRTIMER_MODE_SOFT", 4),
    ("HRTIMER_MODE_HARD", 8),
    ("HRTIMER_MODE_ABS_PINNED", 2),
    ("HRTIMER_MODE_REL_PINNED", 3),
    ("HRTIMER_MODE_ABS_SOFT", 4),
    ("HRTIMER_MODE_REL_SOFT", 5),
    ("HRTIMER_MODE_ABS_PINNED_SOFT", 6),
    ("HRTIMER_MODE_REL_PINNED_SOFT", 7),
    ("HRTIMER_MODE_ABS_HARD", 8),
    ("HRTIMER_MODE_REL_HARD", 9),
    ("HRTIMER_MODE_ABS_PINNED_HARD", 10),
    ("HRTIMER_MODE_REL_PINNED_HARD", 11),
];

/// Where the array of `struct page` begins where the kernel does not move it. It matters for `%p` only, which
/// tells one page from another; the page's number stands beside it in all events.
const VMEMMAP_BASE: i64 = 0xffff_ea00_0000_0000_u64 as i64;

pub(crate) fn of(name: &str) -> Option<i64> {
    match name {
        "vmemmap_base" => Some(VMEMMAP_BASE),
        "memstart_addr" => Some(0),
        _ => NAMES.iter().find(|(of, _)| *of == name).map(|(_, value)| *value),
    }
}
