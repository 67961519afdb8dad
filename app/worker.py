"""The worker: loops over what is due. Handle what came, perform what was decided, wake what slept, do a job's step.

Three threads, so that nothing waits for the slowest: handling and waking; performing, which waits for receivers; jobs.
Every loop's body is a function of the services and `now`; `tick` runs them all until nothing is due.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from app import jobs, logs, sample, tenants
from app.audit.seal import seal_due
from app.author import planned
from app.handle import handle
from app.inquire import first_look
from app.operate.alerts import announce
from app.perform.due import Crew, finish, perform, wake
from app.perform.lanes import Lanes
from app.personal import retention
from app.receive import history
from app.services import Services, key_tenant
from rules.ports import Delivery, Disposition, Unavailable

BATCH = 256  # deliveries or runs at once
POLL = 0.25  # seconds between looks when nobody rings
NAP = 0.05  # seconds between looks at what sleeps: a run wakes at most so late, and an idle look costs microseconds
PAUSE = 1.0  # seconds after a failure
JOB_LOOK = {"sqlite": 0.5, "memory": 0.5, "google": 2.0}  # seconds between looks for jobs; in Firestore each is billed
ROUNDS = 200  # of one tick: enough for every chain of steps, and an end to a loop that a rule could make

Wait = Callable[[float], object]  # waits for a ring, at most so many seconds


# ---- one look each --------------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Work:
    """What the loops share. types: how each type of job takes a step."""

    services: Services
    types: Mapping[str, jobs.Run] = field(default_factory=dict)
    lanes: Lanes = field(default_factory=Lanes)

    def handle_due(self, now: datetime) -> int:
        """Hand a batch of deliveries to the rules; how many."""
        return self.services.inbox.drain(partial(self._handled, now), now, BATCH)

    def _handled(self, now: datetime, batch: Sequence[Delivery]) -> list[Disposition]:
        s = self.services
        return handle(batch, s.store, s.rulesets, s.tracer, now, s.clock)

    def wake_due(self, now: datetime) -> int:
        """Move runs whose time has come; how many."""
        return wake(self.services.store, self.services.rulesets, now, BATCH)

    def perform_due(self, now: datetime, crew: Crew | None = None) -> int:
        """Execute commands that are due; how many, or with a crew whether anything moved."""
        s = self.services
        return perform(s.store, s.rulesets, s.connectors, s.tracer, now, pool=crew, lanes=self.lanes, guard=s.guard)

    def finish(self, now: datetime, crew: Crew) -> int:
        """Write down what the crew has in flight; how many."""
        s = self.services
        return finish(s.store, s.rulesets, s.connectors, s.tracer, now, crew)

    def job_due(self, now: datetime) -> bool:
        """One step of one job; whether there was one."""
        return jobs.run_one(self.services.store, self.types, now)

    def file_dead(self, now: datetime) -> int:
        """File what the queue gave up, where it keeps that for some days only; how many."""
        file: Callable[[datetime], int] | None = getattr(self.services.inbox, "file_dead", None)
        return file(now) if file else 0

    def announce(self, now: datetime) -> int:
        """Say what is stuck and what waits for a person, where a tenant has said to whom; how many messages.
        None in a dry run."""
        s = self.services
        if s.rulesets.is_dry(s.store, now):
            return 0
        return announce(s.store, s.inbox, now, s.settings.public_url)

    def seal(self, now: datetime) -> int:
        """Link what was written into the audit log into its chain; how many entries."""
        return seal_due(self.services.store, now)

    def plans_due(self, now: datetime) -> int:
        """Put in force what plans say is due; how many moved. In read-only mode they wait."""
        s = self.services
        if s.settings.read_only:
            return 0
        return planned.do_due(planned.Desk(s.store, s.catalogue, s.connectors), now)

    def forget(self, now: datetime) -> int:
        """Let go of what is of no use any more, where the store does not do it by itself; how many documents."""
        expire: Callable[[datetime], int] | None = getattr(self.services.store, "expire", None)
        return expire(now) if expire else 0

    def schedule(self, now: datetime, started: bool = False) -> None:
        """Ask for the import and the gaps, where there is a Stripe account to ask; for the sample when it is wanted."""
        settings = self.services.settings
        if settings.sample and started:
            sample.begin(self.services.store, now)
        for tenant in tenants.every(self.services.store):
            first_look.schedule(self.services.store, tenant, now)
            retention.schedule(self.services.store, tenant, now)
        if settings.stripe_api_key and not settings.stand_in:
            history.schedule(self.services.store, key_tenant(settings.stripe_api_key), now, started)


def tick(work: Work, now: datetime) -> dict[str, int]:
    """Do everything that is due, and what becomes due by it; how much of each. For schedulers, commands and tests."""
    done = {"handled": 0, "woken": 0, "performed": 0, "job_steps": 0}
    work.file_dead(now)
    work.plans_due(now)
    work.announce(now)
    work.seal(now)
    work.forget(now)
    for _ in range(ROUNDS):
        round_ = {
            "handled": work.handle_due(now),
            "woken": work.wake_due(now),
            "performed": work.perform_due(now),
            "job_steps": int(work.job_due(now)),
        }
        done = {name: done[name] + count for name, count in round_.items()}
        if not any(round_.values()):
            break
    return done


# ---- the loops ------------------------------------------------------------------------------------------------------
class Worker:
    """Runs until `stop`. wait: the bell that receivers ring; without one it polls. stop: set when it is to end."""

    def __init__(self, work: Work, wait: Wait | None = None, stop: threading.Event | None = None) -> None:
        self._work = work
        self._stop = stop or threading.Event()
        self._sent = threading.Event()  # set when there may be commands
        self._wait: Wait = wait or self._stop.wait
        self._threads = [
            threading.Thread(target=self._handling, name="handling"),
            threading.Thread(target=self._performing, name="performing"),
            threading.Thread(target=self._jobs, name="jobs"),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask every loop to end after what it is doing; `join` waits for it."""
        self._stop.set()
        self._sent.set()

    def join(self, timeout: float | None = None) -> bool:
        """Whether all loops ended."""
        for thread in self._threads:
            thread.join(timeout)
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    def _handling(self) -> None:
        while not self._stop.is_set():
            if self._try("handling", lambda now: self._work.handle_due(now) + self._work.wake_due(now)):
                self._sent.set()
            else:
                self._wait(NAP)

    def _performing(self) -> None:
        with Crew() as crew:
            while not self._stop.is_set():
                if not self._try("performing", lambda now: self._work.perform_due(now, crew)):
                    self._sent.wait(POLL)
                    self._sent.clear()
            self._try("performing", lambda now: self._work.finish(now, crew))

    def _jobs(self) -> None:
        self._try("scheduling", lambda now: self._work.schedule(now, started=True))
        looks, look = 0, JOB_LOOK[self._work.services.settings.backend]
        while not self._stop.is_set():
            if self._try("jobs", self._work.job_due):
                continue
            self._stop.wait(look)
            looks += 1
            if looks % round(5 / look) == 0:  # every five seconds
                self._try("filing", self._work.file_dead)
            if looks % round(60 / look) == 0:  # once a minute: schedule itself knows what is due
                self._try("planning", self._work.plans_due)
                self._try("forgetting", self._work.forget)
                self._try("scheduling", self._work.schedule)
                self._try("announcing", self._work.announce)
                self._try("sealing", self._work.seal)

    def _try(self, station: str, body: Callable[[datetime], Any]) -> Any:
        """One look; a failure is logged, and the loop goes on after a pause."""
        try:
            return body(self._work.services.clock.now())
        except Unavailable as error:
            logs.line(f"{station}.unavailable", logging.ERROR, error=str(error))
        except Exception as error:  # nothing may end a loop: what it works on would wait for a person's restart
            logs.failed(f"{station}.failed", error)
        self._stop.wait(PAUSE)
        return None
