# How often each function was called.

counts = {}


def uftrace_entry(ctx):
    name = ctx["name"]
    counts[name] = counts.get(name, 0) + 1


def uftrace_end():
    print("%10s  %s" % ("calls", "function"))
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        print("%10d  %s" % (count, name))
