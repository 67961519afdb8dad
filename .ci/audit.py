"""Known weaknesses of the pinned packages: from a file of advisories in OSV's form, else from PyPI by pip-audit.

python .ci/audit.py [requirements.txt ...]     SIGNALBOX_ADVISORIES=osv.json, or a folder of such, needs no network.
Exit code 1: something pinned has a known weakness. Where nothing could be asked, it says so loudly and exits with 0.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

LOUD = "!" * 100
HOW = "Set SIGNALBOX_ADVISORIES to a file or folder of OSV advisories, or run this where PyPI answers."


def pins(paths: list[Path]) -> dict[str, str]:
    lines = [line.split("#")[0].strip() for path in paths for line in path.read_text().splitlines()]
    return {
        canonicalize_name(name): version for name, same, version in (line.partition("==") for line in lines) if same
    }


def advisories(place: Path) -> Iterator[dict[str, Any]]:
    """OSV records: one or a list in each file."""
    for path in sorted(place.rglob("*.json")) if place.is_dir() else [place]:
        found = json.loads(path.read_text())
        yield from found if isinstance(found, list) else found.get("vulns", [found])


def weaknesses(pinned: dict[str, str], records: Iterator[dict[str, Any]]) -> Iterator[str]:
    for record in records:
        for affected in record.get("affected", ()):
            package = affected.get("package", {})
            name = canonicalize_name(str(package.get("name", "")))
            if package.get("ecosystem") == "PyPI" and name in pinned and _is_in(affected, pinned[name]):
                yield f"{name} {pinned[name]}: {record.get('id')} {record.get('summary', '')}".strip()


def _is_in(affected: dict[str, Any], pinned: str) -> bool:
    if pinned in affected.get("versions", ()):
        return True
    return any(_within(one.get("events", ()), Version(pinned)) for one in affected.get("ranges", ())
               if one.get("type") == "ECOSYSTEM")  # fmt: skip


def _within(events: list[dict[str, str]], version: Version) -> bool:
    """OSV's evaluation: after an `introduced`, until a `fixed` or past a `last_affected`."""
    inside = False
    for event in sorted(events, key=lambda event: _version(next(iter(event.values())))):
        kind, at = next(iter(event.items()))
        if kind == "introduced" and version >= _version(at):
            inside = True
        elif (kind == "fixed" and version >= _version(at)) or (kind == "last_affected" and version > _version(at)):
            inside = False
    return inside


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0")


def ask_pypi(paths: list[Path]) -> int:
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--progress-spinner=off"]
    for path in paths:
        command += ["-r", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    said = done.stdout + done.stderr
    print(said)
    if done.returncode and "known vulnerabilit" in said:
        return 1
    unknown = said.count("could not be audited")
    if done.returncode or unknown:
        what = f"{unknown} packages were not" if unknown else "nothing was"
        print(f"{LOUD}\nNOT AUDITED: PyPI could not be asked, so {what} looked up.\n{HOW}\n{LOUD}")
    return 0


def main() -> int:
    paths = [Path(name) for name in sys.argv[1:]] or [Path(__file__).parents[1] / "requirements.txt"]
    place = os.environ.get("SIGNALBOX_ADVISORIES", "")
    if not place:
        return ask_pypi(paths)
    pinned, records = pins(paths), list(advisories(Path(place)))
    if not records:
        print(f"{LOUD}\nNOT AUDITED: there is no advisory in {place}.\n{HOW}\n{LOUD}")
        return 0
    found = sorted(set(weaknesses(pinned, iter(records))))
    print("\n".join(found) if found else f"{len(pinned)} packages against {len(records)} advisories: nothing is known.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
