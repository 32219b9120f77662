-- Bring an object into the cache by asking for it as a visitor would.
local ffi = require "ffi"
local disk = require "freshline.disk"
local memory = require "freshline.memory"
local visit = require "freshline.visit"
local wire = require "freshline.wire"

local M = {}
local ROUNDS = 5             -- how often a fetch that a refresh overtook, or a stale answer, is begun again
local LOOK_SECONDS = 0.5     -- how long the end of an object's storing is waited for, about
local match = string.match
local NOT_SENT = {           -- nginx's own, ours, or what would make another request of it
  connection = true, ["keep-alive"] = true, ["proxy-connection"] = true, ["proxy-authenticate"] = true,
  ["proxy-authorization"] = true, te = true, trailer = true, ["transfer-encoding"] = true, upgrade = true, host = true,
  ["content-length"] = true, expect = true, range = true, ["if-range"] = true, ["if-match"] = true,
  ["if-none-match"] = true, ["if-modified-since"] = true, ["if-unmodified-since"] = true,
  ["freshline-fetch"] = true, ["freshline-key"] = true,
}

-- Nil if the header may go out, else why not.
function M.refusal(name, value)
  if not name:find("^[%w!#$&'*+.^_`|~-]+$") then return "a header name that is none" end
  if NOT_SENT[name:lower()] then return "header " .. name .. " may not be set" end
  if value:find("[%z\1-\8\10-\31\127]") then return "a control character in header " .. name end
end

