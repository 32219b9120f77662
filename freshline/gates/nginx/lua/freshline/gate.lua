-- The gate's own listener: docs/gates.md, line by line.
local ffi = require "ffi"
local compact = require "freshline.compact"
local errands = require "freshline.errands"
local fetch = require "freshline.fetch"
local journal = require "freshline.journal"
local memory = require "freshline.memory"
local rules = require "freshline.rules"

local M = {}
local LOCK_WAIT_SECONDS = 10
local BREATH = 1000          -- commands between two breaths, in which others are served
local BREATH_SECONDS = 0.001
local NUMBER = 15            -- digits of a position: a double counts that far
local ROWS = 1048576         -- in one batch
local FETCHES = 64           -- of one request
local VERBS = {file = true, path = true, dir = true, regex = true, tag = true}
local byte, find, sub, match, gsub, format, concat =
  string.byte, string.find, string.sub, string.match, string.gsub, string.format, table.concat

local function answer(status, text)
  ngx.status = status
  ngx.header.content_type = text ~= "" and "text/plain" or nil
  ngx.header.content_length = #text
  ngx.print(text)
  return ngx.exit(ngx.OK)
end

-- The answer of one who knows where the gate stands, and may have brought a lease.
local function answer_told(status, text)
  if status == 200 then
    local header = ngx.req.get_headers(0)["freshline-lease"]
    if type(header) == "string" then memory.C.freshline_lease_take(header) end
    local clock = ffi.new("char[64]")
    memory.C.freshline_lease_clock(clock)
    ngx.header["freshline-clock"] = ffi.string(clock)
  end
  return answer(status, text)
end

-- One at a time, in any worker.
local function locked(work)
  local mine, waited = memory.lock(memory.GATE), 0
  while not mine do
    if waited > LOCK_WAIT_SECONDS then return 500, "failed another batch is being applied\n" end
    waited = waited + 0.01
    ngx.sleep(0.01)
    mine = memory.lock(memory.GATE)
  end
  local done, status, text = pcall(function()
    rules.begin()
    return work()
  end)
  memory.unlock(memory.GATE, mine)
  if not done then
    ngx.log(ngx.ERR, "freshline: ", status)
    return 500, "failed " .. gsub(tostring(status), "[^ -~]", " ") .. "\n"
  end
  return status, text
end

local function number(text) return #text <= NUMBER and tonumber(text) or nil end

local function unescape(text)
  if not find(text, "[%% ]") then return text end
  if find(text, " ", 1, true) or find(gsub(text, "%%%x%x", ""), "%", 1, true) then return nil end
  return memory.decode(text)
end

-- The lines before `end`, or nil and why.
local function lines_of(body)
  if sub(body, -5) ~= "\nend\n" then return nil, "cut off: no end" end
  if find(body, "[^\n -~]") then return nil, "not ASCII" end
  return string.gmatch(sub(body, 1, -5), "([^\n]*)\n")
end

local function parse_batch(body)
  local lines, why = lines_of(body)
  if not lines then return nil, why end
  local log, after, upto, mark, live = match(lines() or "", "^batch (%S+) (%d+) (%d+) (%S+) ([01])$")
  after, upto = after and number(after), upto and number(upto)
  if not (after and upto) then return nil, "the first line is no batch" end
  if log == "-" or #log > 128 or #mark > 128 then return nil, "no name of a log or mark" end
  if upto < after then return nil, "upto lies before after" end
  local batch = {log = log, after = after, upto = upto, mark = mark, live = live == "1"}
  local reached, n = after, 0
  for line in lines do
    local digits, many, verb, host = match(line, "^run (%d+) (%d+) [01] (%l+) ([%l%d._-]+)$")
    local first, count = digits and number(digits), many and number(many)
    if not (first and count and VERBS[verb]) then return nil, "no run: " .. sub(line, 1, 80) end
    if count == 0 or first <= reached or first + count - 1 > upto then return nil, "out of order, or empty: " .. line end
    if n + count > ROWS then return nil, "more rows than a batch may have" end
    reached = first + count - 1
    local of_path = verb ~= "regex" and verb ~= "tag"
    for position = first, reached do
      local field = lines()
      if not field then return nil, "fewer rows than the run has" end
      local what = unescape(field)
      if not what or what == "" then return nil, "not percent-encoded: " .. sub(field, 1, 80) end
      if of_path and byte(what) ~= 47 then return nil, "no path: " .. sub(field, 1, 80) end
      n = n + 1
      batch[n] = {position, verb, host, what, field}
    end
  end
  return batch
end

