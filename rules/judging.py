"""Judging: the conditions of a match once more, with what is known beyond the payload, and which one is not true."""

from __future__ import annotations

from rules.catalogue import Catalogue
from rules.event import Event
from rules.expr import compile_condition
from rules.folds import NOTHING
from rules.knowing import Known, named, said_text
from rules.model import All, Condition, Rule, Test
from rules.money import currency_of
from rules.ruleset import Asks
from rules.wanted import wanted_by
from rules.words import Words, listed


def untrue(rule: Rule, asks: Asks, event: Event, known: Known) -> str | None:
    """Which condition is not true of the event with what is known beside it, in a sentence; None when all are."""
    return None if asks.holds(known.beside(event.data)) else failed(rule.only_if, event, known)


def failed(condition: Condition, event: Event, known: Known) -> str | None:
    """ "Condition 2 of 2 is not true: the customer’s open amount is more than $50.00; it is $42.00 (from evt_1)."; None
    when all are."""
    envelope = known.beside(event.data)
    parts = condition.parts if isinstance(condition, All) else (condition,)
    for index, part in enumerate(parts):
        if not compile_condition(part)(envelope):
            text = Words(Catalogue.load(), (event.type,), currency_of(event)).condition(part)
            return f"Condition {index + 1} of {len(parts)} is not true: {text}{_instead(part, known)}."
    return None


def _instead(part: Condition, known: Known) -> str:
    """What is known where the condition asked for more."""
    paths = [path for path in wanted_by(part).paths if path in known.values]
    if isinstance(part, Test) and paths == [part.path]:
        return f"; it {said_text(part.path, known.values[part.path])}"
    said = [f"{named(path)} {said_text(path, known.values.get(path, NOTHING))}" for path in paths]
    return f"; {listed(said, 'and')}" if said else ""
