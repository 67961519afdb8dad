"""Texts and facts of a run: `{{ path }}` in a step's parameters, and the part of the trigger that a rule's steps read.

A run acts days after its trigger, perhaps in another process, so it carries what its steps will read and no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rules import paths
from rules.event import seconds
from rules.facts import LISTS, fact_at
from rules.fields import MISSING, read
from rules.holes import contents, split
from rules.model import All, Any_, Approve, Condition, Do, If, Not, Rule, Step, Test, Wait
from rules.words import amount, moment

JSON = Mapping[str, Any]
Path = tuple[str, ...]
_ALWAYS: tuple[Path, ...] = (
    ("id",),
    ("type",),
    ("created",),
    ("livemode",),
    ("account",),
    ("api_version",),
    ("data", "object", "id"),
    ("data", "object", "object"),
    ("data", "object", "currency"),
    ("fact_currency",),
)
# where objects of Stripe have the customer's e-mail address, the surest first
ADDRESSES: tuple[Path, ...] = (
    ("data", "object", "customer_email"),
    ("data", "object", "customer_details", "email"),
    ("data", "object", "receipt_email"),
    ("data", "object", "billing_details", "email"),
    ("data", "object", "email"),
)
_SETS = re.compile(r"\s*[A-Za-z][A-Za-z0-9_]{0,99}\s*=")
_WRITES_TO_THE_CUSTOMER = "mail.send"


def facts_of(rule: Rule, envelope: JSON) -> dict[str, Any]:
    """The envelope pruned to what the steps of this rule read, each value at the path that the rule names."""
    facts: dict[str, Any] = {}
    wanted = {*_ALWAYS, *(path for step in walk(rule.steps) for path in _read_by(step))}
    wanted.update(ADDRESSES if LISTS in wanted else ())  # a list may hold the token of an e-mail
    for path in sorted(wanted, key=lambda path: (-len(path), path)):
        _copy(envelope, path, facts)
    return facts


def render(value: Any, facts: JSON) -> Any:
    """Parameters with every `{{ path }}` filled in. A text of one hole keeps the value's type."""
    if isinstance(value, str):
        return _fill(value, facts)
    if isinstance(value, Mapping):
        return {key: render(part, facts) for key, part in value.items()}
    if isinstance(value, list):
        return [render(part, facts) for part in value]
    return value


def walk(steps: tuple[Step, ...]) -> Iterator[Step]:
    """Every step, those inside an `if` too."""
    for step in steps:
        yield step
        if isinstance(step, If):
            yield from walk(step.then)
            yield from walk(step.otherwise)


def actions_of(steps: Sequence[Step]) -> dict[str, str]:
    """Every step's name with its action, empty for a step that does none."""
    return {step.name: step.action if isinstance(step, Do) else "" for step in walk(tuple(steps))}


def holes(value: Any) -> Iterator[Path]:
    """The paths that texts in this value name."""
    if isinstance(value, str):
        for text in contents(value):
            yield paths.split(text)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from holes(part)
    elif isinstance(value, list):
        for part in value:
            yield from holes(part)


def condition_paths(condition: Condition) -> Iterator[Path]:
    """The paths that a condition reads in the envelope (paths inside list items aside)."""
    match condition:
        case Test():
            yield condition.path
            if condition.other:
                yield condition.other.path
            if condition.operator.startswith("changed"):
                yield ("data", "previous_attributes", *condition.path[2:])
        case All() | Any_():
            for part in condition.parts:
                yield from condition_paths(part)
        case Not():
            yield from condition_paths(condition.part)


def _read_by(step: Step) -> Iterator[Path]:
    match step:
        case Do():
            yield from holes(step.params)
            if step.action == _WRITES_TO_THE_CUSTOMER:
                yield from ADDRESSES
        case If():
            yield from condition_paths(step.condition)
        case Approve() if step.condition:
            yield from condition_paths(step.condition)
        case Wait() if step.until and not step.until[:1].isdigit():
            yield paths.split(step.until)


def _copy(envelope: JSON, path: Path, facts: dict[str, Any]) -> None:
    value = read(envelope, path)
    if value is MISSING or path[0] == "step":
        return
    into = facts
    for key in path[:-1]:
        into = into.setdefault(key, {})
        if not isinstance(into, dict):
            return  # a longer part of the same value is there already
    there = into.get(path[-1])
    into[path[-1]] = {**value, **there} if isinstance(value, dict) and isinstance(there, dict) else value


def known_text(value: Any, type: str, currency: str | None) -> str:
    """What is known beyond the payload as people write it: `$49.00`, `Mon 23 Nov 2026 14:05 UTC`, `a, b`."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if type == "amount" and currency and isinstance(value, int):
        return amount(value, currency)
    if type == "time" and isinstance(value, int):
        return moment(seconds(value))
    return _text(value)


def _fill(text: str, facts: JSON) -> Any:
    parts = split(text)
    if len(parts) == 3 and not parts[0] and not parts[2]:
        value = read(facts, paths.split(parts[1].strip()))
        return "" if value is MISSING or value is None else value
    said = ""
    for at, part in enumerate(parts):
        said += _in_line(said, _said(paths.split(part.strip()), facts)) if at % 2 else part
    return said


def _in_line(before: str, value: str) -> str:
    """A value, on one line where a line sets a property (`name = {{ path }}`): a break in it would set another one."""
    line = before[before.rfind("\n") + 1 :]
    return " ".join(value.splitlines()) if _SETS.match(line) else value


def _said(path: Path, facts: JSON) -> str:
    """A value within a text; a fact as people write it."""
    value, fact = read(facts, path), fact_at(path)
    if fact is None or value is MISSING:
        return _text(value)
    currency = read(facts, ("fact_currency", fact.name))
    return known_text(value, fact.type, currency if isinstance(currency, str) else None)


def _text(value: Any) -> str:
    if value is MISSING or value is None:
        return ""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
