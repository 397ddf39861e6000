-- What scripts for LuaJIT, which speaks Lua 5.1, expect and Lua 5.4 does not have.
unpack = unpack or table.unpack
loadstring = loadstring or load
table.getn = table.getn or function(t) return #t end
math.pow = math.pow or function(x, y) return x ^ y end
math.log10 = math.log10 or function(x) return math.log(x, 10) end

-- %d of a number with a fraction cut it off there; here it is an error.
local format = string.format
local function whole(value)
  if math.type(value) ~= "float" or value ~= value or value >= 2^63 or value < -2^63 then return value end
  return value < 0 and math.ceil(value) or math.floor(value)
end
function string.format(pattern, ...)
  local ok, text = pcall(format, pattern, ...)
  if ok then return text end
  local values, nth = table.pack(...), 0
  for directive in tostring(pattern):gmatch("%%[-+ #0]*%d*%.?%d*(.)") do
    if directive ~= "%" then
      nth = nth + 1
      if directive:find("[dixXuoc]") then values[nth] = whole(values[nth]) end
    end
  end
  local again, second = pcall(format, pattern, table.unpack(values, 1, values.n))
  if again then return second end
  error(text, 2)
end

if not bit then
  local function tobit(x)
    x = math.floor(x) & 0xffffffff
    return x >= 0x80000000 and x - 0x100000000 or x
  end
  local function fold(f)
    return function(x, ...)
      for _, y in ipairs({...}) do x = f(x, y) end
      return tobit(x)
    end
  end
  bit = {
    tobit = tobit,
    band = fold(function(x, y) return x & y end),
    bor = fold(function(x, y) return x | y end),
    bxor = fold(function(x, y) return x ~ y end),
    bnot = function(x) return tobit(~x) end,
    lshift = function(x, n) return tobit((x & 0xffffffff) << (n & 31)) end,
    rshift = function(x, n) return tobit((x & 0xffffffff) >> (n & 31)) end,
    arshift = function(x, n) return tobit(tobit(x) // (1 << (n & 31))) end,
    tohex = function(x, n) return format("%0" .. (n or 8) .. "x", x & 0xffffffff) end,
  }
end

-- Leaves through the door, so that what is to be done at the end is done.
function os.exit(code)
  error("the script exited (" .. tostring(code) .. ")", 2)
end

-- Says so when nobody reads what is printed.
local stdout, tostring, concat = io.stdout, tostring, table.concat
function print(...)
  local texts = table.pack(...)
  for i = 1, texts.n do texts[i] = tostring(texts[i]) end
  local ok, why = stdout:write(concat(texts, "\t", 1, texts.n), "\n")
  if not ok then error("cannot print: " .. tostring(why), 2) end
end
