"""APScheduler with its SQLAlchemy job store on SQLite, as its user guide has it: many jobs due in the same second.

python -m bench.peers.apscheduler_jobs FOLDER ASLEEP DUE     JSON: jobs a second
"""

from __future__ import annotations

import json
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler

ENOUGH = 120.0  # seconds
_lock = threading.Lock()
_done = {"count": 0, "last": 0.0}


def woken() -> None:
    with _lock:
        _done["count"] += 1
        _done["last"] = time.perf_counter()


def main(folder: Path, asleep: int, due: int) -> None:
    stores = {"default": SQLAlchemyJobStore(url=f"sqlite:///{folder / 'jobs.db'}")}
    scheduler = BackgroundScheduler(jobstores=stores, executors={"default": ThreadPoolExecutor(10)}, timezone=UTC)
    scheduler.start(paused=True)
    later = datetime.now(UTC) + timedelta(days=20)
    for number in range(asleep):
        scheduler.add_job(woken, "date", run_date=later + timedelta(seconds=number), misfire_grace_time=None)
    now = datetime.now(UTC)
    for _ in range(due):
        scheduler.add_job(woken, "date", run_date=now, misfire_grace_time=None)
    began = time.perf_counter()
    scheduler.resume()
    while _done["count"] < due and time.perf_counter() - began < ENOUGH:
        time.sleep(0.01)
    # a job is off the store only when the scheduler has deleted it, which it does after submitting it
    while len(stores["default"].get_due_jobs(datetime.now(UTC))) and time.perf_counter() - began < ENOUGH:
        time.sleep(0.05)
    ended = max(_done["last"], time.perf_counter())
    print(json.dumps({"done": _done["count"], "wakes": due / (ended - began)}))
    scheduler.shutdown(wait=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
