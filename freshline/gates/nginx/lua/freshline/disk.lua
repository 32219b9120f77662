-- What nginx has on disk under a key, without asking nginx (ngx_http_file_cache_header_t, version 5, 64-bit little endian).
local memory = require "freshline.memory"
local ffi = require "ffi"
ffi.cdef [[
  int freshline_open(const char *path, int flags) __asm__("open");
  long freshline_pread(int fd, void *to, size_t size, int64_t at) __asm__("pread64");
  int64_t freshline_lseek(int fd, int64_t at, int whence) __asm__("lseek64");
  int freshline_close(int fd) __asm__("close");
]]
local C = ffi.C
local M = {}
local VERSION = 5
local HEADER = 336
local ANSWER = 2048          -- bytes of the stored answer's head that are looked at
local READ_ONLY = 524288     -- O_RDONLY and O_CLOEXEC
local FROM_END = 2
local ROOM = 4096
local room = ffi.new("char[?]", ROOM)    -- most heads and keys fit; nobody else runs while it is in use

local function number(text, offset, bytes)
  local n = 0
  for i = offset + bytes, offset + 1, -1 do n = n * 256 + text:byte(i) end
  return n
end

function M.path(key)
  local name = ngx.md5(key)
  local out, stop = {memory.config.cache_path}, 32
  for _, length in ipairs(memory.config.levels) do
    out[#out + 1] = name:sub(stop - length + 1, stop)
    stop = stop - length
  end
  out[#out + 1] = name
  return table.concat(out, "/")
end

-- So many bytes from there on, or as many as there are.
local function read(file, at, size)
  local to = size <= ROOM and room or ffi.new("char[?]", size)
  local bytes = C.freshline_pread(file, to, size, at)
  return bytes > 0 and ffi.string(to, bytes) or ""
end

-- {varies=, bytes=, good=} if an object that has not expired is stored under the key. Where it varies this is one of its
-- variants. It is good if it is known to answer 2xx. Where it is a slice, `whole` is the size of what it is a slice of.
function M.look(key)
  local file = C.freshline_open(M.path(key), READ_ONLY)
  if file < 0 then return nil, "nothing on disk" end
  local want = HEADER + 7 + #key + ANSWER                   -- the answer follows the key
  local head = read(file, 0, want)
  local size = tonumber(C.freshline_lseek(file, 0, FROM_END))
  local answer_at = #head >= HEADER and number(head, 54, 2) or 0
  local answer = head:sub(answer_at + 1)
  if #answer < ANSWER and #head == want then answer = read(file, answer_at, ANSWER) end
  C.freshline_close(file)
  if #head < HEADER or number(head, 0, 8) ~= VERSION then return nil, "a file of another nginx" end
  if head:sub(HEADER + 1, HEADER + #key + 7) ~= "\nKEY: " .. key .. "\n" then return nil, "another key" end
  if number(head, 8, 8) < ngx.time() then return nil, "expired" end
  return {
    varies = head:byte(188) > 0, bytes = size - number(head, 56, 2), good = answer:find("^HTTP/1%.[01] 2%d%d") ~= nil,
    whole = answer:find("^HTTP/1%.[01] 206") and tonumber(answer:match("\n[Cc]ontent%-[Rr]ange: *bytes %d+%-%d+/(%d+)")),
  }
end

return M
