"""How a setting is declared, and how the settings of a process are read from environment variables.

    @dataclass(frozen=True)
    class Settings:
        max_batch_readings: int = number(10_000, 1, unit="readings", help="most that one request may hold, else 413")

declares the variable MAX_BATCH_READINGS. The loader, the error of a wrong value and docs/settings.md come from this
one declaration. A variable that is empty counts as not set.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S", bound="DataclassInstance")


class SettingsError(Exception):
    """One or more variables are missing or wrong: the message has a line for each."""


@dataclass(frozen=True)
class Setting:
    parse: Callable[[str], Any]  # raises ValueError for what is not `expected`
    expected: str  # such as "a whole number from 1 to 64": completes both "is not …" and "set it to …"
    allowed: str  # the range, for docs/settings.md
    help: str  # one sentence or two, in Markdown
    default: Any = None  # None: required
    shown_default: str = ""  # of a default that is derived, for docs/settings.md
    section: str = ""  # the heading that starts here in docs/settings.md
    variable: str = ""  # if it is not the field's name in capitals
    has_secret: bool = False  # an error does not repeat the value


def number(default: float, low: float, high: float = inf, *, unit: str = "", help: str, **more: Any) -> Any:
    """Whole if the default is. Bounds are inclusive."""

    def parse(text: str) -> float:
        value = type(default)(text)
        if not low <= value <= high or not isfinite(value):
            raise ValueError
        return value

    kind = "a whole number" if isinstance(default, int) else "a number"
    bounds = f"from {low:,} to {high:,}" if isfinite(high) else f"of at least {low:,}"
    allowed = f"{low:,}–{high:,} {unit}" if isfinite(high) else f"≥ {low:,} {unit}"
    return _declare(parse, f"{kind} {bounds}", allowed.replace("-", "−").strip(), help, default=default, **more)


def choice(*options: str | int, default: str | int | None = None, help: str, **more: Any) -> Any:
    """The default is the first option if none is given."""
    by_text = {str(option): option for option in options}

    def parse(text: str) -> str | int:
        if text not in by_text:
            raise ValueError
        return by_text[text]

    allowed = ", ".join(f"`{option}`" for option in by_text)
    default = options[0] if default is None else default
    return _declare(parse, f"one of {', '.join(by_text)}", allowed, help, default=default, **more)


def url(default: str | None, *schemes: str, help: str, **more: Any) -> Any:
    """A URL of one of the schemes. It may hold a password."""
    prefixes = tuple(f"{scheme}://" for scheme in schemes)
    return text(
        default,
        ", ".join(f"`{prefix}…`" for prefix in prefixes),
        expected=f"a URL that starts with {' or '.join(prefixes)}",
        matches=lambda value: value.startswith(prefixes),
        has_secret=True,
        help=help,
        **more,
    )


def text(
    default: str | None,
    allowed: str,
    *,
    expected: str = "",
    matches: Callable[[str], object] = bool,
    help: str,
    **more: Any,
) -> Any:
    """Any text that `matches`."""

    def parse(value: str) -> str:
        if not matches(value):
            raise ValueError
        return value

    return _declare(parse, expected, allowed, help, default=default, **more)


def _declare(parse: Callable[[str], Any], expected: str, allowed: str, help: str, **more: Any) -> Any:
    return field(metadata={"setting": Setting(parse, expected, allowed, help, **more)})


def declared(settings: type[S]) -> dict[str, Setting]:
    """The settings of a class by their environment variable, in the order of declaration."""
    return {_variable(each): each.metadata["setting"] for each in fields(settings)}


def read_settings(settings: type[S], environment: Mapping[str, str] = os.environ) -> S:
    """The settings of this environment. Raises SettingsError, which names every variable that is missing or wrong."""
    values, errors = {}, []
    for each in fields(settings):
        setting, variable = each.metadata["setting"], _variable(each)
        try:
            values[each.name] = _value(setting, environment.get(variable, ""))
        except ValueError as error:
            errors.append(f"{variable}: {error}")
    if errors:
        raise SettingsError("\n".join(errors))
    return settings(**values)


def _variable(declaration: Field) -> str:
    return declaration.metadata["setting"].variable or declaration.name.upper()


def _value(setting: Setting, given: str) -> Any:
    if not given:
        if setting.default is None:
            raise ValueError(f"is not set; set it to {setting.expected}.")
        return setting.default
    try:
        return setting.parse(given)
    except ValueError:
        value = "the value" if setting.has_secret else f'"{given}"'
        raise ValueError(f"{value} is not {setting.expected}.") from None
