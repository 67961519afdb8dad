"""A child process that performs what is due in a data folder until it is killed or nothing is left: `python -m
tests.faults.performer FOLDER`. It takes the folder over as a worker does."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from app.perform import Crew, finish, perform
from app.processes import take_over
from app.services import build
from app.settings import Settings


def main(folder: Path) -> None:
    s = build(Settings(data=folder, matcher="python"), "performer")
    take_over(s)
    quiet = 0
    with Crew() as crew:
        while quiet < 3:
            moved = perform(s.store, s.rulesets, s.connectors, s.tracer, datetime.now(UTC), pool=crew)
            quiet = 0 if moved else quiet + 1
        finish(s.store, s.rulesets, s.connectors, s.tracer, datetime.now(UTC), crew)
    s.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
