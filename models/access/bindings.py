"""Which devices an API key may post for and read: the ids it names, and all that begin with its prefix."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Text, and_, any_, bindparam, literal_column, or_

from models.statements import Conditions, render, where

# Greater than every character of a device id: the ids that begin with the prefix are those in [prefix, prefix~).
_AFTER_ALL = "~"


@dataclass(frozen=True, slots=True)
class Binding:
    """The devices of one key. A key without a Binding may use every device, one with an empty Binding none."""

    device_ids: frozenset[str] = frozenset()
    prefix: str | None = None

    def covers(self, device_id: str) -> bool:
        return device_id in self.device_ids or (self.prefix is not None and device_id.startswith(self.prefix))


def within_binding(column: ColumnElement[str]) -> Conditions:
    """Three optional conditions of a Statement: the device is listed, has the prefix, or either. An index serves each.

    `binding_values` gives values to the one that fits the binding, and to none without a binding.
    """

    def listed(name: str) -> ColumnElement[bool]:
        return column == any_(bindparam(f"{name}_ids", type_=ARRAY(Text)))

    def prefixed(name: str) -> ColumnElement[bool]:
        return and_(column >= bindparam(f"{name}_from"), column < bindparam(f"{name}_before"))

    return listed("bound"), prefixed("bound"), or_(listed("either"), prefixed("either"))


def binding_values(binding: Binding | None) -> dict[str, Any]:
    if binding is None:
        return {}
    ids, prefix = sorted(binding.device_ids), binding.prefix
    if prefix is None:
        return {"bound_ids": ids}
    if not ids:
        return {"bound_from": prefix, "bound_before": prefix + _AFTER_ALL}
    return {"either_ids": ids, "either_from": prefix, "either_before": prefix + _AFTER_ALL}


def binding_sql(column: str, binding: Binding | None) -> str:
    """The condition for SQL written by hand, `true` without a binding; its values are those of `binding_values`."""
    text, _ = render(where(within_binding(literal_column(column)), binding_values(binding)))
    return f"({text})"
