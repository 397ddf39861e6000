function uftrace_event(ctx)
  print(ctx.tid, ctx.depth, ctx.address, ctx.name, ctx.args)
end
