"""The table of what is broken on purpose names tests that exist, for every number from 1 to 19."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent
ROW = re.compile(r"^\| (\d+) \|(.*)$", re.MULTILINE)
NAMED = re.compile(r"`([\w./]+\.py)::(\w+)`")


def rows() -> dict[int, list[tuple[str, str]]]:
    text = (FOLDER / "README.md").read_text()
    return {int(number): NAMED.findall(rest) for number, rest in ROW.findall(text)}


def test_every_number_has_its_tests_and_a_figure() -> None:
    found = rows()
    assert sorted(found) == list(range(1, 20))
    assert all(found.values())
    text = (FOLDER / "README.md").read_text()
    assert all(len(rest.split(" | ")[2].strip(" |")) > 3 for _, rest in ROW.findall(text))


def test_every_test_that_is_named_exists() -> None:
    missing = [
        f"{number}: {file}::{name}"
        for number, named in rows().items()
        for file, name in named
        if f"\ndef {name}(" not in (FOLDER / file).read_text()
    ]
    assert missing == []
