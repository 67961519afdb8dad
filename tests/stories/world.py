"""A whole installation in one process on a clock that the test sets, with receivers that remember and places to crash.

A crash is a `Crash` raised at a counted point: before and after every commit, claim, effect and acknowledgement. What
the store, the bus and the receivers have then is what a killed process leaves; `World.live` goes on with new workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from app import author
from app.adapters.memory import ManualClock, MemoryBus
from app.connectors import actions
from app.perform.lanes import Lanes
from app.perform.own_runs import own_actions
from app.rulesets import RuleSets
from app.services import Services
from app.worker import Work, tick
from rules.event import Event, instant, iso
from rules.matcher import choose_matcher
from rules.ports import (
    ActionExecutor,
    Body,
    Delivery,
    Disposition,
    Document,
    Field,
    Guard,
    Inverse,
    Outcome,
    Put,
    Reversible,
    Store,
    Write,
)
from tests.builders import TENANT, event, invoice, services_in_memory

URL = "https://crm.example.com/hook"
ACTOR = "ada"


class Crash(BaseException):
    """The process is killed here."""


@dataclass
class Points:
    """Counts the places where a process can die; dies at number `at`, once."""

    at: int | None = None
    seen: int = 0
    names: list[str] = field(default_factory=list)

    def pass_(self, name: str) -> None:
        self.seen += 1
        self.names.append(name)
        if self.seen == self.at:
            raise Crash(name)


class CrashingStore:
    """A store with a point before and after everything that becomes durable."""

    def __init__(self, store: Store, points: Points) -> None:
        self._store, self._points = store, points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, tenant: str, event: Put | None, writes: Sequence[Write]) -> None:
        about = ",".join(write.kind for write in writes)
        self._points.pass_(f"before commit {about}")
        self._store.commit(tenant, event, writes)
        self._points.pass_(f"after commit {about}")

    def claim(self, kind: str, now: datetime, lease: timedelta, limit: int) -> list[Document]:
        self._points.pass_(f"before claim {kind}")
        claimed = self._store.claim(kind, now, lease, limit)
        self._points.pass_(f"after claim {kind}")
        return claimed

    @contextmanager
    def batch(self) -> Iterator[None]:
        with self._store.batch():
            yield
            self._points.pass_("before the end of a batch")
        self._points.pass_("after the end of a batch")


class CrashingInbox:
    """A point after the handler and before the acknowledgement, and one after it."""

    def __init__(self, bus: MemoryBus, points: Points) -> None:
        self._bus, self._points = bus, points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    def drain(
        self, handler: Callable[[Sequence[Delivery]], Sequence[Disposition]], now: datetime, limit: int = 256
    ) -> int:
        def handled(batch: Sequence[Delivery]) -> Sequence[Disposition]:
            dispositions = handler(batch)
            self._points.pass_("before the acknowledgement")
            return dispositions

        count = self._bus.drain(handled, now, limit)
        if count:
            self._points.pass_("after the acknowledgement")
        return count


@dataclass(frozen=True)
class Effect:
    """One request as a receiver saw it."""

    action: str
    id: str
    key: str
    at: datetime
    subscription: str | None
    params: Mapping[str, Any]
    remember: Callable[[Body], None] = lambda data: None  # keeps what was read before a change


@dataclass
class Outside:
    """The world outside, seen by every action: what came, and what it answers. It honours ids: the effect of an id
    happens once, however often it comes."""

    points: Points
    clock: ManualClock
    requests: list[Effect] = field(default_factory=list)
    answers: Callable[[Effect, int], Outcome] = lambda effect, times: Outcome.done("done")
    during: Callable[[Effect], None] = lambda effect: None  # what happens meanwhile

    def executes(self, action: ActionExecutor) -> ActionExecutor:
        more = (action.name, action.title, action.fields, action.undo)
        return RecordingReversible(self, *more, action) if isinstance(action, Reversible) else Recording(self, *more)

    def take(self, name: str, task: Body) -> Outcome:
        effect = Effect(
            name,
            task["id"],
            task["idempotency_key"],
            self.clock.now(),
            task["subjects"].get("sub"),
            task["params"],
            task["remember"],
        )
        self.points.pass_(f"before {name}")
        self.requests.append(effect)
        self.during(effect)
        outcome = self.answers(effect, sum(1 for one in self.requests if one.id == effect.id))
        self.points.pass_(f"after {name}")
        return outcome

    def effects(self) -> list[Effect]:
        """The first request of each id: what really happened."""
        return list({effect.id: effect for effect in reversed(self.requests)}.values())[::-1]


@dataclass
class Recording:
    outside: Outside
    name: str
    title: str
    fields: tuple[Field, ...]
    undo: str

    def preview(self, params: Body) -> Body:
        return dict(params)

    def execute(self, task: Body, now: datetime) -> Outcome:
        return self.outside.take(self.name, task)


@dataclass
class RecordingReversible(Recording):
    """The way back is the true action's."""

    action: Reversible

    def inverse(self, command: Body) -> Inverse | None:
        return self.action.inverse(command)


