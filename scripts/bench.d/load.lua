-- Part of scripts/bench, for wrk. With 1 for its first argument it sends the same bytes again and again; with a larger number
-- it asks for that many places in turn, with requests that were made beforehand, so that turning costs the load generator
-- little. The second argument, if there is one, is a file with a consumer key.

function init(arguments)
  local places, requests, turn = tonumber(arguments[1]), {}, 0
  if arguments[2] then
    wrk.headers["Authorization"] = "Bearer " .. io.open(arguments[2]):read("*a")
  end
  if places == 1 then return end
  for place = 1, places do
    requests[place] = wrk.format("GET", string.format("/weather/Benchville%03d", place - 1))
  end
  function request()
    turn = turn % places + 1
    return requests[turn]
  end
end

-- Times in microseconds.
function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
  print(string.format("result %d %d %d %d %d %d", summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99), failed))
end
