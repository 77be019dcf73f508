"""The keys of the telemetry stream, and the one field of its entries.

Keys of shard n (the braces keep a shard's keys on one node of a cluster):

    telemetry:{n}                    stream; an entry is one field, `v1`, with an encoded `Entry`
    telemetry:{n}:stored             id of the newest entry in Postgres, written by the trim
    telemetry:{n}:token:<token>      outcome of the appends under this token (models/stream/admission.py)
    telemetry:{n}:allowance:<owner>  readings that an API key may still send (models/access/limits.py)
"""

FIELD = b"v1"


def stream_key(shard: int) -> str:
    return f"telemetry:{{{shard}}}"


def stored_key(shard: int) -> str:
    return f"telemetry:{{{shard}}}:stored"


def token_key(shard: int, token: str) -> str:
    return f"telemetry:{{{shard}}}:token:{token}"


def allowance_key(shard: int, owner: str) -> str:
    return f"telemetry:{{{shard}}}:allowance:{owner}"
