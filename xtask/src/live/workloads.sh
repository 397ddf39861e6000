# Loads that cases start by name. Those that are loops end by being killed.
T=/sys/kernel/tracing

# Busy enough for the scheduler, timers and page faults.
load_busy() { while :; do ls -lR /proc/self >/dev/null 2>&1; echo x | cat >/dev/null; sleep 0.05; done; }
# Reads that reach the disk.
load_disk() { while :; do dd if=/dev/bed/d1 of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null; sleep 0.02; done; }
# Written back by a kernel worker.
load_writeback() { i=0; while :; do i=$((i + 1)); dd if=/dev/zero of=/disk/load$((i % 4)) bs=64k count=16 2>/dev/null; sync; sleep 0.05; done; }
# Packets to the card and back.
load_network() { while :; do ping -c 3 -W 1 10.0.2.2 >/dev/null 2>&1; done; }
# Packets that stay in the machine.
load_loopback() { ping -A -q 127.0.0.1 >/dev/null 2>&1 || while :; do ping -c 3 127.0.0.1 >/dev/null 2>&1; done; }
# More than there is memory, in a file that can only go to the swap. Such memory belongs to no process; when it runs out, the
# one that writes is the one to go.
load_memory() {
    echo 1000 >/proc/self/oom_score_adj
    mkdir -p /tmp/hog
    mount -t tmpfs -o size=450m hog /tmp/hog
    while :; do dd if=/dev/zero of=/tmp/hog/f bs=1M count=${1:-300} 2>/dev/null; rm -f /tmp/hog/f; done
}
unload_memory() { rm -rf /tmp/hog/f; umount /tmp/hog; }
# Signals to a process of ours.
load_signal() { while :; do sleep 5 & p=$!; sleep 0.05; kill -USR1 $p; wait $p; done 2>/dev/null; }
# Programs that start and end.
load_exec() { while :; do /bin/true; /bin/busybox true; sleep 0.02; done; }
# Until tracing of a recorder that was just started has begun: an instance that is not ours, or a tracer that is not nop.
wait_tracing() {
    for i in $(seq 200); do
        for d in $T $T/instances/*; do
            case $d in */other) continue ;; esac
            [ "$(cat $d/current_tracer 2>/dev/null)" != nop ] && [ -e $d/current_tracer ] && return 0
            [ $d != $T ] && [ "$(cat $d/tracing_on 2>/dev/null)" = 1 ] && grep -q . $d/set_event 2>/dev/null && return 0
        done
        sleep 0.1
    done
    echo "wait_tracing: nothing was started in 20 s" >&2
    return 1
}
# What another user of the machine's tracing may have set up, so that it can be seen whether it is left alone.
other_user() {
    mkdir $T/instances/other
    echo 'sched:sched_process_fork' >>$T/instances/other/set_event
    echo 'prev_pid != 1' >$T/instances/other/events/sched/sched_switch/filter
    echo 1 >$T/instances/other/events/sched/sched_switch/enable
    echo 'p:other/open do_sys_openat2' >>$T/kprobe_events
    echo 1 >$T/events/other/open/enable
    echo 'traceoff:1 if prio == 999' >>$T/events/sched/sched_wakeup/trigger
    echo vfs_fsync >>$T/set_ftrace_filter
    echo vfs_statfs >>$T/set_ftrace_notrace
    echo 1 >>$T/set_event_pid
    echo 1 >>$T/instances/other/set_event_pid
    echo 1 >$T/options/sym-offset
    echo mono >$T/instances/other/trace_clock
    echo 512 >$T/instances/other/buffer_size_kb
}
no_other_user() {
    echo 0 >$T/instances/other/events/enable
    rmdir $T/instances/other
    echo 0 >$T/events/other/open/enable
    echo '-:other/open' >>$T/kprobe_events
    echo '!traceoff:1 if prio == 999' >>$T/events/sched/sched_wakeup/trigger
    echo '!vfs_fsync' >>$T/set_ftrace_filter
    echo '!vfs_statfs' >>$T/set_ftrace_notrace
    echo >$T/set_event_pid
    echo 0 >$T/options/sym-offset
}
# All that is needed to decode this kernel's buffers elsewhere.
tables() {
    cat $T/events/header_page >header_page
    cat $T/printk_formats >printk_formats
    cat $T/dynamic_events >dynamic_events
    cat /proc/kallsyms >kallsyms
    uname -r >release
    (cd $T/events && grep -H '' */*/format) >formats
}
# The buffer as the kernel prints it, and as it is: `capture DIRECTORY`.
capture() {
    echo 0 >$T/tracing_on
    mkdir -p $1
    for f in trace saved_cmdlines current_tracer trace_clock; do cat $T/$f >$1/$f; done
    xtask guest drain $T $1
}
# All events of every Nth system of events, while much is going on: `record_systems N FIRST`.
record_systems() {
    echo 0 >$T/tracing_on
    echo >$T/trace
    n=0
    for s in $T/events/*/; do
        case $s in */ftrace/) continue ;; esac
        [ $((n % $1)) = $2 ] && echo 1 >$s/enable
        n=$((n + 1))
    done
    echo 1 >$T/tracing_on
    work futexes 5 && work faults 3 && work children 5 && work signals 3
    cat /proc/self/maps /proc/meminfo >/dev/null
    echo marked >$T/trace_marker
    sleep 0.3
    echo 0 >$T/tracing_on
}
