-- What LuaJIT has and later versions of Lua have not, or have in another place.
local durations = {}
function uftrace_exit(ctx) durations[table.getn(durations) + 1] = ctx.duration end
function uftrace_end()
  table.sort(durations)
  local middle = durations[math.floor(#durations / 2)]
  print(string.format("%d calls, %d in the middle, %5.1f us longest", #durations, middle / 10, durations[#durations] / 1000))
  print(string.format("%x %s", 255.0, loadstring("return 1")()), math.pow(2, 3) == 8, bit.band(12, 10), bit.lshift(1, 4))
end
