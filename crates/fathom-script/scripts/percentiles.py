# How long the calls of each function took: not the mean, which one slow call hides in, but percentiles.
from array import array

times = {}


def uftrace_exit(ctx):
    name = ctx["name"]
    if name not in times:
        times[name] = array("Q")
    times[name].append(ctx["duration"])


def at(ordered, share):
    # The smallest time that so many of the calls did not exceed.
    return ordered[max(0, -(-len(ordered) * share // 1000) - 1)] / 1000


def uftrace_end():
    print("times in us")
    print("%10s %12s %12s %12s %12s %12s  %s" % ("calls", "50 %", "90 %", "99 %", "99.9 %", "longest", "function"))
    for name, taken in sorted(times.items(), key=lambda item: (-sum(item[1]), item[0])):
        ordered = sorted(taken)
        columns = [at(ordered, share) for share in (500, 900, 990, 999, 1000)]
        print("%10d %12.3f %12.3f %12.3f %12.3f %12.3f  %s" % ((len(ordered),) + tuple(columns) + (name,)))
