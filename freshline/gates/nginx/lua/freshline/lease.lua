-- Until when the gate may rely on being told (docs/gates.md, "Clock and lease").
--
-- In `state`: boot, the name of this start's clock; lease, the time on that clock in milliseconds at which the lease ends.
-- A worker remembers that time and looks at the dict again when it has passed, or when anything changed.
local ffi = require "ffi"
local memory = require "freshline.memory"
local state = memory.state

local M = {}
local LIMIT_MS = 86400000
local LOCK_SECONDS = 1       -- a worker that died; what it held is held for microseconds
local BOOTTIME = 7           -- goes on while the machine sleeps, and is nobody's to set
local tonumber, match, floor = tonumber, string.match, math.floor

ffi.cdef [[
typedef struct { long seconds, nanoseconds; } freshline_time;
int freshline_clock(int id, freshline_time *to) __asm__("clock_gettime");
]]
local C, time = ffi.C, ffi.new("freshline_time")

local function clock()
  C.freshline_clock(BOOTTIME, time)
  return tonumber(time.seconds) * 1000 + floor(tonumber(time.nanoseconds) / 1000000)
end

-- In init_by_lua.
function M.start()
  if not state:get("boot") then state:set("boot", memory.random()) end
end

-- What a lease is told in.
function M.clock() return string.format("%s %d", state:get("boot"), clock()) end

-- "<boot> <milliseconds> <length> <position>", after a request was answered with 200. Not taken: nothing happens.
function M.take(header)
  local boot, from, length, least = match(header, "^([0-9a-z]+) (%d+) (%d+) (%d+)$")
  if boot ~= state:get("boot") or #from > 15 or #length > 15 or #least > 15 then return end
  from, length, least = tonumber(from), tonumber(length), tonumber(least)
  if length > LIMIT_MS or from > clock() then return end
  while not state:safe_add("lease lock", true, LOCK_SECONDS) do ngx.sleep(0.001) end
  local log, position = memory.at()
  if log ~= "-" and memory.synced() and position >= least and from + length > (state:get("lease") or 0) then
    state:set("lease", from + length)
  end
  state:delete("lease lock")
end

-- The gate lost what it was told, or started.
function M.finish() state:delete("lease") end

function M.left()
  local left = (state:get("lease") or 0) - clock()
  return left > 0 and left or 0
end

local known, until_ms = nil, 0
function M.held(version)
  local now = clock()
  if version == known and now < until_ms then return true end
  known, until_ms = version, state:get("lease") or 0
  return now < until_ms
end

return M
