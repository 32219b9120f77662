-- Which rules are past their time. A rule has to be there for as long as something may be stored that it put out of reach,
-- which nginx removes when nobody has asked for it for `inactive=`.
--
-- Rules come in the order of their positions, so it is enough to know of some positions when they were reached: that is
-- "ages" in state, "<position> <boot ms> <wall ms>" each. What was put before such a moment is past its time when
-- ttl_seconds have gone by since on both clocks: on the machine's, which nobody sets, so that setting the date forward
-- ends no rule early; and on the wall's, by which nginx goes, so that what it keeps longer because the date was set
-- back does not outlive its rules. After a restart the time begins anew, as it does for what is stored. "expired" is the
-- last position past its time, "swept" the last up to which such rules were dropped (compact.lua).
local clock = require "freshline.clock"
local memory = require "freshline.memory"
local state = memory.state

local M = {}
local STEPS = 16             -- so many moments are kept for one ttl; a rule outlives its time by one of them at most
local gmatch, format, concat = string.gmatch, string.format, table.concat

-- Everything before is gone, or begins anew.
function M.begin()
  state:set("ages", "")
  state:set("expired", 0)
  state:set("swept", 0)
end

-- The gate stands at `position` now. Returns the position up to which rules are past their time.
function M.reached(position)
  local boot, wall, ttl = clock.boot(), clock.wall(), memory.config.ttl_seconds * 1000
  local expired, kept, latest = state:get("expired") or 0, {}, nil
  for at, since, date in gmatch(state:get("ages") or "", "(%d+) (%d+) (%d+)\n") do
    at, since, date = tonumber(at), tonumber(since), tonumber(date)
    if boot - since >= ttl and wall - date >= ttl then
      expired = math.max(expired, at)
    else
      kept[#kept + 1] = format("%d %d %d\n", at, since, date)
      latest = since
    end
  end
  if not latest or boot - latest >= ttl / STEPS then
    if #kept > 4 * STEPS then kept[#kept] = nil end         -- the date was set back far, or again and again
    kept[#kept + 1] = format("%d %d %d\n", position, boot, wall)
  end
  state:set("ages", concat(kept))
  state:set("expired", expired)
  return expired
end

return M
