-- Which tags a URL's stored answers carry: "<position> <tag> <tag> ..." per URL, the position being the epoch they were
-- fetched under. Variants of one URL may differ, so while the epoch stays the tags only become more.
--
-- A URL that is not remembered counts as tagged with everything. Once something was evicted, an answer alone cannot tell
-- whether another variant of its URL is stored with other tags, so nothing is learned about an epoch that is not newer.
local memory = require "freshline.memory"
local rules = require "freshline.rules"
local state, tags = memory.state, memory.tags

local M = {}
local FETCHED = {MISS = true, EXPIRED = true, BYPASS = true, REVALIDATED = true}
local HEADERS = {["Cache-Tag"] = "cache_tag", ["Surrogate-Key"] = "surrogate_key", ["xkey"] = "xkey"}
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

local function remember(key, epoch, found)
  local record = tags:get(key)
  if record then
    local since = tonumber(record:match("^%d+"))
    if epoch < since then return end                        -- fetched before a refresh that the URL has seen: unreachable
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

-- In header_filter of the site.
function M.learn()
  if not tags then return end
  local var = ngx.var
  if not FETCHED[var.upstream_cache_status or ""] or var.freshline_lapsed == "1" then return end
  local generation, epoch = string.match(var.freshline_epoch or "", "^(.*)%.(%d+)$")
  local found = generation and said()
  if not found then return end
  epoch = tonumber(epoch)
  local host = var.host
  local key = rules.tag_key(generation, host, var.request_uri)
  local lock, deadline = "tag " .. key, nil
  while not state:safe_add(lock, true, LOCK_SECONDS) do     -- held for microseconds; a filter may not sleep
    ngx.update_time()
    deadline = deadline or ngx.now() + SPIN_SECONDS
    if ngx.now() > deadline then
      ngx.log(ngx.ERR, "freshline: tag memory is stuck: what it holds counts as unknown from here")
      state:set("evicted", state:get("reach") or 0)
      state:set("distrust", state:get("reach") or 0)
      state:incr("bump", 1, 0)
      return
    end
  end
  remember(key, epoch, found)
  state:delete(lock)
  for _, tag in ipairs(found) do                            -- refreshed while the answer was under way: other workers'
    local position = memory.rules:get("t" .. host .. " " .. tag)
    if position and position > epoch then                   -- memos of this URL are out of date
      state:incr("bump", 1, 0)
      return
    end
  end
end

return M
