-- Visits to the site without a socket (visit.h): several at once, and each is heard of when it has ended.
local ffi = require "ffi"
local semaphore = require "ngx.semaphore"
local Head = require "freshline.head"
local get_request = require("resty.core.base").get_request
local memory = require "freshline.memory"

local M = {}
local Party = {}
Party.__index = Party
local door                   -- is it open? The same for as long as this worker lives
local wake                   -- what wakes who waits for a semaphore

function M.possible()
  if door == nil then
    local site = memory.config.site
    door = memory.C.freshline_door(site[1], #site[1], site[2]) ~= 0
    wake = ffi.cast("int (*)(void *, int)", ffi.C.ngx_http_lua_ffi_sema_post)
  end
  return door
end

-- Nil where the site has to be gone to through a socket.
function M.party()
  if not M.possible() then return nil end
  local woken = assert(semaphore.new(0))
  local party = memory.C.freshline_gather(get_request(), wake, ffi.cast("void *", woken.sem))
  return party ~= nil and setmetatable({party = party, woken = woken, under_way = 0}, Party) or nil
end

-- False if it could not be sent.
function Party:send(number, request)
  local sent = memory.C.freshline_visit(self.party, number, request, #request) ~= 0
  if sent then self.under_way = self.under_way + 1 end
  return sent
end

-- One that has ended already, or nil. It can be read until the next is asked for.
function Party:ended()
  local said = memory.C.freshline_next(self.party)
  if said == nil then return nil end
  self.under_way = self.under_way - 1
  return said
end

-- The next to end; nil when all have.
function Party:next()
  local most_ms = memory.config.fetch_seconds * 1000
  while self.under_way > 0 do
    local said = self:ended()
    if said then return said end
    local left_ms = memory.C.freshline_patience(self.party, most_ms)
    if left_ms > 0 then self.woken:wait(left_ms / 1000) end
  end
end

-- The connection that is asked on ends with the answer.
function M.last() memory.C.freshline_last(get_request()) end

function Party:leave()
  memory.C.freshline_leave(self.party)
  self.party = nil
end

-- What the answer began with, its size, and why it is not whole; or nil and why.
function M.heard(said)
  local why = said.late ~= 0 and "timeout" or "closed"
  if said.head == nil then return nil, "the site said nothing: " .. why end
  local head = Head.of(ffi.string(said.head, said.head_size))
  if not head then return nil, "the site said no HTTP" end
  local length = tonumber(head:value("content-length"))
  if head:is_hit() then return head, length or 0 end
  if said.whole == 0 or (length and length ~= said.bytes) then return head, 0, "cut off: " .. why end
  return head, said.bytes
end

return M
