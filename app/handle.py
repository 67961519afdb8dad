"""Handle: read what an event's decision needs, decide (pure), and make the decision true in one commit.

Deliveries come at least once and in any order. `AlreadyProcessed` is a duplicate: acknowledge. `Conflict` says that
something read has changed meanwhile: read again and decide again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from app import logs, tenants
from app.rulesets import RuleSets
from app.scores import document_of
from rules import route
from rules.conforming import shared
from rules.decide import Decision, decide, documents, reads
from rules.event import Event, iso, span_id
from rules.memory import DocumentOf, Members, Memory, NotRead, Question, Read, RuleOf, RunOf, ScoreOf, Window
from rules.ports import (
    ABSENT,
    DONE,
    AlreadyProcessed,
    Clock,
    Conflict,
    Delivery,
    Disposition,
    Put,
    Span,
    Store,
    TooLarge,
    Tracer,
    Unavailable,
    Write,
)
from rules.ruleset import RuleSet, keyed
from rules.run import Run
from rules.trace import shortened

TRIES = 8  # a customer's events rarely meet; this many conflicts in a row and the delivery waits its turn
MOST_WRITES = 100  # of one commit
_ROUNDS = 12  # questions of one decision come in a few rounds at most
_SPAN = tuple(field.name for field in fields(Span))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def handle(
    batch: Sequence[Delivery],
    store: Store,
    rulesets: RuleSets,
    tracer: Tracer,
    now: datetime,
    clock: Clock | None = None,
) -> list[Disposition]:
    """Handle a batch of deliveries; a disposition for each. clock: tells how long a span took, where that is wanted.
    Raises what the store raises when the batch as a whole could not be made durable."""
    handling = _Handling(store, rulesets, now, clock)
    with store.batch():
        dispositions = [handling.one(delivery) for delivery in batch]
    tracer.export(handling.spans)
    return dispositions


class _Handling:
    """One batch: what is read once for all of it, and the spans to export when it is durable."""

    def __init__(self, store: Store, rulesets: RuleSets, now: datetime, clock: Clock | None) -> None:
        self.store = store
        self.rulesets = rulesets
        self.now = now
        self.clock = clock
        self.spans: list[Span] = []
        self.tenants: dict[str, RuleSet] = {}
        self.lists: dict[tuple[str, str], frozenset[str]] = {}
        self.routed = 0

    def one(self, delivery: Delivery) -> Disposition:
        event = delivery.event
        try:
            for _ in range(TRIES):
                try:
                    return self.attempt(event, delivery)
                except Conflict:
                    continue
        except AlreadyProcessed:
            logs.line(
                "event.duplicate",
                logging.DEBUG,
                tenant=event.tenant,
                correlationid=event.correlation,
                event=event.id,
            )
            return DONE
        except Unavailable as error:
            return Disposition("retry", f"the store could not take it: {error}", waits=True)
        except TooLarge as error:
            return Disposition("dead", f"the store can never take it: {error}")
        return Disposition("retry", f"{TRIES} conflicts in a row with other events of {event.partition}")

    def attempt(self, event: Event, delivery: Delivery) -> Disposition:
        started = self.instant()
        ruleset = self.ruleset(event.tenant)
        event = keyed(event, ruleset)
        decision = self.decide(event, ruleset)
        forwarded = [*self.forwarded(event, ruleset), *self.flagged(event)]
        while early := _too_many_stops(decision, len(forwarded)):
            self.store.commit(event.tenant, None, early)  # stopping twice is stopping once, so a crash here is harmless
            decision = self.decide(event, ruleset)
        spans = spans_of(event, decision, started, self.instant())
        writes = [*decision.writes, *forwarded]
        self.keep(event, body_of(event, decision, spans), writes)
        self.spans.extend(carried(event, spans, delivery))
        report(event, decision, spans[-1].span_id)
        return DONE

    def keep(self, event: Event, body: Mapping[str, Any], writes: Sequence[Write]) -> None:
        """In one commit; without the trees of its trace where the whole is more than a document may hold."""
        try:
            self.store.commit(event.tenant, Put("event", event.id, body), writes)
        except TooLarge:
            if not body["decision"]:
                raise
            less = {**body, "decision": shortened(body["decision"])}
            self.store.commit(event.tenant, Put("event", event.id, less), writes)

    def flagged(self, event: Event) -> list[Write]:
        """An event type that is in no registry is kept like any other, and written down once."""
        if shared().knows(event.type, event.data) or self.store.get(event.tenant, "unknown_type", event.type):
            return []
        version, at = event.data.get("api_version"), iso(event.recorded)
        body = {"type": event.type, "api_version": version, "event": event.id, "last_at": at}
        return [Put("unknown_type", event.type, body, ABSENT)]

    def forwarded(self, event: Event, ruleset: RuleSet) -> list[Write]:
        """What routes take of it. Times differ within a batch, so that a receiver which keeps order has the log's."""
        found = []
        for taker in route.taking(ruleset.routes, event):
            self.routed += 1
            made = route.command(taker, event, self.now + self.routed * _MICROSECOND)
            found.append(Put("command", made.id, made.body(), ABSENT))
        return list[Write](found)

    def decide(self, event: Event, ruleset: RuleSet) -> Decision:
        known = {id: self.document(event.tenant, id) for id in documents(event, ruleset)}
        plan = reads(event, ruleset, known)
        memory = Memory(documents=known, candidates=plan.candidates)
        questions: Sequence[Question] = plan.questions
        for _ in range(_ROUNDS):
            if questions:
                memory = memory.answered({question: self.answer(event.tenant, question) for question in questions})
            try:
                return decide(event, ruleset, memory, self.now)
            except NotRead as missing:
                questions = missing.questions
        raise RuntimeError(f"the decision about {event.id} still asks after {_ROUNDS} rounds: {questions}")

    def answer(self, tenant: str, question: Question) -> Any:
        match question:
            case Window(key, types, since, until):
                return self.store.window(tenant, key, sorted(types), since, until)
            case RunOf(id):
                found = self.store.get(tenant, "run", id)
                return (Run.from_body(found.body), found.version) if found else None
            case Members(name):
                return self.members(tenant, name)
            case RuleOf(id, number):
                return self.rulesets.rule(self.store, tenant, id, number)
            case DocumentOf(id):
                return self.document(tenant, id)
            case ScoreOf(name, subject):
                return document_of(self.store, tenant, name, subject)

    def members(self, tenant: str, name: str) -> frozenset[str]:
        """Of a list as it is now, the same for the whole batch, as the rules are."""
        known = self.lists.get((tenant, name))
        if known is None:
            found = self.store.get(tenant, "list", name)
            known = self.lists[tenant, name] = frozenset(found.body["members"]) if found else frozenset()
        return known

    def document(self, tenant: str, id: str) -> Read:
        found = self.store.get(tenant, "memory", id)
        return Read(found.body, found.version) if found else Read({}, ABSENT)

    def ruleset(self, tenant: str) -> RuleSet:
        """The rules in force, the same for the whole batch; a tenant that is new is written down first."""
        if tenant not in self.tenants:
            if not self.rulesets.knows(tenant):
                tenants.ensure(self.store, tenant, self.now)
            self.tenants[tenant] = self.rulesets.current(self.store, tenant, self.now)
        return self.tenants[tenant]

    def instant(self) -> datetime:
        return self.clock.now() if self.clock else self.now


