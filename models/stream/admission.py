"""Admission: the script with which Redis appends the entries of several requests to a shard's stream, or refuses them.

One round trip, so that the bound, the limits, the tokens and the entries are one decision. After its deadline the
script refuses: by then the web has answered that nothing was accepted.

An append is **plain** unless it has an Idempotency-Key or its API key has a limit; then it is **conditional**. The
plain appends of a group share one token, which keeps their outcomes. Each conditional append has a token of its own,
and an allowance for each of the two that it is charged for: its readings, and a token that is kept for long.

The id of an entry is its received time (models/stream/entry_ids.py): Redis's clock in microseconds, but later than the
received times of all readings before, in any shard, also after the clock was set back. An entry of n readings takes n
microseconds, one for each reading.

KEYS     the stream, the token of the plain appends, the newest received time, then the tokens and allowances of the
         conditional ones
ARGV     deadline (ms), bound (entries), time to live of the shared token (s), number of plain appends, whether their
         numbers of readings follow (0: each has one reading), their payloads, then these numbers;
         then for each conditional append: payload, number of readings, index of its token in KEYS, the token's time to
         live (s), fingerprint and answer; then for the readings and for the token: index of the allowance in KEYS (0:
         none), the cost (ms), the largest deficit (ms)
Returns  now (ms), the backlog before, and an outcome for each append, plain ones first: an entry id, `full` or `late`;
         for a conditional append an array of verdict, detail, and the deficit (ms) of the allowance for readings, or
         with `no_token` of that for tokens
"""

import uuid
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from models.access.limits import ALLOWANCE_LUA, Allowance, Charge, LimitReached
from models.stream.entry_ids import EntryId, parse_entry_id
from models.stream.keys import RECEIVED_KEY, allowance_key, stream_key, token_allowance_key, token_key

# A generated token has to outlive the attempts of one group.
GENERATED_TOKEN_TTL_SECONDS = 60

APPEND = (
    ALLOWANCE_LUA
    + """
local clock = redis.call('TIME')
local micros = clock[1] * 1000000 + clock[2]
local now = math.floor(micros / 1000)
local late = now > tonumber(ARGV[1])
local backlog = redis.call('XLEN', KEYS[1])
local room = tonumber(ARGV[2]) - backlog
local before = tonumber(redis.call('GET', KEYS[3]) or 0)
local newest = before
local format = string.format
local function entry_id(at)
  local micros_of_ms = at % 1000
  return format('%d-%d', (at - micros_of_ms) / 1000, micros_of_ms)
end
local function add(payload, readings)
  if room <= 0 then return 'full' end
  room = room - 1
  local at = math.max(micros, newest + 1)
  local id = redis.pcall('XADD', KEYS[1], entry_id(at), 'v1', payload)
  if type(id) == 'table' then  -- refused: the stream is ahead of the newest received time, or Redis is out of memory
    local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then at = math.max(at, (info[i + 1]:match('%d+') + 1) * 1000) end
    end
    id = redis.call('XADD', KEYS[1], entry_id(at), 'v1', payload)
  end
  newest = at + readings - 1
  return id
end

local outcomes = {}
local plain, are_counted = tonumber(ARGV[4]), ARGV[5] == '1'
local known = plain > 0 and redis.call('GET', KEYS[2])
if known then
  for outcome in known:gmatch('%S+') do outcomes[#outcomes + 1] = outcome end
elseif late then
  for i = 1, plain do outcomes[i] = 'late' end
elseif plain > 0 then
  for i = 1, plain do outcomes[i] = add(ARGV[5 + i], are_counted and ARGV[5 + plain + i] or 1) end
  redis.call('SET', KEYS[2], table.concat(outcomes, ' '), 'EX', ARGV[3])
end

local function admit(i)
  local token, allowance, tokens = KEYS[tonumber(ARGV[i + 2])], KEYS[tonumber(ARGV[i + 5])], KEYS[tonumber(ARGV[i + 8])]
  local deficit = allowance and get_deficit(allowance, now) or 0
  local seen = redis.call('GET', token)
  if seen then return {'seen', seen, as_text(deficit)} end
  if late then return {'late'} end
  if allowance and is_used_up(deficit, ARGV[i + 7]) then return {'limited', '', as_text(deficit)} end
  local tokens_deficit = tokens and get_deficit(tokens, now) or 0
  if tokens and is_used_up(tokens_deficit, ARGV[i + 10]) then return {'no_token', '', as_text(tokens_deficit)} end
  local id = add(ARGV[i], ARGV[i + 1])
  if id == 'full' then return {'full'} end
  redis.call('SET', token, id .. ' ' .. ARGV[i + 4], 'EX', ARGV[i + 3])
  if tokens then set_deficit(tokens, now, tokens_deficit + tonumber(ARGV[i + 9])) end
  if allowance then
    deficit = deficit + tonumber(ARGV[i + 6])
    set_deficit(allowance, now, deficit)
  end
  return {'added', id, as_text(deficit)}
end

for i = 6 + plain * (are_counted and 2 or 1), #ARGV, 11 do outcomes[#outcomes + 1] = admit(i) end
if newest > before then redis.call('SET', KEYS[3], format('%d', newest)) end
return {now, backlog, outcomes}
"""
)


