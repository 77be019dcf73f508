"""The operator's commands: what each promises in its --help, against real servers and a real HTTP server."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import click
import msgspec
import psycopg
import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from loadtool.api import Api
from loadtool.fleet import MINUTES_A_DAY, Vehicle, fleet
from loadtool.load import LOADED
from loadtool.receipts import Receipts
from loadtool.simulate import RetryingApi, Simulation
from models.readings import Entry, MeterReading, encode_entry, to_datetime, to_microseconds
from models.storage import replay as replays
from models.storage.dead_letters import DeadLetter, store_dead_letters
from models.storage.replay import replay_batch
from models.stream.entry_ids import EntryId, received_at
from models.stream.keys import FIELD
from tests import ROOT
from tests.factories import ago, meter, stamp, vehicle
from webapp.commands import COMMANDS, energy
from webapp.commands.environment import use_local_stack

ENERGY = [sys.executable, "-m", "webapp.commands"]


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *_) -> None: ...


@pytest.fixture
def url(app):
    """The application behind a real HTTP server; nobody drains."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def draining(drain_all):
    """A worker that drains all the while."""
    over = threading.Event()

    def drain() -> None:
        while not over.wait(0.02):
            drain_all()

    thread = threading.Thread(target=drain)
    thread.start()
    yield
    over.set()
    thread.join()
    drain_all()


@pytest.fixture
def poison(database):
    """Meters at 999.5 V are refused by the database, until the function given is called."""
    database.execute("alter table meter_readings_history add constraint poison check (voltage <> 999.5)")

    def mend() -> None:
        database.execute("alter table meter_readings_history drop constraint if exists poison")

    yield mend
    mend()


def count(database, table: str) -> int:
    return database.execute(f"select count(*) from {table}").fetchone()[0]


def last_row(output: str) -> list[str]:
    """The cells of a table's last row: here the summary's."""
    return [line for line in output.splitlines() if line.strip()][-1].split()


# ── Without a server ─────────────────────────────────────────────────────────────────────────────────────────


def bare_environment(**values) -> dict:
    """Without the addresses of a stack; nor is there one in the folder."""
    gone = ("DATABASE_URL", "REDIS_URL", "ENERGY_API_URL", "ENERGY_API_KEY")
    return {name: value for name, value in os.environ.items() if name not in gone} | {"ENERGY_HOME": "/absent"} | values


