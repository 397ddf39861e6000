-- Each thread: how many calls it made, how long it was seen, how deep calls nested, and the function with the most time
-- of its own.

local threads, order = {}, {}

local function thread(ctx)
  local t = threads[ctx.tid]
  if not t then
    t = {calls = 0, deepest = 0, first = ctx.timestamp, children = {}, own = {}}
    threads[ctx.tid] = t
    order[#order + 1] = ctx.tid
  end
  t.last = ctx.timestamp
  return t
end

function uftrace_entry(ctx)
  local t = thread(ctx)
  t.calls = t.calls + 1
  if ctx.depth + 1 > t.deepest then t.deepest = ctx.depth + 1 end
  -- Time of what this call is about to call.
  t.children[ctx.depth + 1] = 0
end

function uftrace_exit(ctx)
  local t = thread(ctx)
  local depth = ctx.depth
  local own = ctx.duration - (t.children[depth + 1] or 0)
  t.own[ctx.name] = (t.own[ctx.name] or 0) + own
  t.children[depth + 1] = 0
  t.children[depth] = (t.children[depth] or 0) + ctx.duration
end

function uftrace_end()
  table.sort(order)
  print(string.format("%8s %10s %14s %8s %14s  %s", "tid", "calls", "seen for us", "deepest", "own time us", "function"))
  for _, tid in ipairs(order) do
    local t = threads[tid]
    local most, name = -1, "-"
    for function_name, own in pairs(t.own) do
      if own > most or own == most and function_name < name then most, name = own, function_name end
    end
    print(string.format("%8d %10d %14.3f %8d %14.3f  %s", tid, t.calls, (t.last - t.first) / 1000, t.deepest,
      math.max(most, 0) / 1000, name))
  end
end
