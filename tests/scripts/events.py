def uftrace_event(ctx):
    print(ctx["tid"], ctx["depth"], ctx["address"], ctx["name"], repr(ctx["args"]), type(ctx["args"]).__name__)
