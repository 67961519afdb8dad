"""Lint for authors: what is odd about the rules in force together, or about one document among them.

While somebody types, the rules alone are looked at; where there is time, the last days of the recorded history too, so
that findings come with the customers of whom they are true, the most common first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from app.author.parts import suppressed
from app.inquire.columns import History
from rules.backtest import Backtest
from rules.columns import Reads
from rules.effects import acts, causes, clashes
from rules.fields import Catalogue
from rules.learned import TYPES, Learned, learn
from rules.lint import Finding, Lint, lint
from rules.lint_history import with_history
from rules.lint_pairs import family
from rules.matcher import PythonMatcher
from rules.model import Do, Rule, RuleError, RuleVersion
from rules.ports import Store
from rules.rule import Problem, parse
from rules.texts import walk
from rules.witness import triggers_of

IN_FORCE = ("live", "watch", "paused")
MANY = 500  # rules that are looked at, the latest changed ones
DAYS: Final = (90, 30, 7, 1)  # of history, the most that holds no more events than are read
MOST: Final = 20_000  # events that a look at the history reads: two seconds


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found. days, events: the history that was looked at; 0 where there was none, or too much for a look."""

    findings: list[Finding]
    days: int = 0
    events: int = 0
    unshown: int = 0
    names: Mapping[str, str] = field(default_factory=dict)  # of the rules, by id


def looked(
    store: Store,
    catalogue: Catalogue,
    tenant: str,
    now: datetime,
    document: Mapping[str, Any] | None = None,
) -> Looked:
    """Everything to say about the rules in force, or about one document among them, beside the recorded history."""
    draft = _parsed(document) if document is not None else None
    if document is not None and draft is None:
        return Looked([])
    in_force = [*filter(None, map(_parsed, documents(store, tenant)))]
    rules = _beside(in_force, draft) if draft else in_force
    about = draft.id if draft else None
    look = Lint(rules, catalogue)
    found = look.findings(about)
    days, rows, events = _rows(store, tenant, rules, now)
    learned = learn_of(store, tenant, now)
    found = with_history(found, rules, rows, learned, about)
    return Looked(found, days, events, look.unshown, {rule.id: rule.name for rule in rules})


def advice(store: Store, catalogue: Catalogue, tenant: str, document: Mapping[str, Any]) -> list[Problem]:
    """What is odd about a document among the rules in force; nothing while it cannot be read."""
    draft = _parsed(document)
    if draft is None:
        return []
    return [finding.problem() for finding in lint(_among(store, tenant, draft), catalogue, draft.id)]


def learn_of(store: Store, tenant: str, now: datetime) -> Learned:
    """What the account's own history tells of its settings at Stripe."""
    history = History(store, tenant)
    days, since, _ = _span(history, TYPES, now)
    if not days:
        return Learned()
    reads = Reads(frozenset(TYPES), {}, "")
    return learn(history.slims(reads, since, int(now.timestamp()), quick=False))


def documents(store: Store, tenant: str) -> Iterator[Mapping[str, Any]]:
    """The documents in force."""
    for row in store.find(tenant, "rule", order="-updated_at", limit=MANY).items:
        number = row.body.get("number")
        if number and row.body["state"] in IN_FORCE:
            found = store.get(tenant, "rule_version", f"{row.id}@{number}")
            if found is not None:
                yield found.body["document"]


# ---- the history -----------------------------------------------------------------------------------------------------
def _rows(store: Store, tenant: str, rules: list[Rule], now: datetime) -> tuple[int, list[Mapping[str, Any]], int]:
    """The days looked at, the runs that the rules together would have had in them, and how many events those are."""
    if not rules:
        return 0, [], 0
    lists = suppressed(store, tenant, (name for rule in rules for name in rule.lists))
    test = Backtest([RuleVersion(tenant, rule, 0, "live", "") for rule in rules], lists, PythonMatcher())
    history = History(store, tenant)
    days, since, count = _span(history, test.types, now)
    if not days:
        return 0, [], 0
    rows: list[Mapping[str, Any]] = []
    for slim in history.slims(test.reads, since, int(now.timestamp()), quick=False):
        rows += test.feed(slim)
    return days, [*rows, *test.finish(now)], count


def _span(history: History, types: Iterable[str], now: datetime) -> tuple[int, int, int]:
    """As many days as hold no more events than are read: the days, their beginning, the events; 0 when none do."""
    wanted = list(types)
    for days in DAYS:
        since = int((now - timedelta(days=days)).timestamp())
        count = history.count(wanted, since, int(now.timestamp()))
        if count <= MOST:
            return (days, since, count) if count else (0, 0, 0)
    return 0, 0, 0


# ---- rules -----------------------------------------------------------------------------------------------------------
def _among(store: Store, tenant: str, draft: Rule) -> list[Rule]:
    others = [one for one in documents(store, tenant) if one.get("id") != draft.id and _concerns(one, draft)]
    return [draft, *filter(None, map(_parsed, others))]


def _beside(in_force: list[Rule], draft: Rule) -> list[Rule]:
    """The draft, and the rules that may meet it: on one occurrence, or by opposite actions on one customer."""
    mine = acts(draft)
    others = [rule for rule in in_force if rule.id != draft.id]
    return [draft, *(one for one in others if _concerns(one.document, draft) or any(clashes(mine, acts(one))))]


def _parsed(document: Mapping[str, Any]) -> Rule | None:
    try:
        return parse(document)
    except RuleError:
        return None


def _concerns(document: Mapping[str, Any], draft: Rule) -> bool:
    """Whether it starts on the occurrence that starts the draft, or on what the draft's actions cause."""
    caused: Iterable[str] = (kind for step in walk(draft.steps) if isinstance(step, Do) for kind in causes(step))
    then = (document["when"].get("then") or {}).get("event", ())
    theirs = {family(kind) for kind in (*document["when"]["event"], *then)}
    return bool({family(kind) for kind in (*triggers_of(draft.when), *draft.when.types, *caused)} & theirs)
