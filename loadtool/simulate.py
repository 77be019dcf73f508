"""`energy simulate`: a fleet that sends readings until it is stopped, so that there is something to look at."""

import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from urllib.parse import quote

import click

from loadtool.api import Api
from loadtool.connection import Answer, NoAnswer
from loadtool.fleet import MINUTES_A_DAY, Vehicle, fleet
from loadtool.options import key_option, url_option
from loadtool.terminal import console, progress

READINGS_PER_REQUEST = 5_000
VEHICLES_PER_PAGE = 1_000
TRANSIENT = {429, 500, 502, 503, 504}  # statuses after which another attempt may succeed
# Without an answer the wait doubles, from the first to the longest.
FIRST_WAIT_SECONDS, LONGEST_UNREACHABLE_WAIT_SECONDS = 1.0, 5.0
LONGEST_WAIT_SECONDS = 60.0  # whatever Retry-After says


@click.command()
@click.argument("n", type=click.IntRange(1, 100_000))
@url_option
@key_option
def simulate(n: int, url: str, key: str | None) -> None:
    """Simulate N vehicles: the last 24 hours, then a reading a minute.

    Each has a meter. They are called SIM-V001, SIM-M001 and so on. Some are degraded (SIM-V007), some fail at noon
    (SIM-V003), and SIM-V005 sometimes omits its state of charge. A restart continues after the last reading
    of each vehicle. While the API is unavailable or its backlog full, it waits.

    \b
    Example:
      energy simulate 25 --url http://127.0.0.1:8000
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    simulation = Simulation(RetryingApi(Api(url, key)), fleet(n))
    simulation.begin()
    while True:
        simulation.catch_up(int(time.time() // 60))
        time.sleep(60 - time.time() % 60)


class RetryingApi:
    """Repeats a request until it succeeds; prints once that it waits, and once that this is over.

    Raises ClickException after a refusal that another attempt would not change.
    """

    def __init__(self, api: Api, sleep: Callable[[float], None] = time.sleep):
        self._api, self._sleep = api, sleep

    def get(self, path: str) -> Answer:
        return self._repeat(lambda: self._api.get(path), path)

    def post(self, path: str, body: object) -> Answer:
        # One key for all attempts: a request whose answer was lost is not counted twice.
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        return self._repeat(lambda: self._api.post(path, body, headers), path)

    def _repeat(self, request: Callable[[], Answer], path: str) -> Answer:
        is_waiting, unreachable_wait = False, FIRST_WAIT_SECONDS
        while True:
            try:
                answer = request()
            except NoAnswer as error:
                reason, wait = f"can't be reached ({error})", unreachable_wait
                unreachable_wait = min(2 * unreachable_wait, LONGEST_UNREACHABLE_WAIT_SECONDS)
            else:
                if answer.is_success:
                    break
                if answer.status not in TRANSIENT:
                    raise click.ClickException(f"{self._api.url}{path} answers {answer.summary}: {answer.body}")
                reason, wait = f"answers {answer.summary}", min(answer.retry_after, LONGEST_WAIT_SECONDS)
            if not is_waiting:
                click.echo(f"The API at {self._api.url} {reason}; waiting for it.")
                is_waiting = True
            self._sleep(wait)
        if is_waiting:
            click.echo(f"The API at {self._api.url} is back.")
        return answer


class Simulation:
    """Which readings are still to be sent: `next_minute` is the first, in minutes since 1970, for each vehicle."""

    def __init__(self, api: RetryingApi, vehicles: list[Vehicle]):
        self._api, self.vehicles = api, vehicles
        self.next_minute: dict[Vehicle, int] = {}
        self._was_live = False
        self._has_shown_rejection = False

    def begin(self) -> None:
        """Asks the API for the latest reading of each vehicle; maps vehicles that it does not have to their meters."""
        last_seen = self._last_seen()
        for vehicle in self.vehicles:
            if vehicle.vehicle_id in last_seen:
                self.next_minute[vehicle] = int(last_seen[vehicle.vehicle_id].timestamp() // 60) + 1
            else:
                pair = {"vehicleId": vehicle.vehicle_id, "meterId": vehicle.meter_id}
                self._api.post("/v1/analytics/vehicle-mapping", pair)
                self.next_minute[vehicle] = 0

    def _last_seen(self) -> dict[str, datetime]:
        """The time of the latest reading by vehicle id. Reads pages, sorted by id, up to the last simulated vehicle."""
        last_id = max(vehicle.vehicle_id for vehicle in self.vehicles)
        found: dict[str, datetime] = {}
        cursor = ""
        while cursor is not None and max(found, default="") < last_id:
            after = f"&cursor={quote(cursor)}" if cursor else ""
            page = self._api.get(f"/v1/vehicles?limit={VEHICLES_PER_PAGE}{after}").body
            found |= {item["vehicleId"]: datetime.fromisoformat(item["lastSeen"]) for item in page["items"]}
            cursor = page["next"]
        return found

    def catch_up(self, now: int) -> int:
        """Sends the missing readings up to minute `now`, of the last 24 hours at most; returns their number.

        Oldest first and one request at a time: if a reading was accepted, so were all older ones of its vehicle, and
        the next start can continue after the latest. A vehicle and its meter send in the same request.
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
        """Yields the number of readings sent so far, after each request."""
        sent = 0
        batch: list[dict] = []
        reached: dict[Vehicle, int] = {}
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
        body = self._api.post("/v1/telemetry", batch).body
        if body["rejected"] and not self._has_shown_rejection:
            click.echo(f"The API rejects {body['rejected']} of {len(batch)} readings: {body['errors'][0]}", err=True)
            self._has_shown_rejection = True


def _stop(*_) -> None:
    """It is safe to stop at any point: the next start asks the API for the latest readings.

    Not by an exception, which Python would only report if it arose within a callback.
    """
    with suppress(Exception):  # the stream may be busy with the output that was interrupted
        console().show_cursor()
        sys.stdout.flush()
    os._exit(0)
