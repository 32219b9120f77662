-- The journal made small again, and rules past their time dropped, beside the running gate.
--
-- One worker reads the journal up to where it ended when it began, and writes what still counts to a file of its own, a
-- little at a time. What is appended meanwhile is copied behind it as it stands; the last of it, and the new file's
-- coming into the place of the old, happen under the gate's lock. Killed at any moment it leaves the journal as it was.
-- A rule may be left out when one that is newer says the same: that one is further on in the journal, because a batch
-- is written there before it is put into the dict.
local journal = require "freshline.journal"
local memory = require "freshline.memory"
local rules = require "freshline.rules"

local M = {}
local REST_SECONDS = 10      -- after one that failed
local AT_ONCE = 250          -- lines between two breaths
local CHUNK = 1000           -- lines in one part
local PIECE = 262144         -- bytes copied at once, and at most under the lock
local CATCHING_UP = 1000     -- pieces
local concat, sub, format = table.concat, string.sub, string.format

local function work(locked, breathe)
  local state = memory.state
  local turn, whole, generation = state.journal_turn, tonumber(state.journal_bytes), state.generation
  local expired = memory.expired()
  local log = memory.at()
  local source, why = journal.open()
  if not source then return nil, why, turn end
  local path, bytes = memory.config.journal .. ".compact", 0
  local out
  out, why = io.open(path, "wb")
  if not out then source:close(); return nil, why end
  local failed
  local function put(text)
    local ok, because = out:write(text)
    if not ok then failed = failed or because end
    bytes = bytes + #text
  end
  local function give_up(because, lost)
    source:close()
    out:close()
    os.remove(path)
    return nil, because, lost and turn
  end

  put(journal.header(generation, log))
  local lines, doomed, seen = {}, {}, 0
  local function hand_over()
    if #doomed > 0 then
      locked(function()
        for _, rule in ipairs(doomed) do rules.drop(unpack(rule)) end
        return 200
      end)
    end
    if #lines > 0 then put(journal.block(lines, "part", "-", "-")) end
    lines, doomed = {}, {}
  end
  while source.found.bytes < whole do
    local text = source:next()
    if not text then return give_up("it ends at byte " .. source.found.bytes .. " of " .. whole, true) end
    local fine = journal.each(text, function(position, verb, host, what, from, to)
      local name = memory.decode(what)
      if position <= expired then
        doomed[#doomed + 1] = {position, verb, host, name}
      elseif rules.live(position, verb, host, name) then
        lines[#lines + 1] = sub(text, from, to - 1)
      end
      seen = seen + 1
      if seen % AT_ONCE == 0 then breathe() end
      if #lines + #doomed >= CHUNK then hand_over() end
    end)
    if not fine then return give_up("a line that is none", true) end
    if failed then return give_up(failed) end
  end
  hand_over()
  local found = source.found
  if found.bytes ~= whole or found.generation ~= generation then return give_up("it is another one", true) end
  put(journal.block({}, "commit", format("%d", found.position), found.mark))
  local kept = bytes

  local copied = whole
  local function copy(limit)
    source.file:seek("set", copied)
    local piece = source.file:read(limit)
    if not piece then return nil end
    put(piece)
    copied = copied + #piece
    return true
  end
  for _ = 1, CATCHING_UP do
    local left = tonumber(state.journal_bytes) - copied
    if left <= PIECE or state.journal_turn ~= turn then break end
    if failed or not copy(PIECE) then return give_up(failed or "it is shorter than it was", not failed) end
    breathe()
  end
  local status
  status, why = locked(function()
    if state.journal_turn ~= turn then return 409, "flushed meanwhile" end
    if not memory.sound() then return 409, "the configuration was reloaded meanwhile" end
    while copied < tonumber(state.journal_bytes) and not failed do
      if not copy(math.min(PIECE, tonumber(state.journal_bytes) - copied)) then return 500, "it is shorter than it was" end
    end
    if not out:close() or failed then return 500, failed or "could not write" end
    local ok, because = journal.replace(path, bytes)
    if not ok then return 500, because end
    state.journal_base = kept
    return 200
  end)
  if status ~= 200 then
    pcall(out.close, out)
    source:close()
    os.remove(path)
    return nil, why
  end
  source:close()
  if expired > tonumber(state.swept) then
    state.swept = expired
    memory.C.freshline_changed(1)                           -- answers that workers remember may be of what was dropped
  end
  return true
end

local function run(locked, collapse)
  local state = memory.state
  local mine = memory.lock(memory.COMPACTING)
  if not mine then return end
  local function breathe()
    ngx.sleep(0.001)
    if ngx.worker.exiting() then error("the worker ends", 0) end
  end
  local done, ok, why, lost = pcall(work, locked, breathe)
  if not done then ok, why = nil, ok end
  if not ok then
    ngx.log(ngx.WARN, "freshline: the journal was not compacted: ", why)
    if not ngx.worker.exiting() then state.rest_until_ms = memory.C.freshline_now(0) + REST_SECONDS * 1000 end
  end
  if lost then                                              -- what the gate stands at is not all on disk any more
    locked(function()
      local log, position, mark = memory.at()
      if state.journal_turn == lost then
        collapse("the journal is past use, " .. why, log, position, mark)
      end
      return 200
    end)
  end
  memory.unlock(memory.COMPACTING, mine)
end

-- Begin, unless somebody is at it.
function M.soon(locked, collapse)
  if memory.C.freshline_now(0) < tonumber(memory.state.rest_until_ms) then return end
  ngx.timer.at(0, function(premature)
    if not premature then run(locked, collapse) end
  end)
end

return M
