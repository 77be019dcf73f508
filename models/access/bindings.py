"""Which devices an API key may post for and read: the ids it names, and all that begin with its prefix."""

from dataclasses import dataclass

# Greater than every character of a device id, so that `prefix <= id < prefix~` is what begins with the prefix.
_BEHIND = "~"


@dataclass(frozen=True, slots=True)
class Binding:
    """A key without one may touch every device; a Binding of nothing touches none."""

    device_ids: frozenset[str] = frozenset()
    prefix: str | None = None

    def covers(self, device_id: str) -> bool:
        return device_id in self.device_ids or (self.prefix is not None and device_id.startswith(self.prefix))


def bound_to(column: str, binding: Binding | None) -> tuple[list[str], list]:
    """Conditions, and their values, that keep the rows of the bound devices: ranges of the column's index."""
    if binding is None:
        return [], []
    either, values = [], []
    if binding.device_ids or binding.prefix is None:
        either.append(f"{column} = any(%s)")
        values.append(sorted(binding.device_ids))
    if binding.prefix is not None:
        either.append(f"({column} >= %s and {column} < %s)")
        values += [binding.prefix, binding.prefix + _BEHIND]
    return [f"({' or '.join(either)})"], values
