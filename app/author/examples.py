"""Saved examples for authors: run at every change, with the events of the log that they name, and broken ones as the
problems that keep a rule from being put in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app import declared
from rules.constants import personal_constants
from rules.event import Event
from rules.example import personal_in
from rules.examples import ExampleResult, check_examples, recorded_in
from rules.fields import Catalogue
from rules.personal import Place
from rules.ports import ActionExecutor, Store
from rules.rule import Problem, Rule, RuleError, parse

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
