"""The symbol that stands beside each check."""

from rich.text import Text

from models.health.checks import Verdict

SYMBOLS = {
    Verdict.GOOD: Text("✓", "green"),
    Verdict.WARNING: Text("!", "yellow"),
    Verdict.WRONG: Text("✗", "bold red"),
    Verdict.UNKNOWN: Text("?", "dim"),
}