def _too_many_stops(decision: Decision, more: int) -> list[Write]:
    """Runs to stop ahead of the event's own commit, when all of it is more than one commit may hold."""
    if len(decision.writes) + more <= MOST_WRITES:
        return []
    stopped = {run.id for run in decision.runs if run.state == "stopped"}
    return [write for write in decision.writes if write.kind == "run" and write.id in stopped][:MOST_WRITES]


def body_of(event: Event, decision: Decision, spans: Sequence[Span]) -> dict[str, Any]:
    """The document of kind `event`."""
    customer, cloudevent = event.key("cus"), event.to_cloudevent()
    return {
        "event": cloudevent,
        "type": event.type,
        "created": event.created,
        "recorded": cloudevent["recordedtime"],
        "correlation": event.correlation,
        "customer": customer.partition(":")[2] if customer else None,
        "origin": event.source,
        "keys": list(event.keys),
        "trace": event.trace_id,
        "fired": decision.fired,
        "decision": _told(event, decision),
        "spans": [{name: getattr(span, name) for name in _SPAN} for span in spans],
    }


def _told(event: Event, decision: Decision) -> Mapping[str, Any] | None:
    """The trace. Of imported history only what it did to open runs: no rule acts on it."""
    if event.source != "import":
        return decision.trace
    rules = [entry for entry in decision.trace["rules"] if entry["outcome"] == "took_back"]
    return {**decision.trace, "rules": rules} if decision.runs else None


def spans_of(event: Event, decision: Decision, start: datetime, end: datetime) -> list[Span]:
    """The reception, as it was recorded, and this handling of the event."""
    trace = event.trace_id
    facts = {"event.id": event.id, "event.type": event.type, "tenant": event.tenant}
    spans: list[Span] = []
    received: Mapping[str, Any] = event.received or {}
    if "span_id" in received:
        name = "receive " + event.type
        spans.append(Span(trace, received["span_id"], None, name, received["start"], received["end"], "server", facts))
    parent = received.get("span_id")
    told = {**facts, "rules": len(decision.trace["rules"]), "runs": sum(1 for match in decision.matches if match.run)}
    id = span_id(event.tenant, event.id, "handle")
    name = "handle " + event.type
    spans.append(Span(trace, id, parent, name, _nanoseconds(start), _nanoseconds(end), "consumer", told))
    return spans


def carried(event: Event, spans: Sequence[Span], delivery: Delivery) -> list[Span]:
    """The spans as they are sent away: with how the bus carried the event from its reception to here. That is not
    kept in the store; one delivery of several is the one that was handled."""
    *received, handled = spans
    facts = {"delivery": delivery.id, "delivery.attempt": delivery.attempt, "partition": event.partition}
    if received and delivery.published is not None:
        (reception,) = received
        id, name = span_id(event.tenant, event.id, "send"), "send " + event.type
        end = max(reception.end, _nanoseconds(delivery.published))
        about = {**reception.attributes, "delivery": delivery.id}
        received.append(Span(event.trace_id, id, reception.span_id, name, reception.end, end, "producer", about))
        facts["sent.span"] = id
    return [*received, replace(handled, attributes={**handled.attributes, **facts})]


def report(event: Event, decision: Decision, span: str) -> None:
    """The station's wide line."""
    logs.line(
        "rule.decided",
        correlationid=event.correlation,
        event=event.id,
        type=event.type,
        tenant=event.tenant,
        span=span,
        rules=len(decision.trace["rules"]),
        fired=[match.rule_id for match in decision.matches if match.run] or None,
    )


def _nanoseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND * 1000
