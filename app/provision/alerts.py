"""The alert policies of deploy/alerts in a Google Cloud project: what is missing or set otherwise, and how it is made.

Google names a policy itself, so ours are known by a label, and by a digest of the file that each was made from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.provision.project import Command, Place, Run
from rules.ports import Unavailable

FOLDER = Path(__file__).parents[2] / "deploy" / "alerts"
LABEL, DIGEST = "signalbox", "signalbox-file"
CHANNEL = "Signalbox"
Policy = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to be made or set right."""

    text: str
    command: Command


def policies(folder: Path = FOLDER) -> dict[str, Policy]:
    """The policies by name, each with the digest of its file among its labels."""
    found: dict[str, Policy] = {}
    for path in sorted(folder.glob("*.json")):
        body: dict[str, Any] = json.loads(path.read_text())
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
        found[path.stem] = {**body, "userLabels": {LABEL: path.stem, DIGEST: digest}}
    return found


def changes(place: Place, run: Run, notify: str = "") -> Iterator[Change]:
    """What is missing or differs; the next one may need that the last was made. notify: the e-mail address that is
    told; empty: whoever was chosen in the console stays. Raises Unavailable with what the CLI said."""
    channels = []
    if notify:
        channels = _channels(place, run, notify)
        if not channels:
            yield Change(f"alerts to {notify}", _make_channel(place, notify))
            channels = _channels(place, run, notify)
    there = _there(place, run)
    for name, policy in policies().items():
        known = there.get(name)
        told = [*(known or {}).get("notificationChannels", ()), *channels]
        wanted = {**policy, "notificationChannels": list(dict.fromkeys(told))}
        if known is None:
            yield Change(f"alert policy {name}", _policy(place, "create", wanted))
        elif _differs(known, wanted):
            yield Change(f"alert policy {name}: set otherwise", _policy(place, "update", wanted, str(known["name"])))


def _differs(known: Policy, wanted: Policy) -> bool:
    same_file = known.get("userLabels", {}).get(DIGEST) == wanted["userLabels"][DIGEST]
    return not same_file or set(wanted["notificationChannels"]) != set(known.get("notificationChannels", ()))


def _there(place: Place, run: Run) -> dict[str, Policy]:
    rows = _asked(place, run, "alpha", "monitoring", "policies", "list")
    return {row["userLabels"][LABEL]: row for row in rows if LABEL in row.get("userLabels", {})}


def _channels(place: Place, run: Run, address: str) -> list[str]:
    rows = _asked(place, run, "beta", "monitoring", "channels", "list")
    found = [row for row in rows if row.get("type") == "email" and row["labels"].get("email_address") == address]
    return [str(row["name"]) for row in found[:1]]


def _make_channel(place: Place, address: str) -> Command:
    parts = ("--type=email", f"--display-name={CHANNEL}", f"--channel-labels=email_address={address}")
    return _command(place, "beta", "monitoring", "channels", "create", *parts)


def _policy(place: Place, verb: str, body: Policy, *name: str) -> Command:
    return _command(place, "alpha", "monitoring", "policies", verb, *name, f"--policy={json.dumps(body)}")


def _command(place: Place, *arguments: str) -> Command:
    return Command((*arguments, f"--project={place.project}", "--quiet"))


def _asked(place: Place, run: Run, *arguments: str) -> Sequence[Any]:
    command = _command(place, *arguments, "--format=json")
    code, said = run(command)
    if code != 0:
        raise Unavailable(f"`{command.text}` failed: {said.strip()[-500:]}")
    found: list[Any] = json.loads(said or "[]")
    return found
