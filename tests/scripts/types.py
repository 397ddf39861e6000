# What Python makes of each value.
seen = {}

def note(name, values):
    kinds = tuple(type(value).__name__ for value in values)
    seen.setdefault(name, set()).add(kinds)

def uftrace_entry(ctx):
    if "args" in ctx:
        note(ctx["name"] + " args", ctx["args"])

def uftrace_exit(ctx):
    if "retval" in ctx:
        note(ctx["name"] + " retval", (ctx["retval"],))

def uftrace_end():
    for name in sorted(seen):
        print(name, sorted(seen[name]))
