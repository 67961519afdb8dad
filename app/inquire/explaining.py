"""Explaining: why a rule did, or did not, fire for somebody or at an event, asked of the recorded log.

What is worked out again from the log is held against what was decided then: where both speak, the decision wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from app import author, scores, tenants
from app.browse.events import subject_key
from app.declared import paths_of
from app.inquire.documents import document_of, suppressed
from rules import explain as reasons
from rules.event import Event
from rules.fields import Catalogue
from rules.model import Rule, RuleVersion
from rules.ports import ActionExecutor, Store, Vault, Where
from rules.rule import parse
from rules.ruleset import subject_of
from rules.run import Run
from rules.wanted import sources_of, wanted_by_rule
from rules.window import takes_part

Actions = Mapping[str, ActionExecutor]
Row = dict[str, Any]
LOOKED_AT = 1000  # events of one type and subject that an explanation reads: the newest
RUNS = 200  # runs of one subject, and subjects


def explain(
    store: Store,
    vault: Vault,
    catalogue: Catalogue,
    actions: Actions,
    tenant: str,
    rule: str | Mapping[str, Any],
    now: datetime,
    subject: str | None = None,
    event: str | None = None,
    at: datetime | None = None,
    number: int | None = None,
) -> Row:
    """Why a rule fired for a subject (`sub_1` or a key) or at an event, or why not: see rules.explain.
    rule: an id, which is asked as it is in force, or a document, as if it had always been. number: one of the rule's
    versions, as if it were in force since it was published. LookupError, RuleError."""
    version, standing = _version(store, vault, catalogue, actions, tenant, rule, number)
    one = _event(store, tenant, event) if event else None
    keys = {subject_key(subject)} if subject else set(one.keys if one else ())
    events = _concerning(store, tenant, version.rule, keys, one)
    if not events:
        events = _elsewhere(store, tenant, keys, event)
    found = reasons.explain(
        version,
        events,
        subject=subject_key(subject) if subject else None,
        event=event,
        at=at,
        runs=_runs(store, version, events) if isinstance(rule, str) else (),
        members=suppressed(store, tenant, (*version.rule.lists, *wanted_by_rule(version.rule).lists)),
        now=at or now,
        scores=_scores(store, tenant, version.rule, events),
    )
    if isinstance(rule, str) and number is None:
        found = reasons.as_decided(found, _entry(store, version, found["trigger"]))
    if standing in ("off", "archived") and found["fired"]:
        said = f"The rule is {standing}, so it starts nothing. If it were live: {found['sentence']}"
        return {**found, "fired": False, "gate": "live_from", "sentence": said}
    return found


def _version(
    store: Store,
    vault: Vault,
    catalogue: Catalogue,
    actions: Actions,
    tenant: str,
    rule: str | Mapping[str, Any],
    number: int | None,
) -> tuple[RuleVersion, str]:
    """The version that is asked about, and the rule's state."""
    if not isinstance(rule, str):
        document = document_of(store, vault, catalogue, tenant, rule)
        return RuleVersion(tenant, parse(document, catalogue, actions, paths_of(store, tenant)), 0, "live", ""), ""
    if number is not None:
        chosen = author.version(store, tenant, rule, number)
        return RuleVersion(tenant, parse(chosen["document"]), number, "live", chosen["published_at"]), ""
    row = author.rule(store, tenant, rule)
    document = row["in_force"] or document_of(store, vault, catalogue, tenant, rule)
    state = row["state"]
    mode: Literal["live", "watch", "paused"] = state if state in ("live", "watch", "paused") else "live"
    live_from = (row["live_from"] or "") if mode == state else ""
    return RuleVersion(tenant, parse(document), row["number"] or 0, mode, live_from), state


def _event(store: Store, tenant: str, id: str) -> Event | None:
    found = store.get(tenant, "event", id)
    return Event.from_cloudevent(found.body["event"]) if found else None


def _concerning(store: Store, tenant: str, rule: Rule, keys: Iterable[str], one: Event | None) -> list[Event]:
    """The recorded events of these keys that may matter to the rule, and the event that is asked about."""
    stops = {type for stop in rule.stop_when for type in stop.types}
    types = takes_part(rule.when) | stops | sources_of(wanted_by_rule(rule))
    found = {one.id: one} if one else {}
    for key in keys:
        if key.startswith("acct:") and rule.when.same != "account":
            continue  # everything there is
        for type in sorted(types):
            where: list[Where] = [("keys", "has", key), ("type", "==", type)]
            page = store.find(tenant, "event", where, order="-created", limit=LOOKED_AT)
            found |= {document.id: Event.from_cloudevent(document.body["event"]) for document in page.items}
    return list(found.values())


def _elsewhere(store: Store, tenant: str, keys: Iterable[str], event: str | None) -> list[Event]:
    """What another tenant has of what this one never heard of: a test-mode id asked of a live rule is a common slip."""
    keys = list(keys)
    if any(store.find(tenant, "event", [("keys", "has", key)], order="-created", limit=1).items for key in keys):
        return []
    for other in tenants.every(store):
        if other == tenant:
            continue
        if event and (found := _event(store, other, event)):
            return [found]
        for key in keys:
            page = store.find(other, "event", [("keys", "has", key)], order="-created", limit=1)
            if page.items:
                return [Event.from_cloudevent(page.items[0].body["event"])]
    return []


def _scores(store: Store, tenant: str, rule: Rule, events: Iterable[Event]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """The scores that the rule asks for, of the customers of these events."""
    names = [path[1] for path in wanted_by_rule(rule).paths if path[0] == "score"]
    customers = {key.partition(":")[2] for event in events if names and (key := event.key("cus"))}
    asked = [(name, customer) for name in names for customer in sorted(customers)[:RUNS]]
    return {one: found for one in asked if (found := scores.document_of(store, tenant, *one))}


def _runs(store: Store, version: RuleVersion, events: Iterable[Event]) -> list[Run]:
    """The rule's runs for the subjects of these events."""
    subjects = {subject_of(event, version.rule.when.same) for event in events} - {None}
    found: list[Run] = []
    for subject in sorted(map(str, subjects))[:RUNS]:
        page = store.find(version.tenant, "run", [("key", "==", subject)], order="-created_at", limit=RUNS)
        mine = (document.body for document in page.items if document.body["rule_id"] == version.rule.id)
        found += map(Run.from_body, mine)
    return found


def _entry(store: Store, version: RuleVersion, trigger: str | None) -> Mapping[str, Any] | None:
    """What was decided of the rule at the trigger itself, by the version that is asked about."""
    found = store.get(version.tenant, "event", trigger) if trigger else None
    entries: Iterable[Mapping[str, Any]] = ((found.body.get("decision") or {}).get("rules") or ()) if found else ()
    mine = (one for one in entries if one["rule"] == version.rule.id and one["number"] == version.number)
    return next((one for one in mine if one.get("trigger") in (None, trigger)), None)
