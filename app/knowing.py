"""Answer what facts and scores are read from, and look at all that is known of a customer.

They are read from windows of the log, lists and the scores' documents; rules.knowing works them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from app import scores
from app.scores import document_of
from rules import knowing
from rules.event import Event
from rules.fact_fields import known_field
from rules.facts import FACTS
from rules.folds import About, Said
from rules.knowing import about_event
from rules.memory import Members, Question, ScoreOf, Window
from rules.model import Rule
from rules.ports import Store
from rules.run import Run
from rules.steps import Advance
from rules.texts import known_text
from rules.wanted import Path, Wanted, wanted_by, wanted_by_steps

Row = dict[str, Any]
_LISTS = 500


def answer(store: Store, tenant: str, question: Question) -> Any:
    """The answer to a question of rules.knowing."""
    match question:
        case Window(key, types, since, until):
            return store.window(tenant, key, sorted(types), since, until)
        case Members(name):
            found = store.get(tenant, "list", name)
            return frozenset(found.body["members"]) if found else frozenset()
        case ScoreOf(name, subject):
            return document_of(store, tenant, name, subject)
    raise TypeError(f"facts are not read from {question}")


def woken(store: Store, run: Run, rule: Rule, now: datetime) -> Advance:
    """The run's time has come; what its condition asks for is read now."""
    return knowing.settled(
        lambda memory: knowing.woken(run, rule, memory, now), lambda question: answer(store, run.tenant, question)
    )


def filled(store: Store, tenant: str, rule: Rule, event: Event, now: datetime) -> Event:
    """The event as the texts of a run that it began would read it now: the facts and scores that its steps name
    beside it."""
    wanted = wanted_by_steps(rule)
    if not wanted:
        return event
    about = replace(about_event(event), at=max(int(now.timestamp()), event.created))
    known = knowing.settled(
        lambda memory: knowing.read(wanted, about, memory), lambda question: answer(store, tenant, question)
    )
    return known.with_event(event)


@dataclass(frozen=True, slots=True)
class Beside:
    """What a rule's conditions read beyond an event: to explain a decision, whole."""

    events: tuple[Event, ...] = ()
    lists: Mapping[str, frozenset[str]] = field(default_factory=dict)
    scores: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)


def beside(store: Store, tenant: str, rule: Rule, trigger: Event) -> Beside:
    """Everything that the rule's conditions would read at this trigger."""
    wanted = wanted_by(rule.only_if)
    answers: dict[Question, Any] = {}

    def answered(question: Question) -> Any:
        answers[question] = answer(store, tenant, question)
        return answers[question]

    if wanted:
        knowing.settled(lambda memory: knowing.read(wanted, about_event(trigger), memory), answered)
    events = {one.id: one for question, found in answers.items() if isinstance(question, Window) for one in found}
    lists = {question.list: found for question, found in answers.items() if isinstance(question, Members)}
    scored = {(q.name, q.subject): found for q, found in answers.items() if isinstance(q, ScoreOf) and found}
    return Beside(tuple(events.values()), lists, scored)


# ---- one customer, looked at ----------------------------------------------------------------------------------------
def of_customer(store: Store, tenant: str, customer: str, at: datetime) -> list[Row]:
    """Every fact and score of a customer as of then, in the order of the table: `{"name", "title", "says", "type",
    "value", "text", "event", "path", "currency"}`; text: the value as people write it, empty where nothing is known."""
    lists = tuple(document.id for document in store.find(tenant, "list", order="updated_at", limit=_LISTS).items)
    paths = [fact.path for fact in FACTS.values() if fact.path[1] == "customer"]
    paths += [("score", name) for name in scores.names(store, tenant)]
    second = int(at.timestamp())
    about = About({"cus": customer}, second, second, names=frozenset({customer, f"cus:{customer}"}))
    known = knowing.settled(
        lambda memory: knowing.read(Wanted(tuple(paths), lists), about, memory),
        lambda question: answer(store, tenant, question),
    )
    return [_row(path, said) for path, said in known.values.items()]


def table() -> list[Row]:
    """The facts that there are, each with what it is folded from and what it is when nothing is known."""
    return [
        {
            "name": fact.name,
            "title": fact.title,
            "type": fact.type,
            "says": fact.says,
            "enum": list(fact.enum),
            "empty": fact.empty,
            "sources": list(fact.sources),
        }
        for fact in FACTS.values()
    ]


def _row(path: Path, said: Said) -> Row:
    name = ".".join(path)
    info = known_field(name)
    assert info is not None
    text = known_text(said.value, info.type, said.currency) if said.value is not None else ""
    told = {"name": name, "title": info.label, "says": info.description, "type": info.type, "text": text}
    return {**told, **knowing.journalled(said)}
