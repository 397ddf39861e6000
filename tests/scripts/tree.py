def uftrace_entry(ctx):
    args = ", ".join(repr(arg) for arg in ctx.get("args", ()))
    print("%s%s(%s) {" % ("  " * ctx["depth"], ctx["name"], args))

def uftrace_exit(ctx):
    print("%s} /* %s %d ns */" % ("  " * ctx["depth"], ctx["name"], ctx["duration"]))
