"""Admission: what Redis runs to put the entries of several requests into a shard's stream, or to say why not.

One round trip, so that the bound, the limits, the tokens and the entries are one decision. A script that comes too
late refuses: the web has stopped waiting and told the devices that nothing was taken.

A request is **plain** where it has no Idempotency-Key and its API key no limit. The plain requests of a group share
one token, which remembers what became of each; every other request has a token, and maybe an allowance, of its own.

KEYS  the stream, the token of the plain requests, then the tokens and allowances that the others name by their place
ARGV  deadline (ms), bound (entries), the group token's time to live (s), how many are plain, their payloads; then of
      each other: payload, place of its token, the token's time to live (s), fingerprint and answer, place of its
      allowance (0: none), its cost (ms), the largest deficit (ms)
Says  now (ms), the backlog before, and for each, plain ones first: an entry id, `full` or `late`; for those that are
      not plain an array of verdict, detail, and the deficit of the allowance (ms)
"""

import uuid
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from models.access.limits import ALLOWANCE_LUA, Allowance, Charge, LimitReached
from models.stream.entry_ids import EntryId, parse_entry_id
from models.stream.keys import allowance_key, stream_key, token_key

# A generated token only has to outlive the attempts of one request.
GENERATED_TOKEN_TTL_SECONDS = 60

APPEND = f"""
{ALLOWANCE_LUA}
local now = clock_ms()
local late = now > tonumber(ARGV[1])
local backlog = redis.call('XLEN', KEYS[1])
local room = tonumber(ARGV[2]) - backlog
local function add(payload)
  if room <= 0 then return 'full' end
  room = room - 1
  return redis.call('XADD', KEYS[1], '*', 'v1', payload)
end

local said = {{}}
local plain = tonumber(ARGV[4])
local known = plain > 0 and redis.call('GET', KEYS[2])
if known then
  for verdict in known:gmatch('%S+') do said[#said + 1] = verdict end
elseif late then
  for place = 1, plain do said[place] = 'late' end
elseif plain > 0 then
  for place = 1, plain do said[place] = add(ARGV[4 + place]) end
  redis.call('SET', KEYS[2], table.concat(said, ' '), 'EX', ARGV[3])
end

local function admit(payload, token, ttl, told, allowance, cost, max_deficit)
  local deficit = allowance and get_deficit(allowance, now) or 0
  local seen = redis.call('GET', token)
  if seen then return {{'seen', seen, as_text(deficit)}} end
  if late then return {{'late'}} end
  if allowance and is_used_up(deficit, max_deficit) then return {{'limited', '', as_text(deficit)}} end
  local id = add(payload)
  if id == 'full' then return {{'full'}} end
  redis.call('SET', token, id .. ' ' .. told, 'EX', ttl)
  if allowance then
    deficit = deficit + tonumber(cost)
    set_deficit(allowance, now, deficit)
  end
  return {{'added', id, as_text(deficit)}}
end

for at = 5 + plain, #ARGV, 7 do
  local token, allowance = KEYS[tonumber(ARGV[at + 1])], KEYS[tonumber(ARGV[at + 4])]
  said[#said + 1] = admit(ARGV[at], token, ARGV[at + 2], ARGV[at + 3], allowance, ARGV[at + 5], ARGV[at + 6])
end
return {{now, backlog, said}}
"""


class BacklogFull(Exception):
    """The shard's backlog is at its bound, or Redis is out of memory. Nothing was taken."""


class StreamUnreachable(Exception):
    """Redis can't be reached, or did not get to the append in time. Nothing was taken."""


class OutcomeUnknown(Exception):
    """The append was sent, its answer got lost, and Redis could not be asked again: taken once, or not at all."""


class TokenReused(Exception):
    """The token stands for an append with another fingerprint. Nothing was taken."""


class Appended(NamedTuple):
    """An entry that the stream has. `answer` is what the first request under this token was answered with."""

    shard: int
    entry_id: EntryId
    was_empty: bool
    replayed: bool = False
    answer: bytes = b""
    allowance: Allowance | None = None  # after the charge


@dataclass(frozen=True, slots=True)
class Conditions:
    """What makes an append one that is not plain: it has a token of its own, and maybe a charge."""

    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    token_ttl_seconds: int = GENERATED_TOKEN_TTL_SECONDS
    fingerprint: str = ""
    answer: bytes = b""
    charge: Charge | None = None

    def read(self, said: list, shard: int, was_empty: bool) -> Appended:
        """What the script said to this append. Raises why it was not taken."""
        verdict, detail = said[0], said[1] if len(said) > 1 else b""
        allowance = Allowance(self.charge.limit, float(said[2])) if self.charge and len(said) > 2 else None
        if verdict == b"added":
            return Appended(shard, parse_entry_id(detail), was_empty, allowance=allowance)
        if verdict == b"seen":
            entry_id, fingerprint, answer = detail.split(b" ", 2)
            if fingerprint.decode() != self.fingerprint:
                raise TokenReused
            return Appended(shard, parse_entry_id(entry_id), False, True, answer, allowance)
        if allowance and verdict == b"limited":
            raise LimitReached(allowance)
        raise refusal(verdict)


def read_plain(said: bytes, shard: int, was_empty: bool) -> Appended:
    """What the script said to a plain append. Raises why it was not taken."""
    if said in (b"full", b"late"):
        raise refusal(said)
    return Appended(shard, parse_entry_id(said), was_empty)


def is_late(reply: list) -> bool:
    """Whether the script refused an append of this group for coming too late: all that it did not know already."""
    return any(said == b"late" or said[0] == b"late" for said in reply[2])


def refusal(verdict: bytes) -> Exception:
    if verdict == b"full":
        return BacklogFull("the backlog is at its bound")
    return StreamUnreachable("Redis took too long")


def arguments(
    shard: int, token: str, deadline_ms: int, bound: int, plain: list[bytes], others: list[tuple[bytes, Conditions]]
) -> list:
    """The script's arguments, from the number of keys on; `token` is that of the plain appends."""
    keys = [stream_key(shard), token_key(shard, token)]
    told = []
    for payload, conditions in others:
        keys.append(token_key(shard, conditions.token))
        token_place, allowance_place, cost, max_deficit = len(keys), 0, 0.0, 0.0
        if charge := conditions.charge:
            keys.append(allowance_key(shard, charge.owner))
            allowance_place = len(keys)
            cost, max_deficit = charge.limit.cost_ms(charge.readings), charge.limit.max_deficit_ms
        known = conditions.fingerprint.encode() + b" " + conditions.answer
        told.append((payload, token_place, conditions.token_ttl_seconds, known, allowance_place, cost, max_deficit))
    head = (deadline_ms, bound, GENERATED_TOKEN_TTL_SECONDS, len(plain))
    return [len(keys), *keys, *head, *plain, *chain.from_iterable(told)]