class World:
    """Services in memory, or over another store, which is opened anew after a crash; every action goes to `outside`."""

    def __init__(self, crash_at: int | None = None, opened: Callable[[], Store] | None = None) -> None:
        self.points = Points()
        self.base = services_in_memory()
        clock = self.base.clock
        assert isinstance(clock, ManualClock)
        self.clock = clock
        self.bus = MemoryBus(clock.now)
        self.opened = opened or (lambda: self.base.store)
        self.durable: Store = self.opened()
        self.outside = Outside(self.points, clock)
        true = actions("", "http://127.0.0.1:9", self.base.secrets, self.base.vault, development=True)
        self.guard: Guard | None = None
        self.connectors = {name: self.outside.executes(action) for name, action in true.items()}
        self.crash_at = crash_at
        self.crashes: list[str] = []
        self.services = self._started()

    def _started(self) -> Services:
        """What a new process builds: nothing of the old one's memory is left."""
        self.lanes = Lanes()
        store, rulesets = CrashingStore(self.durable, self.points), RuleSets(choose_matcher("python"))
        ours = {action.name: action for action in own_actions(store, rulesets)}
        return replace(
            self.base,
            store=store,
            bus=self.bus,
            inbox=CrashingInbox(self.bus, self.points),
            connectors={**self.connectors, **ours},
            rulesets=rulesets,
            guard=self.guard,
        )

    # ---- setting up -------------------------------------------------------------------------------------------------
    def publish(self, document: Mapping[str, Any], mode: author.Mode = "live") -> None:
        s, now = self.services, self.clock.now()
        if self.durable.get(TENANT, "connection", "crm") is None:
            body = {"name": "crm", "type": "webhook", "url": URL}
            author.save_connection(self.durable, s.secrets, TENANT, body, ACTOR, now)
        author.save_draft(self.durable, s.vault, s.catalogue, s.connectors, TENANT, dict(document), ACTOR, now)
        author.publish(self.durable, s.catalogue, s.connectors, TENANT, document["id"], ACTOR, "story", now, mode)
        self.points.seen, self.points.at = 0, self.crash_at
        self.points.names.clear()

    # ---- living -----------------------------------------------------------------------------------------------------
    def live(self, until: datetime, *script: tuple[datetime, Event | Callable[[], object]]) -> None:
        """Let time pass to `until`: at each moment of the script publish its event or do its act, and wake the
        workers whenever something is due."""
        for moment, happening in sorted(script, key=lambda entry: entry[0]):
            self._pass(moment)
            if isinstance(happening, Event):
                self.bus.publish(replace(happening, recorded=moment))
            else:
                happening()
            self._work()
        self._pass(until)

    def _pass(self, until: datetime) -> None:
        self._work()
        while (due := self.next_due()) is not None and due <= until:
            self.clock.set(max(due, self.clock.now() + timedelta(microseconds=1)))
            self._work()
        self.clock.set(max(until, self.clock.now()))
        self._work()

    def _work(self) -> None:
        while True:
            try:
                tick(Work(self.services, lanes=self.lanes), self.clock.now())
                return
            except Crash as crash:
                self.crashes.append(str(crash))
                self.durable = self.opened()
                self.services = self._started()

    def next_due(self) -> datetime | None:
        """The earliest time at which a run, a command or a delivery is due."""
        times = [
            page.items[0].body["due_at"]
            for kind in ("run", "command")
            if (page := self.durable.find(TENANT, kind, order="due_at", limit=1)).items
        ]
        retries = [iso(queued.due) for queued in self.bus._queue.values() if queued.due and queued.dead is None]
        return min((instant(time) for time in (*times, *retries)), default=None)

    # ---- looking ----------------------------------------------------------------------------------------------------
    def runs(self) -> list[Mapping[str, Any]]:
        return [one.body for one in self.durable.find(TENANT, "run", order="created_at").items]

    def commands(self) -> list[Mapping[str, Any]]:
        return [one.body for one in self.durable.find(TENANT, "command", order="created_at").items]


def failed(number: int, at: datetime, subscription: str = "sub_1", **more: Any) -> Event:
    """A failed payment of a subscription's invoice."""
    suffix = subscription.removeprefix("sub_")
    thing = invoice(id=f"in_{suffix}", customer=f"cus_{suffix}", subscription=subscription, **more)
    return event(f"evt_{suffix}_{number}", "invoice.payment_failed", thing, at)


def paid(at: datetime, subscription: str = "sub_1") -> Event:
    suffix = subscription.removeprefix("sub_")
    thing = invoice(id=f"in_{suffix}", customer=f"cus_{suffix}", subscription=subscription, status="paid")
    return event(f"evt_{suffix}_paid", "invoice.paid", thing, at)


def twice_in_a_week(steps: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "id": "two-failed-payments",
        "name": "Two failed payments in 7 days",
        "why": "The mission's example",
        "when": {"event": ["invoice.payment_failed"], "at_least": 2, "within": "P7D", "same": "subscription"},
        "steps": list(steps),
        **more,
    }


NOTIFY = {"name": "tell-crm", "do": "crm.notify", "with": {"connection": "crm", "stage": "At risk"}}
DOWNGRADE = {"name": "downgrade", "do": "stripe.change_plan", "with": {"price": "price_free"}}
CLOSE = {"name": "close", "do": "crm.notify", "with": {"connection": "crm", "stage": "Downgraded"}}
LADDER = twice_in_a_week(
    [NOTIFY, {"name": "grace", "wait": {"for": "PT48H"}}, DOWNGRADE, CLOSE],
    stop_when=[{"event": ["invoice.paid"], "same": "invoice"}],
)
