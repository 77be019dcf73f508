"""API keys: what each opens, and what an attacker who has one, or had one, does not get."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from datetime import timedelta

import psutil
import pytest
import redis
import urllib3

from models.access.keyring import REFRESH_SECONDS, WAIT_SECONDS, KeyRing
from models.access.keys import KeyNotUsable, Rights, create_key, list_keys, load_keys, revoke_key, rotate_key, split_key
from models.settings import SettingsError, load_settings
from tests import ROOT
from tests.factories import ago, bearer, meter, post_with_key, vehicle
from tests.processes import ask_raw, free_port, wait_until_live
from webapp.http.auth import scopes_for
from webapp.http.operations import Operation

TELEMETRY = "/v1/telemetry"
MAPPING = "/v1/analytics/vehicle-mapping"
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _drained(drain_all):
    yield
    drain_all()


def history_count(database) -> int:
    return database.execute("select count(*) from meter_readings_history").fetchone()[0]


# ── Who gets in ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_opens_and_no_key_does_not(client, new_key):
    text = new_key("ingest")
    assert post_with_key(client, text).status_code == 202
    assert client.post(TELEMETRY, json=meter(), headers={"X-API-Key": text}).status_code == 202
    answer = client.post(TELEMETRY, json=meter())
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert {"statusCode", "path", "message", "timestamp", "requestId"} == set(answer.json)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "BeArEr"])
def test_the_scheme_is_read_in_any_case(client, new_key, scheme):
    assert (
        client.post(TELEMETRY, json=meter(), headers={"Authorization": f"{scheme} {new_key('ingest')}"}).status_code
        == 202
    )


def test_every_refusal_is_the_same(client, new_key, database, refresh):
    """Nobody learns from the answer which keys there are, which there were, or what was wrong with one."""
    good, expired, revoked = new_key("ingest"), new_key("ingest", lasts=timedelta(seconds=-1)), new_key("ingest")
    revoke_key(database, split_key(revoked)[0])
    refresh()
    key_id, secret = good.split("_", 2)[1:]
    other_id = new_key("ingest").split("_", 2)[1]
    wrong = [
        f"eie_{key_id}_{secret[:-1]}",
        f"eie_{key_id}_{secret}x",
        f"eie_{key_id}_{secret.swapcase()}",
        f"eie_{other_id}_{secret}",
        f"eie_{'0' * 12}_{secret}",
        f"EIE_{key_id}_{secret}",
        f"eie_{key_id.upper() + 'A'}_{secret}",
        f"eie_{key_id}_",
        f"eie__{secret}",
        "eie__",
        "eie",
        "",
        key_id,
        secret,
        expired,
        revoked,
        "x" * 50_000,
        good + " " * 200 + "x",
        f"eie_{key_id}_{'x' * 20_000}",
        "é" * 40,
        f"eie_{key_id}_\xff\xfe",
        "' or 1=1 --",
        "\u0000".encode("unicode_escape").decode(),
        f"{good},{good}",
    ]
    bodies = set()
    for text in wrong:
        for headers in (bearer(text), {"X-API-Key": text}):
            answer = client.post(TELEMETRY, json=meter(), headers=headers)
            assert answer.status_code == 401, text[:80]
            bodies.add(answer.json["message"])
            assert not text or text not in answer.text
    assert len(bodies) == 1
    assert post_with_key(client, good).status_code == 202


@pytest.mark.parametrize("scheme", ["Basic", "Token", "", "Bearer Bearer", "Digest"])
def test_another_scheme_is_no_key(client, new_key, scheme):
    text = new_key("ingest")
    assert client.post(TELEMETRY, json=meter(), headers={"Authorization": f"{scheme} {text}"}).status_code == 401


def test_two_keys_that_differ_are_none(client, new_key):
    one, two = new_key("ingest"), new_key("ingest")
    assert client.post(TELEMETRY, json=meter(), headers=bearer(one) | {"X-API-Key": two}).status_code == 401
    assert client.post(TELEMETRY, json=meter(), headers=bearer(one) | {"X-API-Key": one}).status_code == 202
    assert (
        client.post(TELEMETRY, json=meter(), headers={"Authorization": "Basic eDp5", "X-API-Key": one}).status_code
        == 401
    )


@pytest.mark.parametrize("path", ["/", "/health/live", "/health/ready", "/openapi.json", "/docs/"])
def test_what_is_public_needs_no_key(client, refresh, path):
    assert client.get(path).status_code in (200, 503)


def test_every_other_route_needs_a_key(app, client, refresh):
    """As the document says, and so does each route that somebody adds."""
    asked = 0
    for rule in app.url_map.iter_rules():
        for method in rule.methods - {"OPTIONS"}:
            view = app.view_functions[rule.endpoint]
            if view.scopes if isinstance(view, Operation) else scopes_for(rule.endpoint, method):
                path = re.sub("<[^>]+>", "x", rule.rule)
                assert client.open(path, method=method).status_code == 401, f"{method} {path}"
                asked += 1
    assert asked > 20


# ── What a key opens ─────────────────────────────────────────────────────────────────────────────────────────


def test_scopes_are_those_of_the_document(client, new_key):
    keys = {scope: new_key(scope) for scope in ("ingest", "read", "admin")}
    paths = client.get("/openapi.json").json["paths"]
    secured = 0
    for path, item in paths.items():
        for method, operation in item.items():
            needed = {scope for way in operation["security"] for scopes in way.values() for scope in scopes}
            for scope, text in keys.items():
                address = re.sub(r"{\w+}", "x", path)
                answer = client.open(address, method=method, headers=bearer(text), data="x", content_type="a/b")
                may = not needed or scope in needed or scope == "admin"
                assert (answer.status_code != 403) == may, f"{method} {path} with {scope}: {answer.text}"
                assert answer.status_code != 401
            secured += bool(needed)
    assert secured > 20


def test_a_missing_scope_is_named(client, new_key):
    answer = post_with_key(client, new_key("read"))
    assert (answer.status_code, answer.json["message"]) == (403, "This key lacks the scope `ingest`")
    answer = client.post(MAPPING, json={"vehicleId": "V1", "meterId": "M1"}, headers=bearer(new_key("read")))
    assert (answer.status_code, answer.json["message"]) == (403, "This key lacks the scope `admin`")


# ── Bindings ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ndjson", [False, True])
def test_rows_of_other_devices_are_refused_row_by_row(client, new_key, database, drain_all, ndjson):
    text = new_key("ingest", device_prefix="A-", device_ids=("X1",))
    rows = [meter("A-1"), meter("B-1"), meter("X1"), meter("X11"), vehicle("A-7"), meter("a-1"), {}]
    body = "\n".join(map(json.dumps, rows)) if ndjson else json.dumps(rows)
    content_type = "application/x-ndjson" if ndjson else "application/json"
    answer = client.post(TELEMETRY, data=body, content_type=content_type, headers=bearer(text))
    assert (answer.status_code, answer.json["accepted"], answer.json["rejected"]) == (202, 3, 4)
    errors = {error["index"]: error["errors"] for error in answer.json["errors"]}
    assert errors.keys() == {1, 3, 5, 6}
    assert errors[1] == {"meterId": ["This key may not post for this device."]}
    drain_all()
    stored = database.execute("select meter_id from meter_readings_history order by 1").fetchall()
    assert stored == [("A-1",), ("X1",)]


def test_nothing_but_other_devices_is_forbidden(client, new_key, database, drain_all):
    text = new_key("ingest", device_prefix="A-")
    single = post_with_key(client, text, meter("B-1"))
    assert single.status_code == 403
    assert single.json["errors"] == {"meterId": ["This key may not post for this device."]}
    several = post_with_key(client, text, [meter("B-1"), vehicle("B-2")])
    assert (several.status_code, several.json["accepted"], several.json["rejected"]) == (403, 0, 2)
    assert several.json["errors"][1]["errors"] == {"vehicleId": ["This key may not post for this device."]}
    atomic = post_with_key(client, text, [meter("A-1"), meter("B-1")], query_string={"atomic": "true"})
    assert atomic.status_code == 403
    assert post_with_key(client, text, [meter("B-1"), {}]).status_code == 422
    drain_all()
    assert history_count(database) == 0


@pytest.fixture
def fleet(client, database, drain_all, new_key):
    """Two sites, each with vehicles and meters, one mapping each."""
    admin = new_key("admin")
    devices = [make(f"{site}-{n}") for site in ("A", "A0", "B") for n in range(4) for make in (meter, vehicle)]
    assert post_with_key(client, admin, devices).status_code == 202
    for site in ("A", "B"):
        pair = {"vehicleId": f"{site}-1", "meterId": f"{site}-2"}
        assert client.post(MAPPING, json=pair, headers=bearer(admin)).status_code == 201
    drain_all()
    return admin


def everything(client, text: str, path: str) -> list[dict]:
    """All pages of two."""
    items, cursor = [], ""
    while cursor is not None:
        answer = client.get(f"{path}?limit=2{cursor and f'&cursor={cursor}'}", headers=bearer(text))
        assert answer.status_code == 200
        assert len(answer.json["items"]) == 2 or answer.json["next"] is None
        items += answer.json["items"]
        cursor = answer.json["next"]
    return items


def test_lists_show_the_bound_devices_page_by_page(client, fleet, new_key):
    for rights, expected in (
        ({"device_prefix": "A-"}, ["A-0", "A-1", "A-2", "A-3"]),
        ({"device_prefix": "A"}, [*(f"A-{n}" for n in range(4)), *(f"A0-{n}" for n in range(4))]),
        ({"device_ids": ("B-3", "A-0", "nobody")}, ["A-0", "B-3"]),
        ({"device_prefix": "B-", "device_ids": ("A-0",)}, ["A-0", "B-0", "B-1", "B-2", "B-3"]),
        ({"device_ids": ()}, []),
    ):
        text = new_key("read", **rights)
        assert [item["vehicleId"] for item in everything(client, text, "/v1/vehicles")] == expected
        assert [item["meterId"] for item in everything(client, text, "/v1/meters")] == expected
    bound = new_key("read", device_prefix="A")
    assert [item["vehicleId"] for item in everything(client, bound, MAPPING)] == ["A-1"]
    assert len(everything(client, fleet, MAPPING)) == 2


def test_other_devices_cannot_be_read(client, fleet, new_key):
    text = new_key("read", device_prefix="A-")
    for device, status in (("A-1", 200), ("B-1", 403), ("never-heard-of", 403)):
        for path in (
            f"/v1/vehicles/{device}",
            f"/v1/meters/{device}",
            f"/v1/vehicles/{device}/history",
            f"/v1/meters/{device}/history",
            f"/v1/analytics/performance/{device}",
            f"/v1/analytics/performance/vehicleid?vehicleId={device}",
            f"{MAPPING}?vehicleId={device}",
        ):
            assert client.get(path, headers=bearer(text)).status_code == status, path
    csv = client.get("/v1/meters/B-1/history", headers=bearer(text) | {"Accept": "text/csv"})
    assert csv.status_code == 403
    assert client.get("/metrics", headers=bearer(text)).status_code == 403
    assert client.get("/v1/analytics/performance/A-1", headers=bearer(text)).json["meters"] == ["A-2"]


def test_a_bound_admin_maps_only_its_own(client, fleet, new_key):
    """Else it would read another's meter through a vehicle of its own."""
    headers = bearer(new_key("admin", device_prefix="A-"))
    for pair, status in ((("A-1", "B-2"), 403), (("B-1", "A-2"), 403), (("A-1", "A-3"), 201)):
        named = dict(zip(("vehicleId", "meterId"), pair, strict=True))
        assert client.post(MAPPING, json=named, headers=headers).status_code == status
        assert client.delete(MAPPING, query_string=named, headers=headers).status_code == (
            200 if status == 201 else 403
        )


