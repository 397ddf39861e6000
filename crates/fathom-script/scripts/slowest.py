# The slowest calls, each with the calls that it was made from.
import heapq

MOST = 20

stacks = {}
slowest = []


def uftrace_entry(ctx):
    stack = stacks.setdefault(ctx["tid"], [])
    # Calls that were left by a longjmp have no exit.
    del stack[ctx["depth"]:]
    stack.append(ctx["name"])


def uftrace_exit(ctx):
    found = (ctx["duration"], -ctx["timestamp"], ctx["tid"])
    if len(slowest) < MOST or found > slowest[0][:3]:
        path = tuple(stacks.get(ctx["tid"], ())[:ctx["depth"]]) + (ctx["name"],)
        if len(slowest) < MOST:
            heapq.heappush(slowest, found + (path,))
        else:
            heapq.heapreplace(slowest, found + (path,))


def uftrace_end():
    print("%14s %8s  %s" % ("time", "tid", "call"))
    for duration, _, tid, path in sorted(slowest, reverse=True):
        print("%11.3f us %8d  %s" % (duration / 1000, tid, " > ".join(path)))
