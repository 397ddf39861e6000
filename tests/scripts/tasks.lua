local tasks, order = {}, {}

function uftrace_entry(ctx)
  local task = tasks[ctx.tid]
  if task == nil then
    task = {calls = 0, deepest = 0}
    tasks[ctx.tid] = task
    table.insert(order, ctx.tid)
  end
  task.calls = task.calls + 1
  task.deepest = math.max(task.deepest, ctx.depth)
end

function uftrace_end()
  for _, tid in ipairs(order) do print(tid, tasks[tid].calls, tasks[tid].deepest) end
end
