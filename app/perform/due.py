"""Do what was decided: execute due commands, wake due runs. Any step may be repeated.

A command is claimed under a lease, checked against the run and the switches as they are now, executed under its id,
and settled in one commit: its outcome, the run moved on, and the commands that follow.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from app.perform import holds
from app.perform.crew import Crew
from app.perform.desk import Desk
from app.perform.lanes import Lanes
from app.perform.ledger import Connectors
from app.perform.waking import wake
from app.rulesets import RuleSets
from rules.ports import Document, Guard, Store, Tracer

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
    lanes: Lanes | None = None,
    guard: Guard | None = None,
) -> int:
    """One look at what is due. Without a pool: one after the other, each settled before the next; how many were
    executed. With one: see Crew.look. lanes: what is remembered of each connection between looks, a pool's own where
    there is one. guard: reads again, just before, what a rule's stops are about. Raises what the store raises; what
    was claimed comes again."""
    desk = Desk(store, rulesets, connectors, tracer, now, elapsed, lanes or Lanes(), guard)
    if pool is not None:
        return pool.look(desk, limit)
    holds.release_recovered(store, desk.lanes.recovered, now, limit)
    return sum(_one(desk, document) for document in desk.claim(limit))


def _one(desk: Desk, document: Document) -> int:
    lane = desk.lane((document.tenant, str(document.body["connection"])))
    if not lane.has_token(desk.now):
        desk.put_back(document, lane.next_turn(desk.now))
        return 0
    ready = desk.prepare(document)
    if ready is None:
        return 0
    lane.take()
    desk.settle([desk.attempt(ready)])
    return 1


def finish(store: Store, rulesets: RuleSets, connectors: Connectors, tracer: Tracer, now: datetime, pool: Crew) -> int:
    """Before the process ends: write down what is still in flight. How many."""
    return pool.finish(Desk(store, rulesets, connectors, tracer, now))
