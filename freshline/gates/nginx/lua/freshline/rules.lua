-- Which refresh a URL was last covered by.
--
-- In the shared dict, per host: f<host> <path?query>, p<host> <path>, d<host> <dir/>, t<host> <tag> -> position;
-- r<host> <n> -> "<position> <pattern>" with x<host> <pattern> -> n; and H<host> -> "<version> <tag> <depth> <list> <from> <to> <newest>":
--   version  unlike any before; written last, so that who has seen it sees all that came with it
--   tag      position of the host's newest tag refresh          depth  slashes in its deepest directory rule
--   list     changes when the patterns change                   from, to  where its patterns are: r<host> <from> ... <to>
--   newest   position up to which all of the host's rules are there; a pattern may bear a newer one, ahead of its line
-- A name that would need more than one cell of the dict's smallest kind is stored under its MD5.
-- Each worker remembers the answer per URL, and it holds while H<host> stays as it is. In front of that it keeps the very
-- words of the answers for as long as nothing at all changes, so that most hits cost one look into the dict.
local lrucache = require "resty.lrucache"
local memory = require "freshline.memory"
local target_of = require "freshline.target"
local state, rules, tags = memory.state, memory.rules, memory.tags

local M = {}
local MEMO = 10000          -- URLs remembered per worker
local WORDS = 10000         -- URLs whose very words are kept
local MEMO_LENGTH = 512     -- bytes; a longer URL is looked up each time
local HOSTS = 2000          -- hosts whose patterns a worker holds
local NAME = 51             -- bytes; with the dict's own 68 and a number's 8 a rule takes 128 in all, however long its URL
local ROOM = 5000           -- rules freed at once
local TO_FREE = 100000      -- of those that were dropped, at once; the others go as new ones come
local byte, find, sub, match, gmatch, gsub, format =
  string.byte, string.find, string.sub, string.match, string.gmatch, string.gsub, string.format
local tonumber, type, max = tonumber, type, math.max
local memo, hosts = assert(lrucache.new(MEMO)), assert(lrucache.new(HOSTS))

local function read_host(text)
  local version, tag, depth, list, from, to, newest = match(text, "^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$")
  return {
    text = text, tag = tonumber(tag), depth = tonumber(depth), list = tonumber(list),
    from = tonumber(from), to = tonumber(to), version = tonumber(version), newest = tonumber(newest),
  }
end

