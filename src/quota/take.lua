-- Takes one request from the bucket of each key, or from none. For each key two arguments: the time in which one request
-- is earned, and the time in which an empty bucket fills up, in microseconds. What is stored is when the bucket will be
-- full again, by this server's clock. Answers nothing, or which key was the first without a request left, and for how long.
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local full = {}
for i, key in ipairs(KEYS) do
  local at = tonumber(call('GET', key) or now)
  -- No debt; or no number, which nothing of ours has written.
  if not at or at < now then at = now end
  at = at + ARGV[2 * i - 1]
  local wait = at - now - ARGV[2 * i]
  if wait > 0 then return { i, wait } end
  full[i] = at
end
for i, key in ipairs(KEYS) do
  call('PSETEX', key, math.ceil((full[i] - now) / 1000), full[i])
end
