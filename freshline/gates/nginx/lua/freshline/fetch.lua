-- Bring an object into the cache by asking for it as a visitor would, through the site's own front door.
local ffi = require "ffi"
local disk = require "freshline.disk"
local memory = require "freshline.memory"

local M = {}
local CONNECT_MS, SEND_MS = 3000, 10000
local ROUNDS = 5             -- how often a fetch that a refresh overtook, or a stale answer, is begun again
local PIECE = 65536
local KEPT, KEPT_MS = 64, 10000  -- connections to the site, of one worker
local HEAD_BYTES = 262144    -- of an answer, at most
local LOOK_SECONDS = 0.5     -- how long the end of an object's storing is waited for, about
local find, match, sub, lower = string.find, string.match, string.sub, string.lower
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

-- Drops so many bytes of what is still to come. True, or nil and why not.
local function skip(sock, left)
  while left > 0 do
    local data, why = sock:receive(left < PIECE and left or PIECE)
    if not data then return nil, "cut off: " .. why end
    left = left - #data
  end
  return true
end

-- Looks for the pattern in what has come and what comes. All that has come, where it ends, what it captures; or nil and why.
local function read_to(sock, came, pattern, plain)
  while true do
    local from, to, captured = find(came, pattern, 1, plain)
    if from then return came, to, captured end
    if #came > HEAD_BYTES then return nil, "no end of what is not body" end
    local data, why = sock:receiveany(PIECE)
    if not data then return nil, "cut off: " .. why end
    came = came .. data
  end
end

-- Reads and drops a chunked body, of which `came` is there already. Its size, or nil and why it is not whole.
local function drain_chunks(sock, came)
  local bytes, to, size = 0, nil, nil
  while true do
    came, to, size = read_to(sock, came, "^(%x+)[^\n]*\n")
    if not came then return nil, to end
    size = tonumber(size, 16)
    came = sub(came, to + 1)
    if size == 0 then break end
    local ok, why = skip(sock, size + 2 - #came)            -- the bytes, and the end of their line
    if not ok then return nil, why end
    bytes, came = bytes + size, sub(came, size + 3)
  end
  repeat                                                    -- trailers, until a blank line
    came, to = read_to(sock, came, "\n", true)
    if not came then return nil, to end
    came = sub(came, to + 1)
  until to <= 2
  return bytes
end

-- Reads and drops the body. Its size, or nil and why it is not whole.
local function drain(sock, head, came)
  if head.status == 204 or head.status == 304 then return 0 end
  if head:value("transfer-encoding"):lower():find("chunked", 1, true) then return drain_chunks(sock, came) end
  local length = tonumber(head:value("content-length"))
  if not length then return nil, "an answer without a length" end
  local ok, why = skip(sock, length - #came)
  if not ok then return nil, why end
  return length
end

-- A connection to the site, kept from an earlier fetch if there is one.
local function connect(scheme, host)
  local config = memory.config
  local address = scheme == "https" and config.site_tls or scheme == "http" and config.site
  if not address then return nil, "no site for " .. scheme end
  local sock = ngx.socket.tcp()
  sock:settimeouts(CONNECT_MS, SEND_MS, config.fetch_seconds * 1000)
  local ok, why = sock:connect(address[1], address[2], {pool = scheme .. (scheme == "https" and host or ""), pool_size = KEPT})
  if not ok then return nil, "the site does not answer: " .. why end
  local kept = sock:getreusedtimes() > 0
  if scheme == "https" and not kept then
    ok, why = sock:sslhandshake(nil, host, false)
    if not ok then sock:close(); return nil, "TLS: " .. tostring(why) end
  end
  return sock, kept
end

local token                  -- the same for as long as this worker lives
local function request_of(host, target, extra)
  local names, lines = {}, {"GET " .. target .. " HTTP/1.1", "Host: " .. host}
  for _, header in ipairs(extra) do
    names[header[1]:lower()] = true
    lines[#lines + 1] = header[1] .. ": " .. header[2]
  end
  if not names["user-agent"] then lines[#lines + 1] = "User-Agent: freshline" end
  if not names["accept"] then lines[#lines + 1] = "Accept: */*" end
  token = token or ffi.string(memory.state.token)
  lines[#lines + 1] = "freshline-fetch: " .. token
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

-- What an answer begins with.
local Head = {}
Head.__index = Head

-- Of a header, given in lower case; empty if there is none.
function Head:value(name)
  local _, to = find(self.lower, "\n" .. name .. ":", 1, true)
  return to and match(self.text, "^[ \t]*([^\r\n]-)[ \t]*\r?\n", to + 1) or ""
end

-- Sends the request and reads what the answer begins with. That, what came of the body with it, and the connection; or nil and
-- why, and the head where there was one. A request that the site had closed its connection before is made anew, once.
local function ask(scheme, host, request)
  while true do
    local sock, kept = connect(scheme, host)
    if not sock then return nil, kept end
    local ok, why = sock:send(request)
    local came
    if ok then came, why = sock:receiveany(PIECE) end
    if came then
      local to
      came, to = read_to(sock, came, "\r\n\r\n", true)
      if not came then sock:close(); return nil, to end
      local text = sub(came, 1, to)
      local status = tonumber(match(text, "^HTTP/1%.[01] (%d%d%d)"))
      if not status then sock:close(); return nil, "the site said no HTTP" end
      return setmetatable({status = status, text = text, lower = lower(text)}, Head), sub(came, to + 1), sock
    end
    sock:close()
    if not kept or why == "timeout" then return nil, "the site said nothing: " .. why end
  end
end

-- One GET. What the answer began with, its size, and why it is not whole; or nil and why.
local function get(scheme, host, target, extra)
  local head, came, sock = ask(scheme, host, request_of(host, target, extra))
  if not head then return nil, came end
  local said = head:value("freshline-said")
  local length = tonumber(head:value("content-length"))
  if find(said, "|HIT|", 1, true) and head:value("freshline-slice") == "" and not (length and length <= PIECE) then
    sock:close()                                            -- all there: no need to read it
    return head, length or 0
  end
  local bytes, why = drain(sock, head, came)
  if bytes and head:value("connection"):lower() ~= "close" then
    sock:setkeepalive(KEPT_MS)
  else
    sock:close()
  end
  return head, bytes or 0, why
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

-- Outcome, status, bytes and what to say.
local function once(scheme, host, target, headers)
  local head, bytes, why = get(scheme, host, target, headers)
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

function M.fetch(scheme, host, target, headers)
  for _, header in ipairs(headers) do
    local why = M.refusal(header[1], header[2])
    if why then return "other", 0, 0, why end
  end
  local there = M.probe(scheme, host, target)
  if there and there.good and not there.varies then return "stored", 200, there.bytes, "already" end
  local outcome, status, bytes, why
  for _ = 1, ROUNDS do
    outcome, status, bytes, why = once(scheme, host, target, headers)
    if outcome == "varies" then                             -- ours, or another's: who asks again must get it from the cache
      local size = bytes
      outcome, status, bytes, why = once(scheme, host, target, headers)
      if outcome == "stored" then return outcome, status, size, "fetched" end
      if outcome == "varies" then return "other", status, size, "not stored: this variant" end
    end
    if outcome ~= "again" then return outcome, status, bytes, why end
    ngx.sleep(0.2)
  end
  return "other", status, bytes, why
end

return M
