"""The Redis client of the product: every part of a process opens its own with this function."""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

# redis-py's pool holds 100 at most and fails the thread that would need one more.
_MAX_CONNECTIONS = 1000


def open_redis(url: str, *, timeout_seconds: float) -> redis.Redis:
    """A client that waits at most `timeout_seconds` for a connection or an answer, and never retries by itself.

    A lost answer does not show whether Redis executed the command: the caller decides whether it may be repeated.
    Connects at its first use; threads may share it, and it may be made before a fork.
    """
    return redis.Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        socket_keepalive=True,
        max_connections=_MAX_CONNECTIONS,
    )
