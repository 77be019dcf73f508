"""The API as the commands see it: over HTTP, as a device or a dashboard would."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import click
import msgspec
import urllib3
from prometheus_client.parser import text_string_to_metric_families
from urllib3.exceptions import HTTPError, LocationValueError

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT = urllib3.Timeout(connect=3, read=15)  # seconds
DEFAULT_RETRY_SECONDS = 1.0


class Unreachable(Exception):
    """No answer came; what was sent may have been taken or not."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any  # the JSON, or the text where it is none
    retry_after: float  # seconds

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def words(self) -> str:
        """What the API said, for a person."""
        message = self.body.get("message", "") if isinstance(self.body, dict) else ""
        return f"{self.status} {message}".strip()


class Api:
    """Keeps as many connections as there are clients. Safe to share between threads."""

    def __init__(self, url: str, clients: int = 1, key: str | None = None):
        self.url = url.rstrip("/")
        try:
            parsed = urllib3.util.parse_url(self.url)
            if parsed.scheme not in ("http", "https") or not parsed.host:
                raise LocationValueError("it must start with http:// or https:// and name a host")
        except LocationValueError as error:
            raise click.BadParameter(f"{url!r} is no address of an API: {error}", param_hint="--url") from None
        self._prefix = parsed.path or ""
        self._identity = _identity(key)
        self._pool = urllib3.connection_from_url(self.url, maxsize=clients, block=False, retries=False, timeout=TIMEOUT)

    def get(self, path: str) -> Answer:
        """Raises Unreachable."""
        return self._ask("GET", path, None, {"Accept": "application/json"})

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        """Raises Unreachable: then the body was taken once or not at all."""
        return self._ask("POST", path, msgspec.json.encode(body), {"Content-Type": "application/json", **headers})

    def require(self) -> None:
        """Ends the command in clear words where this is no running API."""
        try:
            answer = self.get("/health/live")
        except Unreachable as error:
            raise click.ClickException(f"The API at {self.url} can't be reached ({error}). Is it running?") from None
        if answer.body != {"status": "live"}:
            raise click.ClickException(f"What answers at {self.url} is not this API: {answer.words}")

    def lag_seconds(self) -> float | None:
        """The age of the oldest reading that is not yet in Postgres; None where the API can't tell."""
        try:
            answer = self.get("/metrics")
            if not answer.is_success:
                return None
            families = text_string_to_metric_families(_lines_about("energy_lag_seconds", answer.body))
            return max((sample.value for family in families for sample in family.samples), default=None)
        except (Unreachable, ValueError):
            return None

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        try:
            response = self._pool.urlopen(
                method, self._prefix + path, body=body, headers=self._identity | headers, redirect=False
            )
        except HTTPError as error:
            raise Unreachable(_reason(error)) from None
        return Answer(response.status, _read(response.data), _seconds(response.headers.get("Retry-After")))


def vehicle_path(vehicle_id: str, prefix: str = "/v1/vehicles") -> str:
    return f"{prefix}/{quote(vehicle_id, safe='')}"


def url_option(command: Callable) -> Callable:
    return click.option(
        "--url",
        envvar="ENERGY_API_URL",
        default=DEFAULT_URL,
        show_default=True,
        show_envvar=True,
        help="Where the API runs.",
    )(command)


def key_option(command: Callable) -> Callable:
    return click.option(
        "--key",
        envvar="ENERGY_API_KEY",
        show_envvar=True,
        help="The API key, where one is needed. Better in the environment: others see what a command is given.",
    )(command)


def clients_option(command: Callable) -> Callable:
    return click.option(
        "--clients",
        type=click.IntRange(1, 256),
        default=8,
        show_default=True,
        help="Connections that send at the same time.",
    )(command)


def _identity(key: str | None) -> dict[str, str]:
    if not key:
        return {}
    if not (key.isascii() and key.isprintable()):
        raise click.BadParameter("that is no API key", param_hint="--key")
    return {"Authorization": f"Bearer {key}"}


def _read(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return data.decode(errors="replace")


def _seconds(retry_after: str | None) -> float:
    # The header may also hold a date, which our API never sends.
    return float(retry_after) if retry_after and retry_after.isdigit() else DEFAULT_RETRY_SECONDS


def _lines_about(name: str, text: str) -> str:
    wanted: Iterable[str] = (line for line in text.splitlines() if line.startswith(name))
    return "\n".join(wanted) + "\n"


def _reason(error: HTTPError) -> str:
    # "HTTPConnection(host='…', port=…): Failed to establish a new connection: [Errno 111] Connection refused"
    return str(error).rsplit(": ", 1)[-1] or type(error).__name__
