"""What `python -m devstack` reads from the environment, once."""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

import environs
from environs import validate


class SettingError(Exception):
    """A variable holds a value that cannot be meant; the message names both."""


@dataclass(frozen=True)
class Settings:
    home: Path  # data of the embedded servers, logs; kept between runs
    host: str
    port: int
    simulate: int  # vehicles that send readings; 0: none
    web_workers: int  # processes
    worker_concurrency: int  # processes
    redis_maxmemory: str  # of the embedded Redis, in its own notation: 512mb, 2gb
    database_url: str | None  # None: the embedded Postgres
    redis_url: str | None  # None: the embedded Redis
    auth: str  # required: every request needs an API key; off: this machine's own business

    @property
    def url(self) -> str:
        """Where the API is, seen from this machine."""
        return f"http://{'127.0.0.1' if self.host == '0.0.0.0' else self.host}:{self.port}"  # noqa: S104 (compared)


def read() -> Settings:
    """The settings of this run; raises SettingError for the first wrong value."""
    env = environs.Env()
    # Not HOST: csh and conda export that with another meaning.
    host = env.str("WEB_HOST", "127.0.0.1")
    count = validate.Range(min=1, max=64)
    try:
        return Settings(
            home=Path(env.str("ENERGY_HOME", "") or ".energy").absolute(),
            host=host,
            port=env.int("PORT", 8000, validate=validate.Range(min=1, max=65535)),
            simulate=env.int("SIMULATE", 25, validate=validate.Range(min=0, max=100_000)),
            web_workers=env.int("WEB_WORKERS", 2, validate=count),
            worker_concurrency=env.int("WORKER_CONCURRENCY", 2, validate=count),
            redis_maxmemory=env.str("REDIS_MAXMEMORY", "2gb", validate=validate.Regexp(r"(?i)\d+([kmg]b?)?$")),
            database_url=env.str("DATABASE_URL", "") or None,
            redis_url=env.str("REDIS_URL", "") or None,
            auth=_auth(env, host),
        )
    except environs.EnvError as error:
        raise SettingError(_one_line(error)) from None


def _auth(env: environs.Env, host: str) -> str:
    """`off` where only this machine reaches the API, or where somebody says that it is meant."""
    is_local = _is_loopback(host)
    told = env.str("AUTH", "", validate=validate.OneOf(["", "required", "off"]))
    is_meant = env.int("ALLOW_INSECURE", 0, validate=validate.OneOf([0, 1]))
    if told == "off" and not is_local and not is_meant:
        raise SettingError(
            f'"AUTH": "off" would let everybody who reaches {host} post and read; '
            "leave it out to have keys, or set ALLOW_INSECURE=1 too"
        )
    return told or ("off" if is_local else "required")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _one_line(error: environs.EnvError) -> str:
    # environs quotes the name but not the value, and it is the value one has to find and change.
    name = str(error).split('"')[1]
    reasons = " ".join(getattr(error, "error_messages", None) or [str(error)])
    return f'{name}: "{os.environ.get(name, "")}": {reasons}'
