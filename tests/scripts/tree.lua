function uftrace_entry(ctx)
  print(string.rep("  ", ctx.depth) .. ctx.name .. " {")
end

function uftrace_exit(ctx)
  print(string.rep("  ", ctx.depth) .. "} -- " .. string.format("%s %d", ctx.name, ctx.duration))
end
