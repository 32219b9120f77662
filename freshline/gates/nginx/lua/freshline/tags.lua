-- Which tags a URL's stored answers carry: "<position> <tag> <tag> ..." per URL, the position being the epoch they were
-- fetched under. Variants of one URL may differ, so while the epoch stays the tags only become more.
--
-- A URL that is not remembered counts as tagged with everything. Once something was evicted, an answer alone cannot tell
-- whether another variant of its URL is stored with other tags, so nothing is learned about an epoch that is not newer.
local clock = require "freshline.clock"
local memory = require "freshline.memory"
local rules = require "freshline.rules"
local state, tags = memory.state, memory.tags

local M = {}
local find, match = string.find, string.match
local FETCHED = {MISS = true, EXPIRED = true, BYPASS = true, REVALIDATED = true}
local HEADERS = {["Cache-Tag"] = "cache_tag", ["Surrogate-Key"] = "surrogate_key", ["xkey"] = "xkey"}
local LATE = "\1"            -- in a record: tags came that had been refreshed when they came
local LATE_MS = 3600000      -- longer than anybody waits for another's fetch
local LOCK_SECONDS = 60
local SPIN_SECONDS = 2

-- The tags of the answer at hand; nil if they cannot be told.
local function said()
  local out, n, has = {}, 0, {}
  for header, name in pairs(HEADERS) do
    local value = ngx.header[header]
    if type(value) == "table" then value = table.concat(value, " ") end
    -- nginx shows the first of several lines only, so a header that the site hides cannot be trusted to be whole
    if not value and ngx.var["upstream_http_" .. name] then return nil end
    for tag in string.gmatch(value or "", "[^,%s]+") do
      if not has[tag] then
        n = n + 1
        has[tag], out[n] = true, tag
      end
    end
  end
  return out
end

local function remember(key, epoch, found, host, target)
  local record = tags:get(key)
  if record then
    local since = tonumber(record:match("^%d+"))
    if epoch < since then                                   -- fetched before a refresh that the URL has seen: unreachable;
      local _, now = rules.epoch(host, target)              -- but for a refresh that is past its time, and of no account
      if epoch < now then return end
    end
    if epoch == since then
      local has, grown = {}, false
      for tag in record:gmatch(" (%S+)") do has[tag] = true end
      for _, tag in ipairs(found) do
        if not has[tag] then record, grown = record .. " " .. tag, true end
      end
      if not grown then return end
    else
      record = nil
    end
  elseif epoch <= (state:get("evicted") or -1) then
    return
  end
  record = record or table.concat({epoch, unpack(found)}, " ")
  if not tags:safe_set(key, record) then
    state:set("evicted", state:get("reach") or 0)           -- before anything goes
    state:incr("tag_evictions", 1, 0)
    tags:set(key, record)
  end
end

local function split(epoch)
  local generation, position = match(epoch or "", "^(.*)%.(%d+)$")
  return generation, tonumber(position)
end

-- Was a tag of these refreshed since the epoch?
local function overtaken(host, found, epoch)
  for _, tag in ipairs(found) do
    if rules.tagged(host, tag) > epoch then return true end
  end
  return false
end

local me                     -- a worker does one thing at a time
local function learn(var)
  local generation, epoch = split(var.freshline_epoch)
  local found = generation and said()
  if not found then return end
  local host = var.host
  local target = var.request_uri
  local key = rules.tag_key(generation, host, target)
  local lock, deadline = "tag " .. key, nil
  me = me or memory.owner()
  while not state:safe_add(lock, me, LOCK_SECONDS) do       -- held for microseconds; a filter may not sleep
    memory.unlock_dead(lock)
    ngx.update_time()
    deadline = deadline or ngx.now() + SPIN_SECONDS
    if ngx.now() > deadline then
      ngx.log(ngx.ERR, "freshline: tag memory is stuck: what it holds counts as unknown from here")
      state:set("evicted", state:get("reach") or 0)
      state:set("distrust", state:get("reach") or 0)
      state:incr("bump", 1, 0)
      memory.changed()
      return
    end
  end
  remember(key, epoch, found, host, target)
  local late = overtaken(host, found, epoch)                -- looked at last: a refresh from here on finds the tags
  if late then
    found[#found + 1] = LATE
    remember(key, epoch, found, host, target)
    state:set("late", clock.boot() + LATE_MS)
    state:incr("bump", 1, 0)                                -- other workers' memos of this URL are out of date
    memory.changed()
  end
  state:delete(lock)
end

-- Who waited for another's fetch (proxy_cache_lock) while that fetch brought a tag which nobody knew of, and which had been
-- refreshed meanwhile, is not given what it brought: 503, and the next to ask fetches anew.
local function withhold(var)
  local generation, epoch = split(var.freshline_epoch)
  local host = var.host
  if not generation or rules.tagged(host) <= epoch then return end
  local record = tags:get(rules.tag_key(generation, host, var.request_uri))
  if record and tonumber(match(record, "^%d+")) == epoch and not find(record, LATE, 1, true) then return end
  local found = said()
  if not (found and overtaken(host, found, epoch)) then return end
  if ngx.ctx.freshline_withheld then return end             -- the 503 itself passes here
  ngx.ctx.freshline_withheld = true
  for name in pairs(ngx.resp.get_headers(0)) do ngx.header[name] = nil end
  ngx.header["retry-after"] = "1"
  return ngx.exit(503)
end

-- In header_filter of the site.
function M.learn()
  if not tags then return end
  local var = ngx.var
  local status = var.upstream_cache_status
  if FETCHED[status] then
    if var.freshline_lapsed ~= "1" then learn(var) end
  elseif status and (state:get("late") or 0) > clock.boot() then
    withhold(var)
  end
end

return M
