-- What the gate was told, on disk, so that its old cache is of use after a restart.
--
--   freshline 1 <generation> <log> <identity> <crc>
--   <position> <verb> <host> <what>                   any number
--   commit <position> <mark> <crc>                    the gate stands here; crc of the lines since the last such line
--   part - - <crc>                                    the same, and more of the batch follows
--
-- Reading stops at the first thing that is not so. What lies behind it was never acknowledged, or is lost and will be
-- sent again, because the position is then an earlier one.
local memory = require "freshline.memory"
local state = memory.state

local M = {}
local concat, match, format = table.concat, string.match, string.format
local CHUNK = 1000           -- lines in one part of a compacted journal
local WORTH_BYTES = 1048576  -- a smaller journal is not compacted
local GROWTH = 4             -- compacted when it is so many times its size after the last compaction

local function header(generation, log)
  local text = format("freshline 1 %s %s %s", generation, log, memory.config.identity)
  return text .. " " .. ngx.crc32_long(text) .. "\n"
end

local function block(lines, kind, position, mark)
  local n = #lines
  lines[n + 1] = format("%s %s %s", kind, position, mark)
  local text = concat(lines, "\n")
  lines[n + 1] = nil
  return text .. " " .. ngx.crc32_long(text) .. "\n"
end

-- Gives every committed rule to `rule(line)`. Returns what the header and the last commit say, or nil and why.
-- `ragged` in it: something follows the last commit.
function M.read(rule)
  local file, why = io.open(memory.config.journal, "rb")
  if not file then return nil, why end
  local first = file:read("*l") or ""
  local text, generation, log, identity, crc = match(first, "^(freshline 1 (%S+) (%S+) (%S+)) (%d+)$")
  if not text or tonumber(crc) ~= ngx.crc32_long(text) then file:close(); return nil, "no header" end
  if identity ~= memory.config.identity then file:close(); return nil, "it belongs to another cache" end
  local found = {generation = generation, log = log, ragged = false}
  local lines, n = {}, 0
  for line in file:lines() do
    local head, kind, position, mark, sum = match(line, "^((%l+) (%S+) (%S+)) (%d+)$")
    if kind == "commit" or kind == "part" then
      lines[n + 1] = head
      if tonumber(sum) ~= ngx.crc32_long(concat(lines, "\n", 1, n + 1)) then n = 1; break end
      for i = 1, n do rule(lines[i]) end
      if kind == "commit" then found.position, found.mark = tonumber(position), mark end
      lines, n = {}, 0
    else
      n = n + 1
      lines[n] = line
    end
  end
  found.bytes = file:seek("end")
  file:close()
  found.ragged = n > 0
  if not found.position then return nil, "nothing committed" end
  return found
end

local function write(mode, path, pieces)
  local file, why = io.open(path, mode)
  if not file then return nil, why end
  local ok
  ok, why = pieces(file)
  local closed, failed = file:close()
  if not ok or not closed then return nil, why or failed or "could not write" end
  return true
end

function M.append(lines, position, mark)
  local text = block(lines, "commit", position, mark)
  local ok, why = write("ab", memory.config.journal, function(file) return file:write(text) end)
  if not ok then
    state:set("ragged", true)
    return nil, why
  end
  state:incr("journal_bytes", #text, 0)
  return true
end

local function replace(generation, log, position, mark, fill)
  local path, bytes = memory.config.journal .. ".new", 0
  local ok, why = write("wb", path, function(file)
    local function put(text)
      bytes = bytes + #text
      return file:write(text)
    end
    local done, failed = put(header(generation, log))
    if done and fill then done, failed = fill(put) end
    if not done then return nil, failed end
    return put(block({}, "commit", position, mark))
  end)
  if ok then ok, why = os.rename(path, memory.config.journal) end
  if not ok then
    os.remove(path)
    return nil, why
  end
  state:set("ragged", false)
  state:set("journal_bytes", bytes)
  state:set("journal_base", bytes)
  return true
end

-- A new journal that knows no rules.
function M.begin(generation, log, position, mark) return replace(generation, log, position, mark) end

function M.due()
  if state:get("ragged") then return true end
  local bytes = state:get("journal_bytes") or 0
  return bytes > WORTH_BYTES and bytes > GROWTH * (state:get("journal_base") or 0)
end

-- Writes it anew with the rules that still count. Nil and why if not; and true if it is past use.
function M.compact(live, hold)
  local log, position, mark = memory.at()
  local lost = false
  local ok, why = replace(state:get("generation"), log, position, mark, function(put)
    local lines, failed = {}, nil
    local function hand_over()
      local ok, why = put(block(lines, "part", "-", "-"))
      if not ok then failed = why end
      lines = {}
    end
    local found, why = M.read(function(line)
      if live(line) then lines[#lines + 1] = line end
      if #lines >= CHUNK then hand_over() end
    end)
    if #lines > 0 then hand_over() end
    hold()
    if failed then return nil, failed end
    -- Without a header, or with a hole: what the gate stands at is not all on disk any more.
    lost = not found or found.generation ~= state:get("generation") or found.position < position
    if lost then return nil, why or "it ends at " .. found.position end
    return true
  end)
  return ok, why, lost
end

return M
