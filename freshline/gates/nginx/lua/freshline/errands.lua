-- Several fetches asked for in one request: all of them go at once, and each is answered as soon as it has ended.
local fetch = require "freshline.fetch"

local M = {}
local TOGETHER_SECONDS = 0.001   -- answers that follow one another so closely leave as one piece
local format, gsub, concat = string.format, string.gsub, table.concat

function M.line(outcome, status, bytes, why)
  return format("fetched %s %d %d %s\n", outcome, status, bytes, gsub(why, "[^ -~]", " "))
end

local function answer_to(object)
  local done, outcome, status, bytes, why = pcall(fetch.fetch, object.scheme, object.host, object.target, object.headers)
  if not done then
    ngx.log(ngx.ERR, "freshline: ", outcome)
    return "failed it broke\n"
  end
  return M.line(outcome, status, bytes, why)
end

-- Each of the objects by itself; `say` gets the answers, some lines at a time. Returns when all have been said.
function M.each(objects, say)
  local lines, left, waiting = {}, #objects, false
  local function tell()
    local text = concat(lines)
    lines = {}
    say(text)
  end
  local threads = {}
  for number, object in ipairs(objects) do
    threads[number] = ngx.thread.spawn(function()
      local line = number .. " " .. answer_to(object)
      lines[#lines + 1] = line
      left = left - 1
      if left == 0 or waiting then return end
      waiting = true
      ngx.sleep(TOGETHER_SECONDS)
      waiting = false
      if #lines > 0 then tell() end
    end)
  end
  for _, thread in ipairs(threads) do ngx.thread.wait(thread) end
  if #lines > 0 then tell() end
end

return M
