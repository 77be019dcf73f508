-- The requests of bench/load/full_speed.py. Arguments: the key, then what to send:
--   singles                         one reading a request, of any device of the fleet, of now
--   minutes <start> <size>          bench/fleet.py's Minutes from <start> (seconds since 1970) on
--   pool <file>                     bodies from a file, each after its length in a line, gzip NDJSON; again from the first
--   get <path with %05d> <count>    a path with a number below <count> in it
-- The last line it prints is JSON.

local PAIRS = 10000

local function meter(pair)
  return string.format('{"meterId":"M-%05d","kwhConsumedAc":%.4f,"voltage":%.1f,"timestamp":"',
    pair, math.random(), 228 + 6 * math.random())
end

local function vehicle(pair)
  return string.format('{"vehicleId":"V-%05d","kwhDeliveredDc":%.4f,"batteryTemp":%.1f,"soc":%.1f,"timestamp":"',
    pair, 0.9 * math.random(), 18 + 15 * math.random(), 20 + 75 * math.random())
end

local function stamp(seconds)
  return os.date("!%Y-%m-%dT%H:%M:%SZ", seconds)
end

local sources = {}

function sources.singles()
  local second, now = 0, ""
  return function()
    if os.time() ~= second then
      second = os.time()
      now = stamp(second)
    end
    local pair = math.random(PAIRS) - 1
    local reading = math.random(2) == 1 and meter(pair) or vehicle(pair)
    return wrk.format(nil, nil, nil, reading .. now .. '"}')
  end
end

-- Like loadtool/bodies.py: the fragments are made once, the timestamp goes between them.
function sources.minutes(start, size)
  local blocks, n = {}, -1
  for block = 0, 2 * PAIRS / size - 1 do
    local fragments = {}
    for pair = block * size / 2, (block + 1) * size / 2 - 1 do
      fragments[#fragments + 1] = (#fragments == 0 and "[" or '"},') .. meter(pair)
      fragments[#fragments + 1] = '"},' .. vehicle(pair)
    end
    fragments[#fragments + 1] = '"}]'
    blocks[block] = fragments
  end
  return function()
    n = n + 1
    local minute = math.floor(n / (#blocks + 1))
    return wrk.format(nil, nil, nil, table.concat(blocks[n % (#blocks + 1)], stamp(start + 60 * minute)))
  end
end

function sources.pool(name)
  wrk.headers["Content-Type"] = "application/x-ndjson"
  wrk.headers["Content-Encoding"] = "gzip"
  local requests, n = {}, 0
  local file = assert(io.open(name, "rb"))
  for length in function() return file:read("*l") end do
    requests[#requests + 1] = wrk.format(nil, nil, nil, file:read(tonumber(length)))
  end
  file:close()
  return function()
    n = n + 1
    return requests[(n - 1) % #requests + 1]
  end
end

function sources.get(path, count)
  wrk.method = "GET"
  return function()
    return wrk.format(nil, string.format(path, math.random(count) - 1))
  end
end

function init(args)
  math.randomseed(os.time())
  wrk.method = "POST"
  wrk.path = "/v1/telemetry"
  wrk.headers["Authorization"] = "Bearer " .. args[1]
  wrk.headers["Content-Type"] = "application/json"
  request = sources[args[2]](tonumber(args[3]) or args[3], tonumber(args[4]))
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests":%d,"seconds":%.6f,"refused":%d,"broken":%d,"p50_ms":%.4f,"p99_ms":%.4f,"max_ms":%.4f}',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
