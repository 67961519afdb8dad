"""A child process that performs what is due in a data folder until it is killed or nothing is left: `python -m
tests.faults.performer FOLDER [PLACE]`. It takes the folder over as a worker does. PLACE: a named place (of
tests.stories.world) at which it kills itself the first time."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.perform.due import Crew, finish, perform
from app.processes import take_over
from app.services import build
from app.settings import Settings
from rules.ports import ActionExecutor, Body, Outcome
from tests.stories.world import CrashingStore, Points


class Deadly(Points):
    """Kill -9 at the place of this name."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self._place = place

    def pass_(self, name: str) -> None:
        if name == self._place:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Passing:
    """An action with a place before and after it."""

    action: ActionExecutor
    points: Points

    def __getattr__(self, name: str) -> Any:
        return getattr(self.action, name)

    def execute(self, task: Body, now: datetime) -> Outcome:
        self.points.pass_(f"before {self.action.name}")
        outcome = self.action.execute(task, now)
        self.points.pass_(f"after {self.action.name}")
        return outcome


def main(folder: Path, place: str = "") -> None:
    s = build(Settings(data=folder, matcher="python"), "performer")
    take_over(s)
    if place:
        points = Deadly(place)
        passing: Any = {name: Passing(action, points) for name, action in s.connectors.items()}
        store: Any = CrashingStore(s.store, points)
        s = replace(s, connectors=passing, store=store)
    quiet = 0
    with Crew() as crew:
        while quiet < 3:
            moved = perform(s.store, s.rulesets, s.connectors, s.tracer, datetime.now(UTC), pool=crew)
            quiet = 0 if moved else quiet + 1
        finish(s.store, s.rulesets, s.connectors, s.tracer, datetime.now(UTC), crew)
    s.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
