# Every field as it comes, in the order of the dictionary.
def uftrace_begin(ctx):
    print("begin", ctx["record"], ctx["cmds"], type(ctx["version"]).__name__, list(ctx))

def uftrace_entry(ctx):
    print("entry", ctx)

def uftrace_exit(ctx):
    print("exit", ctx)

def uftrace_event(ctx):
    print("event", ctx)

def uftrace_end():
    print("end")
