-- What Lua's library and virtual machine do, with the same output every time.
local function try(f, ...)
  local r = table.pack(pcall(f, ...))
  print(table.unpack(r, 1, r.n))
end

-- Errors through Lua, C and coroutines.
local function deep(n) if n == 0 then error({code = 7}) end return 1 + deep(n - 1) end
print(select(2, pcall(deep, 150)).code)
try(function() local x = nil; return x.y end)
try(string.rep, "x", -1)
try(string.format, "%d", "1.5")
try(table.concat, {1, {}, 3})
try(function() return #5 end)
print(xpcall(function() error("in handler", 0) end, function(m) return "handled " .. m end))
local function forever() return 1 + forever() end
print(select(2, pcall(forever)):match("stack overflow"))
try(function() return table.sort({3, 1, 2, 5, 4}, function() error("compare", 0) end) end)

local function walk(t) for i = 1, #t do if type(t[i]) == "table" then walk(t[i]) else coroutine.yield(t[i]) end end end
local out = {}
for v in coroutine.wrap(function() walk({1, {2, {3, 4}, 5}, {{{6}}}}) end) do out[#out + 1] = v end
print(table.concat(out, " "))
local co = coroutine.create(function(a) local b = coroutine.yield(a + 1); error("late " .. b, 0) end)
print(coroutine.resume(co, 1)); print(coroutine.resume(co, 2)); print(coroutine.resume(co))
do
  local closing <close> = setmetatable({}, {__close = function(_, e) print("closed", e) end})
  print("open")
end

local V = {}
V.__index = V
V.__add = function(a, b) return setmetatable({x = a.x + b.x}, V) end
V.__eq = function(a, b) return a.x == b.x end
V.__lt = function(a, b) return a.x < b.x end
V.__call = function(self, k) return self.x * k end
V.__tostring = function(self) return "V(" .. self.x .. ")" end
V.__concat = function(a, b) return tostring(a) .. "&" .. tostring(b) end
V.__len = function(self) return self.x end
local a, b = setmetatable({x = 3}, V), setmetatable({x = 4}, V)
print(tostring(a + b), a == b, a < b, a(5), a .. b, #b)

local parts = {}
for word, n in ("one=1, two=22, three=333"):gmatch("(%w+)=(%d+)") do parts[#parts + 1] = n .. word end
print(table.concat(parts, "|"), ("hello world"):gsub("o", {o = "0"}), ("abc"):byte(1, -1))
print(("%5.2f|%-8s|%q|%x|%g"):format(3.14159, "left", "a\n\"b\"", 255, 1e100), ("x"):rep(5, ","), ("abc"):reverse():upper())
print(string.pack("<i4z", 7, "abc"):byte(1, -1))
print(utf8.char(228, 8364, 128512), utf8.len("äöü"), math.tointeger(3.0), 7 // 2, -7 // 2, 7 % -3, 2 ^ 10, 5 & 3, ~0 >> 60)

local sieve, primes = {}, 0
for i = 2, 20000 do
  if not sieve[i] then primes = primes + 1; for j = i * i, 20000, i do sieve[j] = true end end
end
print("primes", primes)

local function queens(n)
  local count, cols, d1, d2 = 0, {}, {}, {}
  local function place(r)
    if r > n then count = count + 1 return end
    for c = 1, n do
      if not cols[c] and not d1[r + c] and not d2[r - c + n] then
        cols[c], d1[r + c], d2[r - c + n] = true, true, true
        place(r + 1)
        cols[c], d1[r + c], d2[r - c + n] = nil, nil, nil
      end
    end
  end
  place(1)
  return count
end
print("queens", queens(7))

local weak = setmetatable({}, {__mode = "v"})
local finalized = 0
for i = 1, 2000 do weak[i] = setmetatable({}, {__gc = function() finalized = finalized + 1 end}) end
collectgarbage() collectgarbage()
print("finalized", finalized, next(weak))
collectgarbage("generational")
local s = {}
for i = 1, 30000 do s[i % 100 + 1] = {tostring(i), i} end
collectgarbage("incremental")
print(s[7][1], select("#", table.unpack(s)))

local chunk = load("local n = ... local t = {} for i = 1, n do t[i] = function() return i * n end end return t")
print(chunk(9)[4](), load("return +")) 
print(load(string.dump(function(x) return x * 2 end))(21))
for i = 1, 3 do for j = 1, 3 do if j == 2 then goto continue end io.write(i, j, " ") ::continue:: end end
print(os.time({year = 2020, month = 5, day = 17, hour = 12}) > 0, os.getenv("NOT_SET_ANYWHERE"), io.open("/nowhere/at/all"))
os.exit(3, true)
