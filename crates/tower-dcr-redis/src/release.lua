-- Releases one request in the bucket of each key: see take.lua for the arguments.
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
for i, key in ipairs(KEYS) do
  local at = tonumber(call('GET', key) or now)
  if at and at > now then
    at = at - ARGV[2 * i - 1]
    if at > now then
      call('PSETEX', key, math.ceil((at - now) / 1000), at)
    else
      call('DEL', key)
    end
  end
end
