"""`energy load`: posts readings to an API that runs, and reports what became of them."""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import click

from loadtool.api import Api, vehicle_path
from loadtool.bodies import Body, timestamp
from loadtool.connection import Answer, NoAnswer, Server
from loadtool.fleet import Names, Vehicle, fleet
from loadtool.options import clients_option, key_option, url_option
from loadtool.pacer import Request
from loadtool.sending import Sending
from loadtool.terminal import print_table

MAX_BATCH = 10_000  # readings a request, by the contract
LOADED = Names("LOAD-V{:05d}", "LOAD-M{:05d}")
CHARGE_KWH = 1.0  # drawn by each meter in a reading
PERFORMANCE = (
    ("vehicle", "vehicleId"),
    ("meters", "meters"),
    ("AC, kWh", "totalAcConsumption"),
    ("DC, kWh", "totalDcDelivery"),
    ("efficiency, %", "efficiencyRatio"),
    ("battery, °C", "avgBatteryTemp"),
    ("readings", "dataPoints"),
    ("status", "status"),
)


@click.group()
def load() -> None:
    """Post readings and check that they are stored.

    Devices are called LOAD-M00001, LOAD-V00001 and so on. Exit status 0: all were accepted and stored.
    """


def batch_option(default: int):
    return click.option(
        "--batch",
        type=click.IntRange(1, MAX_BATCH),
        default=default,
        show_default=True,
        help="Readings in a request.",
    )


wait_option = click.option(
    "--wait",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="Seconds to wait at the end until all is stored.",
)
count_argument = click.argument("n", type=click.IntRange(1, 100_000))


@load.command()
@count_argument
@batch_option(default=1)
@clients_option
@wait_option
@url_option
@key_option
def single(n: int, batch: int, clients: int, wait: float, url: str, key: str | None) -> None:
    """One reading from each of N meters and N vehicles.

    \b
    Example:
      energy load single 100
    """
    sending = Sending(_running_api(url, key), clients)
    _send_rounds(sending, n, batch, rounds=1)
    sending.wait_until_stored(wait)
    sending.conclude()


@load.command()
@count_argument
@batch_option(default=1000)
@clients_option
@wait_option
@url_option
@key_option
def full(n: int, batch: int, clients: int, wait: float, url: str, key: str | None) -> None:
    """The whole way: map N vehicles to N meters, two readings from each, then every vehicle's performance.

    The performance is that of the last 24 hours: each further run adds to it.

    \b
    Example:
      energy load full 10
    """
    api, vehicles = _running_api(url, key), fleet(n, LOADED)
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda vehicle: _map(api, vehicle), vehicles))
        click.echo(f"Mapped {n} vehicles, each to a meter of its own.")
        sending = Sending(api, clients)
        _send_rounds(sending, n, batch, rounds=2)
        sending.wait_until_stored(wait)
        answers = list(pool.map(lambda vehicle: _get_performance(api, vehicle), vehicles))
    numeric = [title for title, _ in PERFORMANCE if title not in ("vehicle", "meters", "status")]
    print_table([title for title, _ in PERFORMANCE], map(_performance_row, answers), numbers=numeric)
    sending.conclude()


@load.command()
@count_argument
@click.argument("seconds", type=click.FloatRange(0, min_open=True))
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Readings a second; default: as many as go.")
@batch_option(default=1)
@clients_option
@wait_option
@url_option
@key_option
def steady(
    n: int, seconds: float, rate: float | None, batch: int, clients: int, wait: float, url: str, key: str | None
) -> None:
    """Readings from N meters and N vehicles in turn, for SECONDS.

    Shows what was sent, accepted, refused and stored, and the lag: the age of the oldest reading that is not yet in
    the database. With --rate the time of an answer counts from when its request was due. If the engine runs on this
    machine too, it shares the cores with this command.

    \b
    Examples:
      energy load steady 1000 60 --rate 500
      energy load steady 1000 60 --batch 500 --clients 16
    """
    sending = Sending(_running_api(url, key), clients)
    started = time.monotonic()
    sending.run(
        _in_turn(sending.api.server, n, batch),
        seconds,
        lambda: time.monotonic() - started,
        rate=rate and rate / batch,
        seconds=seconds,
    )
    sending.wait_until_stored(wait)
    sending.conclude()


def _running_api(url: str, key: str | None) -> Api:
    api = Api(url, key)
    api.check_running()
    return api


def _send_rounds(sending: Sending, n: int, batch: int, rounds: int) -> None:
    """One reading of each device a round; the last round is of now, the others a minute apart before it."""
    stamps = [timestamp(60 * back) for back in reversed(range(rounds))]
    readings = itertools.product(stamps, range(2 * n))
    chunks = iter(lambda: list(itertools.islice(readings, batch)), [])
    requests = (_request(sending.api.server, [_open_body(k).at(stamp) for stamp, k in chunk]) for chunk in chunks)
    sending.run(requests, 2 * n * rounds, lambda: sending.sent)


def _in_turn(server: Server, n: int, batch: int) -> Iterator[Request]:
    """Endless. Each is made, and gets its timestamp, when it is sent."""
    devices = itertools.cycle(range(2 * n))
    while True:
        now = timestamp()
        yield _request(server, [_open_body(device).at(now) for device in itertools.islice(devices, batch)])


def _request(server: Server, readings: list[bytes]) -> Request:
    body = readings[0] if len(readings) == 1 else b"[" + b",".join(readings) + b"]"
    return Request(server.post("/v1/telemetry", body), len(readings))


@lru_cache(maxsize=200_000)
def _open_body(device: int) -> Body:
    """A reading of meter 1, vehicle 1, meter 2, vehicle 2, …"""
    return Body([Vehicle(device // 2 + 1, LOADED).charge(CHARGE_KWH)[device % 2]])


def _map(api: Api, vehicle: Vehicle) -> None:
    pair = {"vehicleId": vehicle.vehicle_id, "meterId": vehicle.meter_id}
    _check(lambda: api.post("/v1/analytics/vehicle-mapping", pair))


def _get_performance(api: Api, vehicle: Vehicle) -> dict:
    return _check(lambda: api.get(vehicle_path(vehicle.vehicle_id, "/v1/analytics/performance")))


def _performance_row(performance: dict) -> list:
    ratio = performance["efficiencyRatio"]
    shown = {"meters": ", ".join(performance["meters"]), "efficiencyRatio": ratio and f"{ratio * 100:.2f}"}
    return [(performance | shown)[field] for _, field in PERFORMANCE]


def _check(request) -> dict:
    """The answer's body; ends the command if the request failed."""
    try:
        answer: Answer = request()
    except NoAnswer as error:
        raise click.ClickException(f"The API stopped answering: {error}") from None
    if not answer.is_success:
        raise click.ClickException(f"The API answers {answer.summary}")
    return answer.body
