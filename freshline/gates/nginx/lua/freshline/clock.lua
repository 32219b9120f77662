-- Milliseconds since the machine started: goes on while it sleeps, and is nobody's to set.
local ffi = require "ffi"

ffi.cdef [[
typedef struct { long seconds, nanoseconds; } freshline_time;
int freshline_clock(int id, freshline_time *to) __asm__("clock_gettime");
]]
local C, time = ffi.C, ffi.new("freshline_time")
local WALL, BOOT = 0, 7
local tonumber, floor = tonumber, math.floor

local M = {}

local function read(id)
  C.freshline_clock(id, time)
  return tonumber(time.seconds) * 1000 + floor(tonumber(time.nanoseconds) / 1000000)
end

function M.boot() return read(BOOT) end

-- The one that people, and nginx for the age of what it has stored, go by; it may be set.
function M.wall() return read(WALL) end

return M
