"""How a setting is declared, and how the settings of a process are read from environment variables.

    @dataclass(frozen=True)
    class Settings:
        max_batch_readings: int = number(10_000, 1, unit="readings", help="most that one request may hold, else 413")

declares the variable MAX_BATCH_READINGS. The loader, the error of a wrong value and docs/settings.md come from this
one declaration. A variable that is empty counts as not set. Of a setting that may hold a secret, the variable with
`_FILE` added may name a file that holds the value instead.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import Field, dataclass, field, fields
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S", bound="DataclassInstance")


class SettingsError(Exception):
    """One or more variables are missing or wrong: the message has a line for each."""


@dataclass(frozen=True)
class Setting:
    convert: Callable[[str], Any]  # raises ValueError
    is_valid: Callable[[Any], object]
    expected: str  # such as "a whole number from 1 to 64": completes both "is not …" and "set it to …"
    allowed: str  # the range, for docs/settings.md
    help: str  # one sentence or two, in Markdown
    default: Any = None  # None: required
    shown_default: str = ""  # of a default that is derived, for docs/settings.md
    section: str = ""  # the heading that starts here in docs/settings.md
    variable: str = ""  # if it is not the field's name in capitals
    has_secret: bool = False  # an error does not repeat the value, and a file may hold it


def _setting(**values: Any) -> Any:
    return field(metadata={"setting": Setting(**values)})


def number(default: float, low: float, high: float = inf, *, unit: str = "", **more: Any) -> Any:
    """Whole if the default is. Bounds are inclusive."""
    kind = "a whole number" if isinstance(default, int) else "a number"
    bounds = f"from {low:,} to {high:,}" if isfinite(high) else f"of at least {low:,}"
    allowed = f"{low:,}–{high:,} {unit}" if isfinite(high) else f"≥ {low:,} {unit}"
    return _setting(
        convert=type(default),
        is_valid=lambda value: low <= value <= high and isfinite(value),
        expected=f"{kind} {bounds}",
        allowed=allowed.replace("-", "−").strip(),
        default=default,
        **more,
    )


def choice(*options: str | int, default: str | int | None = None, **more: Any) -> Any:
    """The default is the first option if none is given."""
    by_text = {str(option): option for option in options}
    return _setting(
        convert=by_text.get,
        is_valid=lambda option: option is not None,
        expected=f"one of {', '.join(by_text)}",
        allowed=", ".join(f"`{option}`" for option in by_text),
        default=options[0] if default is None else default,
        **more,
    )


def text(
    default: str | None, allowed: str, *, expected: str = "", is_valid: Callable[[str], object] = bool, **more: Any
) -> Any:
    return _setting(convert=str, is_valid=is_valid, expected=expected, allowed=allowed, default=default, **more)


def url(default: str | None, *schemes: str, **more: Any) -> Any:
    """A URL of one of the schemes. It may hold a password."""
    starts = tuple(f"{scheme}://" for scheme in schemes)
    allowed, expected = ", ".join(f"`{start}…`" for start in starts), f"a URL that starts with {' or '.join(starts)}"
    more |= {"expected": expected, "has_secret": True}
    return text(default, allowed, is_valid=lambda value: value.startswith(starts), **more)


def declared(settings: type[S]) -> dict[str, Setting]:
    """The settings of a class by their environment variable, in the order of declaration."""
    return {_variable(each): each.metadata["setting"] for each in fields(settings)}


def read_settings(settings: type[S], environment: Mapping[str, str] = os.environ) -> S:
    """The settings of this environment. Raises SettingsError, which names every variable that is missing or wrong."""
    values, errors = {}, []
    for each in fields(settings):
        setting, variable = each.metadata["setting"], _variable(each)
        try:
            values[each.name] = _value(setting, _given(variable, setting, environment))
        except ValueError as error:
            errors.append(f"{variable}: {error}")
    if errors:
        raise SettingsError("\n".join(errors))
    return settings(**values)


def _variable(declaration: Field) -> str:
    return declaration.metadata["setting"].variable or declaration.name.upper()


def _given(variable: str, setting: Setting, environment: Mapping[str, str]) -> str:
    given, file = environment.get(variable, ""), environment.get(f"{variable}_FILE", "")
    if not setting.has_secret or not file:
        return given
    if given:
        raise ValueError(f"is set, and {variable}_FILE too; set one of them.")
    try:
        text = Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{variable}_FILE: {file} can't be read: {error}.") from None
    if not text:
        raise ValueError(f"{variable}_FILE: {file} is empty.")
    return text


def _value(setting: Setting, given: str) -> Any:
    if not given and setting.default is None:
        raise ValueError(f"is not set; set it to {setting.expected}.")
    if not given:
        return setting.default
    with suppress(ValueError):
        value = setting.convert(given)
        if setting.is_valid(value):
            return value
    shown = "the value" if setting.has_secret else f'"{given}"'
    raise ValueError(f"{shown} is not {setting.expected}.")
