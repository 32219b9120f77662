-- One GET of the site through a socket: over TLS, and wherever the site is not reached among this nginx's own listeners.
local Head = require "freshline.head"
local memory = require "freshline.memory"

local M = {}
local CONNECT_MS, SEND_MS = 3000, 10000
local PIECE = 65536
local KEPT, KEPT_MS = 64, 10000  -- connections to the site, of one worker
local HEAD_BYTES = 262144    -- of an answer, at most
local find, sub = string.find, string.sub

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
      local head = Head.of(text)
      if not head then sock:close(); return nil, "the site said no HTTP" end
      return head, sub(came, to + 1), sock
    end
    sock:close()
    if not kept or why == "timeout" then return nil, "the site said nothing: " .. why end
  end
end

-- One GET. What the answer began with, its size, and why it is not whole; or nil and why.
function M.get(scheme, host, request)
  local head, came, sock = ask(scheme, host, request)
  if not head then return nil, came end
  local length = tonumber(head:value("content-length"))
  if head:is_hit() and not (length and length <= PIECE) then
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

return M
