"""SECURITY.md names, for each promise, a test that is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "SECURITY.md").read_text()


def named_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_test_that_it_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 25
    gone = [f"{file}::{name}" for file, name in named if name not in named_in(ROOT / file)]
    assert gone == []


def test_it_speaks_of_every_promise_and_each_shows_a_test() -> None:
    lines = {found[1]: line for line in PAGE.splitlines() if (found := re.match(r"\| (P\d+) \|", line))}
    assert list(lines) == [f"P{number}" for number in range(1, 19)]
    assert [promise for promise, line in lines.items() if "::test_" not in line] == []


def test_it_is_one_page_and_says_how_to_report() -> None:
    assert len(PAGE.splitlines()) < 100
    assert "Report a weakness" in PAGE
    assert "doctor --security" in PAGE
