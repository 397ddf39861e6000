UFTRACE_FUNCS = {"^l", "move", "^wa.*le$"}
function uftrace_entry(ctx) print(">", ctx.name, ctx.depth) end
function uftrace_exit(ctx) print("<", ctx.name, ctx.depth) end
