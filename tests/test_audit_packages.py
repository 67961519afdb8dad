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


def test_a_file_or_folder_without_an_advisory_is_no_audit(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for given in ([], {"vulns": []}):
        code, said = audit(tmp_path, "Flask==3.1.3\n", given)
        assert (code, "NOT AUDITED" in said) == (0, True)
    code, said = audit(tmp_path, "Flask==3.1.3\n", SIGNALBOX_ADVISORIES=str(tmp_path / "empty"))
    assert (code, "NOT AUDITED" in said) == (0, True)


def test_advisories_that_are_not_there_stop_it(tmp_path: Path) -> None:
    code, _ = audit(tmp_path, "Flask==3.1.3\n", SIGNALBOX_ADVISORIES=str(tmp_path / "nowhere.json"))
    assert code != 0


def test_a_folder_of_advisories_is_read_whole(tmp_path: Path) -> None:
    folder = tmp_path / "osv"
    folder.mkdir()
    for number, name in enumerate(("Flask", "Werkzeug")):
        (folder / f"{number}.json").write_text(json.dumps(advisory(name, versions=["1.0"])))
    code, said = audit(tmp_path, "flask==1.0\nwerkzeug==1.0\n", SIGNALBOX_ADVISORIES=str(folder))
    assert code == 1
    assert {"flask 1.0: PYSEC-1 it is weak", "werkzeug 1.0: PYSEC-1 it is weak"} <= set(said.splitlines())
