"""Answer what facts and scores are read from: windows of the log, lists and the scores' documents."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.scores import document_of
from rules import knowing
from rules.memory import Members, Question, ScoreOf, Window
from rules.model import Rule
from rules.ports import Store
from rules.run import Run
from rules.steps import Advance


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
