"""What devices get for their readings: a receipt, and later the state of what it names."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from webapp.http.answers import Count, JsonObject
from webapp.http.errors import RowErrors, Unexamined
from webapp.http.fields import MAX_CHARACTERS, MAX_NAMES

Receipt = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{1,2}-[0-9]{1,16}-[0-9]{1,16}(-[0-9a-f]{16}){0,1}\Z",
        description="names the readings of one request; opaque",
        examples=["1-1795218259495-0"],
    ),
]


class Accepted(JsonObject):
    """The readings that were accepted: a promise."""

    message: Literal["Data ingested successfully"]
    accepted: Annotated[int, Meta(ge=1)]
    rejected: Count
    receipt: Receipt
    ignored: (
        Annotated[
            list[str],
            Meta(
                max_length=MAX_NAMES,
                description="fields of accepted readings that were ignored: no reading of their kind has them. The "
                f"first {MAX_NAMES}, each cut after {MAX_CHARACTERS} characters",
            ),
        ]
        | UnsetType
    ) = UNSET
    errors: Annotated[list[RowErrors], Meta(max_length=100)] | UnsetType = UNSET
    unexamined: Unexamined | UnsetType = UNSET


class ReceiptState(JsonObject):
    """The state of the readings that a receipt names."""

    receipt: Receipt
    state: Annotated[
        Literal["pending", "stored", "dead-lettered", "partly-dead-lettered"],
        Meta(
            description="`pending`: not in Postgres yet. `stored`: all in history. "
            "`dead-lettered`: refused by the database for good, and kept with the reason."
        ),
    ]
    dead_letters: Annotated[Count, Meta(description="its readings among the dead letters")]
