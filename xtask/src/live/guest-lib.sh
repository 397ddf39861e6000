# What runs the cases inside the guest.
T=/sys/kernel/tracing
. /workloads.sh

# case_run DIRECTORY SECONDS STATE: one case, in the directory that its results go to.
case_run() {
    echo "VM-CASE $1 $(cut -d' ' -f1 /proc/uptime)" >/dev/console
    mkdir -p /out/$1
    cd /out/$1
    reference=/tmp/reference
    if [ -s /cases/$1/setup ]; then
        sh -c '. /workloads.sh; . /cases/'$1'/setup' >setup.log 2>&1 </dev/null
        reference=/tmp/with-setup
        xtask guest state $reference
    fi
    workload=
    if [ -s /cases/$1/workload ]; then
        setsid sh -c '. /workloads.sh; . /cases/'$1'/workload' >workload.log 2>&1 </dev/null &
        workload=$!
    fi
    setsid sh -c '. /workloads.sh; . /cases/'$1'/run' >stdout 2>stderr </dev/null &
    run=$!
    (sleep $2; : >/out/$1/late; kill -KILL -$run) >/dev/null 2>&1 &
    watchdog=$!
    wait $run
    echo $? >status
    kill $watchdog
    wait $watchdog
    [ -n "$workload" ] && kill -KILL -$workload
    wait
    if [ $3 = kept ]; then
        xtask guest compare $reference >state || {
            echo "VM-STATE $1 changed" >/dev/console
            hard_reset
        }
    else
        hard_reset
    fi
    if [ -s /cases/$1/cleanup ]; then
        sh -c '. /workloads.sh; . /cases/'$1'/cleanup' >cleanup.log 2>&1 </dev/null
    fi
    cd /
}

# What a case left behind must not disturb those after it.
hard_reset() {
    for i in $T/instances/*/; do
        [ -d "$i" ] || continue
        echo nop >$i/current_tracer
        echo 0 >$i/events/enable
        rmdir $i
    done
    echo 0 >$T/tracing_on
    echo nop >$T/current_tracer
    echo 0 >$T/events/enable
    # A histogram that another refers to goes after it.
    for round in 1 2 3; do
        grep -l -v '^#' $T/events/*/*/trigger 2>/dev/null | while read f; do
            grep -v '^#' $f | while read t; do echo "!${t% \[active\]}" >>$f; done
        done
    done
    for f in set_ftrace_filter set_ftrace_notrace set_graph_function set_graph_notrace set_event_pid \
        set_event_notrace_pid set_ftrace_pid set_ftrace_notrace_pid synthetic_events dynamic_events; do
        [ -e $T/$f ] && echo >$T/$f
    done
    for o in stacktrace userstacktrace func_stack_trace event-fork function-fork; do echo 0 >$T/options/$o; done
    echo 0 >$T/max_graph_depth
    echo local >$T/trace_clock
    echo $buffer >$T/buffer_size_kb
    echo >$T/trace
    echo 1 >$T/tracing_on
    xtask guest state /tmp/reference
}

# The first use of a buffer gives it its size for good.
warm_up() {
    echo 1 >$T/events/sched/sched_switch/enable
    echo 0 >$T/events/sched/sched_switch/enable
    echo >$T/trace
    buffer=$(cat $T/buffer_size_kb)
}

warm_up
mkswap /dev/bed/d2 >/dev/null 2>&1 && swapon /dev/bed/d2
mkdir -p /disk && mount -t ext4 /dev/bed/d1 /disk
xtask guest state /tmp/reference
