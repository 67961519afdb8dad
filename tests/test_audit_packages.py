"""`make audit`: a pinned package with a known weakness is named; where nobody can be asked, that is said loudly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def audit(tmp_path: Path, pins: str, advisories: Any = None, **environment: str) -> tuple[int, str]:
    (tmp_path / "requirements.txt").write_text(pins)
    env = {"PATH": os.environ["PATH"], **environment}
    if advisories is not None:
        (tmp_path / "osv.json").write_text(json.dumps(advisories))
        env["SIGNALBOX_ADVISORIES"] = str(tmp_path / "osv.json")
    command = [sys.executable, str(ROOT / ".ci" / "audit.py"), str(tmp_path / "requirements.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=tmp_path)
    return done.returncode, done.stdout + done.stderr


def advisory(name: str, **affected: Any) -> dict[str, Any]:
    package = {"package": {"name": name, "ecosystem": "PyPI"}}
    return {"id": "PYSEC-1", "summary": "it is weak", "affected": [{**package, **affected}]}


def within(*events: dict[str, str]) -> dict[str, Any]:
    return {"ranges": [{"type": "ECOSYSTEM", "events": list(events)}]}


@pytest.mark.parametrize(
    ("pin", "affected", "weak"),
    [
        ("Flask==3.1.3", {"versions": ["3.1.3"]}, True),
        ("Flask==3.1.3", {"versions": ["3.1.2"]}, False),
        ("flask==3.1.3", within({"introduced": "0"}, {"fixed": "3.1.4"}), True),
        ("flask==3.1.4", within({"introduced": "0"}, {"fixed": "3.1.4"}), False),
        ("flask==3.1.10", within({"introduced": "3.1.2"}, {"last_affected": "3.1.9"}), False),
        ("flask==3.1.9", within({"introduced": "3.1.2"}, {"last_affected": "3.1.9"}), True),
        ("flask==2.0", within({"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "1.9"}, {"fixed": "2.1"}), True),
        ("flask==1.5", within({"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "1.9"}, {"fixed": "2.1"}), False),
        ("other==1", within({"introduced": "0"}), False),
    ],
)
def test_a_pinned_package_is_weak_as_its_advisory_says(tmp_path: Path, pin: str, affected: Any, weak: bool) -> None:
    code, said = audit(tmp_path, pin + "  # web\n", [advisory("Flask", **affected)])
    assert code == (1 if weak else 0), said
    assert ("PYSEC-1" in said) is weak


def test_where_nobody_can_be_asked_it_says_so_loudly(tmp_path: Path) -> None:
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "HOME": str(tmp_path)}
    code, said = audit(tmp_path, "Flask==3.1.3\n", **nowhere)
    assert code == 0
    assert "NOT AUDITED" in said
    assert "SIGNALBOX_ADVISORIES" in said