local function load_patterns(host, h)
  local patterns = {}
  for n = h.from, h.to do
    local rule = rules:get("r" .. host .. " " .. n)
    if rule then
      local position, pattern = match(rule, "^(%d+) (.*)$")
      patterns[#patterns + 1] = {tonumber(position), pattern}
    end
  end
  table.sort(patterns, function(a, b) return a[1] > b[1] end)     -- newest first
  return patterns
end

-- The host as its line says, with its patterns; nil if the line went away meanwhile.
local function host_of(host, text)
  local known = hosts:get(host)
  while text do
    if known and known.text == text then return known end
    local h = read_host(text)
    h.patterns = known and known.list == h.list and known.patterns or load_patterns(host, h)
    local now = rules:get("H" .. host)
    if now == text then hosts:set(host, h); return h end          -- else patterns may have moved under us
    text = now
  end
end

-- Callers' patterns are RE2's, which reads UTF-8; URLs may hold any bytes. So both ways are tried where they can differ.
local function matches_one(subject, pattern)
  local from, _, failed = ngx.re.find(subject, pattern, "ajo")
  if from or failed then return true end                          -- gave up (a match limit): too much rather than too little
  if not find(subject, "[\128-\255]") then return false end
  from, _, failed = ngx.re.find(subject, pattern, "ajou")
  return (from or failed) and true or false
end

local function matches(path, full, pattern)
  return matches_one(path, pattern) or (full and matches_one(full, pattern)) or false
end

-- The name of a rule in the dict.
local function named(letter, host, what)
  local name = host .. " " .. what
  if #name <= NAME then return letter .. name end
  return letter .. " " .. ngx.md5_bin(name)
end

local function tag_position(generation, host, target, h)
  if h.tag == 0 then return 0 end
  local record = tags and tags:get(M.tag_key(generation, host, target))
  if not record then return h.tag end                             -- unknown: it may carry any tag
  local newest = tonumber(match(record, "^%d+"))
  if newest <= (state:get("distrust") or -1) then return h.tag end
  for tag in gmatch(record, " (%S+)") do
    newest = max(newest, rules:get(named("t", host, tag)) or 0)
  end
  return newest
end

local function look_up(generation, host, h, target, known)
  local path, full = target_of.canonical(target)
  local newest = max(rules:get(named("f", host, full or path)) or 0, rules:get(named("p", host, path)) or 0)
  local at = 0
  for _ = 1, h.depth do
    at = find(path, "/", at + 1, true)
    if not at then break end
    newest = max(newest, rules:get(named("d", host, sub(path, 1, at))) or 0)
  end
  local seen = known and known.generation == generation and known.seen or 0
  if seen > 0 then newest = max(newest, known.pattern) end
  local patterns = h.patterns
  for i = 1, #patterns do                                         -- only those newer than the answer, and than the last look
    local position = patterns[i][1]
    if position <= newest or position <= seen then break end
    if matches(path, full, patterns[i][2]) then newest = position; break end
  end
  local by_pattern = newest
  seen = max(seen, h.newest)
  return max(newest, tag_position(generation, host, target, h)), by_pattern, seen
end

function M.tag_key(generation, host, target) return ngx.md5_bin(generation .. " " .. host .. target) end

-- The generation in use, and the position of the newest refresh that covers the URL (0: none). And "host" if that is so
-- for all of the host, "url" if for this URL, nil if for this very request.
function M.epoch(host, target)
  local key = #target <= MEMO_LENGTH and host .. target
  for _ = 1, 10 do
    local generation, text = state:get("serving"), rules:get("H" .. host)
    if not text then
      if state:get("serving") == generation then return generation, 0, "host" end
    else
      local bump = state:get("bump")
      local known = key and memo:get(key)
      if known and known.text == text and known.generation == generation and known.bump == bump then
        return generation, known.epoch, "url"
      end
      local h = host_of(host, text)
      if h then
        local epoch, by_pattern, seen = look_up(generation, host, h, target, known)
        if state:get("serving") == generation then                -- else a flush came between: again
          if key then
            memo:set(key, {
              text = h.text, generation = generation, bump = bump, epoch = epoch, pattern = by_pattern, seen = seen,
            })
          end
          return generation, epoch, "url"
        end
      end
    end
  end
  return memory.throw_away("torn"), 0
end

local words, kept, since = {}, 0, nil

-- "<generation>.<position>" as M.epoch has them.
function M.key(var)
  local version, host = state:get("version"), var.host
  if version ~= since then words, kept, since = {}, 0, version end
  local of_host = words[host]
  if type(of_host) == "string" then return of_host end
  local target = var.request_uri
  local word = of_host and of_host[target]
  if word then return word end
  local generation, position, holds = M.epoch(host, target)
  word = generation .. "." .. format("%d", position)
  if not holds or (holds == "url" and #target > MEMO_LENGTH) then return word end
  if kept >= WORDS then words, kept, of_host = {}, 0, nil end
  kept = kept + 1
  if holds == "host" then
    words[host] = word
  else
    if not of_host then of_host = {}; words[host] = of_host end
    of_host[target] = word
  end
  return word
end

-- Position of the newest refresh of the tag, 0: none; without one, of any of the host's tags.
function M.tagged(host, tag)
  if tag then return rules:get(named("t", host, tag)) or 0 end
  local text = rules:get("H" .. host)
  return text and read_host(text).tag or 0
end

-- Writing: only under the gate's lock.

local function quote(text)
  return (gsub(text, "%W", function(c) return format("\\x%02x", byte(c)) end))
end

local function set(key, value)
  while true do
    if rules:safe_set(key, value) then return true end
    if rules:flush_expired(ROOM) == 0 then return nil end         -- what was dropped, see M.clear
  end
end

-- True if it is there now and was not; false if it was, nil when the dict is full.
local function add(key, value)
  while true do
    local ok, why = rules:safe_add(key, value)
    if ok then return true end
    if why == "exists" then return false end
    if rules:flush_expired(ROOM) == 0 then return nil end
  end
end

-- What M.put works with, and M.publish makes visible. With `counted` the caller sets the number of rules itself.
function M.touch(counted) return {hosts = {}, added = counted and 0} end

local function count(touched)
  if touched.added then touched.added = touched.added + 1 else state:incr("rules", 1, 0) end
end

local function host_for(touched, host)
  local h = touched.hosts[host]
  if not h then
    local text = rules:get("H" .. host)
    h = text and read_host(text) or {tag = 0, depth = 0, list = 0, from = 1, to = 0, newest = 0}
    touched.hosts[host] = h
  end
  return h
end

local function put_pattern(touched, h, position, host, pattern)
  local x = "x" .. host .. " " .. pattern
  local n = rules:get(x)
  local rule = n and n >= h.from and rules:get("r" .. host .. " " .. n)
  if rule and n > h.to then                                       -- of a worker that died before it could publish
    h.to, h.list = n, state:incr("clock", 1, 0)
  end
  if rule and tonumber(match(rule, "^%d+")) >= position then return true end
  if not rule then
    h.to = h.to + 1
    n = h.to
    count(touched)
  end
  h.list = state:incr("clock", 1, 0)
  return set("r" .. host .. " " .. n, position .. " " .. pattern) and set(x, n)
end

-- Nil when the dict is full.
function M.put(touched, position, verb, host, what)
  local h = host_for(touched, host)
  h.newest = max(h.newest, position)
  if verb == "dir" and sub(what, -1) ~= "/" then verb, what = "regex", quote(what) end
  if verb == "regex" then return put_pattern(touched, h, position, host, what) end
  local key = named(sub(verb, 1, 1), host, what)
  local new = add(key, position)
  if new == nil then return nil end
  -- if it bears this position already it is a repeat; what the host's line says of it may be missing yet
  if not new and rules:get(key) < position and not set(key, position) then return nil end
  if new then count(touched) end
  if verb == "tag" then
    h.tag = max(h.tag, position)
  elseif verb == "dir" then
    local _, depth = gsub(what, "/", "")
    h.depth = max(h.depth, depth)
    if what == "/" and h.to >= h.from then                        -- positions rise: it covers every pattern so far
      h.cleared = h.cleared or h.from
      h.from = h.to + 1
      h.list = state:incr("clock", 1, 0)
    end
  end
  return true
end

function M.publish(touched)
  for host, h in pairs(touched.hosts) do
    local version = state:incr("clock", 1, 0)
    local line = format("%d %d %d %d %d %d %d", version, h.tag, h.depth, h.list, h.from, h.to, h.newest)
    if not set("H" .. host, line) then return nil end
  end
  memory.changed()
  for host, h in pairs(touched.hosts) do
    for n = h.cleared or h.from, h.from - 1 do
      local rule = rules:get("r" .. host .. " " .. n)
      if rule then
        local x = "x" .. host .. " " .. match(rule, "^%d+ (.*)$")
        if rules:get(x) == n then rules:delete(x) end
        rules:delete("r" .. host .. " " .. n)
        state:incr("rules", -1, 0)
      end
    end
  end
  return true
end

-- How many patterns the host has room for.
function M.pattern_room(host)
  local text = rules:get("H" .. host)
  if not text then return memory.config.patterns_per_host end
  local h = read_host(text)
  return memory.config.patterns_per_host - (h.to - h.from + 1)
end

-- The dict's name of this very rule, of a pattern its number as well; nil unless it still says something: it was not
-- replaced by a newer one, nor dropped, nor folded.
local function place(position, verb, host, what)
  if verb == "dir" and sub(what, -1) ~= "/" then verb, what = "regex", quote(what) end
  if verb ~= "regex" then
    local key = named(sub(verb, 1, 1), host, what)
    return rules:get(key) == position and key
  end
  local x = "x" .. host .. " " .. what
  local n = rules:get(x)
  local rule = n and rules:get("r" .. host .. " " .. n)
  return rule and tonumber(match(rule, "^%d+")) == position and x, n
end

function M.live(position, verb, host, what) return place(position, verb, host, what) and true or false end

-- Forget this very rule, which is past its time.
function M.drop(touched, position, verb, host, what)
  local key, n = place(position, verb, host, what)
  if not key then return end
  rules:delete(key)
  state:incr("rules", -1, 0)
  if not n then return end
  rules:delete("r" .. host .. " " .. n)
  local h = host_for(touched, host)
  while h.from <= h.to and not rules:get("r" .. host .. " " .. h.from) do h.from = h.from + 1 end
end

-- Forget them all. What there is no time for here goes as new ones come (see `set`), and in the steps of M.free.
function M.clear(hold)
  rules:flush_all()
  for _ = 1, TO_FREE / ROOM do
    if rules:flush_expired(ROOM) == 0 then break end
    hold(true)
  end
  state:set("rules", 0)
  rules:safe_set("\1", state:get("sentinel"))
end

-- Whether there may be more to do.
function M.free() return rules:flush_expired(ROOM) > 0 end

return M
