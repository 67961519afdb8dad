"""Do what was decided: execute due commands, wake due runs. Any step may be repeated.

A command is claimed under a lease, checked against the run and the switches as they are now, executed under its id,
and settled in one commit: its outcome, the run moved on, and the commands that follow.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from app.crew import Crew
from app.desk import Connectors, Desk
from app.rulesets import RuleSets
from app.waking import wake
from rules.ports import Document, Store, Tracer

__all__ = ["Crew", "finish", "perform", "wake"]


def perform(
    store: Store,
    rulesets: RuleSets,
    connectors: Connectors,
    tracer: Tracer,
    now: datetime,
    limit: int = 64,
    pool: Crew | None = None,
    elapsed: Callable[[], float] = time.perf_counter,
) -> int:
    """One look at what is due. Without a pool: one after the other, each settled before the next; how many were
    executed. With one: see Crew.look. Raises what the store raises; what was claimed comes again."""
    desk = Desk(store, rulesets, connectors, tracer, now, elapsed)
    if pool is not None:
        return pool.look(desk, limit)
    return sum(_one(desk, document) for document in desk.claim(limit))


def _one(desk: Desk, document: Document) -> int:
    ready = desk.prepare(document)
    if ready is None:
        return 0
    desk.settle([desk.attempt(ready)])
    return 1


def finish(store: Store, rulesets: RuleSets, connectors: Connectors, tracer: Tracer, now: datetime, pool: Crew) -> int:
    """Before the process ends: write down what is still in flight. How many."""
    return pool.finish(Desk(store, rulesets, connectors, tracer, now))
