-- The freshline gate for nginx (docs/gates.md): how it is told, and what it remembers on disk. What a visit meets is the
-- module's.
--
-- The position of the newest refresh that covers a URL is part of its cache key, worked out when a request starts. So a
-- refresh puts every variant and every slice of an object out of reach at once, and what a fetch begun before it still
-- brings is stored where nobody will look. `inactive=` of proxy_cache_path removes what is out of reach.
local journal = require "freshline.journal"
local memory = require "freshline.memory"
local rules = require "freshline.rules"

local M = {}
local STEP_MS = 10           -- a worker, at once
local RETRY_SECONDS = 0.2

-- A gate that starts knows nothing but its journal, and does not trust its old cache until it has caught up. The master
-- reads for start_ms; what is left is read by a worker, a little at a time, while visitors are served by the origin.
-- `reading` is how far it got: every worker has a copy of it, as it stood when that worker was made.
local reading

local function finish()
  local state, source, found, why = memory.state, reading.source, nil, reading.why
  if source then
    found, why = source.found, why or "nothing committed"
    local size = source.file:seek("end")
    source:close()
    if not (found.position and reading.fits) then found = nil end
    if found then                                           -- as large as it would be if it were written anew
      rules.publish()
      state.journal_base = found.bytes * tonumber(memory.C.freshline_rules()) / math.max(reading.lines, 1)
      if size > found.bytes then ngx.log(ngx.NOTICE, "freshline: the journal's last ", size - found.bytes, " bytes were not committed") end
    end
  end
  if not found then
    ngx.log(ngx.WARN, "freshline: starting unbound, with no use for an old cache: ", why)
    rules.clear()
    found = {generation = memory.C.freshline_random(), log = "-", position = 0, mark = "-", bytes = 0}
  end
  state.reach = found.position
  state.unlearnt = found.position + 1                       -- the tags of what is on disk are forgotten
  state.journal_bytes = found.bytes
  memory.C.freshline_age_anew()
  memory.C.freshline_reached(found.position, memory.config.ttl_seconds * 1000)
  state.generation = found.generation
  memory.stand(found.log, found.position, found.mark)
  reading = nil
end

-- True when there is nothing left to read.
local function read_on(limit_ms)
  local source = reading.source
  if not source then return true end
  local until_ms = memory.C.freshline_now(0) + limit_ms
  repeat
    local text = source:next()
    if not text then return true end
    local lines, why = rules.load(text)
    if not lines then
      reading.fits, reading.why = false, why
      return true
    end
    reading.lines = reading.lines + lines
  until memory.C.freshline_now(0) >= until_ms
  return false
end

-- Only with READING held: who read for the configuration before may be in the middle of it.
local function begin()
  memory.C.freshline_renew()
  memory.state.replacing, memory.state.rest_until_ms = 0, 0
  os.remove(memory.config.journal .. ".compact")
  reading.source, reading.why = journal.open()
  reading.begun = true
end

local function recall()
  local state = memory.state
  memory.C.freshline_lease_end()
  memory.serve_nothing()
  state.generation = memory.C.freshline_random()
  memory.C.freshline_rename()                               -- workers with older rules answer nothing from here on
  memory.C.freshline_unknown()
  reading = {lines = 0, fits = true, rules = state.rules}
  local mine = memory.lock(memory.READING)
  if not mine then return end                               -- a worker begins, when that one has stopped
  begin()
  if read_on(memory.config.start_ms) then finish() end
  memory.unlock(memory.READING, mine)
  collectgarbage()                                          -- or every worker would begin with what was read
end

local function read_all()
  if reading.begun then
    reading.source:reopen()
  else
    begin()
  end
  while true do
    local done = read_on(STEP_MS)
    if ngx.worker.exiting() or memory.state.rules ~= reading.rules then return end
    if done then break end
    ngx.sleep(0.001)
  end
  finish()
end

-- In one worker, until all is read; if it dies in another, from where the master stopped.
local function read_rest(premature)
  if premature or ngx.worker.exiting() or not reading or memory.state.rules ~= reading.rules then return end
  if memory.at() then reading = nil; return end
  local mine = memory.lock(memory.READING)
  if not mine then return ngx.timer.at(RETRY_SECONDS, read_rest) end
  local fine, why = pcall(read_all)
  memory.unlock(memory.READING, mine)
  if not fine then
    ngx.log(ngx.ERR, "freshline: reading the journal: ", why, "; trying again")
    return ngx.timer.at(RETRY_SECONDS, read_rest)
  end
end

-- In init_by_lua.
function M.start(config)
  for name, value in pairs(config) do memory.config[name] = value end
  memory.open()
  if memory.C.freshline_hold(config.journal .. ".lock") == 0 then
    error("freshline: another nginx has " .. config.journal .. "; one that runs cannot be replaced on the fly, stop it first", 0)
  end
  if not (memory.at() and memory.sound()) then recall() end
end

-- In init_worker_by_lua.
function M.start_worker()
  if reading then assert(ngx.timer.at(0, read_rest)) end
end

function M.serve() return require("freshline.gate").serve() end

return M
