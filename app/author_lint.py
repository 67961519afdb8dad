"""Lint for authors: what is odd about the rules in force together, or about one document among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rules.effects import causes
from rules.fields import Catalogue
from rules.lint import Finding, lint
from rules.model import Do, Rule, RuleError
from rules.ports import Store
from rules.rule import Problem, parse
from rules.texts import walk

IN_FORCE = ("live", "watch", "paused")
MANY = 500  # rules that are looked at, the latest changed ones


def findings(store: Store, catalogue: Catalogue, tenant: str) -> list[Finding]:
    """Everything to say about the rules in force."""
    return lint(filter(None, (_parsed(one) for one in documents(store, tenant))), catalogue)


def advice(store: Store, catalogue: Catalogue, tenant: str, document: Mapping[str, Any]) -> list[Problem]:
    """What is odd about a document among the rules in force; nothing while it cannot be read."""
    draft = _parsed(document)
    if draft is None:
        return []
    others = [one for one in documents(store, tenant) if one.get("id") != draft.id and _concerns(one, draft)]
    rules = [draft, *filter(None, map(_parsed, others))]
    return [finding.problem() for finding in lint(rules, catalogue, draft.id)]


def documents(store: Store, tenant: str) -> Iterator[Mapping[str, Any]]:
    """The documents in force."""
    for row in store.find(tenant, "rule", order="-updated_at", limit=MANY).items:
        number = row.body.get("number")
        if number and row.body["state"] in IN_FORCE:
            found = store.get(tenant, "rule_version", f"{row.id}@{number}")
            if found is not None:
                yield found.body["document"]


def _parsed(document: Mapping[str, Any]) -> Rule | None:
    try:
        return parse(document)
    except RuleError:
        return None


def _concerns(document: Mapping[str, Any], draft: Rule) -> bool:
    """Whether it starts on an event that starts the draft, or that the draft's actions cause."""
    caused: Iterable[str] = (kind for step in walk(draft.steps) if isinstance(step, Do) for kind in causes(step))
    return bool({*draft.when.types, *caused} & {*document["when"]["event"]})
