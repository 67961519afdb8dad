"""A child process that performs what is due in a data folder until it is killed or nothing is left: `python -m
tests.faults.performer FOLDER SECONDS`, where SECONDS is how far its clock is ahead, so that old leases are over."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.perform import Crew, finish, perform
from app.services import build
from app.settings import Settings


def main(folder: Path, ahead: timedelta) -> None:
    s = build(Settings(data=folder, matcher="python"), "performer")
    quiet = 0
    with Crew() as crew:
        while quiet < 3:
            now = datetime.now(UTC) + ahead
            moved = perform(s.store, s.rulesets, s.connectors, s.tracer, now, pool=crew)
            quiet = 0 if moved else quiet + 1
        finish(s.store, s.rulesets, s.connectors, s.tracer, datetime.now(UTC) + ahead, crew)
    s.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), timedelta(seconds=float(sys.argv[2])))