class BacklogFull(Exception):
    """The shard's backlog is at its bound, or Redis is out of memory. Nothing was accepted."""


class StreamUnreachable(Exception):
    """Redis is unavailable, or did not execute the append in time. Nothing was accepted."""


class OutcomeUnknown(Exception):
    """The append was sent and its answer got lost: accepted once or not at all."""


class TokenReused(Exception):
    """The token belongs to an append with another fingerprint. Nothing was accepted."""


class TokensUsedUp(Exception):
    """The sender has used as many tokens as it may at the moment. Nothing was accepted."""

    def __init__(self, allowance: Allowance):
        super().__init__(f"{allowance.limit.burst} tokens are used up")
        self.allowance = allowance


class Appended(NamedTuple):
    """An entry in the stream. `answer` is what was kept with the first append under this token."""

    shard: int
    entry_id: EntryId
    was_empty: bool
    replayed: bool = False
    answer: bytes = b""
    allowance: Allowance | None = None  # after the charge


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of an append that is not plain: a token of its own, and maybe charges."""

    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    token_ttl_seconds: int = GENERATED_TOKEN_TTL_SECONDS
    fingerprint: str = ""
    answer: bytes = b""
    charge: Charge | None = None
    token_charge: Charge | None = None  # for a token that is kept for long

    def read_outcome(self, outcome: list[bytes], shard: int, was_empty: bool) -> Appended:
        """Raises why the append was refused."""
        verdict, detail = outcome[0], outcome[1] if len(outcome) > 1 else b""
        allowance = Allowance(self.charge.limit, float(outcome[2])) if self.charge and len(outcome) > 2 else None
        if verdict == b"added":
            return Appended(shard, parse_entry_id(detail), was_empty, allowance=allowance)
        if verdict == b"seen":
            entry_id, fingerprint, answer = detail.split(b" ", 2)
            if fingerprint.decode() != self.fingerprint:
                raise TokenReused
            return Appended(shard, parse_entry_id(entry_id), False, True, answer, allowance)
        if allowance and verdict == b"limited":
            raise LimitReached(allowance)
        if self.token_charge and verdict == b"no_token":
            raise TokensUsedUp(Allowance(self.token_charge.limit, float(outcome[2])))
        raise _refusal(verdict)


def read_plain_outcome(outcome: bytes, shard: int, was_empty: bool) -> Appended:
    """Raises why the append was refused."""
    if outcome in (b"full", b"late"):
        raise _refusal(outcome)
    return Appended(shard, parse_entry_id(outcome), was_empty)


class Reply(NamedTuple):
    """What the script returns."""

    now_ms: int
    backlog: int
    outcomes: list[Any]

    @property
    def is_late(self) -> bool:
        """Whether the deadline had passed for an append whose token was not known."""
        return any(outcome == b"late" or outcome[0] == b"late" for outcome in self.outcomes)


def _refusal(verdict: bytes) -> Exception:
    if verdict == b"full":
        return BacklogFull("the backlog is at its bound")
    return StreamUnreachable("Redis took too long")


def arguments(
    shard: int,
    token: str,
    deadline_ms: int,
    bound: int,
    plain: list[tuple[bytes, int]],
    conditional: list[tuple[bytes, int, Conditions]],
) -> list[Any]:
    """The script's arguments, from the number of keys on; `token` is the one of the plain appends.

    An append has a payload and a number of readings.
    """
    keys = [stream_key(shard), token_key(shard, token), RECEIVED_KEY]
    rows: list[list[Any]] = []
    for payload, readings, conditions in conditional:
        keys.append(token_key(shard, conditions.token))
        kept = conditions.fingerprint.encode() + b" " + conditions.answer
        row: list[Any] = [payload, readings, len(keys), conditions.token_ttl_seconds, kept]
        for charge, key_of in (
            (conditions.charge, partial(allowance_key, shard)),
            (conditions.token_charge, token_allowance_key),
        ):
            if charge:
                keys.append(key_of(charge.owner))
                row += [len(keys), charge.limit.cost_ms(charge.units), charge.limit.max_deficit_ms]
            else:
                row += [0, 0, 0]
        rows.append(row)
    payloads, counts = [payload for payload, _ in plain], [readings for _, readings in plain]
    if set(counts) <= {1}:
        counts = []
    head = (deadline_ms, bound, GENERATED_TOKEN_TTL_SECONDS, len(plain), int(bool(counts)))
    return [len(keys), *keys, *head, *payloads, *counts, *chain.from_iterable(rows)]
