-- Every field, sorted by name.
local function show(value)
  if type(value) ~= "table" then
    return type(value) == "number" and string.format("%.0f", value) or tostring(value)
  end
  local keys = {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys)
  local texts = {}
  for _, key in ipairs(keys) do texts[#texts + 1] = key .. "=" .. show(value[key]) end
  return "{" .. table.concat(texts, " ") .. "}"
end

function uftrace_begin(ctx)
  print("begin", ctx.record, #ctx.cmds, type(ctx.version))
end

function uftrace_entry(ctx) print("entry", show(ctx)) end
function uftrace_exit(ctx) print("exit", show(ctx)) end
function uftrace_event(ctx) print("event", show(ctx)) end
function uftrace_end() print("end") end
