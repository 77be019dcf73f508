"""Admission: what Redis runs to put one entry into a shard's stream (models/stream.py), or to say why not.

One round trip, so that the bound, the limit, the token and the entry are one decision. A script that comes too
late refuses: the web has stopped waiting and told the device that nothing was taken.

KEYS  stream, token, and the bucket of readings of a key that has a limit
ARGV  payload, deadline (ms), bound (entries), the token's time to live (s), fingerprint and answer;
      with a bucket: what this takes out of it (ms), what may be missing in it (ms)
Says  verdict, detail, now (ms), what is missing in the bucket (ms), the backlog before
"""

from models.limits import BUCKET_LUA

APPEND = f"""
{BUCKET_LUA}
local now = clock_ms()
local missing = KEYS[3] and full_in(KEYS[3], now) or 0
local seen = redis.call('GET', KEYS[2])
if seen then return {{'seen', seen, now, shown(missing)}} end
if now > tonumber(ARGV[2]) then return {{'late', 0, now}} end
if KEYS[3] and is_empty(missing, ARGV[7]) then return {{'limited', 0, now, shown(missing)}} end
local backlog = redis.call('XLEN', KEYS[1])
if backlog >= tonumber(ARGV[3]) then return {{'full', backlog, now}} end
local id = redis.call('XADD', KEYS[1], '*', 'v1', ARGV[1])
redis.call('SET', KEYS[2], id .. ' ' .. ARGV[5], 'EX', ARGV[4])
if KEYS[3] then
  missing = missing + tonumber(ARGV[6])
  take(KEYS[3], now, missing)
end
return {{'added', id, now, shown(missing), backlog}}
"""
