"""Schemathesis over /openapi.json, against the application in granian: no 500, and every answer as documented."""

import itertools
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
import schemathesis
import urllib3
from flask import Flask
from hypothesis import strategies as st

from models.settings import load_settings
from tests.factories import meter, vehicle
from webapp.http.paging import encode_cursor
from webapp.openapi.document import build_document
from webapp.routes import register_routes

pytestmark = pytest.mark.slow

SMALL_BATCHES = ("MAX_BATCH_READINGS", "100")  # schemathesis sends the largest often
NDJSON = "application/x-ndjson"
CONFIG = {
    # Besides these examples of each operation, schemathesis derives cases from the document: see its coverage phase.
    "generation": {"max-examples": 25, "deterministic": True},
    "suppress-health-check": ["all"],  # they are about the speed of the machine
    "checks": {
        # This service requires no keys; tests/access/test_authentication.py checks each operation of one that does.
        "ignored_auth": {"enabled": False},
        # More items than maxItems are refused with 413.
        "negative_data_rejection": {"expected-statuses": ["400", "404", "405", "413", "415", "422"]},
    },
}

# Rules that descriptions state and schemas can't express: by field, the start of the error.
BEYOND_SCHEMAS = {
    "from": ("The window may be at most", "Must be in the past"),
    "to": ("Must be after `from`",),
    "bucket": ("A series has at most",),
    "pricePerKwh": ("Must have at most",),
    "startedAt": ("Must not be before 2000", "Must not be more than"),
    "endedAt": ("Must not be before 2000", "Must not be more than", "Must be after the start"),
    "type": ("Must be given where not exactly one of",),
}

# Times that a reading may have: no schema can express "not ahead of the service's clock".
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=9))])
TIMES = st.datetimes(datetime(2000, 1, 2), datetime(2026, 1, 1), timezones=ZONES)  # noqa: DTZ001
schemathesis.openapi.format("date-time", TIMES.map(lambda at: at.isoformat().replace("+00:00", "Z")))

# Keys of cursors, which are opaque to a schema.
CURSORS = {
    "/v1/vehicles": ("V",),
    "/v1/meters": ("M",),
    "/v1/alerts": (5,),
    "/v1/losses": (5,),
    "/v1/sessions": (datetime.max, 5),  # noqa: DTZ901
    "/v1/tariffs": ("depot",),
    "/v1/analytics/fleet/vehicles": (int(datetime.now(UTC).timestamp()) - 3600, 0.5, "V"),
    "/v1/analytics/vehicle-mapping": ("V", "M", None),
    "/v1/vehicles/{vehicleId}/history": (datetime.max, datetime.max),  # noqa: DTZ901
    "/v1/meters/{meterId}/history": (datetime.max, datetime.max),  # noqa: DTZ901
}

_counter = itertools.count()


@schemathesis.serializer(NDJSON)
def _as_lines(_, value):
    rows = value if isinstance(value, list) else [value]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def complete(case) -> None:
    """Replaces generated values that are valid by the schema, but not in the state of the service."""
    key = case.headers.get("Idempotency-Key")
    if isinstance(key, str) and 1 <= len(key) <= 128:
        # Generated keys repeat, and a key with another body is refused.
        case.headers["Idempotency-Key"] = f"{key[:100]}-{next(_counter)}"
    if case.meta.generation.mode.is_positive and "cursor" in case.query:
        case.query["cursor"] = encode_cursor(*CURSORS[case.path])


def is_mismatch(_, failure, case, response) -> bool:
    """Whether a failed check is a mismatch of document and service, and not a rule that only a description states."""
    if failure.code == "ST201":  # refused by a schema, and accepted
        # Good readings are accepted and bad ones listed.
        return not response.json().get("rejected")
    if failure.code == "ST202":  # allowed by a schema, and refused
        return not _is_beyond_schemas(response.json().get("errors"))
    return True


def _is_beyond_schemas(errors) -> bool:
    return isinstance(errors, dict) and all(
        text.startswith(BEYOND_SCHEMAS.get(field.rpartition(".")[2], ()))
        for field, texts in errors.items()
        for text in texts
    )


def _document() -> dict:
    """Without a server, because pytest collects the tests by it."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DATABASE_URL", "postgresql://nowhere/energy")
        environment.setenv("REDIS_URL", "redis://nowhere")
        environment.setenv(*SMALL_BATCHES)
        app = Flask("document")
        register_routes(app)
        return build_document(app, load_settings())


def _loaded():
    document = _document()
    for path in document["paths"].values():
        content = path.get("post", {}).get("requestBody", {}).get("content", {})
        if NDJSON in content:  # a string in the document; generated as readings, and sent as lines
            content[NDJSON] = {"schema": content["application/json"]["schema"]}
    loaded = schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(CONFIG))
    loaded.hook("filter_failure")(is_mismatch)
    return loaded


schema = _loaded()


@pytest.fixture(scope="module")
def base_url(servers, request):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(*SMALL_BATCHES)
        return f"http://127.0.0.1:{request.getfixturevalue('port')}"


@pytest.fixture
def accepted(client, database, drain_all, alive):
    """The devices of the examples exist. A test appends the number of readings accepted; in the end all are stored."""
    numbers = [2]
    client.post("/v1/telemetry", json=[meter(), vehicle()])
    client.post("/v1/analytics/vehicle-mapping", json={"vehicleId": "V001", "meterId": "M001"})
    drain_all()
    yield numbers
    drain_all()
    assert _stored(database) == sum(numbers)


def _stored(database) -> int:
    tables = ("meter_readings_history", "vehicle_readings_history", "dead_letters")
    return sum(database.execute(f"select count(*) from {table}").fetchone()[0] for table in tables)


def test_the_tested_document_is_the_served_one(base_url):
    assert urllib3.request("GET", f"{base_url}/openapi.json").json() == _document()


@schema.parametrize()
def test_answers_conform_to_the_document(case, base_url, accepted):
    complete(case)
    answer = case.call_and_validate(base_url=base_url)
    if answer.status_code < 300 and case.method == "POST":
        accepted.append(answer.json().get("accepted", 0))
