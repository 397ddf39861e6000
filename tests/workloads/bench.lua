-- A real workload for Lua: strings, patterns, tables, sorting, closures, coroutines, errors, recursion.
-- usage: lua bench.lua N
local n = tonumber(arg[1]) or 200

local function fib(k)
  if k < 2 then return k end
  return fib(k - 1) + fib(k - 2)
end

local words = {}
for i = 1, n do
  words[#words + 1] = string.format("word%05d", i * 7919 % 10007)
end
table.sort(words)
print(#words, words[1], words[#words])

local text = table.concat(words, " ")
local digits = 0
for number in text:gmatch("%d+") do
  digits = digits + tonumber(number)
end
print("digits", digits, #text:gsub("word", "w"))

local counts = {}
for i = 1, n do
  local key = "k" .. i % 37
  counts[key] = (counts[key] or 0) + i
end
print("k7", counts.k7)

table.sort(words, function(a, b) return a:reverse() < b:reverse() end)
print(words[1], fib(n < 1000 and 12 or 20))

local producer = coroutine.wrap(function()
  for i = 1, n do coroutine.yield(i * i) end
end)
local total = 0
for _ = 1, n do total = total + producer() end
print("total", total)

local failures = 0
for i = 1, n do
  local ok = pcall(function() if i % 3 == 0 then error("three") end end)
  if not ok then failures = failures + 1 end
end
print("failures", failures)

local Point = setmetatable({}, { __call = function(class, x, y) return setmetatable({ x = x, y = y }, class) end })
Point.__index = Point
Point.__add = function(a, b) return Point(a.x + b.x, a.y + b.y) end
local p = Point(0, 0)
for i = 1, n do p = p + Point(i, -i) end
print(p.x, p.y)
collectgarbage()
os.exit(failures % 7)
