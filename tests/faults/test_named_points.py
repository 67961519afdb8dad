"""Test 2: kill -9 at named places in the life of a notice; what is lost (nothing) and what comes twice, for each."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.builders import TENANT
from tests.fakes.receiver import Receiver
from tests.faults.test_kill_perform import ROOT, prepared

# where it dies, and how often the receiver sees the notice that was on its way
PLACES = {
    "after claim command": 1,  # claimed, not sent
    "before crm.notify": 1,  # just before the request
    "after crm.notify": 2,  # answered, not written down: the one case of a copy, under the same id
    "before commit command,run,command": 2,  # about to be written down
    "after commit command,run,command": 2,  # written, but not yet durable
    "after the end of a batch": 1,  # durable
}


@pytest.mark.parametrize(("place", "copies"), PLACES.items())
def test_a_kill_at_a_named_place_loses_nothing_and_doubles_as_it_says(tmp_path: Path, place: str, copies: int) -> None:
    receiver = Receiver()
    with receiver.running() as base:
        s = prepared(tmp_path, base, runs=1)
        command = [sys.executable, "-m", "tests.faults.performer", str(tmp_path)]
        died = subprocess.run([*command, place], cwd=ROOT, check=False, timeout=60)
        assert died.returncode == -9
        subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    commands = s.store.find(TENANT, "command", order="created_at").items
    s.close()
    assert {one.body["state"] for one in commands} == {"done"}
    seen = Counter(receiver.ids)
    assert set(seen) == {one.id for one in commands}
    assert sorted(seen.values()) == sorted([copies, 1])