@pytest.mark.parametrize("name", ["A-", "A_", "A%", "A\\", "A"])
def test_a_prefix_is_no_pattern(client, new_key, name):
    text = new_key("ingest", device_prefix=name)
    assert post_with_key(client, text, meter("B-1")).status_code == 403
    assert post_with_key(client, text, meter("AX")).status_code == (202 if name == "A" else 403)


# ── Idempotency ──────────────────────────────────────────────────────────────────────────────────────────────


def test_an_idempotency_key_is_its_senders_own(client, new_key, database, drain_all):
    one, two = new_key("ingest"), new_key("ingest")
    reading, named = meter(at=ago(minutes=1)), {"Idempotency-Key": "delivery-1"}
    first = post_with_key(client, one, reading, headers=named)
    other = post_with_key(client, two, reading, headers=named)
    assert (first.status_code, other.status_code) == (202, 202)
    assert "Idempotent-Replay" not in other.headers
    assert other.json["receipt"] != first.json["receipt"]
    assert post_with_key(client, two, meter("M9"), headers={"Idempotency-Key": "delivery-2"}).status_code == 202
    assert post_with_key(client, one, meter("M8"), headers={"Idempotency-Key": "delivery-2"}).status_code == 202
    assert post_with_key(client, one, reading, headers=named).headers["Idempotent-Replay"] == "true"
    drain_all()
    assert history_count(database) == 4


