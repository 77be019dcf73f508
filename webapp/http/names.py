"""Names that nobody knows, of parameters and fields: what their sender may have meant."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from itertools import islice

MAX_NAMES = 10  # of one request that an answer names
MAX_CHARACTERS = 64  # of each
_ALIKE = 0.75  # similarity from which a name is a suggestion: `form` and `from` have it


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `name`, whatever their letter case and punctuation; None: none is like it."""
    by_letters = {_letters(each): each for each in known}
    found = get_close_matches(_letters(name[:MAX_CHARACTERS]), by_letters, 1, _ALIKE)
    return by_letters[found[0]] if found else None


def list_unknown(names: Iterable[str], known: Collection[str]) -> list[str]:
    """The first names that are not among the known ones, each once, shortened and fit for JSON."""
    distinct = dict.fromkeys(name for name in names if name not in known)
    return [name[:MAX_CHARACTERS].encode(errors="replace").decode() for name in islice(distinct, MAX_NAMES)]


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))
