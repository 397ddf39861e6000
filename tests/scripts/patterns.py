UFTRACE_FUNCS = ["^l", "move", "^wa.*le$"]

def uftrace_entry(ctx):
    print(">", ctx["name"], ctx["depth"])

def uftrace_exit(ctx):
    print("<", ctx["name"], ctx["depth"])