def test_a_repeat_with_the_key_that_replaced_the_first_is_known(client, new_key, database, refresh):
    old = new_key("ingest")
    reading, named = meter(at=ago(minutes=1)), {"Idempotency-Key": "delivery-1"}
    first = post_with_key(client, old, reading, headers=named)
    new = rotate_key(database, split_key(old)[0], overlap=DAY)
    newest = rotate_key(database, split_key(new)[0], overlap=DAY)
    refresh()
    for text in (new, newest):
        again = post_with_key(client, text, reading, headers=named)
        assert (again.headers["Idempotent-Replay"], again.json) == ("true", first.json)


# ── The life of a key ────────────────────────────────────────────────────────────────────────────────────────


def test_a_rotated_key_has_the_rights_of_the_old_one_which_ends_with_the_overlap(client, new_key, database, refresh):
    old = new_key("ingest", device_prefix="A-", readings_per_second=5.0, readings_burst=7, lasts=DAY)
    new = rotate_key(database, split_key(old)[0], overlap=timedelta(hours=1))
    refresh()
    assert [post_with_key(client, text, meter("A-1")).status_code for text in (old, new)] == [202, 202]
    assert post_with_key(client, new, meter("B-1")).status_code == 403
    keys = load_keys(database)
    before, after = keys[split_key(old)[0]], keys[split_key(new)[0]]
    assert after.expires_at - before.expires_at > timedelta(hours=22)
    assert (after.scopes, after.binding, after.readings) == (before.scopes, before.binding, before.readings)
    database.execute("update api_keys set expires_at = now() - interval '1 second' where id = %s", [before.id])
    refresh()
    assert [post_with_key(client, text, meter("A-1")).status_code for text in (old, new)] == [401, 202]
    with pytest.raises(KeyNotUsable, match="replaced"):
        rotate_key(database, before.id, overlap=DAY)


