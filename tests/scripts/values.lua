local wanted = {next = true, scale = true, text = true, move = true, mix = true, leaf = true, recurse = true}
function uftrace_entry(ctx)
  if wanted[ctx.name] then print(ctx.name, unpack(ctx.args)) end
end
function uftrace_exit(ctx)
  if wanted[ctx.name] then print(ctx.name, ctx.retval) end
end
