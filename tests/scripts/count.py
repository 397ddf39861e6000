counts = {}

def uftrace_entry(ctx):
    counts[ctx["name"]] = counts.get(ctx["name"], 0) + 1

def uftrace_end():
    for name in sorted(counts):
        print(name, counts[name])
