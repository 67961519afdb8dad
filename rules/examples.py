"""Run a rule's saved examples: the given events through the real decision, on virtual time, and whether it came out as
the example says. Pure; it is asked at every change, and a rule with an example that does not hold is not put in force.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rules import skeletons
from rules.catalogue import Catalogue
from rules.context import Context
from rules.event import Event, seconds
from rules.example import ANCHOR, SPAN, Example, Given, field_of, seconds_of
from rules.example_reader import read_examples
from rules.explain import explain
from rules.model import Problem, Rule
from rules.reading import Node, is_time
from rules.rehearsal import TENANT, Rehearsal
from rules.run import OPEN, Run
from rules.steps import current_step
from rules.subjects import correlation_of, keys_of, partition_of
from rules.texts import actions_of
from rules.words import moment, span_text
from rules.workflow import ABSENCE

JSON = Mapping[str, Any]
_OURS = "run_example/step"  # what stands for our own action, in an event that one of them caused


@dataclass(frozen=True, slots=True)
class ExampleResult:
    """What came of one example. index: its place. holds: as it says. expected, happened: sentences. gate: the first
    closed one, None when it fired. tree: the conditions explained (rules.tree), None when no event came to them.
    stands: where the run stood at the end, empty without one. run: the run's story, oldest first."""

    index: int
    holds: bool
    expected: str
    happened: str
    gate: str | None = None
    tree: JSON | None = None
    stands: str = ""
    story: tuple[JSON, ...] = ()

    def body(self) -> dict[str, Any]:
        return {
            "example": self.index,
            "holds": self.holds,
            "expected": self.expected,
            "happened": self.happened,
            "gate": self.gate,
            "stands": self.stands,
            "tree": self.tree,
            "story": [dict(one) for one in self.story],
        }

    def problem(self) -> Problem:
        """Why the rule cannot be put in force."""
        return Problem(f"examples[{self.index}]", f"the example does not hold: {self.expected} {self.happened}")


def check_examples(
    rule: Rule, catalogue: Catalogue, recorded: Mapping[str, Event] | None = None
) -> list[ExampleResult]:
    """What comes of each of the rule's examples. recorded: the events of the log that they name, by id."""
    results = []
    for index, body in enumerate(rule.examples):
        problems: list[Problem] = []
        node = Node([body], "examples", problems)
        found = read_examples(node, Context(catalogue, None), actions_of(rule.steps), rule.never_for)
        if found:
            results.append(_result(index, rule, found[0], catalogue, recorded or {}))
        else:
            results.append(_unread(index, problems))
    return results


def recorded_in(document: JSON) -> tuple[str, ...]:
    """The ids of the events of the log that a document's examples name. Takes any JSON."""
    examples = document.get("examples")
    given = [
        event
        for example in (examples if isinstance(examples, list) else ())
        if isinstance(example, dict) and isinstance(example.get("given"), list)
        for event in example["given"]
    ]
    return tuple(dict.fromkeys(one.strip() for one in given if isinstance(one, str) and one.strip().startswith("evt_")))


# ---- one example ----------------------------------------------------------------------------------------------------
def _result(
    index: int, rule: Rule, example: Example, catalogue: Catalogue, recorded: Mapping[str, Event]
) -> ExampleResult:
    missing = [one.recorded for one in example.given if one.recorded and one.recorded not in recorded]
    if missing:
        said = f"There is no event {missing[0]} here."
        return ExampleResult(index, False, _expected(example), said, "event")
    events = events_of(example, catalogue, recorded)
    end = _end(rule, example, events, _at(example, recorded))
    rehearsal = Rehearsal(rule, _lists(example, events), example.answers)
    rehearsal.play(events, end)
    return _judged(index, example, rehearsal, end)


def _judged(index: int, example: Example, rehearsal: Rehearsal, end: int) -> ExampleResult:
    began = rehearsal.began
    gate, sentence, tree = _explained(rehearsal, end)
    run = began[-1] if began else None
    stands = standing(run, rehearsal.version.rule) if run else ""
    holds = bool(began) == example.fires and example.gate in (None, gate) and example.stands in ("", stands)
    if run:
        gate = None
        happened = f"It fires{_standing_said(stands, end) if example.stands else ''}: {run.story[0]['text']}"
    else:
        waits = [one for one in rehearsal.runs.values() if one.position == ABSENCE]
        happened = f"It does not fire: {waits[-1].story[-1]['text'] if waits else sentence}"
    return ExampleResult(index, holds, _expected(example), happened, gate, tree, stands, run.story if run else ())


def standing(run: Run, rule: Rule) -> str:
    """The name of the step the run stands at, or how it ended."""
    if run.undo.get("state") == "done":
        return "undone"
    step = current_step(run, rule) if run.state in OPEN else None
    return step.name if step else str(run.state)


