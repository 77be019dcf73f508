"""The keys of the telemetry stream, and the one field of its entries.

Keys of shard n:

    telemetry:{n}                    stream; an entry is one field, `v1`, with an encoded `Entry`
                                     its group `stored` holds the stored id, written by the trim: the two are lost
                                     together or not at all
    telemetry:{n}:failure            why the last drain of the shard failed; expires
    telemetry:{n}:token:<token>      outcome of the appends under this token (models/stream/admission.py)
    telemetry:{n}:allowance:<owner>  readings that an API key may still send (models/access/limits.py)

Of all shards together, so that a Redis cluster can't serve them:

    telemetry:tokens:<owner>         Idempotency-Keys that an API key may still use (models/access/limits.py)
    telemetry:received               the newest received time that was assigned, in microseconds
"""

FIELD = b"v1"
RECEIVED_KEY = "telemetry:received"


def stream_key(shard: int) -> str:
    return f"telemetry:{{{shard}}}"


def former_stored_key(shard: int) -> str:
    """Where earlier releases kept the stored id; the first trim deletes it."""
    return f"telemetry:{{{shard}}}:stored"


def failure_key(shard: int) -> str:
    return f"telemetry:{{{shard}}}:failure"


def token_key(shard: int, token: str) -> str:
    return f"telemetry:{{{shard}}}:token:{token}"


def allowance_key(shard: int, owner: str) -> str:
    return f"telemetry:{{{shard}}}:allowance:{owner}"


def token_allowance_key(owner: str) -> str:
    return f"telemetry:tokens:{owner}"
