"""Live state and history."""

from webapp.devices.live import KINDS_IN_PATHS, HistoryPageSchema, LivePageSchema
from webapp.openapi.answers import answer
from webapp.openapi.components import METER_ID, VEHICLE_ID, page_of, schema
from webapp.openapi.fields import IN_A_QUERY, query_parameters
from webapp.openapi.operations import Operations, in_path, operation

_WINDOW = {
    "from": "Readings from then on." + IN_A_QUERY,
    "to": "Readings before then." + IN_A_QUERY,
    "cursor": "`next` of the page before",
}


def operations() -> Operations:
    for plural, kind in KINDS_IN_PATHS:
        title = kind.name.capitalize()
        device = in_path(kind.device_field, METER_ID if kind.name == "meter" else VEHICLE_ID)
        path = f"/v1/{plural}/{{{kind.device_field}}}"
        yield (
            f"/v1/{plural}",
            "get",
            operation(
                "Live state",
                f"list{title}s",
                f"List the {plural} ever heard, by id",
                {200: answer("A page of them", page_of(f"Live{title}"))},
                errors="422 503",
                needs=("read",),
                parameters=query_parameters(LivePageSchema),
            ),
        )
        yield (
            path,
            "get",
            operation(
                "Live state",
                f"get{title}",
                f"Show a {kind.name}'s newest reading",
                {200: answer("As last heard", schema(f"Live{title}"))},
                errors="404 503",
                needs=("read",),
                parameters=[device],
            ),
        )
        yield (
            f"{path}/history",
            "get",
            operation(
                "Live state",
                f"list{title}History",
                f"List a {kind.name}'s readings, newest first",
                {200: _history(kind, title)},
                errors="404 422 503",
                needs=("read",),
                description="In pages of JSON, or with `Accept: text/csv` as one stream of CSV.",
                parameters=[device, *query_parameters(HistoryPageSchema, _WINDOW)],
            ),
        )


def _history(kind, title: str) -> dict:
    columns = ",".join([kind.device_field, "timestamp", "receivedAt", *kind.value_fields])
    return answer(
        "The readings",
        {
            "application/json": {"schema": page_of(f"Stored{title}Reading")},
            "text/csv": {"schema": {"type": "string", "description": f"first the header: `{columns}`"}},
        },
        ("Content-Disposition",),
    )
