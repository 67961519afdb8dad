"""Decisions as kept with an event (rules.trace), made ready to be shown: what each rule made of it, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app import knowing
from app.browse.rows import JSON, Row, subject_of
from app.browse.window import picture, span_before
from rules.event import Event, instant, seconds
from rules.explain import explain
from rules.fact_fields import known_field
from rules.fields import Catalogue
from rules.model import Rule, RuleError, RuleVersion, When
from rules.ports import Store
from rules.rule import parse
from rules.ruleset import subject_of as rules_subject
from rules.window import takes_part
from rules.words import amount, moment

# the outcomes of a rule (rules.trace), what happened first
ORDER = ("fired", "waiting", "took_back", "matched", "missed")


def verdicts(decision: JSON | None) -> list[Row]:
    """What each rule that listens to the event's type made of it, those that acted first."""
    entries = (decision or {}).get("rules") or ()
    return sorted(map(verdict, entries), key=lambda row: ORDER.index(row["outcome"]))


def touched(decision: JSON | None) -> list[Row]:
    """The runs that were open and heard of the event: `{"run", "rule", "what", "sentence"}`."""
    return [dict(found) for found in (decision or {}).get("runs") or ()]


def verdict(entry: JSON) -> Row:
    return {
        "rule_id": entry["rule"],
        "rule_name": entry["name"],
        "version": entry["number"],
        "mode": entry["mode"],
        "outcome": entry["outcome"],
        "fired": entry["outcome"] in ("fired", "waiting"),
        "gate": entry.get("gate"),
        "sentence": entry["sentence"].removesuffix(f" Run {entry.get('run')} started."),
        "key": entry.get("key"),
        "trigger": entry.get("trigger"),
        "run": entry.get("run"),
        "tree": entry.get("tree"),
        "conditions": [],
        "window": None,
        "nearest": None,
    }


def explained(store: Store, tenant: str, row: Row, body: JSON, decided: str) -> Row:
    """The verdict with its conditions one by one, its window drawn, and how near it came. body: the event's document.
    Worked out again from the log as it was then: decided is iso text, and events heard of later are left out."""
    trigger = _trigger(store, tenant, row, body)
    rule = rule_of(store, tenant, f"{row['rule_id']}@{row['version']}")
    if rule is None or trigger is None:
        return {**row, "conditions": conditions(row["tree"], body["event"]["data"])}
    version = RuleVersion(tenant, rule, row["version"], "live", "")
    events = _before(store, tenant, rule, row["key"], trigger)
    more = knowing.beside(store, tenant, rule, trigger)
    found = explain(
        version,
        [*events, *more.events, trigger],
        event=trigger.id,
        at=max(instant(decided), trigger.recorded),
        members=more.lists,
        scores=more.scores,
    )
    said = found["sentence"] if row["gate"] == found["gate"] == "condition" else row["sentence"]  # with what was there
    return {**row, "sentence": said, **shown(found, rule.when, row["key"], trigger)}


def shown(found: JSON, when: When, key: str | None, trigger: Event) -> Row:
    """An explanation (rules.explain) as its page shows it."""
    tree = found["tree"] or {}
    return {
        "conditions": conditions(tree or None, trigger.data),
        "window": picture(tree.get("window") or {}, when, key, trigger) if key else None,
        "nearest": found["nearest"],
    }


def shown_at(store: Store, tenant: str, rule_id: str, found: JSON, number: int | None = None) -> Row:
    """An explanation of a rule (app.inquire.explaining) as it is in force, or of one of its versions, with its
    conditions and its window to be drawn."""
    rule = store.get(tenant, "rule", rule_id)
    event = store.get(tenant, "event", found["trigger"]) if found["trigger"] else None
    version = rule_of(store, tenant, f"{rule_id}@{number or rule.body.get('number')}") if rule else None
    if event is None or version is None:
        return {"conditions": [], "window": None}
    trigger = Event.from_cloudevent(event.body["event"])
    return shown(found, version.when, rules_subject(trigger, version.when.same), trigger)


def rule_of(store: Store, tenant: str, version: str) -> Rule | None:
    """The rule of a version `id@number`; None when it is gone, or written by a release whose language knew more."""
    found = store.get(tenant, "rule_version", version)
    try:
        return parse(found.body["document"]) if found else None
    except RuleError:
        return None


def _before(store: Store, tenant: str, rule: Rule, key: str | None, trigger: Event) -> list[Event]:
    """The events of the key in the window and as long before it, so that what just missed it can be seen."""
    span = span_before(rule.when)
    if span is None or key is None:
        return []
    types = sorted({*takes_part(rule.when), *(rule.when.then.types if rule.when.then else ())})
    found = store.window(tenant, key, types, max(0, trigger.created - 2 * span), trigger.created)
    return [event for event in found if event.id != trigger.id]


def _trigger(store: Store, tenant: str, row: Row, body: JSON) -> Event | None:
    """The event at which the rule was asked: this one, or a later one whose window this one completes."""
    own = Event.from_cloudevent(body["event"])
    if row["trigger"] in (None, own.id):
        return own
    found = store.get(tenant, "event", row["trigger"])
    return Event.from_cloudevent(found.body["event"]) if found else None


def conditions(node: JSON | None, envelope: JSON) -> list[Row]:
    """The nodes of a condition tree (rules.tree) as rows with their depth, in reading order. A group at the top whose
    parts all have to hold is what a list of conditions means, so it gets no row of its own."""
    if not node:
        return []
    top = node.get("parts") or () if node["kind"] == "all" else (node,)
    return [_said(row, envelope) for part in top for row in _flat(part, 0)]


def _flat(node: JSON, depth: int) -> Iterator[Row]:
    where: Mapping[str, Any] = node.get("from") or {}
    yield {
        "depth": depth,
        "kind": node["kind"],
        "text": node["text"],
        "field": node.get("field"),
        "is": node.get("is", ""),
        "needed": node.get("needed"),
        "actual": node.get("actual"),
        "event": where.get("event"),
        "path": where.get("path"),
        "currency": where.get("currency"),
        "true": bool(node["true"]),
        "skipped": bool(node.get("skipped")),
        "note": node.get("note"),
    }
    for part in node.get("parts") or ():
        yield from _flat(part, depth + 1)


def _said(row: Row, envelope: JSON) -> Row:
    """The row with its values as people say them: money with its currency, times as dates."""
    known = known_field(row["field"] or "") or Catalogue.load().field(str(envelope.get("type")), row["path"] or "")
    kind = known.type if known else ""
    currency = row["currency"] or subject_of(envelope).get("currency")
    return {**row, **{f"{name}_said": _value(row[name], kind, currency) for name in ("needed", "actual")}}


def _value(value: Any, kind: str, currency: Any) -> Any:
    if isinstance(value, list):
        return [_value(one, kind, currency) for one in value]
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if kind == "amount" and isinstance(currency, str):
        return amount(value, currency)
    return moment(seconds(value)) if kind == "time" else value
