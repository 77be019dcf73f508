"""The API, over HTTP, as a device or a dashboard uses it."""

from typing import Any
from urllib.parse import quote

import click
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from loadtool.connection import Answer, Connection, NoAnswer, Server


class Api:
    """One request after the other in each thread; keeps a connection for each thread that uses it."""

    def __init__(self, url: str, key: str | None = None):
        """Raises click.BadParameter."""
        try:
            self.server = Server(url, key)
        except ValueError as error:
            raise click.BadParameter(f"{url!r} is no address of an API: {error}", param_hint="--url") from None
        self.url = self.server.url
        self._idle: list[Connection] = []

    def get(self, path: str) -> Answer:
        """Raises NoAnswer."""
        return self._request(self.server.get(path))

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Answer:
        """Raises NoAnswer: then the body was accepted once or not at all."""
        return self._request(self.server.post(path, msgspec.json.encode(body), headers))

    def check_running(self) -> None:
        """Ends the command, with the reason, if this is no running API."""
        try:
            answer = self.get("/health/live")
        except NoAnswer as error:
            raise click.ClickException(f"The API at {self.url} can't be reached ({error}). Is it running?") from None
        if answer.body != {"status": "live"}:
            raise click.ClickException(f"What answers at {self.url} is not this API: {answer.summary}")

    def lag_seconds(self) -> float | None:
        """The age of the oldest reading that is not yet in Postgres; None if the API can't tell."""
        try:
            answer = self.get("/metrics")
            lines = answer.content.decode().splitlines() if answer.is_success else []
            text = "\n".join(line for line in lines if line.startswith("energy_lag_seconds")) + "\n"
            families = text_string_to_metric_families(text)
            return max((sample.value for family in families for sample in family.samples), default=None)
        except (NoAnswer, ValueError):
            return None

    def _request(self, request: bytes) -> Answer:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = Connection(self.server)
        try:
            return connection.request(request)
        finally:
            self._idle.append(connection)


def vehicle_path(vehicle_id: str, prefix: str = "/v1/vehicles") -> str:
    return f"{prefix}/{quote(vehicle_id, safe='')}"
