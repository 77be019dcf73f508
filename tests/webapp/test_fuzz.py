"""Bad input on every ingest path: a clear error, nothing accepted in part, never a 500."""

import gzip
import json
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.readings import decode_entry
from models.stream.entry_ids import EntryId
from tests.factories import meter, vehicle
from webapp.ingest.views import PATHS

pytestmark = pytest.mark.slow

DOCUMENTED = {200, 201, 202, 400, 411, 413, 415, 422}

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
fields = st.sampled_from(sorted({*meter(), *vehicle(), "type", "firmware"}))
readings = (
    st.sampled_from([meter(), vehicle()])
    | st.builds(
        lambda base, changes: {**base, **changes},
        st.sampled_from([meter(), vehicle()]),
        st.dictionaries(fields, values),
    )
    | values
)
documents = readings | st.lists(readings, max_size=5)
texts = documents.map(json.dumps) | st.lists(documents.map(json.dumps) | st.text(max_size=10), max_size=4).map(
    "\n".join
)
bodies = (
    texts.map(str.encode)
    | st.binary(max_size=100)
    | st.builds(
        lambda text, at, byte: text.encode()[:at] + byte + text.encode()[at:],
        texts,
        st.integers(0, 200),
        st.binary(max_size=2),
    )
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": st.sampled_from(
            [
                "application/json",
                "application/json; charset=latin-1",
                "application/x-ndjson",
                "text/plain",
                "",
                "a/b/c",
                ";",
            ]
        ),
        "Content-Encoding": st.sampled_from(["gzip", "identity", "br", "gzip, gzip", ""]),
        "Idempotency-Key": st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=130),
        "X-Request-ID": st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=130),
        "Accept": st.sampled_from(["*/*", "text/html", "", "a/b"]),
    },
)


def count_readings(resources) -> int:
    """The readings in the stream, which is emptied."""
    count = 0
    for shard in range(resources.stream.shards):
        for entry_id, stored in resources.stream.read_after(shard, EntryId(0, 0), 1000):
            entry = decode_entry(stored[b"v1"])
            count += len(entry.meters) + len(entry.vehicles)
            resources.stream.remove(shard, [entry_id])
    return count


@pytest.mark.parametrize("path", [path for path, _, _ in PATHS])
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=bodies,
    sent=headers,
    atomic=st.sampled_from(["", "?atomic=true", "?atomic=maybe", "?atomic=%00"]),
    packed=st.booleans(),
)
def test_any_request_gets_a_documented_answer(client, resources, path, body, sent, atomic, packed):
    if packed:
        body, sent = gzip.compress(body), {**sent, "Content-Encoding": "gzip"}
    answer = client.post(path + atomic, data=body, headers=sent)
    assert answer.status_code in DOCUMENTED
    assert answer.headers["X-Request-ID"]
    if answer.status_code < 300:
        assert set(answer.json) - {"errors", "ignored"} == {"message", "accepted", "rejected", "receipt"}
        if "Idempotent-Replay" not in answer.headers:
            assert count_readings(resources) == answer.json["accepted"] > 0
    else:
        assert set(answer.json) - {"errors", "accepted", "rejected"} == {
            "statusCode",
            "path",
            "message",
            "timestamp",
            "requestId",
        }
        assert answer.json["statusCode"] == answer.status_code
        assert count_readings(resources) == 0


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(
        [
            "/v1/vehicles",
            "/v1/meters/{}",
            "/v1/vehicles/{}/history",
            "/v1/analytics/performance/{}",
            "/v1/analytics/performance/vehicleid",
            "/v1/analytics/vehicle-mapping",
            "/v1/telemetry/receipts/{}",
        ]
    ),
    name=st.text(max_size=70),
    query=st.dictionaries(
        st.sampled_from(["limit", "cursor", "online", "from", "to", "vehicleId", "meterId"]),
        st.text(max_size=40) | st.integers().map(str) | st.datetimes().map(lambda at: at.isoformat() + "Z"),
    ),
    method=st.sampled_from(["GET", "DELETE", "POST", "HEAD", "PUT"]),
)
def test_any_query_gets_a_documented_answer(client, resources, path, name, query, method):
    answer = client.open(path.replace("{}", quote(name, safe="")), method=method, query_string=query)
    assert answer.status_code in {200, 400, 404, 405, 308, 415, 422}
    if answer.status_code >= 400 and method != "HEAD":
        assert answer.json["statusCode"] == answer.status_code
