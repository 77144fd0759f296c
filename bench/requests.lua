-- Posts the requests of the file $REQUESTS in turn (ten digits of length, then the bytes), and prints one line of JSON.
local requests, i = {}, 0
function init()
  local data = io.open(os.getenv("REQUESTS"), "rb"):read("*a")
  local at = 1
  while at <= #data do
    local length = tonumber(data:sub(at, at + 9))
    requests[#requests + 1] = data:sub(at + 10, at + 9 + length)
    at = at + 10 + length
  end
end
function request()
  i = i + 1
  return requests[(i - 1) % #requests + 1]
end
function done(summary, latency)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
  io.write(string.format('{"requests": %d, "seconds": %.4f, "bad": %d, "timeouts": %d, "p50_ms": %.3f, "p99_ms": %.3f}\n',
    summary.requests, summary.duration / 1e6, bad, summary.errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
