"""Memory is what a decision reads beside the event: documents with their versions, windows, runs, lists.

`decide` asks it and never waits: what is not there yet raises NotRead with the question, and the caller reads it and
decides again. The memory document of a customer has the body

    {"open": {run id: {"rule", "number", "mode", "key", "trigger", "created", "stops", "waits"}},
     "undo": {run id: {"rule", "number", "created", "until", "undo"}},
     "last": {"rule|key" or "rule|key|watch": {"for": seconds or null, "at": [[trigger's created, run id], ...]}}}

where stops, waits and undo are lists of `[types, key]`. It is bounded: ended runs leave `open`, a run leaves `undo`
when no event can undo it any more (`until`, unix seconds), and `last` keeps a trigger as long as its rule's re-entry
looks back (`for`; null is for ever).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rules.event import Event
from rules.model import Rule
from rules.run import Run

JSON = Mapping[str, Any]
_GRACE = 40 * 86400  # an event may come this late and still be compared with older runs
_LEAST = 90 * 86400  # remembered at least, because the next version of a rule may look back longer
_KEPT = 50  # triggers kept for one rule and key
_UNDOABLE = 1000  # runs of one document that an event may undo; beyond, the oldest is forgotten
_SLOTS = 2000  # rules and keys of one document; beyond, the oldest is forgotten


@dataclass(frozen=True, slots=True)
class Window:
    """Recorded events of these types that carry this key, `since <= created <= until`."""

    key: str
    types: frozenset[str]
    since: int
    until: int

    def covers(self, other: Window) -> bool:
        inside = self.since <= other.since and other.until <= self.until
        return inside and self.key == other.key and other.types <= self.types

    def merged(self, other: Window) -> Window:
        since, until = min(self.since, other.since), max(self.until, other.until)
        return Window(self.key, self.types | other.types, since, until)


@dataclass(frozen=True, slots=True)
class RunOf:
    id: str


@dataclass(frozen=True, slots=True)
class Members:
    """The members of a suppression list."""

    list: str


@dataclass(frozen=True, slots=True)
class RuleOf:
    id: str
    number: int


@dataclass(frozen=True, slots=True)
class DocumentOf:
    """A memory document; the answer is a Read."""

    id: str


@dataclass(frozen=True, slots=True)
class ScoreOf:
    """A score of a customer; the answer is the document's body with its history, or None (rules.scores)."""

    name: str
    subject: str


Question = Window | RunOf | Members | RuleOf | DocumentOf | ScoreOf


def together(questions: Iterable[Question]) -> list[Question]:
    """The same questions with one window for each key, so that the log is asked once for it."""
    windows: dict[str, Window] = {}
    others: dict[Question, None] = {}
    for question in questions:
        if not isinstance(question, Window):
            others[question] = None
        elif question.key in windows:
            windows[question.key] = windows[question.key].merged(question)
        else:
            windows[question.key] = question
    return [*windows.values(), *others]


class NotRead(Exception):
    """The decision needs these answers too."""

    def __init__(self, *questions: Question) -> None:
        super().__init__(questions)
        self.questions = questions


@dataclass(frozen=True, slots=True)
class Read:
    """A document as it was read: its body and the version to send with the overwrite (`absent` when there was none)."""

    body: JSON
    version: str


@dataclass(frozen=True, slots=True)
class Memory:
    """documents: memory documents by id. The rest: answers to questions, by question. candidates: what the program
    said when the reading was planned, so that conditions are not evaluated twice."""

    documents: Mapping[str, Read] = field(default_factory=dict)
    windows: Mapping[Window, Sequence[Event]] = field(default_factory=dict)
    runs: Mapping[str, tuple[Run, str] | None] = field(default_factory=dict)
    lists: Mapping[str, frozenset[str]] = field(default_factory=dict)
    rules: Mapping[tuple[str, int], Rule] = field(default_factory=dict)
    scores: Mapping[tuple[str, str], JSON | None] = field(default_factory=dict)
    candidates: frozenset[str] | None = None

    def window(self, wanted: Window) -> list[Event]:
        """The events of a window, by (created, id)."""
        for known, events in self.windows.items():
            if known.covers(wanted):
                return [
                    event
                    for event in events
                    if event.type in wanted.types and wanted.since <= event.created <= wanted.until
                ]
        raise NotRead(wanted)

    def run(self, id: str) -> tuple[Run, str] | None:
        """A run and the version it was read at."""
        if id not in self.runs:
            raise NotRead(RunOf(id))
        return self.runs[id]

    def members(self, name: str) -> frozenset[str]:
        if name not in self.lists:
            raise NotRead(Members(name))
        return self.lists[name]

    def rule(self, id: str, number: int) -> Rule:
        if (id, number) not in self.rules:
            raise NotRead(RuleOf(id, number))
        return self.rules[id, number]

    def score(self, name: str, subject: str) -> JSON | None:
        if (name, subject) not in self.scores:
            raise NotRead(ScoreOf(name, subject))
        return self.scores[name, subject]

    def answered(self, answers: Mapping[Question, Any]) -> Memory:
        """The memory with more answers: events, (run, version) or None, members, a rule, a Read, a score's body."""
        windows, runs, lists, rules = dict(self.windows), dict(self.runs), dict(self.lists), dict(self.rules)
        documents, scores = dict(self.documents), dict(self.scores)
        for question, answer in answers.items():
            match question:
                case Window():
                    windows[question] = answer
                case RunOf(id):
                    runs[id] = answer
                case Members(name):
                    lists[name] = frozenset(answer)
                case RuleOf(id, number):
                    rules[id, number] = answer
                case DocumentOf(id):
                    documents[id] = answer
                case ScoreOf(name, subject):
                    scores[name, subject] = answer
        self = replace(self, documents=documents, windows=windows, runs=runs)
        return replace(self, lists=lists, rules=rules, scores=scores)


