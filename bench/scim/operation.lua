-- One operation of SCIM, request after request, for wrk: `-- OPERATION TARGETS TOKEN PREFIX START TAG`.
-- TARGETS: a file of lines "id<tab>userName". START: how many of this operation the same server had before, so that
-- what alternates goes on alternating. Ends with one line of JSON.
local operation, prefix, number, tag
local ids, names, headers = {}, {}, {}
local USER = "urn:ietf:params:scim:schemas:core:2.0:User"
local PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

local function patch(path, value)
  return '{"schemas":["' .. PATCH .. '"],"Operations":[{"op":"replace","path":"' .. path .. '","value":' .. value .. "}]}"
end

-- The next target in turn, and in which turn it is.
local function turn()
  local at = number % #ids
  return ids[at + 1], math.floor(number / #ids)
end

local function send(method, path, body)
  return wrk.format(method, prefix .. path, headers, body)
end

local operations = {
  get = function() return send("GET", "/Users/" .. ids[math.random(#ids)]) end,
  filter = function()
    return send("GET", "/Users?filter=userName%20eq%20%22" .. names[math.random(#names)] .. "%22")
  end,
  list = function() return send("GET", "/Users?startIndex=1&count=100") end,
  create = function()
    local name = "new-" .. tag .. "-" .. number
    return send("POST", "/Users", '{"schemas":["' .. USER .. '"],"userName":"' .. name .. '",' .. _G.rest .. "}")
  end,
  ["patch-name"] = function()
    local id, round = turn()
    return send("PATCH", "/Users/" .. id, patch("name.familyName", '"Family ' .. tag .. " " .. round .. '"'))
  end,
  ["patch-active"] = function()
    local id, round = turn()
    return send("PATCH", "/Users/" .. id, patch("active", round % 2 == 1 and "true" or "false"))
  end,
}

function init(args)
  operation, prefix, number, tag = operations[args[1]], args[4], tonumber(args[5]), args[6]
  for line in io.lines(args[2]) do
    local id, name = line:match("^([^\t]*)\t(.*)$")
    if id then
      ids[#ids + 1], names[#names + 1] = id, name
    else
      _G.rest = line -- the last line: what a new user has beside a name
    end
  end
  headers["Authorization"] = "Bearer " .. args[3]
  headers["Content-Type"] = "application/scim+json"
  math.randomseed(number + 1)
end

function request()
  local text = operation()
  number = number + 1
  return text
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"us":%d,"bytes":%d,"p50_us":%d,"p99_us":%d,"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d}\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end
