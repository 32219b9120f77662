-- Plays requests from a file, each once, and prints what came of it as one line of JSON.
-- arguments: the file, and a file of where each request ends
local requests, ends, count, at

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  requests = file:read("*a")
  file:close()
  ends, count, at = {[0] = 0}, 0, 0
  for line in io.lines(arguments[2]) do
    count = count + 1
    ends[count] = tonumber(line)
  end
end

function request()
  at = at % count + 1
  return requests:sub(ends[at - 1] + 1, ends[at])
end

function done(summary, latency)
  local bad = summary.errors
  io.write(string.format(
    '\nRESULT {"requests": %d, "seconds": %.6f, "refused": %d, "broken": %d, "bytes": %d, "p50": %.6f, "p99": %.6f}\n',
    summary.requests, summary.duration / 1e6, bad.status, bad.connect + bad.read + bad.write + bad.timeout,
    summary.bytes, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
