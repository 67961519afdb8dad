-- wrk: distinct signed events; BENCH_TEMPLATE is a body with marks, BENCH_SIGNATURES one "number amount hex customer"
-- a line.
local counter = 0
function setup(thread) thread:set("mine", counter); counter = counter + 1 end

local pieces, marks, values, lines, at, stamp = {}, {}, {}, {}, 0, os.getenv("BENCH_STAMP")
function init(args)
  local text = io.open(os.getenv("BENCH_TEMPLATE")):read("*a")
  local from = 1
  while true do
    local s, e, what = text:find("\1([NAC])\1", from)
    pieces[#pieces + 1] = text:sub(from, (s or 0) - 1)
    if not s then break end
    marks[#marks + 1] = what
    from = e + 1
  end
  local n, threads = 0, tonumber(os.getenv("BENCH_THREADS"))
  for line in io.lines(os.getenv("BENCH_SIGNATURES")) do
    if n % threads == mine then lines[#lines + 1] = line end
    n = n + 1
  end
end

function request()
  at = at % #lines + 1
  local hex
  values.N, values.A, hex, values.C = lines[at]:match("(%S+) (%S+) (%S+) (%S+)")
  local parts = {pieces[1]}
  for i = 1, #marks do
    parts[#parts + 1] = values[marks[i]]
    parts[#parts + 1] = pieces[i + 1]
  end
  local headers = {["Content-Type"] = "application/json; charset=utf-8", ["Stripe-Signature"] = "t=" .. stamp .. ",v1=" .. hex}
  return wrk.format("POST", "/webhooks/stripe", headers, table.concat(parts))
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\nJSON{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    e.status, e.connect + e.read + e.write + e.timeout))
end
