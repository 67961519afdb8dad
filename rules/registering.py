"""Where an open run is known: the memory documents that its rule's stops, waits and undo will read, and what they keep.

A decision registers the runs that it begins; a run that a person opens again has to be registered again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rules.event import Event
from rules.model import Rule, Stop
from rules.ruleset import Listening, document_of
from rules.run import Run
from rules.steps import run_key
from rules.window import EVER

JSON = Mapping[str, Any]


def open_record(run: Run, rule: Rule, listening: Listening) -> JSON:
    """What a memory document keeps of an open run (rules.memory)."""
    return {
        "rule": run.rule_id,
        "number": run.version,
        "mode": run.mode,
        "key": run.key,
        "trigger": run.trigger,
        "created": run.triggered,
        "stops": _heard_by(rule.stop_when, run),
        "waits": _heard_by(listening.waits, run),
    }


def undo_record(run: Run, rule: Rule, listening: Listening) -> JSON | None:
    """What a memory document keeps of a run that an event may undo; None when no event may."""
    heard_by = _heard_by(listening.undo, run)
    if rule.undo is None or not heard_by:
        return None
    until = min(EVER, run.triggered + rule.undo.within)
    more = {"created": run.triggered, "until": until, "undo": heard_by}
    return {"rule": run.rule_id, "number": run.version, **more}


def registered_in(listening: Listening, trigger: Event) -> Iterator[str]:
    """The memory documents of the run that this trigger began."""
    yield document_of(trigger, listening.home) or trigger.partition
    for _, home in listening.stops:
        if document := document_of(trigger, home):
            yield document


def _heard_by(stops: Sequence[Stop], run: Run) -> list[list[Any]]:
    return [[list(stop.types), key] for stop in stops if (key := run_key(stop, run.subjects))]
