"""Why a condition is not true of an event, in one sentence: which one, what was needed, and what was there instead."""

from __future__ import annotations

from typing import Any

from rules import operators as ops
from rules.catalogue import Catalogue
from rules.event import Event, seconds
from rules.expr import compile_condition
from rules.model import All, Any_, Condition, Not, Test
from rules.money import currency_of
from rules.tree import Node, tree
from rules.wanted import possible
from rules.words import Words, listed, moment

_NOTHING = ("missing", "null")


def parts_of(condition: Condition) -> tuple[Condition, ...]:
    """The conditions that people count: those of the top group that must all hold, else the one there is."""
    return condition.parts if isinstance(condition, All) else (condition,)


def failed_condition(condition: Condition, event: Event) -> str | None:
    """ "Condition 1 of 2 is not true: the amount due is more than $50.00; it was $49.00." None when all hold.
    What is known beyond the payload is left open (rules.judging says it)."""
    parts = parts_of(condition)
    for index, part in enumerate(parts):
        node = tree(part, event.data, event.id)
        if not node["true"] and not compile_condition(possible(part))(event.data):
            words = Words(Catalogue.load(), (event.type,), currency_of(event))
            said = f"{words.condition(part)}; {_there(part, node, words)}"
            return f"Condition {index + 1} of {len(parts)} is not true: {said}."
    return None


def _there(condition: Condition, node: Node, words: Words) -> str:
    """What stood where the condition looked, part by part where it has several."""
    if isinstance(condition, Test):
        return f"it {_was(condition, node, words)}"
    tests = list(dict.fromkeys(_tests(condition, node, words)))
    return listed(tests, "and") if tests else "there is nothing that could make it true"


def _tests(condition: Condition, node: Node, words: Words) -> list[str]:
    """The tests that decided: those that failed, or under a `not` those that held."""
    match condition:
        case All(parts) | Any_(parts):
            kept = [(part, one) for part, one in zip(parts, node["parts"], strict=True) if one["true"] is node["true"]]
            return [text for part, one in kept for text in _tests(part, one, words)]
        case Not(part):
            return _tests(part, node["parts"][0], words)
    return [f"{words.field(condition.path)} {_was(condition, node, words)}"]


def _was(test: Test, node: Node, words: Words) -> str:
    note = node["note"]
    if test.operator in ops.CHANGES:
        return "did not change" if note == "it did not change" else f"{note or ''}".strip()
    if test.operator in ops.ITEMS and isinstance(note, str) and note.endswith(" items"):
        return f"was so for {note}"
    if note in _NOTHING or node["actual"] is None:
        return "was not there" if note == "missing" else "was empty"
    said = f"was {_said(test, node['actual'], words)}"
    if test.other is not None and node["needed"] is not None:
        said += f", and {_said(test, node['needed'], words)} is what it was compared with"
    return f"{said} ({note})" if note and test.operator not in ops.ITEMS else said


def _said(test: Test, value: Any, words: Words) -> str:
    info = words.info(test.path)
    if isinstance(value, list):
        return listed([_said(test, one, words) for one in value], "and") or "an empty list"
    if info is not None and info.type == "time" and ops.number(value):
        return moment(seconds(int(value)))
    return words.value(value, info)
