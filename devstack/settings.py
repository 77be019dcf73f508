"""The settings of `make up`, read once from the environment. docs/settings.md is made from these declarations."""

import ipaddress
import re
from dataclasses import dataclass, replace
from pathlib import Path

from models.environment import SettingsError, choice, number, read_settings, text, url


# fmt: off
@dataclass(frozen=True)
class Settings:
    home: Path = text(".energy", "a folder", variable="ENERGY_HOME", help=
        "data of the embedded servers, and logs; kept between runs")
    # Not HOST: csh and conda export that with another meaning.
    host: str = text("127.0.0.1", "an address", variable="WEB_HOST", help=
        "where the API listens; `0.0.0.0` opens it to the network, which then needs a [key](keys.md)")
    auth: str = choice("required", "off", default="", help=
        "whether requests need a key. Not set: `off` if `WEB_HOST` is this machine alone, else `required`; the stack "
        "then creates a key for its simulator and writes it to `$ENERGY_HOME/env`")
    allow_insecure: int = choice(0, 1, help=
        "`1` confirms `AUTH=off` although others reach `WEB_HOST`")
    port: int = number(8000, 1, 65_535, help="where the API listens")
    simulate: int = number(25, 0, 100_000, unit="vehicles", help=
        "simulated vehicles that send readings, each with a meter; `0`: none")
    web_workers: int = number(2, 1, 64, unit="processes", help="web processes")
    worker_concurrency: int = number(2, 1, 64, unit="processes", help="worker processes")
    redis_maxmemory: str = text(
        "2gb", "`512mb`, `2gb`, …", expected="an amount of memory such as 512mb or 2gb",
        is_valid=re.compile(r"(?i)\d+([kmg]b?)?\Z").match, help=
        "memory of the embedded Redis; beyond it requests get 503")
    database_url: str = url("", "postgresql", "postgres", help=
        "a Postgres of your own; not set: an embedded one is started")
    redis_url: str = url("", "redis", "rediss", help=
        "a Redis of your own; not set: an embedded one is started")

    @property
    def url(self) -> str:
        """The URL of the API, as seen from this machine."""
        return f"http://{'127.0.0.1' if self.host == '0.0.0.0' else self.host}:{self.port}"  # noqa: S104 (compared)
# fmt: on


def read() -> Settings:
    """The settings of this run. Raises SettingsError, which names every wrong variable."""
    settings = read_settings(Settings)
    is_local = _is_loopback(settings.host)
    if settings.auth == "off" and not is_local and not settings.allow_insecure:
        raise SettingsError(
            f"AUTH: `off` lets everybody who reaches {settings.host} post and read; "
            "leave it out to require keys, or confirm it with ALLOW_INSECURE=1."
        )
    auth = settings.auth or ("off" if is_local else "required")
    return replace(settings, home=Path(settings.home).absolute(), auth=auth)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
