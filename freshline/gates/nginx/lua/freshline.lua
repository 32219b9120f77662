-- The freshline gate for nginx (docs/gates.md).
--
-- The position of the newest refresh that covers a URL is part of its cache key, worked out when a request starts. So a
-- refresh puts every variant and every slice of an object out of reach at once, and what a fetch begun before it still
-- brings is stored where nobody will look. `inactive=` of proxy_cache_path removes what is out of reach.
local ages = require "freshline.ages"
local clock = require "freshline.clock"
local journal = require "freshline.journal"
local lease = require "freshline.lease"
local memory = require "freshline.memory"
local rules = require "freshline.rules"
local tags = require "freshline.tags"
local decode = require("freshline.target").decode
local state = memory.state

local M = {}
local LAYOUT = 2             -- of what is in the dicts: a reload with other files of ours begins from the journal
local STEP_MS = 10           -- a worker, at once
local READING_SECONDS = 15   -- a worker that stands still for so long has lost its turn
local RETRY_SECONDS = 0.2
local lapses                 -- whether a request wants a lease
local apart, requests = nil, 0
local asking, asked = {}, 0  -- request -> true: fetches of ours that are in this worker, and how many

local function request_id() return ngx.var.connection .. " " .. ngx.var.connection_requests end

-- A gate that starts knows nothing but its journal, and does not trust its old cache until it has caught up. The master
-- reads for start_ms; what is left is read by a worker, a little at a time, while visitors are served by the origin.
-- `reading` is how far it got: every worker has a copy of it, as it stood when that worker was made.
local reading

local function finish()
  local source, found, why = reading.source, nil, reading.why
  if source then
    found, why = source.found, why or "nothing committed"
    local size = source.file:seek("end")
    source:close()
    if not (found.position and reading.fits and rules.publish(reading.touched)) then found = nil end
    if found then                                           -- as large as it would be if it were written anew
      local live = reading.touched.added
      state:set("journal_base", found.bytes * live / math.max(reading.lines, 1))
      if size > found.bytes then ngx.log(ngx.NOTICE, "freshline: the journal's last ", size - found.bytes, " bytes were not committed") end
    end
  end
  if not found then
    ngx.log(ngx.WARN, "freshline: starting unbound, with no use for an old cache: ", why)
    memory.rules:flush_all()
    memory.rules:flush_expired()
    reading.touched.added = 0
    found = {generation = memory.random(), log = "-", position = 0, mark = "-", bytes = 0}
  end
  state:set("rules", reading.touched.added)
  state:set("generation", found.generation)
  state:set("reach", found.position)
  state:set("evicted", found.position)                      -- the tags of what is on disk are forgotten
  state:set("journal_bytes", found.bytes)
  assert(memory.rules:safe_set("\1", reading.sentinel))
  ages.begin()
  ages.reached(found.position)
  state:set("layout", LAYOUT)
  memory.stand(found.log, found.position, found.mark)
  reading = nil
end

-- True when there is nothing left to read.
local function read_on(limit_ms)
  local source, touched = reading.source, reading.touched
  if not source then return true end
  local function put(position, verb, host, what)
    reading.lines = reading.lines + 1
    return rules.put(touched, position, verb, host, decode(what)) ~= nil
  end
  local until_ms = clock.boot() + limit_ms
  repeat
    local text = source:next()
    if not text then return true end
    if not journal.each(text, put) then
      reading.fits, reading.why = false, "more than freshline_rules has room for"
      return true
    end
  until clock.boot() >= until_ms
  return false
end

local function recall()
  local sentinel = memory.random()
  state:set("sentinel", sentinel)                           -- first: workers with an older `rules` stop taking batches
  lease.finish()
  memory.serve(memory.throw_away("boot"))
  for _, name in ipairs {"at", "generation", "replacing", "compact_rest"} do state:delete(name) end
  memory.rules:flush_all()
  memory.rules:flush_expired()
  os.remove(memory.config.journal .. ".compact")
  local source, why = journal.open()
  reading = {source = source, why = why, touched = rules.touch(true), lines = 0, fits = true, sentinel = sentinel}
  if read_on(memory.config.start_ms) then finish() end
  collectgarbage()                                          -- or every worker would begin with what was read
end

-- In one worker, until all is read; if it dies in another, from where the master stopped.
local function read_rest(premature)
  if premature or ngx.worker.exiting() or not reading or state:get("sentinel") ~= reading.sentinel then return end
  if state:get("at") then reading = nil; return end
  local mine = memory.owner()
  if not state:safe_add("reading", mine, READING_SECONDS) then
    memory.unlock_dead("reading")
    return ngx.timer.at(RETRY_SECONDS, read_rest)
  end
  reading.source:reopen()
  while true do
    local done = read_on(STEP_MS)
    if ngx.worker.exiting() or state:get("sentinel") ~= reading.sentinel or state:get("reading") ~= mine then return end
    if done then break end
    state:safe_set("reading", mine, READING_SECONDS)
    ngx.sleep(0.001)
  end
  finish()
  state:delete("reading")
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
  if not (state:get("at") and state:get("layout") == LAYOUT and memory.sound()) then recall() end
end

-- In init_worker_by_lua.
function M.start_worker()
  if reading then assert(ngx.timer.at(0, read_rest)) end
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
