"""Saved examples for authors: run at every change, with the events of the log that they name, and broken ones as the
problems that keep a rule from being put in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app import declared
from rules.constants import personal_constants
from rules.event import Event
from rules.example import FIRES, GATES, personal_in
from rules.example_reader import LARGEST
from rules.examples import ExampleResult, check_examples, recorded_in
from rules.fields import Catalogue
from rules.personal import Place
from rules.ports import ActionExecutor, Store
from rules.rule import Problem, Rule, RuleError, parse
from rules.ruleset import subject_of
from rules.wanted import sources_of, wanted_by
from rules.window import span_of, takes_part

Actions = Mapping[str, ActionExecutor]
MOST = 200  # events of the log that one rule's examples may name


def results(store: Store, catalogue: Catalogue, tenant: str, document: Mapping[str, Any]) -> list[ExampleResult]:
    """What comes of each of a document's examples; none while the rule itself cannot be read."""
    rule = _rule(store, catalogue, tenant, document)
    return check_examples(rule, catalogue, _recorded(store, tenant, document)) if rule and rule.examples else []


def checked(store: Store, tenant: str, document: Any, catalogue: Catalogue, actions: Actions) -> list[Problem]:
    """What is wrong with a document, and which of its examples do not hold."""
    found = declared.checked(store, tenant, document, catalogue, actions)
    if any(one.severity == "error" for one in found):
        return found
    return [*found, *broken(results(store, catalogue, tenant, document))]


def broken(found: Iterable[ExampleResult]) -> list[Problem]:
    return [one.problem() for one in found if not one.holds]


def personal(document: dict[str, Any], catalogue: Catalogue) -> Sequence[Place]:
    """Where a document holds personal values that must be tokens: what is compared, and what examples are made of."""
    return [*personal_constants(document, catalogue), *personal_in(document, catalogue)]


def _rule(store: Store, catalogue: Catalogue, tenant: str, document: Mapping[str, Any]) -> Rule | None:
    try:
        return parse(document, catalogue, None, declared.paths_of(store, tenant))
    except RuleError:
        return None


def _recorded(store: Store, tenant: str, document: Mapping[str, Any]) -> dict[str, Event]:
    found = {id: store.get(tenant, "event", id) for id in recorded_in(document)[:MOST]}
    return {id: Event.from_cloudevent(one.body["event"]) for id, one in found.items() if one}


# ---- from a real event ----------------------------------------------------------------------------------------------
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
    (result,) = results(store, catalogue, tenant, {**document, "examples": [example]})
    if result.gate is None:
        return example
    because = {"because": result.gate} if result.gate in GATES else {}
    return {**example, "then": FIRES[1], **because}


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
