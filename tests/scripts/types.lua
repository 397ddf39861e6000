local seen = {}

local function note(name, value)
  local key = name .. " " .. type(value)
  if not seen[key] then
    seen[key] = true
    print(key)
  end
end

function uftrace_entry(ctx)
  for i, value in ipairs(ctx.args or {}) do note(ctx.name .. " " .. i, value) end
end

function uftrace_exit(ctx)
  if ctx.retval ~= nil then note(ctx.name .. " retval", ctx.retval) end
end