def test_a_key_expires_without_anybody_looking_it_up_again(client, new_key, database):
    text = new_key("ingest", lasts=timedelta(seconds=1))
    deadline = time.monotonic() + 20
    while post_with_key(client, text).status_code != 401:
        assert time.monotonic() < deadline


def test_the_secret_is_in_no_table_and_in_no_log(client, new_key, database, capsys):
    text = new_key("ingest", "read")
    post_with_key(client, text)
    post_with_key(client, text + "x")
    client.get(f"/v1/vehicles/{text}", headers=bearer(text))
    row = database.execute("select k::text from api_keys k").fetchone()[0]
    said = capsys.readouterr()
    secret = text.split("_", 2)[2]
    assert secret not in row
    assert secret not in said.out + said.err


def test_keys_that_are_known_go_on_while_postgres_is_away(app, client, new_key, monkeypatch):
    """A reading is taken without Postgres; it must not be lost for a key that could not be looked up."""
    import psycopg

    text = new_key("ingest")

    def refuse(*_args, **_kwargs):
        raise psycopg.OperationalError("away")

    monkeypatch.setattr(app.extensions["keyring"]._database, "connection", refuse)
    with pytest.raises(psycopg.OperationalError):
        app.extensions["keyring"].refresh()
    assert post_with_key(client, text).status_code == 202
    assert post_with_key(client, text + "x").status_code == 401
    monkeypatch.setitem(app.extensions, "keyring", KeyRing(app.extensions["resources"].database))
    answer = post_with_key(client, text)
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers


