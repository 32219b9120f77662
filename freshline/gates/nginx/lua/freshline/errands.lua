-- Several fetches asked for in one request: all of them go at once, and each is answered as soon as it has ended.
local fetch = require "freshline.fetch"
local visit = require "freshline.visit"

local M = {}
local TOGETHER_SECONDS = 0.001   -- answers that follow one another so closely leave as one piece
local format, gsub, concat = string.format, string.gsub, table.concat
local at_work = 0            -- lists that this worker is at

function M.line(outcome, status, bytes, why)
  return format("fetched %s %d %d %s\n", outcome, status, bytes, gsub(why, "[^ -~]", " "))
end

local function answer_to(object, come)
  local done, outcome, status, bytes, why = pcall(fetch.fetch, object, come)
  if not done then
    ngx.log(ngx.ERR, "freshline: ", outcome)
    return "failed it broke\n"
  end
  return M.line(outcome, status, bytes, why)
end

-- A worker that is at several lists while others may have none. Connections come to whoever is awake and idle, so one that
-- is made anew now comes to another.
local function crowded() return at_work > 1 and ngx.worker.count() > 1 end

local function each(objects, say)
  local lines, left, waiting = {}, #objects, false
  local function tell()
    local text = concat(lines)
    lines = {}
    if text == "" then return end
    if not ngx.headers_sent and crowded() then visit.last() end
    say(text, left == 0)
  end
  local function add(number, line)
    lines[#lines + 1] = number .. " " .. line
    left = left - 1
  end
  local threads = {}
  local function in_thread(number, come)
    threads[#threads + 1] = ngx.thread.spawn(function()
      add(number, answer_to(objects[number], come))
      if left == 0 or waiting then return end
      waiting = true
      ngx.sleep(TOGETHER_SECONDS)
      waiting = false
      tell()
    end)
  end

  local party = visit.party()
  for number, object in ipairs(objects) do
    if not (party and fetch.begin(party, number, object)) then in_thread(number) end
  end
  local said = party and party:next()
  while said do
    repeat
      if said.stored ~= 0 then
        add(said.number, format("fetched stored %d %d fetched\n", said.status, said.bytes))
      else                                                  -- to be judged, which may take another look
        in_thread(said.number, {visit.heard(said)})
      end
      said = party:ended()
      if not said and not waiting and left > 0 and #lines > 0 then
        waiting = true
        ngx.sleep(TOGETHER_SECONDS)
        waiting = false
        said = party:ended()
      end
    until not said
    tell()
    said = party:next()
  end
  if party then party:leave() end
  for _, thread in ipairs(threads) do ngx.thread.wait(thread) end
  tell()
end

-- Each of the objects by itself; `say` gets the answers, some lines at a time, and whether these are the last. Returns when
-- all have been said.
function M.each(objects, say)
  at_work = at_work + 1
  local done, why = pcall(each, objects, say)
  at_work = at_work - 1
  if not done then error(why, 0) end
end

return M
