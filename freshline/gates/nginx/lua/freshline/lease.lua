-- Until when the gate may rely on being told (docs/gates.md, "Clock and lease").
--
-- In `state`: boot, the name of this start's clock; lease, the time on that clock in milliseconds at which the lease ends.
-- A worker remembers that time and looks at the dict again when it has passed, or when anything changed.
local clock = require "freshline.clock"
local memory = require "freshline.memory"
local state = memory.state

local M = {}
local LIMIT_MS = 86400000
local LOCK_SECONDS = 1       -- a worker that died; what it held is held for microseconds
local tonumber, match, now_ms = tonumber, string.match, clock.boot

-- In init_by_lua.
function M.start()
  if not state:get("boot") then state:set("boot", memory.random()) end
end

-- What a lease is told in.
function M.clock() return string.format("%s %d", state:get("boot"), now_ms()) end

-- "<boot> <milliseconds> <length> <position>", after a request was answered with 200. Not taken: nothing happens.
function M.take(header)
  local boot, from, length, least = match(header, "^([0-9a-z]+) (%d+) (%d+) (%d+)$")
  if boot ~= state:get("boot") or #from > 15 or #length > 15 or #least > 15 then return end
  local me = memory.owner()
  from, length, least = tonumber(from), tonumber(length), tonumber(least)
  if length > LIMIT_MS or from > now_ms() then return end
  while not state:safe_add("lease lock", me, LOCK_SECONDS) do
    memory.unlock_dead("lease lock")
    ngx.sleep(0.001)
  end
  local log, position = memory.at()
  if log ~= "-" and memory.synced() and position >= least and from + length > (state:get("lease") or 0) then
    state:set("lease", from + length)
  end
  state:delete("lease lock")
end

-- The gate lost what it was told, or started.
function M.finish() state:delete("lease") end

function M.left()
  local left = (state:get("lease") or 0) - now_ms()
  return left > 0 and left or 0
end

local known, until_ms = nil, 0
function M.held(version)
  local now = now_ms()
  if version == known and now < until_ms then return true end
  known, until_ms = version, state:get("lease") or 0
  return now < until_ms
end

return M
