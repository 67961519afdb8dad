"""Real events as saved examples: an event of the log and what its rule looks at beside it, and what comes of it now."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app import declared
from app.author import drafts as author
from app.author import examples
from rules.event import Event
from rules.example import FIRES, GATES
from rules.example_reader import LARGEST
from rules.fields import Catalogue
from rules.ports import ActionExecutor, Store, Vault
from rules.rule import Problem, Rule, RuleError, parse
from rules.ruleset import subject_of
from rules.wanted import sources_of, wanted_by
from rules.window import span_of, takes_part

Actions = Mapping[str, ActionExecutor]


def example_of(store: Store, catalogue: Catalogue, tenant: str, document: Mapping[str, Any], id: str) -> dict[str, Any]:
    """An example made of a real event and what its rule looks at beside it, all by their ids, which says what comes of
    it now. LookupError for an unknown event, RuleError for a document that cannot be read, or that does not listen."""
    found = store.get(tenant, "event", id)
    if found is None:
        raise LookupError(f"There is no event {id!r}.")
    event = Event.from_cloudevent(found.body["event"])
    rule = parse(document, catalogue, None, declared.paths_of(store, tenant))
    if event.type not in takes_part(rule.when):
        raise RuleError([Problem("when.event", f"the rule does not listen to {event.type}")])
    given = [one.id for one in beside(store, tenant, rule, event)]
    example: dict[str, Any] = {"given": given, "then": FIRES[0]}
    (result,) = examples.results(store, catalogue, tenant, {**document, "examples": [example]})
    if result.gate is None:
        return example
    because = {"because": result.gate} if result.gate in GATES else {}
    return {**example, "then": FIRES[1], **because}


def drafts_for(store: Store, tenant: str, type: str) -> list[tuple[str, str]]:
    """(id, name) of the drafts that listen to events of this type."""
    found = [row for row in author.rules(store, tenant) if row["draft"] and row["state"] != "archived"]
    return [(row["id"], row["name"]) for row in found if type in _types(row["draft"])]


def _types(document: Mapping[str, Any]) -> frozenset[str]:
    try:
        return takes_part(parse(document).when)
    except RuleError:
        return frozenset()


def beside(store: Store, tenant: str, rule: Rule, event: Event) -> list[Event]:
    """The event, and the recorded ones that the rule counts with it or knows facts by, oldest first."""
    found = {event.id: event}
    span = span_of(rule.when) or 0
    until = event.created + (rule.when.and_not.within if rule.when.and_not else 0)
    key = subject_of(event, rule.when.same)
    if key and span:
        window = store.window(tenant, key, sorted(takes_part(rule.when)), max(0, event.created - span), until)
        found |= {one.id: one for one in window}
    sources = sorted(sources_of(wanted_by(rule.only_if)))
    for key in event.keys if sources else ():
        if not key.startswith("acct:"):
            found |= {one.id: one for one in store.window(tenant, key, sources, 0, event.created)}
    ordered = sorted(found.values(), key=lambda one: (one.created, one.id))
    newest = [one for one in ordered if one.id != event.id][-(LARGEST - 1) :]
    return sorted([*newest, event], key=lambda one: (one.created, one.id))


def add(
    store: Store,
    vault: Vault,
    catalogue: Catalogue,
    actions: Actions,
    tenant: str,
    rule_id: str,
    event_id: str,
    actor: str,
    now: datetime,
    wanted: Mapping[str, str] | None = None,
    expect: str | None = None,
) -> dict[str, Any]:
    """Keep a real event as an example in the rule's draft. wanted: `then` and `because` where they should differ from
    what comes of it now. Returns the rule. LookupError, RuleError, Conflict."""
    row = author.rule(store, tenant, rule_id)
    document = dict(row["document"] or {})
    example = example_of(store, catalogue, tenant, document, event_id)
    if wanted and wanted.get("then", example["then"]) != example["then"]:
        example.pop("because", None)
    example |= {name: text for name, text in (wanted or {}).items() if text}
    document["examples"] = [*document.get("examples", []), example]
    return author.save_draft(store, vault, catalogue, actions, tenant, document, actor, now, expect or row["version"])
