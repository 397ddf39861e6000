def uftrace_entry(ctx):
    if ctx["name"] in ("next", "scale", "text", "move", "mix", "wide", "leaf", "recurse"):
        print(ctx["name"], ctx["args"], hex(ctx["address"] & 0xfff))

def uftrace_exit(ctx):
    if ctx["name"] in ("next", "scale", "text", "move", "mix", "wide", "leaf", "recurse"):
        print(ctx["name"], repr(ctx["retval"]))
