"""The revisions of the schema up to that of this code.

Read from the names of the migrations, so that no web process has to import alembic.
"""

from functools import cache
from pathlib import Path

_VERSIONS = Path(__file__).parents[1] / "migrations/versions"


@cache
def known_revisions() -> tuple[str, ...]:
    """Newest first. The file of revision 0001 is called 0001_….py."""
    return tuple(sorted((file.name.split("_")[0] for file in _VERSIONS.glob("[0-9]*_*.py")), reverse=True))
