-- What the gate was told, on disk, so that its old cache is of use after a restart.
--
--   freshline 1 <generation> <log> <identity> <crc>
--   <position> <verb> <host> <what>                   any number
--   commit <position> <mark> <crc>                    the gate stands here; crc of the lines since the last such line
--   part - - <crc>                                    the same, and more of the batch follows
--
-- Reading stops at the first thing that is not so. What lies behind it was never acknowledged, or is lost and will be
-- sent again, because the position is then an earlier one.
--
-- `journal_bytes` in the state is where the last block ends that was written whole. What lies beyond it, left by a worker
-- that died or by a full disk, is cut off before anything is written behind it.
local ffi = require "ffi"
local memory = require "freshline.memory"
ffi.cdef [[ int freshline_truncate(const char *path, int64_t length) __asm__("truncate"); ]]

local M = {}
local concat, find, match, sub, format = table.concat, string.find, string.match, string.sub, string.format
local WINDOW = 1048576       -- bytes read at once, at least
local WORTH_BYTES = 1048576  -- a smaller journal is not compacted
local GROWTH = 2             -- compacted when it is so many times its size after the last compaction

function M.header(generation, log)
  local text = format("freshline 1 %s %s %s", memory.word(generation), log, memory.config.identity)
  return text .. " " .. ngx.crc32_long(text) .. "\n"
end

function M.block(lines, kind, position, mark)
  local n = #lines
  lines[n + 1] = format("%s %s %s", kind, position, mark)
  local text = concat(lines, "\n")
  lines[n + 1] = nil
  return text .. " " .. ngx.crc32_long(text) .. "\n"
end

-- Reading. A reader goes block by block, and can be put aside: `found` is what the header and the last commit so far
-- say, and `bytes` in it where that commit ends.
local Reader = {}
Reader.__index = Reader

function M.open()
  local file, why = io.open(memory.config.journal, "rb")
  if not file then return nil, why end
  local first = file:read("*l") or ""
  local text, generation, log, identity, crc = match(first, "^(freshline 1 (%S+) (%S+) (%S+)) (%d+)$")
  if not text or tonumber(crc) ~= ngx.crc32_long(text) then file:close(); return nil, "no header" end
  generation = memory.generation(generation)
  if not generation then file:close(); return nil, "it is another gate's" end
  if identity ~= memory.config.identity then file:close(); return nil, "it belongs to another cache" end
  -- What was read and not used yet is `text` from `at`, the LF before the next block; that is at `offset` of the file.
  return setmetatable({
    file = file, text = "\n", at = 1, offset = #first,
    found = {generation = generation, log = log, bytes = #first + 1},
  }, Reader)
end

-- Another process's handle shares its place in the file with ours: take one of our own.
function Reader:reopen()
  self.text, self.at = "\n", 1
  self.file = assert(io.open(memory.config.journal, "rb"))
  assert(self.file:seek("set", self.offset + 1))
end

function Reader:close() self.file:close() end

-- The lines of the next block, each ended by LF ("" if it has none); or nil at the end, or at what is not so.
function Reader:next()
  local text, at = self.text, self.at
  local looked = at
  while true do
    local last = find(text, "\n[cp]", looked)               -- a rule begins with a digit
    local stop = last and find(text, "\n", last + 1, true)
    if stop then
      local kind, position, mark, to, sum = match(sub(text, last + 1, stop), "^(%l+) (%S+) (%S+)() (%d+)\n$")
      if not (kind == "commit" or kind == "part") then return nil end
      if tonumber(sum) ~= ngx.crc32_long(sub(text, at + 1, last + to - 1)) then return nil end
      self.at, self.offset = stop, self.offset + stop - at
      if kind == "commit" then
        local found = self.found
        found.position, found.mark, found.bytes = tonumber(position), mark, self.offset + 1
      end
      return sub(text, at + 1, last)
    end
    local left = #text - at + 1
    local more = self.file:read(left > WINDOW and left or WINDOW)
    if not more then return nil end
    looked = (last or #text) - at + 1
    text, at = sub(text, at) .. more, 1
    self.text, self.at = text, at
  end
end

-- Gives each line of a block to `rule(position, verb, host, what, line)`, `what` as it is written. False as soon as that
-- says so, or if a line is none.
function M.each(text, rule)
  local at, size = 1, #text
  while at < size do
    local a = find(text, " ", at, true)
    local b = a and find(text, " ", a + 1, true)
    local c = b and find(text, " ", b + 1, true)
    local stop = c and find(text, "\n", c + 1, true)
    local position = stop and tonumber(sub(text, at, a - 1))
    if not position then return false end
    if rule(position, sub(text, a + 1, b - 1), sub(text, b + 1, c - 1), sub(text, c + 1, stop - 1), at, stop) == false then
      return false
    end
    at = stop + 1
  end
  return true
end

-- Writing: only under the gate's lock.

-- Whether the file ends where the last block does, cutting off what is beyond. Nil and why if not; and true if some of
-- what is committed is gone.
function M.mend()
  if memory.state.replacing ~= 0 then return nil, "a worker died while it was replaced", true end
  local file, why = io.open(memory.config.journal, "rb")
  if not file then return nil, why, true end
  local size = file:seek("end")
  file:close()
  local whole = tonumber(memory.state.journal_bytes)
  if size == whole then return true end
  if size < whole then return nil, "it ends at byte " .. size .. " of " .. whole, true end
  if ffi.C.freshline_truncate(memory.config.journal, whole) ~= 0 then
    return nil, "cannot be cut where its last block ends: error " .. ffi.errno()
  end
  return true
end

function M.append(lines, position, mark)
  local text = M.block(lines, "commit", position, mark)
  local file, why = io.open(memory.config.journal, "ab")
  if not file then return nil, why end
  local ok
  ok, why = file:write(text)
  local closed, failed = file:close()
  if not ok or not closed then return nil, why or failed or "could not write" end
  memory.state.journal_bytes = memory.state.journal_bytes + #text
  return true
end

-- Puts a whole journal of `bytes` in the old one's place.
function M.replace(path, bytes)
  local state = memory.state
  state.replacing = 1
  local ok, why = os.rename(path, memory.config.journal)
  if not ok then state.replacing = 0; return nil, why end
  state.journal_bytes = bytes
  state.journal_base = bytes
  state.journal_turn = state.journal_turn + 1
  state.replacing = 0
  return true
end

-- A new journal that knows no rules.
function M.begin(generation, log, position, mark)
  local path = memory.config.journal .. ".new"
  local text = M.header(generation, log) .. M.block({}, "commit", position, mark)
  local file, why = io.open(path, "wb")
  if not file then return nil, why end
  local ok, closed, failed
  ok, why = file:write(text)
  closed, failed = file:close()
  ok, why = ok and closed, why or failed
  if ok then ok, why = M.replace(path, #text) end
  if not ok then
    os.remove(path)
    return nil, why or "could not write"
  end
  return true
end

-- Has it grown so much that it is worth writing anew?
function M.grown()
  local bytes = tonumber(memory.state.journal_bytes)
  return bytes > WORTH_BYTES and bytes > GROWTH * tonumber(memory.state.journal_base)
end

return M