@pytest.fixture
def closed_url():
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port, nobody answers
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_load_needs_no_database_settings_and_says_that_the_api_is_away(closed_url):
    done = subprocess.run(
        [*ENERGY, "load", "single", "1"],
        cwd=ROOT,
        env=bare_environment(ENERGY_API_URL=closed_url),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: The API at {closed_url} can't be reached")
    assert "Traceback" not in done.stderr


def test_a_command_for_the_database_names_the_setting_it_misses():
    done = subprocess.run(
        [*ENERGY, "partitions", "list"], cwd=ROOT, env=bare_environment(), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("made", ["import webapp; webapp.create_app()", None], ids=["factory", "flask routes"])
def test_a_process_that_serves_ends_with_the_name_of_a_missing_setting(made):
    command = ["-c", made] if made else ["-m", "flask", "--app", "webapp", "routes"]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=bare_environment(), capture_output=True, text=True)
    assert done.returncode != 0
    assert "DATABASE_URL" in done.stderr


@pytest.mark.parametrize("address", ["ftp://host", "host:8000", "http://"])
def test_an_address_that_is_none_is_named(runner, address):
    done = runner.invoke(args=["load", "single", "1", "--url", address])
    assert done.exit_code == 2
    assert "--url" in done.output


def test_help_lists_every_command_and_imports_none():
    program = """if True:
        import sys
        from click.testing import CliRunner
        from webapp.commands import COMMANDS, energy
        shown = CliRunner().invoke(energy, ["--help"])
        assert shown.exit_code == 0
        assert all(name in shown.output for name in COMMANDS)
        heavy = {"psycopg", "redis", "celery", "sqlalchemy", "urllib3", "rich"} & set(sys.modules)
        assert not heavy, heavy"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_listed_with_the_first_line_of_its_own_help(name):
    command = energy.get_command(click.Context(energy), name)
    assert command.help.splitlines()[0].startswith(COMMANDS[name].help)


def test_an_unknown_command_is_named(runner):
    done = runner.invoke(args=["statsu"])
    assert (done.exit_code, "No such command 'statsu'" in done.output) == (2, True)


@pytest.fixture
def local_stack(tmp_path, monkeypatch):
    """A folder in which a stack of `make up` was started, and an environment without any."""
    for name in ("DATABASE_URL", "REDIS_URL", "ENERGY_API_URL", "ENERGY_API_KEY", "ENERGY_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", os.environ.copy())  # what a command adds ends with the test
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".energy").mkdir()
    (tmp_path / ".energy/env").write_text(
        "DATABASE_URL='postgresql://me@127.0.0.1:1/it s'\nREDIS_URL=redis://127.0.0.1:2/0\n"
        "ENERGY_API_URL=http://127.0.0.1:3\nENERGY_API_KEY=local\n"
    )
    return tmp_path


def test_commands_find_the_stack_of_the_folder(local_stack):
    use_local_stack()
    assert os.environ["DATABASE_URL"] == "postgresql://me@127.0.0.1:1/it s"
    assert os.environ["REDIS_URL"] == "redis://127.0.0.1:2/0"
    assert (os.environ["ENERGY_API_URL"], os.environ["ENERGY_API_KEY"]) == ("http://127.0.0.1:3", "local")


def test_commands_find_the_stack_in_energy_home(local_stack, monkeypatch):
    (local_stack / ".energy").rename(local_stack / "elsewhere")
    use_local_stack()
    assert "DATABASE_URL" not in os.environ
    monkeypatch.setenv("ENERGY_HOME", str(local_stack / "elsewhere"))
    use_local_stack()
    assert "DATABASE_URL" in os.environ


def test_the_environment_goes_before_the_stack_of_the_folder_and_is_not_mixed_with_it(local_stack, monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://redis.example/0")
    monkeypatch.setenv("ENERGY_API_URL", "https://energy.example")
    use_local_stack()
    assert os.environ["REDIS_URL"] == "redis://redis.example/0"
    assert os.environ["ENERGY_API_URL"] == "https://energy.example"
    assert not {"DATABASE_URL", "ENERGY_API_KEY"} & set(os.environ)


def test_every_command_has_help_with_an_example(runner):
    for words in (
        "load single", "load full", "load load", "simulate", "partitions list", "partitions ensure",
        "dead-letters list", "dead-letters show", "dead-letters replay", "mapping import", "status", "doctor",
    ):  # fmt: skip
        shown = runner.invoke(args=[*words.split(), "--help"])
        assert shown.exit_code == 0
        assert "Example" in shown.output, words
        assert f"energy {words}" in shown.output


# ── load ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_load_single_sends_one_reading_of_each_meter_and_vehicle(runner, url, draining, database):
    done = runner.invoke(args=["load", "single", "7", "--clients", "3", "--url", url])
    assert done.exit_code == 0, done.output
    assert last_row(done.output)[:4] == ["14", "14", "0", "14"]
    for table in ("meter_readings_history", "vehicle_readings_history", "meter_readings_live", "vehicle_readings_live"):
        assert count(database, table) == 7


def test_load_full_prints_what_each_vehicle_got_of_its_own_meter(runner, url, draining, database):
    done = runner.invoke(args=["load", "full", "3", "--url", url])
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.output.splitlines() if line.strip().startswith("LOAD-V")]
    assert [row[:5] for row in rows] == [
        [
            each.vehicle_id,
            each.meter_id,
            "2.0",
            f"{2 * each.charge(1)[1]['kwhDeliveredDc']:g}",
            f"{each.efficiency(0):.2%}"[:-1],
        ]
        for each in fleet(3, LOADED)
    ]
    assert "efficiency, %" in done.output
    assert last_row(done.output)[:4] == ["12", "12", "0", "12"]


def test_load_load_keeps_to_its_rate_and_counts_what_is_stored(runner, url, draining, database):
    done = runner.invoke(args=["load", "load", "5", "1", "--rate", "100", "--batch", "10", "--url", url])
    assert done.exit_code == 0, done.output
    assert last_row(done.output)[:4] == ["100", "100", "0", "100"]
    assert count(database, "meter_readings_history") + count(database, "vehicle_readings_history") == 100


def test_load_load_tells_refusals_from_acceptance_and_ends_with_an_error(
    runner, url, with_settings, drain_all, database
):
    with_settings(stream_max_entries=4, stream_shards=2)
    done = runner.invoke(args=["load", "load", "5", "0.4", "--clients", "2", "--wait", "0", "--url", url])
    assert done.exit_code == 1
    assert "readings were refused: 503" in done.output
    assert "4 accepted readings are not stored yet; is a worker running?" in done.output
    drain_all()
    assert count(database, "meter_readings_history") + count(database, "vehicle_readings_history") == 4


def test_receipts_are_counted_in_the_order_of_each_shard(url, client, drain_all):
    receipts = Receipts(Api(url))
    for round_ in range(2):
        for number in range(9):
            answer = client.post("/v1/telemetry", json=[meter(f"M{number}"), vehicle(f"V{number}")]).json
            receipts.add(answer["receipt"], answer["accepted"])
        receipts.refresh()
        assert (receipts.stored, receipts.pending) == (18 * round_, 18)
        drain_all()
        receipts.refresh()
        assert (receipts.stored, receipts.pending) == (18 * (round_ + 1), 0)


def test_dead_letters_do_not_count_as_stored(url, client, drain_all, poison):
    receipts = Receipts(Api(url))
    for _ in range(3):
        receipts.add(client.post("/v1/telemetry", json=[meter(voltage=999.5), vehicle()]).json["receipt"], 2)
    drain_all()
    receipts.refresh()
    assert (receipts.stored, receipts.dead_letters, receipts.pending) == (3, 3, 0)


# ── simulate ─────────────────────────────────────────────────────────────────────────────────────────────────

NOW = int(datetime.now(UTC).timestamp() // 60)


def test_a_simulated_minute_is_the_same_on_every_machine_and_in_every_order():
    program = """if True:
        from loadtool.fleet import Vehicle
        for minute in (29_000_700, 29_000_000, 29_000_700): print(Vehicle(3).readings(minute))"""
    seeds = [
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout.splitlines()
        for seed in ("1", "2")
    ]
    assert seeds[0] == seeds[1]
    assert seeds[0][0] == seeds[0][2] != seeds[0][1]


def test_a_simulated_day_is_plausible_and_has_the_troubles_it_tells_of():
    day = 29_000_000 // MINUTES_A_DAY
    for each in fleet(25):
        told = [each.readings(day * MINUTES_A_DAY + minute) for minute in range(MINUTES_A_DAY)]
        meters, vehicles = zip(*told, strict=True)
        ac, dc = sum(m["kwhConsumedAc"] for m in meters), sum(v["kwhDeliveredDc"] for v in vehicles)
        is_well = not (each.is_degraded or each.has_fault)
        assert (0.85 < dc / ac < 0.97) if is_well else (0.6 < dc / ac < 0.85), each
        assert all(0 <= v["batteryTemp"] <= 60 and 0 <= v.get("soc", 50) <= 100 for v in vehicles)
        assert all(220 < m["voltage"] < 240 and m["kwhConsumedAc"] >= 0 for m in meters)
        silent = sum("soc" not in v for v in vehicles)
        assert (0 < silent < 200) if each.forgets_soc else silent == 0
        socs = [v["soc"] for v in vehicles if "soc" in v]
        assert max(socs) - min(socs) > 30
        following = each.readings((day + 1) * MINUTES_A_DAY)[1]
        assert abs(following.get("soc", socs[-1]) - socs[-1]) < 2, "midnight is no jump"


def simulation(url: str, count: int) -> Simulation:
    return Simulation(RetryingApi(Api(url)), fleet(count))


def test_simulate_sends_the_day_once_and_goes_on_where_it_was_last_heard(url, draining, drain_all, database):
    first = simulation(url, 2)
    first.begin()
    assert first.catch_up(NOW - 3) == 2 * 2 * MINUTES_A_DAY
    drain_all_stored(database, 2 * MINUTES_A_DAY)
    again = simulation(url, 3)  # one more vehicle, which is new to the API
    again.begin()
    assert again.catch_up(NOW) == 2 * 2 * 3 + 2 * MINUTES_A_DAY
    assert again.catch_up(NOW) == 0
    drain_all_stored(database, 3 * MINUTES_A_DAY + 6)
    repeats = "select count(*) - count(distinct (vehicle_id, recorded_at)) from vehicle_readings_history"
    assert database.execute(repeats).fetchone()[0] == 0
    assert database.execute("select vehicle_id, meter_id from vehicle_meter_mapping order by 1").fetchall() == [
        (f"SIM-V00{n}", f"SIM-M00{n}") for n in (1, 2, 3)
    ]


def drain_all_stored(database, vehicle_readings: int) -> None:
    give_up_at = time.monotonic() + 10
    while count(database, "vehicle_readings_history") != vehicle_readings:
        assert time.monotonic() < give_up_at, count(database, "vehicle_readings_history")
        time.sleep(0.02)


def test_simulate_waits_as_long_as_it_is_told_and_says_so_once(url, with_settings, resources, drain_all, capsys):
    with_settings(stream_max_entries=2, stream_shards=2)
    for _ in range(2):
        assert Api(url).post("/v1/telemetry", meter()).is_success
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            drain_all()

    assert RetryingApi(Api(url), sleep).post("/v1/telemetry", vehicle()).body["accepted"] == 1
    assert waits == [5, 5, 5]  # the Retry-After of the answer
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("The API")]
    assert len(said) == 2
    assert "answers 503" in said[0]
    assert said[1].endswith("is back.")
    drain_all()


def test_simulate_waits_for_an_api_that_is_away(closed_url, capsys):
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RetryingApi(Api(closed_url), sleep).get("/v1/vehicles/SIM-V001")
    assert waits == [1, 2, 4, 5]
    assert capsys.readouterr().out.count("can't be reached") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_simulate_stops_when_asked_to_without_a_traceback(closed_url, number):
    command = [*ENERGY, "simulate", "2", "--url", closed_url]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=bare_environment(), **options) as process:
        said = process.stdout.readline()
        process.send_signal(number)
        rest = process.communicate(timeout=5)[0]
    assert "waiting for it" in said
    assert (process.returncode, rest) == (0, "")


# ── partitions ───────────────────────────────────────────────────────────────────────────────────────────────


def test_partitions_are_listed_with_their_sizes_and_made_where_missing(runner, database):
    tomorrow = f"meter_readings_history_{datetime.fromtimestamp(time.time() + 86_400, UTC):%Y%m%d}"
    database.execute(f"drop table {tomorrow}")
    made = runner.invoke(args=["partitions", "ensure"])
    assert made.exit_code == 0, made.output
    assert f"created {tomorrow}" in made.output
    assert "1 partitions created" in made.output
    listed = runner.invoke(args=["partitions", "list"])
    assert listed.exit_code == 0
    assert "size, MiB" in listed.output
    assert f"{datetime.now(UTC):%Y-%m-%d}" in listed.output
    assert "0 partitions created" in runner.invoke(args=["partitions", "ensure"]).output


# ── dead-letters ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_replayed_reading_is_back_in_history_and_live_with_the_time_it_was_received(
    runner, client, drain_all, database, poison
):
    at = ago(minutes=5)
    receipt = client.post("/v1/telemetry", json=[meter(voltage=999.5, at=at), vehicle(at=at)]).json["receipt"]
    drain_all()
    received = database.execute("select received_at from dead_letters").fetchone()[0]
    assert runner.invoke(args=["dead-letters", "replay", "--all"]).exit_code == 1, "still refused"
    assert count(database, "meter_readings_history") == 0
    poison()
    done = runner.invoke(args=["dead-letters", "replay", "--all"])
    assert (done.exit_code, "Replayed 1, refused again 0." in done.output) == (0, True), done.output
    history = database.execute("select meter_id, recorded_at, received_at, voltage from meter_readings_history")
    assert history.fetchall() == [("M001", at, received, 999.5)]
    assert client.get("/v1/meters/M001").json["voltage"] == 999.5
    assert client.get(f"/v1/telemetry/receipts/{receipt}").json["state"] == "stored"
    again = runner.invoke(args=["dead-letters", "replay", "--all"])
    assert "Replayed 0" in again.output
    assert count(database, "meter_readings_history") == 1


def test_an_old_reading_that_is_replayed_leaves_a_newer_live_row(runner, client, drain_all, poison):
    client.post("/v1/telemetry", json=meter(voltage=999.5, at=ago(minutes=5)))
    client.post("/v1/telemetry", json=meter(voltage=231, at=ago(minutes=1)))
    drain_all()
    poison()
    assert runner.invoke(args=["dead-letters", "replay", "--all"]).exit_code == 0
    assert client.get("/v1/meters/M001").json["voltage"] == 231


def store_meter_letters(connection, amount: int, voltage=230.0, readings=True) -> list[int]:
    """Dead letters of so many meters, as the batch writer leaves them; or of entries that could not be read."""
    at = ago(minutes=1)
    letters = []
    for number in range(amount):
        entry = EntryId(to_microseconds(at) // 1000, number)
        values = {"reading": meter(f"M{number:04d}", at, voltage=voltage)} if readings else {"payload": b"\xc1"}
        kind = "meter" if readings else "entry"
        letters.append(DeadLetter(0, entry, kind, "a reason", at, entry_readings=1, row=0, **values))
    store_dead_letters(connection, letters)
    return [row[0] for row in connection.execute("select id from dead_letters order by id").fetchall()][-amount:]


def test_two_replays_at_the_same_time_bring_each_letter_back_once(database, resources, monkeypatch):
    store_meter_letters(database, 600)
    meeting = threading.Barrier(2, timeout=5)
    store = replays._store_readings

    met = set()

    def store_together(*arguments):
        if threading.get_ident() not in met:
            met.add(threading.get_ident())
            meeting.wait()  # both hold a batch of letters by now
        return store(*arguments)

    monkeypatch.setattr(replays, "_store_readings", store_together)
    brought_back = []

    def operate() -> None:
        with psycopg.connect(resources.settings.database_url, autocommit=True) as connection:
            after = 0
            while batch := replay_batch(connection, 2, after=after, limit=50):
                brought_back.append(batch.replayed)
                after = batch.last_id

    operators = [threading.Thread(target=operate) for _ in range(2)]
    for operator in operators:
        operator.start()
    for operator in operators:
        operator.join()
    assert sum(brought_back) == 600
    assert count(database, "meter_readings_history") == 600
    assert database.execute("select count(*) from dead_letters where replayed_at is null").fetchone()[0] == 0


def test_a_replay_that_dies_leaves_history_and_letters_as_they_were(database, resources, monkeypatch):
    store_meter_letters(database, 10)

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(replays, "_mark", die)
    with pytest.raises(KeyboardInterrupt):
        replay_batch(database, 2)
    assert count(database, "meter_readings_history") == 0
    assert database.execute("select count(*) from dead_letters where replayed_at is null").fetchone()[0] == 10


def test_good_letters_come_back_from_among_hundreds_that_are_refused_again(runner, database, poison):
    bad = store_meter_letters(database, 300, voltage=999.5)
    store_meter_letters(database, 2)
    done = runner.invoke(args=["dead-letters", "replay", "--all"])
    assert done.exit_code == 1
    assert "Replayed 2, refused again 300." in done.output
    left = database.execute("select id, reason, sqlstate from dead_letters where replayed_at is null").fetchall()
    assert sorted(row[0] for row in left) == bad
    assert all("poison" in reason and state == "23514" for _, reason, state in left), "the reason of this time"
    assert count(database, "meter_readings_live") == 2


def test_chosen_letters_come_back_and_no_others(runner, database):
    ids = store_meter_letters(database, 3)
    done = runner.invoke(args=["dead-letters", "replay", str(ids[1]), "99999999"])
    assert "Replayed 1, refused again 0." in done.output
    assert "1 of the ids" in done.output
    assert database.execute("select meter_id from meter_readings_history").fetchall() == [("M0001",)]
    assert runner.invoke(args=["dead-letters", "replay"]).exit_code == 2


def test_an_entry_that_can_be_read_by_now_comes_back_and_others_stay(runner, database, resources):
    store_meter_letters(database, 1, readings=False)
    entry_id, at = EntryId(to_microseconds(ago(minutes=3)) // 1000, 2), to_microseconds(ago(minutes=4))
    payload = encode_entry(Entry([MeterReading("M1", at, 1.0, 230.0), MeterReading("M2", at, 2.0, 230.0)], []))
    torn = payload.replace(b"M2", b"\xff\xfe")
    received = to_datetime(received_at(1, resources.settings.stream_shards, entry_id))
    for each in (payload, torn):
        store_dead_letters(
            database, [DeadLetter(1, entry_id, "entry", "can't be read", received, entry_readings=1, payload=each)]
        )
    done = runner.invoke(args=["dead-letters", "replay", "--all"])
    assert "Replayed 1, refused again 2." in done.output, done.output
    assert database.execute("select meter_id, received_at from meter_readings_history order by 1").fetchall() == [
        ("M1", received),
        ("M2", received),
    ]


def test_dead_letters_are_listed_and_shown(runner, database):
    assert "There are no dead letters." in runner.invoke(args=["dead-letters", "list"]).output
    first, second = store_meter_letters(database, 2)
    listed = runner.invoke(args=["dead-letters", "list", "--limit", "1"]).output
    assert "M0001" in listed
    assert "M0000" not in listed
    shown = msgspec.json.decode(runner.invoke(args=["dead-letters", "show", str(first)]).output)
    assert shown["reading"]["meterId"] == "M0000"
    assert shown["reason"] == "a reason"
    absent = runner.invoke(args=["dead-letters", "show", str(second + 1)])
    assert (absent.exit_code, "There is no dead letter" in absent.output) == (1, True)
    assert FIELD == b"v1", "the payload that `show` prints in base64 is that field of the entry"


# ── mapping ──────────────────────────────────────────────────────────────────────────────────────────────────


def imported(runner, tmp_path, text: str | bytes):
    file = tmp_path / "fleet.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return runner.invoke(args=["mapping", "import", str(file)])


def test_mappings_are_imported_and_may_be_imported_again(runner, tmp_path, client, database):
    text = f"\ufeffvehicleId,meterId,from,to\nV1,M1,,\nV2, M2 ,{stamp(ago(hours=2))},{stamp(ago(hours=1))}\n\nV3,M3\n"
    done = imported(runner, tmp_path, text)
    assert done.exit_code == 0, done.output
    assert "Imported 3 mappings: 3 new, 0 existed already." in done.output
    shown = client.get("/v1/analytics/vehicle-mapping").json["items"]
    assert [(m["vehicleId"], m["meterId"], m["to"] is None) for m in shown] == [
        ("V1", "M1", True),
        ("V2", "M2", False),
        ("V3", "M3", True),
    ]
    assert "0 new, 3 existed already" in imported(runner, tmp_path, text).output


def test_one_bad_line_and_nothing_is_imported(runner, tmp_path, database):
    lines = ["vehicleId,meterId,from", "V1,M1,", "V 2,M2,", "V3,,", "V4,M4,yesterday", "V1,M1,", "V5,M5,,,x"]
    done = imported(runner, tmp_path, "\n".join(lines))
    assert done.exit_code == 1
    for number, field in ((3, "vehicleId"), (4, "meterId"), (5, "from"), (6, "line 2"), (7, "more fields")):
        (line,) = [line for line in done.output.splitlines() if f"line {number}:" in line]
        assert field in line
    assert "5 of 6 lines are wrong; nothing was imported." in done.output
    assert count(database, "vehicle_meter_mapping") == 0


def test_an_import_that_dies_half_way_leaves_nothing(runner, tmp_path, database, monkeypatch):
    from webapp.commands import mapping as command

    store = command.map_vehicle

    def store_first(connection, vehicle_id, *rest):
        if vehicle_id == "V2":
            raise psycopg.OperationalError("the connection is lost")
        return store(connection, vehicle_id, *rest)

    monkeypatch.setattr(command, "map_vehicle", store_first)
    done = imported(runner, tmp_path, "vehicleId,meterId\nV1,M1\nV2,M2\n")
    assert (done.exit_code, "the connection is lost" in done.output) == (1, True)
    assert count(database, "vehicle_meter_mapping") == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must name the columns"),
        ("vehicle,meter\nV1,M1\n", "vehicleId and meterId missing"),
        (b"vehicleId,meterId\nV\xff,M1\n", "not a CSV file in UTF-8"),
    ],
)
def test_a_file_that_is_no_list_of_mappings_is_refused(runner, tmp_path, text, reason):
    done = imported(runner, tmp_path, text)
    assert (done.exit_code, reason in done.output) == (1, True), done.output


def test_a_vehicle_is_known_by_number():
    assert [(v.vehicle_id, v.meter_id) for v in fleet(2)] == [("SIM-V001", "SIM-M001"), ("SIM-V002", "SIM-M002")]
    assert Vehicle(1000).vehicle_id == "SIM-V1000"
