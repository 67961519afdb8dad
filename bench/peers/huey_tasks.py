"""huey's side of the benchmark: one task for each event, in SQLite, with three retries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huey import SqliteHuey

from bench.peers.common import DATA, decide, notify

huey = SqliteHuey("bench", filename=str(Path(DATA) / "huey.db"), fsync=True)


@huey.task(retries=3)  # type: ignore[misc]
def work(event: dict[str, Any]) -> None:
    for rule in decide(event):
        notify(event["id"], rule)
