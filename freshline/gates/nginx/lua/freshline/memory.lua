-- What the workers share. `state` is small and never full; `rules` holds what was refreshed; `tags` what carries which tag.
--
-- state: serving     the generation in use: `generation`, or a throw-away one until the gate has caught up after a start
--        generation  a random id, new whenever the gate is flushed, overflows, or starts without a valid journal
--        at          "<log> <position> <mark>", one value so that nobody reads half of it; none while the journal is being read
--        reach       the last position that may have been put into `rules`: ahead of `at` while a batch is being applied
--        version     another number whenever an answer of rules.lua may have become another
--        sentinel    equal to the one in `rules`, or `rules` is not the memory that `at` speaks of
local ffi = require "ffi"
ffi.cdef [[ int freshline_kill(int pid, int signal) __asm__("kill"); ]]
local NO_SUCH_PROCESS = 3

local M = {
  state = ngx.shared.freshline_state,
  rules = ngx.shared.freshline_rules,
  tags = ngx.shared.freshline_tags,
  config = {},                                  -- filled by freshline.start
}
local state = M.state

function M.random()
  local source = assert(io.open("/dev/urandom", "rb"))
  local bytes = source:read(12)
  source:close()
  return (bytes:gsub(".", function(c) return string.format("%02x", c:byte()) end))
end

function M.throw_away(why) return why .. "-" .. M.random() end

-- Locks: keys of `state` that safe_add makes, with what `owner` says as the value.
function M.owner() return ngx.worker.pid() .. " " .. M.random() end

-- Nobody waits for a worker that died. True if it was so and the lock is gone.
function M.unlock_dead(name)
  local owner = state:get(name)
  local pid = type(owner) == "string" and tonumber(owner:match("^%d+"))
  if not pid or ffi.C.freshline_kill(pid, 0) == 0 or ffi.errno() ~= NO_SUCH_PROCESS then return false end
  if not state:safe_add("unlocking", true, 1) then return false end       -- or two would do it, one of them to a new owner
  local mine = state:get(name) == owner
  if mine then state:delete(name) end
  state:delete("unlocking")
  return mine
end

-- After the change can be seen, and before anybody is told that it was made.
function M.changed() state:incr("version", 1, 0) end

function M.serve(generation)
  state:set("serving", generation)
  M.changed()
end

function M.at()
  local log, position, mark = (state:get("at") or "- 0 -"):match("^(%S+) (%d+) (%S+)$")
  return log, tonumber(position), mark
end

function M.stand(log, position, mark) assert(state:safe_set("at", string.format("%s %d %s", log, position, mark))) end

-- False after a reload changed the size of `rules`, in a worker that still has the old one.
function M.sound() return M.rules:get("\1") == state:get("sentinel") end

function M.synced() return state:get("serving") == state:get("generation") end

return M