def test_revocation_is_known_in_time():
    assert REFRESH_SECONDS + WAIT_SECONDS < 5


def test_a_change_is_seen_whatever_it_is(database, resources):
    ring = KeyRing(resources.database)
    text = create_key(database, Rights("test", ("read",)))
    ring.refresh()
    key_id = split_key(text)[0]
    assert list(ring._keys) == [key_id]
    for change in (
        lambda: create_key(database, Rights("test", ("read",))),
        lambda: rotate_key(database, key_id, overlap=DAY),
        lambda: revoke_key(database, key_id),
    ):
        before = ring._keys
        ring.refresh()
        assert ring._keys is before
        change()
        ring.refresh()
        assert ring._keys is not before
    assert key_id not in ring._keys


# ── On the real server ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def granian(servers):
    """Two web processes that ask for keys: the port, and the process."""
    port = free_port()
    options = ["--interface", "wsgi", "--factory", "--workers", "2", "--blocking-threads", "8", "--port", str(port)]
    options += ["--workers-kill-timeout", "5", "--http1-buffer-size", "65536"]
    process = subprocess.Popen(
        [sys.executable, "-m", "granian", *options, "webapp:create_app"],
        cwd=ROOT,
        env=os.environ | {"AUTH": "required"},
    )
    try:
        wait_until_live(port)
        yield port, process
    finally:
        process.terminate()
        assert process.wait(15) == 0


def connections_of_each_worker(process: subprocess.Popen, port: int) -> list[int]:
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        open_ = [c for c in child.net_connections("tcp") if c.laddr.port == port and c.status == "ESTABLISHED"]
        if open_:
            found.append(len(open_))
    return found


def test_a_revoked_key_is_refused_by_every_web_worker(granian, resources, database):
    port, process = granian
    text = create_key(database, Rights("test", ("read",)))
    lines: list[urllib3.HTTPConnectionPool] = []

    def statuses() -> set[int]:
        return {line.request("GET", "/v1/vehicles", headers=bearer(text), retries=False).status for line in lines}

    deadline = time.monotonic() + 20
    while statuses() != {200} or len(connections_of_each_worker(process, port)) < 2:
        assert time.monotonic() < deadline
        lines += [urllib3.HTTPConnectionPool("127.0.0.1", port, maxsize=1) for _ in range(8)]
        time.sleep(0.2)
    revoke_key(database, split_key(text)[0])
    started = time.monotonic()
    while statuses() != {401}:
        assert time.monotonic() < started + 20, "the key goes on"
    print(f"refused everywhere after {time.monotonic() - started:.1f} s")
    time.sleep(REFRESH_SECONDS)
    assert statuses() == {401}


