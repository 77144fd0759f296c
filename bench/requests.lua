-- Posts the requests of the file $REQUESTS in turn (ten digits of length, then the bytes), and prints one line of JSON.
local requests, i = {}, 0
function init()
  local file = io.open(os.getenv("REQUESTS"), "rb")
  local length = file:read(10)
  while length do
    requests[#requests + 1] = file:read(tonumber(length))
    length = file:read(10)
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
