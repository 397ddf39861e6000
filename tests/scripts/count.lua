local counts, names = {}, {}

function uftrace_entry(ctx)
  if not counts[ctx.name] then names[#names + 1] = ctx.name end
  counts[ctx.name] = (counts[ctx.name] or 0) + 1
end

function uftrace_end()
  table.sort(names)
  for _, name in ipairs(names) do print(name, counts[name]) end
end