def test_a_forged_header_gets_nowhere(granian, resources, database):
    port, _ = granian
    text = create_key(database, Rights("test", ("read",)))
    deadline = time.monotonic() + 20
    while ask_raw(port, f"GET /v1/vehicles HTTP/1.1\nHost: x\nX-API-Key: {text}")[0] != 200:
        assert time.monotonic() < deadline
    start = "GET /v1/vehicles HTTP/1.1\nHost: x\n"
    for forged in (
        f"Authorization: Bearer {text}\nAuthorization: Bearer {text}x",
        f"Authorization: Bearer {text}x\nX-API-Key: {text}",
        f"X-API-Key: {text}\nX-API-Key: other",
        f"X-API-Key: {text[:-4]}",
    ):
        assert ask_raw(port, start + forged)[0] == 401, forged
    status, _ = ask_raw(port, f"{start}X-API-Key: {'x' * 60_000}")
    assert status == 401
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall((start + f"X-API-Key: {'x' * 500_000}\n\n").replace("\n", "\r\n").encode())
        assert connection.recv(1000).split(b" ")[1] == b"431"


# ── Settings and commands ────────────────────────────────────────────────────────────────────────────────────


def test_a_service_without_keys_must_be_meant(servers, monkeypatch):
    monkeypatch.setenv("AUTH", "off")
    assert load_settings().auth == "off"
    for insecure in ("0", None):
        monkeypatch.setenv("ALLOW_INSECURE", insecure) if insecure else monkeypatch.delenv("ALLOW_INSECURE")
        with pytest.raises(SettingsError, match=r"(?s)AUTH.*energy keys create.*ALLOW_INSECURE=1"):
            load_settings()
    monkeypatch.delenv("AUTH")
    assert load_settings().auth == "required"


def test_the_commands_make_show_replace_and_end_a_key(runner, client, refresh, database):
    def run(*words: str, status: int = 0) -> str:
        result = runner.invoke(args=["keys", *words])
        assert result.exit_code == status, result.output
        return result.stdout if status == 0 else result.output

    assert "There are no keys" in run("list")
    options = "--scope ingest --scope read --device-prefix SITE1- --readings-per-second 100 --burst 600 --expires 90d"
    text = run("create", "--name", "Depot 1", *options.split()).strip()
    assert re.fullmatch(r"eie_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", text)
    key_id, secret = text.split("_", 2)[1:]
    refresh()
    assert post_with_key(client, text, meter("SITE1-1")).status_code == 202
    new = run("rotate", key_id, "--overlap", "15m").strip()
    revoked = run("revoke", key_id)
    assert key_id in revoked
    assert "before" in run("revoke", key_id)
    refresh()
    assert [post_with_key(client, each, meter("SITE1-1")).status_code for each in (text, new)] == [401, 202]
    listed = run("list")
    assert secret not in listed
    for word in ("Depot 1", "SITE1-…", "100 (600)", "revoked", "active"):
        assert word in listed
    assert {key.state for key in list_keys(database)} == {"revoked", "active"}
    assert "There is no key nobody" in run("revoke", "nobody", status=1)
    assert "There is no key nobody" in run("rotate", "nobody", status=1)
    for wrong in (["--expires", "soon"], ["--device-prefix", "a%"], ["--scope", "root"], ["--burst", "5"]):
        run("create", "--name", "x", "--scope", "read", *wrong, status=2)


def test_a_rotated_key_keeps_the_owner_of_the_first(database, resources):
    first = create_key(database, Rights("test", ("ingest",), readings_per_second=1.0))
    second = rotate_key(database, split_key(first)[0], overlap=DAY)
    third = rotate_key(database, split_key(second)[0], overlap=DAY)
    assert {key.owner for key in load_keys(database).values()} == {split_key(first)[0]}
    revoke_key(database, split_key(first)[0])
    assert load_keys(database)[split_key(third)[0]].owner == split_key(first)[0]


def test_no_key_is_stored_in_redis(client, new_key, broker: redis.Redis):
    text = new_key("ingest", readings_per_second=5.0)
    post_with_key(client, text, headers={"Idempotency-Key": "one"})
    assert broker.dbsize()
    assert not [key for key in broker.scan_iter() if text.split("_", 2)[2].encode() in key]
