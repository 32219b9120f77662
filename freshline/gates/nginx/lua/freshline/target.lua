-- Paths in one spelling. The same function as freshline/domain/target.py, canonical_path: tests feed both the same bytes.
local M = {}
local byte, char, find, gsub, gmatch, sub = string.byte, string.char, string.find, string.gsub, string.gmatch, string.sub
local concat = table.concat

local function octet(hex) return char(tonumber(hex, 16)) end

function M.decode(text)
  if not find(text, "%", 1, true) then return text end
  return (gsub(text, "%%(%x%x)", octet))
end
local decode = M.decode

-- Escapes decoded, runs of slashes folded, dot segments resolved.
function M.path(raw)
  local path = decode(raw)
  if byte(path, 1) ~= 47 then path = sub(path, find(path, "/", 1, true) or #path + 1) end
  if path == "" then return "/" end
  if find(path, "//", 1, true) then path = gsub(path, "/+", "/") end
  if not find(path, "/.", 1, true) then return path end
  local out, n, last = {}, 0, nil
  for segment in gmatch(path, "/([^/]*)") do
    last = segment
    if segment == ".." then
      if n > 0 then out[n] = nil; n = n - 1 end
    elseif segment ~= "." then
      n = n + 1
      out[n] = segment
    end
  end
  if (last == "." or last == "..") and out[n] ~= "" then n = n + 1; out[n] = "" end
  return (gsub("/" .. concat(out, "/", 1, n), "/+", "/"))
end

-- A request's target as it came: its canonical path, and path?query (nil where there is no query).
function M.canonical(target)
  local hash = find(target, "#", 1, true)       -- nginx drops it from the path and keeps it in $request_uri
  if hash then target = sub(target, 1, hash - 1) end
  local mark = find(target, "?", 1, true)
  if not mark then return M.path(target), nil end
  local path = M.path(sub(target, 1, mark - 1))
  return path, path .. "?" .. decode(sub(target, mark + 1))
end

return M
