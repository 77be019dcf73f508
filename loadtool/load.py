"""`energy load`: readings posted to a running API, and what came of them."""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import click

from loadtool.api import Answer, Api, Unreachable, clients_option, key_option, url_option, vehicle_path
from loadtool.sending import Batch, Sending
from loadtool.terminal import print_table

MAX_BATCH = 10_000  # readings a request, by the contract
BATTERY_TEMP = 25.0  # °C
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
        help="Readings a request.",
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
    sending = Sending(_running(url, clients, key), clients)
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

    The performance is that of the last 24 hours, as the API answers it: with each run it counts more readings.

    \b
    Example:
      energy load full 10
    """
    api = _running(url, clients, key)
    numbers = range(1, n + 1)
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda k: _map(api, k), numbers))
        click.echo(f"Mapped {n} vehicles, each to a meter of its own.")
        sending = Sending(api, clients)
        _send_rounds(sending, n, batch, rounds=2)
        sending.wait_until_stored(wait)
        answers = list(pool.map(lambda k: _must(api.get, _performance_path(k)), numbers))
    numeric = [title for title, _ in PERFORMANCE if title not in ("vehicle", "meters", "status")]
    print_table([title for title, _ in PERFORMANCE], map(_performance_row, answers), numbers=numeric)
    sending.conclude()


@load.command("load")
@count_argument
@click.argument("seconds", type=click.FloatRange(0, min_open=True))
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Readings a second; default: all that go.")
@batch_option(default=1)
@clients_option
@wait_option
@url_option
@key_option
def sustained(
    n: int, seconds: float, rate: float | None, batch: int, clients: int, wait: float, url: str, key: str | None
) -> None:
    """Readings from N meters and N vehicles in turn, for so many SECONDS.

    Shows while it runs what was sent, accepted, refused and stored, and the lag: the age of the oldest reading
    that is not yet in the database. The clients share this machine with what they measure, if it runs here too.

    \b
    Examples:
      energy load load 1000 60 --rate 500
      energy load load 1000 60 --batch 500 --clients 16
    """
    sending = Sending(_running(url, clients, key), clients)
    started = time.monotonic()
    end = started + seconds
    sending.run(_paced(n, batch, rate, started, end), seconds, lambda: time.monotonic() - started, until=end)
    sending.wait_until_stored(wait)
    sending.conclude()


def _running(url: str, clients: int, key: str | None) -> Api:
    api = Api(url, clients + 1, key)  # one more to look at what is stored
    api.require()
    return api


def _send_rounds(sending: Sending, n: int, batch: int, rounds: int) -> None:
    """One reading of each device a round; the last round is of now, the others a minute apart before it."""
    now = datetime.now(UTC)
    places = [(device, now - timedelta(minutes=back)) for back in reversed(range(rounds)) for device in range(2 * n)]
    chunks = [places[start : start + batch] for start in range(0, len(places), batch)]
    batches = (Batch(0, lambda chunk=chunk: [_reading(*place) for place in chunk]) for chunk in chunks)
    sending.run(batches, len(places), lambda: sending.sent)


def _paced(n: int, batch: int, rate: float | None, start: float, end: float) -> Iterator[Batch]:
    """Batches until the end, each due at its time; none is made up for that was not sent by the end."""
    devices = itertools.cycle(range(2 * n))
    for number in itertools.count():
        due = start + number * batch / rate if rate else 0
        if max(due, time.monotonic()) >= end:
            return
        chosen = list(itertools.islice(devices, batch))
        yield Batch(due, lambda chosen=chosen: [_reading(device, datetime.now(UTC)) for device in chosen])


def _reading(device: int, at: datetime) -> dict:
    """Of meter 1, vehicle 1, meter 2, vehicle 2, …: what a vehicle gets of its meter's 1 kWh is its efficiency."""
    number, is_vehicle = device // 2 + 1, device % 2
    if is_vehicle:
        values = {"kwhDeliveredDc": 0.80 + number % 16 / 100, "batteryTemp": BATTERY_TEMP + number % 10, "soc": 50.0}
        return {"vehicleId": _vehicle(number), **values, "timestamp": at}
    return {"meterId": _meter(number), "kwhConsumedAc": 1.0, "voltage": 230.0, "timestamp": at}


def _vehicle(number: int) -> str:
    return f"LOAD-V{number:05d}"


def _meter(number: int) -> str:
    return f"LOAD-M{number:05d}"


def _map(api: Api, number: int) -> None:
    _must(api.post, "/v1/analytics/vehicle-mapping", {"vehicleId": _vehicle(number), "meterId": _meter(number)})


def _performance_path(number: int) -> str:
    return vehicle_path(_vehicle(number), "/v1/analytics/performance")


def _performance_row(answer: Answer) -> list:
    values = {**answer.body, "meters": ", ".join(answer.body["meters"])}
    ratio = values["efficiencyRatio"]
    values["efficiencyRatio"] = None if ratio is None else f"{ratio * 100:.2f}"
    return [values[field] for _, field in PERFORMANCE]


def _must(ask, path: str, *body) -> Answer:
    try:
        answer = ask(path, *body)
    except Unreachable as error:
        raise click.ClickException(f"The API stopped answering: {error}") from None
    if not answer.is_success:
        raise click.ClickException(f"{path}: {answer.words}")
    return answer
