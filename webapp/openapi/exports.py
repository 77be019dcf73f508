"""Readings by the million."""

from models.readings import KINDS
from webapp.exports import CSV, MEDIA_TYPES, PARQUET, ExportSchema
from webapp.openapi.answers import answer
from webapp.openapi.fields import IN_A_QUERY, query_parameters
from webapp.openapi.operations import Operations, operation

_WINDOW = {
    "kind": "of which devices",
    "from": "Readings from then on. Left out: 24 hours before `to`." + IN_A_QUERY,
    "to": "Readings before then. Left out: now." + IN_A_QUERY,
}
_COLUMNS = " or ".join(
    f"`{','.join([kind.device_field, 'timestamp', 'receivedAt', *kind.value_fields])}`" for kind in KINDS.values()
)
_DESCRIPTION = """\
All readings of history in the window, with every submission of an instant (of those with the same device and
`timestamp` the one with the latest `receivedAt` counts), as history stood when the export began.

The order is day by day (UTC), and within a day that of storing; with `deviceId` it is by device and time. A key that
is bound to devices exports those. A device that was never heard adds nothing.

An export that breaks off on the way can't have another status: CSV then ends with a line that begins with
`# incomplete`, and Parquet lacks its footer, so that no reader takes it for a file.
"""


def operations() -> Operations:
    yield (
        "/v1/export/readings",
        "get",
        operation(
            "Live state",
            "exportReadings",
            "Export readings as one stream of CSV or Parquet",
            {
                200: answer(
                    "The readings",
                    {
                        MEDIA_TYPES[CSV]: {
                            "schema": {"type": "string", "description": f"first the header: {_COLUMNS}"}
                        },
                        MEDIA_TYPES[PARQUET]: {
                            "schema": {
                                "type": "string",
                                "format": "binary",
                                "description": "the same columns: times as timestamp[us, UTC], values as double",
                            }
                        },
                    },
                    ("Content-Disposition",),
                )
            },
            errors="422 503",
            needs=("read",),
            description=_DESCRIPTION,
            parameters=query_parameters(ExportSchema, _WINDOW),
        ),
    )
