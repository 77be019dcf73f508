"""Pages: `limit` items, and the cursor of the next page. A cursor is opaque to clients."""

import base64
import binascii
from collections.abc import Callable
from types import GenericAlias
from typing import Any, TypeVar

import msgspec
from marshmallow import ValidationError

from models.readings import DEVICE_ID

T = TypeVar("T")


def encode_cursor(*key: Any) -> str:
    """The key of a page's last item."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(key)).decode().rstrip("=")


def decode_cursor(cursor: str | None, *types: Any) -> tuple[Any, ...] | None:
    """The key after which the page begins; None for the first page. Raises ValidationError."""
    if cursor is None:
        return None
    try:
        packed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        key: tuple[Any, ...] = msgspec.msgpack.decode(packed, type=GenericAlias(tuple, types))
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        key = ()
    if not key or not all(DEVICE_ID.match(part) for part in key if isinstance(part, str)):
        raise ValidationError("Must be the `next` of a page of this list.", "cursor")
    return key


def page(items: list[T], limit: int, key: Callable[[T], tuple[Any, ...]]) -> tuple[list[T], str | None]:
    """The page out of up to limit + 1 items, and the cursor of the next page; None if this is the last.

    `key` is what the list is ordered by, as `decode_cursor` returns it.
    """
    if len(items) <= limit:
        return items, None
    return items[:limit], encode_cursor(*key(items[limit - 1]))
