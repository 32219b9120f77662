-- The rules, which the module keeps: only under the gate's lock, but for M.load.
local memory = require "freshline.memory"

local M = {}
local byte = string.byte

-- Before the first of a batch, and when all of them are there.
function M.begin() memory.C.freshline_begin() end
function M.publish() memory.C.freshline_publish() end

-- False when there is no room.
function M.put(position, verb, host, what)
  return memory.C.freshline_put(position, byte(verb), host, #host, what, #what) ~= 0
end

-- Puts a journal's lines. How many there were; or nil and why.
function M.load(text)
  local lines = memory.C.freshline_load(text, #text)
  if lines >= 0 then return lines end
  return nil, lines == -1 and "a line that is none" or "more rules than freshline_memory has room for"
end

-- This very rule, and no newer one: whether it is still there, and away with it, as it is past its time.
function M.live(position, verb, host, what)
  return memory.C.freshline_live(position, byte(verb), host, #host, what, #what) ~= 0
end
function M.drop(position, verb, host, what)
  memory.C.freshline_drop(position, byte(verb), host, #host, what, #what)
end

function M.clear() memory.C.freshline_clear() end

-- How many patterns the host has room for.
function M.pattern_room(host)
  return memory.config.patterns_per_host - memory.C.freshline_patterns(host, #host)
end

return M
