"""Schemathesis over /openapi.json, against granian with the application: no 500, and every answer as documented."""

import itertools
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
import schemathesis
import urllib3
from hypothesis import strategies as st

from models.settings import load_settings
from tests.conftest import meter, vehicle
from tests.test_http_server import port  # noqa: F401
from webapp.openapi.document import build_document

CONFIG = {
    # Besides these examples of each operation, schemathesis derives cases from the document: see its coverage phase.
    "generation": {"max-examples": 40, "deterministic": True},
    "suppress-health-check": ["all"],  # they are about the speed of the machine
    "checks": {
        # More items than maxItems are refused with what says so: 413.
        "negative_data_rejection": {"expected-statuses": ["400", "404", "405", "413", "415", "422"]},
    },
}

# What a schema has no words for and a description tells: by field, how the refusal begins.
BEYOND_SCHEMAS = {
    "cursor": ("Must be the `next` of a page",),
    "from": ("The window may be at most", "Must be in the past"),
    "to": ("Must be after `from`", "Must be a time of this era"),
    "type": ("Must be given where not exactly one of",),
}

# Of times that a reading may have: no schema says "not ahead of the service's clock".
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=9))])
TIMES = st.datetimes(datetime(2000, 1, 2), datetime(2026, 1, 1), timezones=ZONES)  # noqa: DTZ001
schemathesis.openapi.format("date-time", TIMES.map(lambda at: at.isoformat().replace("+00:00", "Z")))

_counter = itertools.count()


@schemathesis.serializer("application/x-ndjson")
def _as_ndjson(_, value):
    return {"data": value.encode() if isinstance(value, str) else json.dumps(value).encode()}


def with_a_new_key(case) -> None:
    """Generated keys repeat themselves, and one key with two bodies is refused, as it should be."""
    key = case.headers.get("Idempotency-Key")
    if isinstance(key, str) and 1 <= len(key) <= 128:
        case.headers["Idempotency-Key"] = f"{key[:100]}-{next(_counter)}"


def is_mismatch(_, failure, case, response) -> bool:
    """Whether a failed check tells of one: not where the document says in words what its schemas can't."""
    if failure.code == "ST201":  # refused by a schema, and accepted
        # Good readings are taken and bad ones listed.
        return not response.json().get("rejected")
    if failure.code == "ST202":  # allowed by a schema, and refused
        if case.media_type == "application/x-ndjson":
            return False  # to a schema its lines are any string; the examples are accepted
        return not _is_beyond_schemas(response.json().get("errors"))
    return True


def _is_beyond_schemas(errors) -> bool:
    return isinstance(errors, dict) and all(
        text.startswith(BEYOND_SCHEMAS.get(field, ())) for field, texts in errors.items() for text in texts
    )


def _loaded():
    """The document as pytest collects tests by it; no server runs yet."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DATABASE_URL", "postgresql://nowhere/energy")
        environment.setenv("REDIS_URL", "redis://nowhere")
        document = build_document(load_settings())
    loaded = schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(CONFIG))
    loaded.hook("filter_failure")(is_mismatch)
    return loaded


schema = _loaded()


@pytest.fixture
def base_url(held, client, drain_all, port):  # noqa: F811
    """Of a service that knows the devices of the document's examples."""
    client.post("/v1/telemetry", json=[meter(), vehicle()])
    client.post("/v1/analytics/vehicle-mapping", json={"vehicleId": "V001", "meterId": "M001"})
    drain_all()
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def accepted(database, base_url, drain_all):
    """The numbers of readings accepted; in the end all of them, and no others, must be in Postgres."""
    before = _stored(database)
    numbers = []
    yield numbers
    drain_all()
    assert _stored(database) - before == sum(numbers)


def _stored(database) -> int:
    tables = ("meter_readings_history", "vehicle_readings_history", "dead_letters")
    return sum(database.execute(f"select count(*) from {table}").fetchone()[0] for table in tables)


def test_the_document_tested_is_the_one_served(base_url):
    assert urllib3.request("GET", f"{base_url}/openapi.json").json() == schema.raw_schema


@schema.parametrize()
def test_the_service_does_as_the_document_says(case, base_url, accepted):
    with_a_new_key(case)
    answer = case.call_and_validate(base_url=base_url)
    if answer.status_code < 300 and case.method == "POST":
        accepted.append(answer.json().get("accepted", 0))