# ---- the body of a memory document ----------------------------------------------------------------------------------
def slot(rule_id: str, key: str, mode: str) -> str:
    """Where the re-entry memory of a rule and key stands; what watching remembers never holds back a live run.

    >>> slot("twice", "sub:sub_1", "live"), slot("twice", "sub:sub_1", "watch")
    ('twice|sub:sub_1', 'twice|sub:sub_1|watch')
    """
    return f"{rule_id}|{key}" + ("|watch" if mode == "watch" else "")


def open_runs(body: JSON, rule_id: str, key: str, mode: str) -> list[str]:
    return [
        id
        for id, entry in body.get("open", {}).items()
        if entry["rule"] == rule_id and entry["key"] == key and entry["mode"] == mode
    ]


def listening(body: JSON, event_type: str, keys: Iterable[str], what: str) -> list[str]:
    """Open runs with a stop or a wait (`what`: stops | waits) that this event is, or runs that it undoes (undo)."""
    carried = frozenset(keys)
    return [
        id
        for id, entry in body.get("undo" if what == "undo" else "open", {}).items()
        if any(event_type in types and key in carried for types, key in entry[what])
    ]


def past_triggers(body: JSON, where: str) -> list[tuple[int, str]]:
    return [(created, id) for created, id in body.get("last", {}).get(where, {}).get("at", [])]


def remembered(body: JSON, where: str, created: int, run_id: str, look_back: int | None) -> dict[str, Any]:
    """The body with one more trigger in its re-entry memory. look_back: seconds that matter, None = for ever."""
    kept = sorted([*((at, id) for at, id in past_triggers(body, where) if id != run_id), (created, run_id)])
    kept = kept[:1] + kept[max(1, len(kept) - _KEPT + 1) :]
    mine = {"for": look_back, "at": [list(one) for one in kept]}
    last = {place: found for place, found in body.get("last", {}).items() if not _stale(found, created)}
    last = {**last, where: mine}
    if len(last) > _SLOTS:
        del last[min(last, key=lambda place: (last[place]["at"][-1], place))]
    return {**body, "last": last}


def forgotten(body: JSON, run_id: str) -> dict[str, Any]:
    """The body as if this run had never been: its match was taken back before it acted."""
    last: dict[str, Any] = {}
    for where, found in body.get("last", {}).items():
        kept = [one for one in found["at"] if one[1] != run_id]
        if kept:
            last[where] = {**found, "at": kept}
    return {**undo_heard(closed(body, [run_id]), run_id), "last": last}


def _stale(found: JSON, created: int) -> bool:
    look_back = found["for"]
    return look_back is not None and found["at"][-1][0] < created - max(look_back, _LEAST) - _GRACE


def closed(body: JSON, run_ids: Iterable[str]) -> dict[str, Any]:
    """The body without these runs among the open ones."""
    gone = frozenset(run_ids)
    return {**body, "open": {id: entry for id, entry in body.get("open", {}).items() if id not in gone}}


def opened(body: JSON, run_id: str, entry: JSON) -> dict[str, Any]:
    return {**body, "open": {**body.get("open", {}), run_id: entry}}


def undoable(body: JSON, run_id: str, entry: JSON) -> dict[str, Any]:
    """The body with a run that an event may undo; those whose time is over leave, a late event's grace apart."""
    kept = {id: one for id, one in body.get("undo", {}).items() if one["until"] + _GRACE >= entry["created"]}
    kept[run_id] = entry
    while len(kept) > _UNDOABLE:
        del kept[min(kept, key=lambda id: (kept[id]["created"], id))]
    return {**body, "undo": kept}


def undo_heard(body: JSON, run_id: str) -> dict[str, Any]:
    """The body without a run whose undo has begun, or will never be."""
    if run_id not in body.get("undo", {}):
        return dict(body)
    return {**body, "undo": {id: one for id, one in body["undo"].items() if id != run_id}}
