-- Takes one request from the bucket of each key, or from none. For each key two arguments: the time in which one request
-- refills, and the time in which an empty bucket refills, in microseconds. A key holds the time at which its bucket will be
-- full again, by this server's clock. Returns nil, or the index of the first key without a request left and the time to wait.
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local full = {}
for i, key in ipairs(KEYS) do
  local at = tonumber(call('GET', key) or now)
  -- The bucket is full; or the value is no number, which no script of ours has written.
  if not at or at < now then at = now end
  at = at + ARGV[2 * i - 1]
  local wait = at - now - ARGV[2 * i]
  if wait > 0 then return { i, wait } end
  full[i] = at
end
for i, key in ipairs(KEYS) do
  call('PSETEX', key, math.ceil((full[i] - now) / 1000), full[i])
end
