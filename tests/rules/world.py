"""A small world for tests of decisions: a memory store, rules in force, and deliveries handled as in production."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from app.adapters.memory import MemoryStore, MemoryTracer
from app.handle import handle
from rules.event import Event, iso, seconds
from rules.matcher import Matcher, PythonMatcher
from rules.model import All, Condition, Do, Rule, RuleVersion, Step, When
from rules.ports import Delivery, Disposition, Document, Store
from rules.ruleset import RuleSet, build
from rules.run import Command, Run

TENANT = "default/test"
START = 1_800_000_000  # seconds; where the histories of these tests begin
DAY = 86400
NOW = datetime.fromisoformat("2027-02-01T00:00:00+00:00")
TELL: tuple[Step, ...] = (Do("tell", "crm.notify", {"connection": "crm"}),)


def rule(
    id: str = "rule",
    when: When | None = None,
    steps: tuple[Step, ...] = TELL,
    only_if: Condition | None = None,
    **more: Any,
) -> Rule:
    return Rule(id, id, when or When(("t.a",), "customer"), steps, {"id": id}, only_if=only_if or All(()), **more)


def event(
    id: str, type: str = "t.a", at: int = 0, keys: Sequence[str] = ("cus:cus_1", "sub:sub_1"), **more: Any
) -> Event:
    """at: seconds after START. more: fields of the object, or `recorded`, `source`, `causation`, `tenant`."""
    special = {name: more.pop(name) for name in ("recorded", "source", "causation", "tenant") if name in more}
    created = START + at
    data = {"id": id, "type": type, "created": created, "data": {"object": {"object": "invoice", **more}}}
    return Event(
        id=id,
        type=type,
        tenant=special.get("tenant", TENANT),
        created=created,
        recorded=special.get("recorded", seconds(created)),
        data=data,
        correlation="in_1",
        partition=keys[0] if keys else "none",
        keys=tuple(keys),
        causation=special.get("causation"),
        source=special.get("source", "webhook"),
    )


class FixedRules:
    """What RuleSets answers, for rules given as values."""

    def __init__(self, matcher: Matcher, versions: Iterable[RuleVersion]) -> None:
        self.matcher = matcher
        self.versions = {version.rule.id: version for version in versions}
        self.all = {(v.rule.id, v.number): v.rule for v in self.versions.values()}
        self._built: dict[str, RuleSet] = {}

    def knows(self, tenant: str) -> bool:
        return tenant in self._built

    def current(self, store: Store, tenant: str, now: datetime | None = None) -> RuleSet:
        if tenant not in self._built:
            mine = [version for version in self.versions.values() if version.tenant == tenant]
            self._built[tenant] = build(tenant, mine, self.matcher)
        return self._built[tenant]

    def rule(self, store: Store, tenant: str, rule_id: str, number: int) -> Rule:
        return self.all[rule_id, number]

    def put(self, version: RuleVersion) -> None:
        self.versions[version.rule.id] = version
        self.all[version.rule.id, version.number] = version.rule
        self._built.clear()

    def drop(self, rule_id: str) -> None:
        del self.versions[rule_id]
        self._built.clear()


class World:
    def __init__(self, *rules: Rule, mode: Any = "live", matcher: Matcher | None = None, live_from: str = "") -> None:
        self.store: Any = MemoryStore()
        versions = [RuleVersion(TENANT, one, 1, mode, live_from) for one in rules]
        self.rules = FixedRules(matcher or PythonMatcher(), versions)
        self.tracer = MemoryTracer()
        self.now = NOW

    def publish(self, rule: Rule, number: int, mode: Any = "live", live_from: str = "") -> None:
        self.rules.put(RuleVersion(TENANT, rule, number, mode, live_from))

    def deliver(self, *events: Event) -> list[Disposition]:
        """Deliver in this order, one batch each; every one is done."""
        found = []
        for one in events:
            found += handle([Delivery(one.id, one, 1)], self.store, self.rules, self.tracer, self.now)  # type: ignore[arg-type]
        assert all(disposition.kind == "done" for disposition in found), found
        return found

    def forward(self, **span: float) -> datetime:
        self.now += timedelta(**span)
        return self.now

    # ---- what is there ----------------------------------------------------------------------------------------------
    def runs(self) -> list[Run]:
        return [Run.from_body(document.body) for document in self.documents("run")]

    def run(self) -> Run:
        (run,) = self.runs()
        return run

    def commands(self) -> list[Command]:
        return [Command.from_body(document.body) for document in self.documents("command")]

    def documents(self, kind: str, tenant: str = TENANT) -> list[Document]:
        found = self.store.find(tenant, kind, limit=10_000).items
        return sorted(found, key=lambda document: document.id)

    def trace(self, event_id: str, rule_id: str = "rule") -> Mapping[str, Any]:
        """The entry of a rule in an event's stored decision; the last one."""
        body = self.store.get(TENANT, "event", event_id).body
        return [entry for entry in body["decision"]["rules"] if entry["rule"] == rule_id][-1]

    def put_run(self, run: Run) -> None:
        from rules.ports import Put

        self.store.commit(TENANT, None, [Put("run", run.id, run.body())])

    def matches(self, order: Iterable[str]) -> set[tuple[str, str, str]]:
        """(rule, key, trigger) after these events were recorded in this order, contradicted ones taken out."""
        found: set[tuple[str, str, str]] = set()
        for id in dict.fromkeys(order):
            for entry in self.store.get(TENANT, "event", id).body["decision"]["rules"]:
                match = (entry["rule"], entry.get("key", ""), entry.get("trigger", id))
                if entry["outcome"] in ("fired", "waiting", "matched"):
                    found.add(match)
                if entry["gate"] == "contradicted":
                    found.discard(match)
        return found


def late(one: Event, by: timedelta) -> Event:
    return replace(one, recorded=one.recorded + by)


def told(run: Run) -> str:
    return " ".join(sentence["text"] for sentence in run.story)


def at_iso(at: int) -> str:
    return iso(seconds(START + at))
