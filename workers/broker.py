"""The broker's transport, for which a message that is no task is no reason to end: the next ones are."""

import json
from typing import Any

import msgspec
import structlog
from kombu.transport import redis

from models.health.redis_snapshot import TaskMessage

log = structlog.get_logger()


class Channel(redis.Channel):
    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            log.error("broker_message_dropped", reason=str(error))
            return True  # the message is taken from its list


class Transport(redis.Transport):
    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        try:
            msgspec.convert(message, TaskMessage)
        except msgspec.ValidationError as error:
            log.error("broker_message_dropped", queue=queue, reason=str(error))
        else:
            super()._deliver(message, queue)
