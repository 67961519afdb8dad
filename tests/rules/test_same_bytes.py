"""The same input gives the same bytes: on every Python there is, by either matcher, whatever hash seed, locale, zone.

When a change of meaning or wording is wanted: `python -m tests.rules.corpus > tests/golden/decisions.json`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.rules.corpus import Corpus

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "decisions.json"
VERSIONS = ("3.11", "3.12", "3.13")
ELSEWHERE = {"PYTHONHASHSEED": "7", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "LANG": "tr_TR.UTF-8", "PYTHONUTF8": "0"}


def interpreter(version: str) -> str | None:
    """A Python of this version that starts: this one, one on the path, or one of pyenv's."""
    mine = [sys.executable] if sys.version.startswith(version + ".") else []
    installed = sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
    return next(filter(starts, [*mine, shutil.which(f"python{version}") or "", *installed]), None)


def starts(python: str) -> bool:
    return bool(python) and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


def decided(python: str, matcher: str = "python", **environment: str) -> Any:
    command = [python, "-m", "tests.rules.corpus", matcher]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, env={**os.environ, **environment}, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr.decode()[-2000:]
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def here() -> Any:
    return decided(sys.executable)


def test_the_decisions_are_the_recorded_ones(here: Any) -> None:
    assert here == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_python_decides_the_same_bytes(version: str, here: Any) -> None:
    python = interpreter(version)
    if python is None:
        warnings.warn(f"there is no Python {version} here, so what it decides was not compared", stacklevel=1)
        return
    assert decided(python, PYTHONHASHSEED="3") == here


def test_locale_zone_and_hash_seed_change_nothing(here: Any) -> None:
    assert decided(sys.executable, **ELSEWHERE) == here


def test_durable_rules_decides_the_same_bytes(here: Any) -> None:
    assert decided(sys.executable, "durable", PYTHONHASHSEED="11") == here


def test_without_its_trace_a_decision_is_the_same() -> None:
    told, untold = Corpus("python"), Corpus("python", telling=False)
    for corpus in (told, untold):
        corpus.play()
    assert untold.decided == told.decided
    assert untold.bodies == told.bodies
    kept = [[entry for entry in one["rules"] if entry["outcome"] != "missed"] for one in told.said]
    assert [one["rules"] for one in untold.said] == kept


def test_the_corpus_is_about_something() -> None:
    assert json.loads(GOLDEN.read_text())["runs"] > 150


def test_the_core_needs_nothing_beside_python() -> None:
    """Modules of rules/ import under `python -S`, where nothing is installed."""
    modules = sorted(
        f"rules.{path.stem}" for path in (ROOT / "rules").glob("*.py") if path.stem not in ("__init__", "rete")
    )
    code = f"import sys; sys.path.insert(0, '.'); [__import__(name) for name in {modules!r}]"
    ran = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr.decode()[-2000:]
