-- What nginx has on disk under a key, without asking nginx (ngx_http_file_cache_header_t, version 5, 64-bit little endian).
local memory = require "freshline.memory"
local M = {}
local VERSION = 5
local HEADER = 336
local ANSWER = 2048          -- bytes of the stored answer's head that are looked at

local function number(text, offset, bytes)
  local n = 0
  for i = offset + bytes, offset + 1, -1 do n = n * 256 + text:byte(i) end
  return n
end

function M.path(key)
  local name = ngx.md5(key)
  local out, stop = {memory.config.cache_path}, 32
  for _, length in ipairs(memory.config.levels) do
    out[#out + 1] = name:sub(stop - length + 1, stop)
    stop = stop - length
  end
  out[#out + 1] = name
  return table.concat(out, "/")
end

-- {varies=, bytes=, good=} if an object that has not expired is stored under the key. Where it varies this is one of its
-- variants. It is good if it is known to answer 2xx. Where it is a slice, `whole` is the size of what it is a slice of.
function M.look(key)
  local file = io.open(M.path(key), "rb")
  if not file then return nil, "nothing on disk" end
  local head = file:read(HEADER + 6 + #key + 1) or ""
  local answer = #head >= HEADER and file:seek("set", number(head, 54, 2)) and file:read(ANSWER) or ""
  local size = file:seek("end")
  file:close()
  if #head < HEADER or number(head, 0, 8) ~= VERSION then return nil, "a file of another nginx" end
  if head:sub(HEADER + 1) ~= "\nKEY: " .. key .. "\n" then return nil, "another key" end
  if number(head, 8, 8) < ngx.time() then return nil, "expired" end
  return {
    varies = head:byte(188) > 0, bytes = size - number(head, 56, 2), good = answer:find("^HTTP/1%.[01] 2%d%d") ~= nil,
    whole = tonumber(answer:match("\n[Cc]ontent%-[Rr]ange: *bytes %d+%-%d+/(%d+)")),
  }
end

return M
