-- Posts the bodies of a file in turn and prints one JSON line of figures (microseconds, counts) at the end.
-- WRK_BODIES: one body per line; or WRK_BODY: one file is one body. WRK_TYPE: the content type.
local requests = {}
local index = 0

function init(args)
  local headers = { ["Content-Type"] = os.getenv("WRK_TYPE") or "application/json" }
  local whole = os.getenv("WRK_BODY")
  if whole then
    local file = assert(io.open(whole, "rb"))
    requests[1] = wrk.format("POST", nil, headers, file:read("*a"))
    file:close()
  else
    for line in io.lines(os.getenv("WRK_BODIES")) do
      requests[#requests + 1] = wrk.format("POST", nil, headers, line)
    end
  end
end

function request()
  index = index % #requests + 1
  return requests[index]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\nFIGURES {"calls":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"max_us":%d,'
      .. '"socket_errors":%d,"status_errors":%d,"timeouts":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.connect + errors.read + errors.write, errors.status, errors.timeout))
end
