"""`make docs`: prints docs/settings.md, made from the declarations in models/settings.py and devstack/settings.py."""

from collections.abc import Iterator
from textwrap import fill
from typing import Any

import devstack.settings
import models.settings
from models.environment import Setting, declared

HEAD = """\
# Settings

Environment variables, read once at the start. A process with a wrong value does not start, and names it; an empty one
counts as not set. This page is made from the code by `make docs`.

## The engine

For web, workers, beat and commands ([models/settings.py](../models/settings.py)). Give all of them the same values.

"""
SECRETS = """\
A file may hold the value instead, so that no process listing and no `docker inspect` shows it: add `_FILE` to the name,
as in `DATABASE_PASSWORD_FILE=/run/secrets/postgres_password`. That is for what may hold a secret: {}.
"""
# Variables that no Settings class reads: prometheus_client and the commands do.
OTHERS = """\
### Others

- `PROMETHEUS_MULTIPROC_DIR` (not set; a folder): in which the processes of one role share their metrics: one folder for
  the web, another for each worker, empty at the start. `make up` and the compose file set it.
- `ENERGY_API_KEY` (not set; a [key](keys.md)): sent by `energy load` and `energy simulate`; needs the scopes `ingest`,
  `read` and `admin` (for mappings).
- `ENERGY_API_URL` (default `http://127.0.0.1:8000`): the service that `energy load` and `energy simulate` talk to.
"""
STACK = """\
## `make up`

The stack on one machine ([devstack/settings.py](../devstack/settings.py)). It passes the settings above on.
"""


def page() -> str:
    engine, stack = _items(models.settings.Settings), _items(devstack.settings.Settings)
    secret = [f"`{variable}`" for variable, each in declared(models.settings.Settings).items() if each.has_secret]
    return "\n".join(
        [
            HEAD + fill(SECRETS.format(", ".join(secret)), 120, break_on_hyphens=False) + "\n",
            *engine,
            "",
            OTHERS,
            STACK,
            *stack,
            "",
        ]
    )


def _items(settings: type[Any]) -> Iterator[str]:
    for place, (variable, setting) in enumerate(declared(settings).items()):
        if setting.section:
            yield ("\n" if place else "") + f"### {setting.section}\n"
        text = f"- `{variable}` ({_default(setting)}; {setting.allowed}): {setting.help}."
        yield fill(text, 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _default(setting: Setting) -> str:
    if setting.default is None:
        return "required"
    default = setting.shown_default or (f"`{setting.default}`" if setting.default != "" else "")
    return f"default {default}" if default else "not set"


if __name__ == "__main__":
    print(page(), end="")
