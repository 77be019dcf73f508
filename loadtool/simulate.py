"""`energy simulate`: a fleet that sends readings for ever, so that there is something to look at."""

import signal
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime

import click

from loadtool.api import Answer, Api, Unreachable, key_option, url_option, vehicle_path
from loadtool.fleet import MINUTES_A_DAY, Vehicle, fleet
from loadtool.terminal import progress

READINGS_PER_REQUEST = 5_000
# Waiting for these is over some day; any other refusal would be the same tomorrow.
PASSING = {429, 500, 502, 503, 504}
LONGEST_WAIT_SECONDS = 60.0


@click.command()
@click.argument("n", type=click.IntRange(1, 100_000))
@url_option
@key_option
def simulate(n: int, url: str, key: str | None) -> None:
    """Simulate N vehicles: the last 24 hours, then a reading a minute.

    Each has a meter. They are called SIM-V001, SIM-M001 and so on. Some are degraded (SIM-V007), some fail at noon
    (SIM-V003), and SIM-V005 forgets its state of charge now and then. Started again it goes on after the last
    reading that the API has of each vehicle. While the API is unavailable or its backlog full, it waits.

    \b
    Example:
      energy simulate 25 --url http://127.0.0.1:8000
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    simulation = Simulation(Patient(Api(url, key=key)), fleet(n))
    simulation.begin()
    while True:
        simulation.catch_up(int(time.time() // 60))
        time.sleep(60 - time.time() % 60)


class Patient:
    """Asks until there is an answer that another try won't change; says once that it waits, and once that it is over.

    Raises ClickException where the API refuses for good.
    """

    def __init__(self, api: Api, sleep: Callable[[float], None] = time.sleep):
        self._api, self._sleep = api, sleep

    def get(self, path: str, *, may_be_absent: bool = False) -> Answer | None:
        return self._ask(lambda: self._api.get(path), path, may_be_absent)

    def post(self, path: str, body: object) -> Answer:
        # One key for all attempts: a request whose answer got lost is not taken twice.
        key = {"Idempotency-Key": uuid.uuid4().hex}
        return self._ask(lambda: self._api.post(path, body, **key), path, False)

    def _ask(self, ask: Callable[[], Answer], path: str, may_be_absent: bool) -> Answer | None:
        is_waiting, pause = False, 1.0
        while True:
            try:
                answer = ask()
            except Unreachable as error:
                reason, wait = f"can't be reached ({error})", pause
                pause = min(2 * pause, 5.0)
            else:
                if answer.is_success or (answer.status == 404 and may_be_absent):
                    break
                if answer.status not in PASSING:
                    raise click.ClickException(f"{self._api.url}{path} answers {answer.words}: {answer.body}")
                reason, wait = f"answers {answer.words}", min(answer.retry_after, LONGEST_WAIT_SECONDS)
            if not is_waiting:
                click.echo(f"The API at {self._api.url} {reason}; waiting for it.")
                is_waiting = True
            self._sleep(wait)
        if is_waiting:
            click.echo(f"The API at {self._api.url} is back.")
        return answer if answer.is_success else None


class Simulation:
    """Where each vehicle stands: `next_minute` (since 1970) is the first of which the API has no reading yet."""

    def __init__(self, api: Patient, vehicles: list[Vehicle]):
        self._api, self.vehicles = api, vehicles
        self.next_minute: dict[Vehicle, int] = {}
        self._was_live = False
        self._told_of_rejects = False

    def begin(self) -> None:
        """Asks the API what it last heard of each vehicle; maps those that it does not know to their meters."""
        for vehicle in self.vehicles:
            heard = self._api.get(vehicle_path(vehicle.vehicle_id), may_be_absent=True)
            if heard is None:
                pair = {"vehicleId": vehicle.vehicle_id, "meterId": vehicle.meter_id}
                self._api.post("/v1/analytics/vehicle-mapping", pair)
            last = datetime.fromisoformat(heard.body["lastSeen"]).timestamp() if heard else -60
            self.next_minute[vehicle] = int(last // 60) + 1

    def catch_up(self, now: int) -> int:
        """Sends what is due up to minute `now`, of the last 24 hours at most; returns how many readings.

        Oldest first and one request at a time: whatever was accepted, everything older of that vehicle was too.
        So a new start can go on from what the API last heard. A meter goes with its vehicle into one request.
        """
        first = {v: max(self.next_minute[v], now - MINUTES_A_DAY + 1) for v in self.vehicles}
        total = sum(2 * max(0, now + 1 - minute) for minute in first.values())
        is_backfill = total > 2 * len(self.vehicles)
        sent = 0
        if is_backfill:
            click.echo(f"{len(self.vehicles)} vehicles: {total:,} readings to catch up with.")
            with progress("catching up", total) as show:
                for sent in self._send(first, now):
                    show(sent, f"{sent:,} of {total:,} readings")
        else:
            sent = max(self._send(first, now), default=0)
        if not self._was_live:
            click.echo(f"{len(self.vehicles)} vehicles are live: a reading of each and its meter every minute.")
            self._was_live = True
        return sent

    def _send(self, first: dict[Vehicle, int], now: int) -> Iterator[int]:
        """Yields after each request how many readings were sent so far."""
        sent, batch, reached = 0, [], {}
        for minute in range(min(first.values()), now + 1):
            for vehicle in self.vehicles:
                if minute >= first[vehicle]:
                    batch += vehicle.readings(minute)
                    reached[vehicle] = minute + 1
                is_last = minute == now and vehicle is self.vehicles[-1]
                if len(batch) >= READINGS_PER_REQUEST or (batch and is_last):
                    self._post(batch)
                    self.next_minute |= reached
                    sent += len(batch)
                    batch, reached = [], {}
                    yield sent

    def _post(self, batch: list[dict]) -> None:
        answer = self._api.post("/v1/telemetry", batch).body
        if answer["rejected"] and not self._told_of_rejects:
            click.echo(
                f"The API rejects {answer['rejected']} of {len(batch)} readings: {answer['errors'][0]}", err=True
            )
            self._told_of_rejects = True


def _stop(*_) -> None:
    """At once, wherever it stands: the next start asks the API how far this one came."""
    raise SystemExit(0)
