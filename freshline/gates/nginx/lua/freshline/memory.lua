-- What nginx's processes share, by way of the module (shared.h says what there is).
--
-- C and state are there once M.open has found the module. state's numbers are 64 bits wide: tonumber() before use.
local ffi = require "ffi"

local M = {
  config = {},                                  -- filled by freshline.start
  GATE = 0, COMPACTING = 1, READING = 2,        -- locks
}

-- In init_by_lua. By its path: after an upgrade the one before is still there, with functions of the same names.
function M.open()
  local file = assert(io.open(M.config.lua .. "/freshline/shared.h"))
  ffi.cdef(file:read("*a"))
  file:close()
  M.C = ffi.load(M.config.module)
  assert(M.C.freshline_layout() == M.C.FRESHLINE_LAYOUT, "freshline: the module is of another freshline: build it anew, and restart nginx")
  M.state = M.C.freshline_state()
  assert(M.state ~= nil, "freshline: load_module names another file than http.conf, which has " .. M.config.module)
  M.answer = ffi.new("struct freshline_answer")
end

-- Escapes decoded.
local function octet(hex) return string.char(tonumber(hex, 16)) end
function M.decode(text)
  if not text:find("%", 1, true) then return text end
  return (text:gsub("%%(%x%x)", octet))
end

-- A generation as the journal has it.
function M.word(generation)
  local to = ffi.new("char[?]", M.C.FRESHLINE_NAME)
  M.C.freshline_generation(generation, to)
  return ffi.string(to)
end

-- Nil if it is none.
function M.generation(word)
  local high, low = word:match("^(%x%x%x%x%x%x%x%x)(%x%x%x%x%x%x%x%x)$")
  return high and tonumber(high, 16) * 0x100000000ULL + tonumber(low, 16)
end

-- Locks. Nobody takes one from a worker that lives. Nil: it is not to be had.
function M.lock(which)
  local token = M.C.freshline_lock(which)
  return token ~= 0 and token or nil
end
function M.unlock(which, token) M.C.freshline_unlock(which, token) end

function M.serve(generation) M.C.freshline_serve(generation) end

-- What is stored is of no use until another generation is served.
function M.serve_nothing() M.serve(M.C.freshline_random()) end

-- Log, position and mark; nil while the journal is being read.
function M.at()
  local at = M.C.freshline_standing()
  if at.known == 0 then return nil end
  return ffi.string(at.log), tonumber(at.position), ffi.string(at.mark)
end

function M.expired() return tonumber(M.C.freshline_standing().expired) end

function M.stand(log, position, mark) M.C.freshline_stand(log, position, mark) end

-- False after a reload changed the memory for rules, in a worker that still has the old one.
function M.sound() return M.C.freshline_fits() ~= 0 end

function M.synced() return M.state.serving == M.state.generation end

-- The key's last part for a request that begins now, and the position in it.
function M.look(host, target)
  local answer = M.answer
  M.C.freshline_look(host, #host, target, #target, answer)
  return ffi.string(answer.word), tonumber(answer.position)
end

return M
