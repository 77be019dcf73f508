"""The glossary names identifiers that exist, and the product does not use the words that it replaced."""

import re

from tests import ROOT

GLOSSARY, REPLACED = (ROOT / "docs/glossary.md").read_text().split("## Words that are not used")
PRODUCT = ("models", "webapp", "workers", "loadtool", "devstack")
FILES = [path for folder in PRODUCT for kind in ("*.py", "*.sql") for path in sorted((ROOT / folder).rglob(kind))]
CODE = {path: path.read_text() for path in FILES}


def test_identifiers_of_the_glossary_exist():
    entries = re.findall(r"^- \*\*.+?\*\*.*? · (`.+?`) · ", GLOSSARY, re.MULTILINE)
    assert len(entries) > 50
    text = "\n".join(CODE.values())
    names = re.findall(r"`(.+?)`", " ".join(entries))
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


def test_replaced_words_stay_replaced():
    words = re.findall(r"\*\*(.+?)\*\*", REPLACED)
    assert "astray" in words
    pattern = re.compile(rf"(?<![a-z])({'|'.join(words)})(?![a-z])", re.IGNORECASE)
    found = {f"{path.relative_to(ROOT)}: {match[1]}" for path, text in CODE.items() for match in pattern.finditer(text)}
    assert not found