local word                   -- the same for as long as this worker lives
local function request_of(object, own)
  local names, lines = {}, {"GET " .. object.target .. " HTTP/1.1", "Host: " .. object.host}
  for _, header in ipairs(object.headers) do
    names[header[1]:lower()] = true
    lines[#lines + 1] = header[1] .. ": " .. header[2]
  end
  if not names["user-agent"] then lines[#lines + 1] = "User-Agent: freshline" end
  if not names["accept"] then lines[#lines + 1] = "Accept: */*" end
  if not own then
    word = word or ffi.string(memory.state.token)
    lines[#lines + 1] = "freshline-fetch: " .. word
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

local function refused(object)
  for _, header in ipairs(object.headers) do
    local why = M.refusal(header[1], header[2])
    if why then return why end
  end
end

-- Among others: true if it is on its way, and the party will hear of it under this number.
function M.begin(party, number, object)
  return object.scheme == "http" and not refused(object) and party:send(number, request_of(object, true))
end

-- One GET. What the answer began with, its size, and why it is not whole; or nil and why.
local function get(object)
  local party = object.scheme == "http" and visit.party()
  if party then
    local said = party:send(1, request_of(object, true)) and party:next()
    local head, bytes, why
    if said then head, bytes, why = visit.heard(said) end
    party:leave()
    if said then return head, bytes, why end
  end
  return wire.get(object.scheme, object.host, request_of(object))
end

-- The last entry of nginx's "a, b : c".
local function last(text) return text:match("([^,:%s]+)%s*$") or "-" end

local function key(scheme, host, target, epoch) return scheme .. "://" .. host .. target .. "|" .. epoch end

local function key_of_slice(whole, size, at) return whole .. "bytes=" .. string.format("%.0f-%.0f", at, at + size - 1) end

-- An object that is stored in slices is there if every one of them is.
local function look_at_slices(whole, size, bytes)
  local found, why = disk.look(key_of_slice(whole, size, 0))
  if not found then return nil, why end
  bytes = bytes or found.whole
  if not bytes then return nil, "the length of what is in slices is not known" end
  if found.bytes >= bytes then return found end              -- small, or of an origin that knows no ranges
  for at = size, bytes - 1, size do
    local slice
    slice, why = disk.look(key_of_slice(whole, size, at))
    if not slice then return nil, why .. " of the slice at " .. string.format("%.0f", at) end
    if not slice.good then return nil, "the slice at " .. string.format("%.0f", at) .. " is none" end
  end
  return {varies = found.varies, bytes = bytes, good = found.good}
end

-- What is stored of it and under which position; or nil and why.
function M.probe(scheme, host, target)
  local epoch, position = memory.look(host, target)
  local whole = key(scheme, host, target, epoch)
  local found, why = disk.look(whole)
  local size = not found and memory.C.freshline_slice(host, #host) or 0     -- of the last that was fetched from there
  if size > 0 then found, why = look_at_slices(whole, size) end
  if not found then return nil, why end
  return found, position
end

-- nginx has sent the last byte a moment before the object is in its place.
local function look_soon(look)
  local pause = 0.001
  while true do
    local found, why = look()
    if found or pause > LOOK_SECONDS then return found, why end
    ngx.sleep(pause)
    pause = pause * 2
  end
end

-- Outcome, status, bytes and what to say of what one GET brought.
local function judge(object, head, bytes, why)
  local scheme, host, target = object.scheme, object.host, object.target
  if not head then return "other", 0, 0, bytes end
  local status = head.status
  local upstream, header_time, cache, epoch = match(head:value("freshline-said"), "^(.-)|(.-)|(.-)|(.*)$")
  if not upstream then
    return "other", status, 0, why or "the site's answer did not pass through the gate"
  end
  local size = tonumber(match(head:value("freshline-slice"), "^bytes=0%-(%d+)$"))
  size = size and size + 1
  local answered = tonumber(last(upstream)) or 0
  if cache ~= "HIT" then
    if answered >= 500 and last(header_time) ~= "-" then
      return "origin-status", answered, 0, "the origin answered " .. answered
    elseif answered == 504 then
      return "origin-timeout", 0, 0, "no headers from the origin in time"
    elseif answered >= 500 then
      return "other", 0, 0, "no answer from the origin"
    end
  elseif status >= 500 then
    return "origin-status", status, 0, "the origin answered " .. status .. ", and that is in the cache"
  end
  if why then return "other", status, 0, why end
  if status >= 300 and status < 400 then
    local location = head:value("location")
    if location ~= "" then return "other", status, 0, "redirects to " .. location end
  end
  if status < 200 or status > 299 then return "other", status, 0, "answered " .. status end
  if cache == "HIT" and not size then return "stored", status, bytes, "already" end
  if cache == "STALE" or cache == "UPDATING" then return "again", status, bytes, "an old answer, being renewed" end
  if epoch ~= memory.look(host, target) then return "again", status, bytes, "refreshed meanwhile" end
  local whole = key(scheme, host, target, epoch)
  local found
  found, why = look_soon(function()
    if not size then return disk.look(whole) end
    return look_at_slices(whole, size, bytes)
  end)
  if not found then return "other", status, bytes, "not stored: " .. why end
  if size then
    memory.C.freshline_set_slice(host, #host, size)
    return "stored", status, bytes, "fetched in slices"
  end
  if found.varies then return "varies", status, bytes, "one variant is stored" end
  return "stored", status, bytes, "fetched"
end

-- `come`, where it has been asked for already: what M.heard says of that.
function M.fetch(object, come)
  local why = refused(object)
  if why then return "other", 0, 0, why end
  if not come and not (object.scheme == "http" and visit.possible()) then
    local there = M.probe(object.scheme, object.host, object.target)
    if there and there.good and not there.varies then return "stored", 200, there.bytes, "already" end
  end
  local outcome, status, bytes
  for _ = 1, ROUNDS do
    if come then
      outcome, status, bytes, why = judge(object, come[1], come[2], come[3])
      come = nil
    else
      outcome, status, bytes, why = judge(object, get(object))
    end
    if outcome == "varies" then                             -- ours, or another's: who asks again must get it from the cache
      local size = bytes
      outcome, status, bytes, why = judge(object, get(object))
      if outcome == "stored" then return outcome, status, size, "fetched" end
      if outcome == "varies" then return "other", status, size, "not stored: this variant" end
    end
    if outcome ~= "again" then return outcome, status, bytes, why end
    ngx.sleep(0.2)
  end
  return "other", status, bytes, why
end

return M
