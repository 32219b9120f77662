-- What an answer begins with.
local Head = {}
Head.__index = Head
local find, match, lower = string.find, string.match, string.lower

-- Nil if it is not HTTP's.
function Head.of(text)
  local status = tonumber(match(text, "^HTTP/1%.[01] (%d%d%d)"))
  return status and setmetatable({status = status, text = text, lower = lower(text)}, Head)
end

-- Of a header, given in lower case; empty if there is none.
function Head:value(name)
  local _, to = find(self.lower, "\n" .. name .. ":", 1, true)
  return to and match(self.text, "^[ \t]*([^\r\n]-)[ \t]*\r?\n", to + 1) or ""
end

-- All of it was there, and in one piece.
function Head:is_hit()
  return find(self:value("freshline-said"), "|HIT|", 1, true) and self:value("freshline-slice") == ""
end

return Head
