"""The admission script: one round trip, so that the bound, the token and the entry are one decision.

Keys: the shard's stream, the token. Arguments: the entry, the deadline on Redis's clock in ms, the bound of the
backlog in entries, the token's time to live in s, fingerprint and answer to keep under the token.

A script that comes too late refuses: the web has stopped waiting and told the device that nothing was taken.
"""

APPEND = """
local seen = redis.call('GET', KEYS[2])
if seen then return {'seen', seen} end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if now > tonumber(ARGV[2]) then return {'late', now} end
local backlog = redis.call('XLEN', KEYS[1])
if backlog >= tonumber(ARGV[3]) then return {'full', backlog} end
local id = redis.call('XADD', KEYS[1], '*', 'v1', ARGV[1])
redis.call('SET', KEYS[2], id .. ' ' .. ARGV[5], 'EX', ARGV[4])
return {'added', id, backlog, now}
"""
