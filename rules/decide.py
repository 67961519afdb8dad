"""Decide: from one event, the rules in force and what is remembered, everything that must be written. Pure.

    plan = reads(event, ruleset, documents)
    decision = decide(event, ruleset, memory, now)      # NotRead: read what it asks for, and call it again
    store.commit(event.tenant, event_document, decision.writes)

The same input gives the same bytes, on every machine. One commit makes the decision true; the memory documents carry
the versions that were read, so that of two decisions about one customer at the same moment one has to look again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from rules import memory as remember
from rules.deciding import Deciding, around, matters
from rules.decision import Decision, Match
from rules.event import Event, iso
from rules.memory import DocumentOf, Members, Memory, NotRead, Question, Read, RuleOf, RunOf, Window, together
from rules.model import RuleVersion
from rules.ruleset import RuleSet, build, documents, subject_of

__all__ = [
    "Decision",
    "DocumentOf",
    "Match",
    "Members",
    "Memory",
    "NotRead",
    "Question",
    "Read",
    "RuleOf",
    "RuleSet",
    "RunOf",
    "Window",
    "build",
    "decide",
    "documents",
    "reads",
]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read before deciding; the rest is asked for when it is needed."""

    candidates: frozenset[str]
    questions: tuple[Question, ...]


def reads(event: Event, ruleset: RuleSet, documents: Mapping[str, Read]) -> Plan:
    """Cheap first: the event's own conditions, then one window a key, as wide as the rules that are left need."""
    candidates = ruleset.program.candidates(event.type, event.data)
    windows: dict[str, Window] = {}
    lists: dict[Members, None] = {}
    for version in ruleset.likely(event.type, candidates):
        listening = ruleset.listening[version.rule.id]
        if not matters(event, version.rule, candidates):
            continue
        if listening.span is None:
            if _may_start(event, version, ruleset):
                lists.update((Members(name), None) for name in version.rule.lists)
            continue
        if key := subject_of(event, version.rule.when.same):
            window = around(event, key, listening)
            windows[key] = windows[key].merged(window) if key in windows else window
    runs = {
        RunOf(id): None
        for read in documents.values()
        for what in ("stops", "undo", "waits")
        for id in remember.listening(read.body, event.type, event.keys, what)
    }
    return Plan(candidates, (*windows.values(), *runs, *lists))


def _may_start(event: Event, version: RuleVersion, ruleset: RuleSet) -> bool:
    """Whether this event by itself is a match that gets as far as the lists of those whom no rule touches."""
    if event.source == "import" or version.mode == "paused" or iso(event.recorded) < version.live_from:
        return False
    return version.rule.id not in ruleset.asks and subject_of(event, version.rule.when.same) is not None


def decide(event: Event, ruleset: RuleSet, memory: Memory, now: datetime, telling: bool = True) -> Decision:
    """What follows from this event, as one value: the writes of one commit, the trace, the runs and the matches.

    event: keyed by the rule set (`rules.ruleset.keyed`). memory: what was read of what `reads` asked for. now: an
    aware datetime, which stands in what is written and starts waits; windows go by the event's own `created`. telling:
    whether the trace says of every rule that listens why it did not fire; without it only what fired, or was taken
    back, is in it. Raises NotRead with the questions whose answers are still missing: read them and decide again. The
    same arguments give the same bytes under every version of Python.
    """
    deciding = Deciding(event, ruleset, memory, now, telling)
    deciding.hear()
    heard = ruleset.by_type.get(event.type, ()) if telling else ruleset.likely(event.type, deciding.candidates)
    missing: list[Question] = []
    for version in heard:
        try:
            deciding.consider(version)
        except NotRead as asked:  # go on, so that what all rules still ask for is read in one round
            missing.extend(asked.questions)
    if missing:
        raise NotRead(*together(missing))
    return deciding.decision()
