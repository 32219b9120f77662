-- The freshline gate for nginx (docs/gates.md).
--
-- The position of the newest refresh that covers a URL is part of its cache key, worked out when a request starts. So a
-- refresh puts every variant and every slice of an object out of reach at once, and what a fetch begun before it still
-- brings is stored where nobody will look. `inactive=` of proxy_cache_path removes what is out of reach.
local memory = require "freshline.memory"
local journal = require "freshline.journal"
local lease = require "freshline.lease"
local rules = require "freshline.rules"
local tags = require "freshline.tags"
local state = memory.state

local M = {}
local lapses                 -- whether a request wants a lease
local apart, requests = nil, 0
local asking, asked = {}, 0  -- request -> true: fetches of ours that are in this worker, and how many

local function request_id() return ngx.var.connection .. " " .. ngx.var.connection_requests end

-- A gate that starts knows nothing but its journal, and does not trust its old cache until it has caught up.
local function recall()
  local sentinel = memory.random()
  state:set("sentinel", sentinel)                           -- first: workers with an older `rules` stop taking batches
  lease.finish()
  memory.serve(memory.throw_away("boot"))
  memory.rules:flush_all()
  memory.rules:flush_expired()
  local touched = {}
  local fits = true
  local found, why = journal.read(function(line)
    local position, verb, host, field = line:match("^(%d+) (%l+) (%S+) (%S+)$")
    local what = require("freshline.target").decode(field)
    fits = fits and rules.put(touched, tonumber(position), verb, host, what)
  end)
  if found and not (fits and rules.publish(touched)) then found, why = nil, "more than freshline_rules has room for" end
  if not found then
    ngx.log(ngx.WARN, "freshline: starting unbound, with no use for an old cache: ", why)
    memory.rules:flush_all()
    memory.rules:flush_expired()
    found = {generation = memory.random(), log = "-", position = 0, mark = "-", ragged = false, bytes = 0}
  end
  state:set("generation", found.generation)
  memory.stand(found.log, found.position, found.mark)
  state:set("reach", found.position)
  state:set("evicted", found.position)                      -- the tags of what is on disk are forgotten
  state:set("ragged", found.ragged)
  state:set("journal_bytes", found.bytes)
  assert(memory.rules:safe_set("\1", sentinel))
end

-- In init_by_lua.
function M.start(config)
  for name, value in pairs(config) do memory.config[name] = value end
  lapses = config.lapse ~= "serve"
  if memory.tags and not memory.tags:get("\1") then
    state:set("evicted", state:get("reach") or -1)
    memory.tags:set("\1", true)
  end
  lease.start()
  if not state:get("token") then state:set("token", memory.random()) end
  if not (state:get("generation") and memory.sound()) then recall() end
end

-- A request that began without a lease: what is stored is not for it, nor is for others what it stores.
local function lapsed(var)
  var.freshline_lapsed = "1"
  if memory.config.lapse == "refuse" then ngx.header["retry-after"] = "1" end
  apart = apart or memory.throw_away("lapsed")
  requests = requests + 1
  return apart .. "-" .. requests .. ".0"
end

-- $freshline_epoch: "<generation>.<position>".
function M.epoch()
  local var = ngx.var
  local token = var.http_freshline_fetch
  if token then
    ngx.req.clear_header("freshline-fetch")
    local id = request_id()
    if token == state:get("token") and not asking[id] then asking[id], asked = true, asked + 1 end
  end
  -- The lease first: another worker may be told what is new, and be granted one, while this one works the key out.
  if lapses and not lease.held(state:get("version")) and not asking[request_id()] then return lapsed(var) end
  return rules.key(var)
end

-- In header_filter.
function M.learn()
  tags.learn()
  if asked > 0 and not ngx.is_subrequest then
    local id = request_id()
    if asking[id] then
      asking[id], asked = nil, asked - 1
      require("freshline.fetch").expose()
    end
  end
end

function M.serve() return require("freshline.gate").serve() end

return M