def _explained(rehearsal: Rehearsal, end: int) -> tuple[str | None, str, JSON | None]:
    """(gate, sentence, tree) at the last event that the rule had something to say about."""
    for event, decision in reversed(rehearsal.played):
        entries = [one for one in decision.trace["rules"] if one["rule"] == rehearsal.version.rule.id]
        if not entries:
            continue
        about = entries[-1].get("trigger", event.id)
        known = [one for one, _ in rehearsal.played]
        found = explain(
            rehearsal.version,
            known,
            event=about,
            runs=rehearsal.runs.values(),
            now=seconds(end),
            members=rehearsal.lists,
        )
        gate, sentence = entries[-1]["gate"], entries[-1]["sentence"]
        return gate, found["sentence"] if found["gate"] == gate else sentence, found["tree"]
    return "event", "no event that the rule listens to was given.", None


def _expected(example: Example) -> str:
    said = "It should fire" if example.fires else "It should not fire"
    if example.gate:
        return f"{said}, and the closed gate should be “{example.gate}”."
    if example.because:
        said += f" ({example.because.rstrip('.')})"
    if example.stands:
        when = f" {span_text(example.after)} later" if example.after else ""
        said += f" and {_where(example.stands)}{when}"
    return said + "."


def _where(stands: str) -> str:
    return f"be {stands}" if stands in ("done", "stopped", "failed", "undone") else f"stand at “{stands}”"


def _standing_said(stands: str, end: int) -> str:
    where = f"is {stands}" if stands in ("done", "stopped", "failed", "undone") else f"stands at “{stands}”"
    return f" and {where} {moment(seconds(end))}"


def _unread(index: int, problems: Sequence[Problem]) -> ExampleResult:
    said = "; ".join(f"{one.path.replace('examples[0]', f'examples[{index}]')}: {one.message}" for one in problems)
    return ExampleResult(index, False, "It should be an example.", said[:1].upper() + said[1:] + ".", "event")


# ---- its events -----------------------------------------------------------------------------------------------------
def events_of(example: Example, catalogue: Catalogue, recorded: Mapping[str, Event]) -> list[Event]:
    """The events that are given, in the order in which they are written."""
    at = _at(example, recorded)
    return [_event(number, given, at, catalogue, recorded) for number, given in enumerate(example.given, 1)]


def _at(example: Example, recorded: Mapping[str, Event]) -> int:
    if example.at is not None:
        return example.at
    own = [one.at for one in example.given if one.at is not None]
    own += [recorded[one.recorded].created for one in example.given if one.recorded]
    own += [int(one.envelope["created"]) for one in example.given if one.envelope is not None]
    return max(own, default=ANCHOR)


def _event(number: int, given: Given, at: int, catalogue: Catalogue, recorded: Mapping[str, Event]) -> Event:
    if given.recorded:
        return recorded[given.recorded]
    if given.envelope is not None:
        return _of_envelope(given.envelope)
    created = given.at if given.at is not None else at + given.offset
    envelope = skeletons.envelope(f"evt_example_{number}", given.type, created, given.subjects)
    for path, value in given.values:
        skeletons.put(envelope, path, _instant(catalogue, given.type, path, value, created))
    return _of_envelope(envelope, _OURS if given.ours else None)


def _instant(catalogue: Catalogue, type: str, path: tuple[str, ...], value: Any, created: int) -> Any:
    """The value as Stripe writes it: a time in unix seconds, from a span that counts from the event too."""
    info = field_of(catalogue, type, path) if len(path) > 2 and isinstance(value, str) else None
    if info is None or info.type != "time":
        return value
    if SPAN.fullmatch(value):
        return created + seconds_of(value)
    return int(datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp()) if is_time(value) else value


def _of_envelope(envelope: JSON, causation: str | None = None) -> Event:
    keys = keys_of(envelope, "example")
    created = int(envelope["created"])
    return Event(
        id=str(envelope["id"]),
        type=str(envelope["type"]),
        tenant=TENANT,
        created=created,
        recorded=seconds(created),
        data=envelope,
        correlation=correlation_of(envelope),
        partition=partition_of(keys),
        keys=keys,
        causation=causation,
    )


def _end(rule: Rule, example: Example, events: Sequence[Event], at: int) -> int:
    """The last second that is played."""
    if example.after is not None:
        return at + example.after
    return max(event.created for event in events) + (rule.when.and_not.within + 1 if rule.when.and_not else 0)


def _lists(example: Example, events: Sequence[Event]) -> dict[str, frozenset[str]]:
    """The suppression lists that the customers of the example are on."""
    customers = frozenset(key.partition(":")[2] for event in events for key in event.keys if key.startswith("cus:"))
    return {name: customers for name in example.lists}