local function pattern_refused(pattern)
  local why = memory.C.freshline_refuses(pattern, #pattern)
  return why ~= nil and ffi.string(why)
end

-- What of the batch is new and can be done. Where a host has no room for more patterns, all of it is refreshed instead.
local function plan(batch, position)
  local todo, refused, patterns = {}, {}, {}
  for i, command in ipairs(batch) do
    local why = command[2] == "regex" and pattern_refused(command[4])
    if why then                                           -- said again in a repeat: the first answer may be lost
      refused[#refused + 1] = format("refused %d %s\n", command[1], gsub(why, "[^ -~]", " "))
    elseif command[1] > position then
      if command[2] == "regex" then patterns[command[3]] = (patterns[command[3]] or 0) + 1 end
      todo[#todo + 1] = command
    end
    if i % BREATH == 0 then ngx.sleep(BREATH_SECONDS) end
  end
  for host, count in pairs(patterns) do
    if count > rules.pattern_room(host) then
      ngx.log(ngx.WARN, "freshline: no room for more patterns of ", host, ": the whole host is refreshed")
      for _, command in ipairs(todo) do
        if command[2] == "regex" and command[3] == host then command[2], command[4], command[5] = "dir", "/", "/" end
      end
    end
  end
  return todo, concat(refused)
end

-- Out of room, or the journal is lost: everything fetched before now goes out of use. Too much rather than too little.
local function collapse(why, log, position, mark)
  local state = memory.state
  ngx.log(ngx.ERR, "freshline: ", why, ": the whole cache is out of use")
  memory.C.freshline_lease_end()
  local generation = memory.C.freshline_random()
  state.generation = generation                             -- first: nobody goes back to the one before
  memory.serve_nothing()
  rules.clear()
  assert(journal.begin(generation, log, position, mark))
  memory.C.freshline_age_anew()
  state.unlearnt = 0
  state.collapses = state.collapses + 1
  memory.stand(log, position, mark)
  memory.serve(generation)
end

local function put_all(todo)
  for i, command in ipairs(todo) do
    if not rules.put(command[1], command[2], command[3], command[4]) then return false end
    if i % BREATH == 0 then ngx.sleep(BREATH_SECONDS) end
  end
  rules.publish()
  return true
end

local function apply(batch)
  local log, position, mark = memory.at()
  if batch.log ~= log then return 409, "other " .. log .. "\n" end
  if not memory.sound() then return 500, "failed this worker belongs to an older configuration\n" end
  if batch.after > position then return 409, format("behind %d %s\n", position, mark) end
  local todo, refused = plan(batch, position)
  if batch.upto > position then
    local whole, why, lost = journal.mend()
    if lost then
      collapse("the journal is past use, " .. why, log, position, mark)
    elseif not whole then
      return 500, "failed journal: " .. why .. "\n"
    end
    local lines = {}
    for i, command in ipairs(todo) do
      lines[i] = format("%d %s %s %s", command[1], command[2], command[3], command[5])
    end
    local ok
    ok, why = journal.append(lines, batch.upto, batch.mark)
    if not ok then return 500, "failed journal: " .. why .. "\n" end
    memory.state.reach = batch.upto
    if not put_all(todo) then
      collapse("no room for more rules (enlarge freshline_memory)", log, batch.upto, batch.mark)
    else
      if not memory.sound() then return 500, "failed the configuration was reloaded meanwhile\n" end
      memory.stand(log, batch.upto, batch.mark)
    end
    position, mark = batch.upto, batch.mark
    local expired = memory.C.freshline_reached(position, memory.config.ttl_seconds * 1000)
    if expired > tonumber(memory.state.swept) or journal.grown() then compact.soon(locked, collapse) end
  end
  if batch.live and batch.upto == position and batch.mark == mark then
    memory.serve(memory.state.generation)
  end
  return 200, format("ok %d %s\n%s", position, mark, refused)
end

local function flush(log, position, mark)
  if not memory.sound() then return 500, "failed this worker belongs to an older configuration\n" end
  local state, generation = memory.state, memory.C.freshline_random()
  local ok, why = journal.begin(generation, log, position, mark)
  if not ok then return 500, "failed journal: " .. why .. "\n" end
  state.generation = generation                             -- first: nobody goes back to the one before
  memory.serve_nothing()                                    -- what is fetched while the rules go is of no use either
  rules.clear()
  memory.C.freshline_age_anew()
  state.unlearnt = 0
  state.reach = position
  if not memory.sound() then return 500, "failed a reload came in between\n" end
  memory.stand(log, position, mark)
  memory.serve(generation)
  return 200, format("ok %d %s\n", position, mark)
end

local function read_body()
  local length = tonumber(ngx.var.http_content_length or "")
  if not length then return answer(411, "bad no content-length\n") end
  if length > memory.config.body_bytes then return answer(413, "bad longer than " .. memory.config.body_bytes .. "\n") end
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  local path = not body and ngx.req.get_body_file()
  if path then
    local file = assert(io.open(path, "rb"))
    body = file:read("*a")
    file:close()
  end
  return body or ""
end

-- "<verb> <scheme> <host> <target>", then "header <name> <value>" lines; as often as `most` says.
local function parse_objects(body, verb, most)
  local lines, why = lines_of(body)
  if not lines then return nil, why end
  local objects, headers = {}, nil
  for line in lines do
    local name, field = match(line, "^header (%S+) (%S*)$")
    local value = headers and field and unescape(field)
    if value then
      headers[#headers + 1] = {name, value}
    else
      local said, scheme, host, target = match(line, "^(%l+) (%l+) ([%l%d._-]+) (/%S*)$")
      if said ~= verb or not (scheme == "http" or scheme == "https") then return nil, "no " .. verb .. ": " .. sub(line, 1, 80) end
      if #objects == most then return nil, "more than " .. most end
      headers = {}
      objects[#objects + 1] = {scheme = scheme, host = host, target = target, headers = headers}
    end
  end
  if #objects == 0 then return nil, "no " .. verb end
  return objects
end

local ROUTES = {}

-- Whether what is fetched from now on is there for visitors later. A gate that has just started goes on with another cache
-- once it has been told where it stands, or that it is flushed.
local function caught_up()
  local log = memory.at()
  return log and log ~= "-" and memory.synced()
end

-- Before it has read its journal it does not know where it stands.
local function reading()
  return not memory.at() and answer(500, "failed it is reading its journal\n")
end

ROUTES["GET /freshline/status"] = function()
  if reading() then return end
  local log, position, mark = memory.at()
  local state = memory.state
  local lines = {
    "gate nginx 1",
    "log " .. log,
    "position " .. format("%d", position),
    "mark " .. mark,
    "synced " .. (memory.synced() and 1 or 0),
    "lapse " .. memory.config.lapse,
    "lease " .. format("%d", memory.C.freshline_lease_left()),
    "rules " .. format("%d", memory.C.freshline_rules()),
    "rules_free_bytes " .. format("%d", memory.C.freshline_room()),
    "journal_bytes " .. format("%d", tonumber(state.journal_bytes)),
    "collapses " .. format("%d", tonumber(state.collapses)),
    "tag_evictions " .. format("%d", tonumber(state.evictions)),
    "generation " .. memory.word(state.generation),
    "fetches " .. FETCHES,
    "",
  }
  return answer_told(200, concat(lines, "\n"))
end

ROUTES["POST /freshline/batch"] = function()
  local batch, why = parse_batch(read_body())
  if not batch then return answer(400, "bad " .. why .. "\n") end
  if reading() then return end
  return answer_told(locked(function() return apply(batch) end))
end

ROUTES["POST /freshline/flush"] = function()
  local lines, why = lines_of(read_body())
  local log, digits, mark = match(lines and lines() or "", "^flush (%S+) (%d+) (%S+)$")
  local position = digits and number(digits)
  if not position or log == "-" or #log > 128 or #mark > 128 or lines() then return answer(400, "bad " .. (why or "no flush") .. "\n") end
  if reading() then return end
  return answer_told(locked(function() return flush(log, position, mark) end))
end

ROUTES["POST /freshline/probe"] = function()
  local objects, why = parse_objects(read_body(), "probe", 1)
  if not objects then return answer(400, "bad " .. why .. "\n") end
  local object = objects[1]
  local found, epoch = fetch.probe(object.scheme, object.host, object.target)
  return answer(200, found and format("stored %d\n", epoch) or "absent\n")
end

ROUTES["POST /freshline/fetch"] = function()
  local objects, why = parse_objects(read_body(), "fetch", FETCHES)
  if not objects then return answer(400, "bad " .. why .. "\n") end
  if not caught_up() then return answer(500, "failed it has not caught up\n") end
  if #objects > 1 then
    ngx.header.content_type = "text/plain"
    errands.each(objects, function(text, last)
      ngx.print(text)
      if not last then ngx.flush() end                      -- or they leave with the end of the answer, as one piece
    end)
    return ngx.exit(ngx.OK)
  end
  local object = objects[1]
  return answer(200, errands.line(fetch.fetch(object)))
end

-- For anybody.
local function fresh()
  if caught_up() and memory.C.freshline_lease_left() > 0 then return answer(200, "fresh\n") end
  return answer(503, "not fresh\n")
end

local salt
-- Compared as digests under a salt nobody knows: how long it takes tells nothing.
local function knows_the_secret()
  salt = salt or memory.word(memory.C.freshline_random())
  local given = ngx.req.get_headers(0)["freshline-key"]
  return type(given) == "string" and ngx.md5_bin(salt .. given) == ngx.md5_bin(salt .. memory.config.secret)
end

function M.serve()
  local method, uri = ngx.req.get_method(), ngx.var.uri
  if uri == "/freshline/fresh" and (method == "GET" or method == "HEAD") then return fresh() end
  if not knows_the_secret() then return answer(403, "") end
  local route = ROUTES[method .. " " .. uri]
  if not route then return answer(404, "") end
  return route()
end

return M
