"""Columns: the few values of an event that a set of rules reads, so that a pass over history need not read the rest.

`reads_of` says which types and paths rules read; `slim_of` takes those values out of an event. What is read from a
slim event is what would be read from the whole one, or `whole` says why that cannot be promised.

    >>> envelope = {"type": "t.a", "created": 5, "data": {"object": {"object": "invoice", "total": 7, "lines": {}}}}
    >>> pruned(envelope, [("data", "object", "total"), ("created",)])
    {'data': {'object': {'total': 7}}, 'created': 5}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from rules import paths
from rules.aliases import DERIVED, may_have_moved
from rules.event import Event, seconds
from rules.fields import MISSING, read
from rules.model import All, Any_, Condition, Not, Rule, Test
from rules.ruleset import listens
from rules.subjects import PREFIX
from rules.wanted import sources_of, wanted_by_rule
from rules.window import takes_part

JSON = Mapping[str, Any]
Path = tuple[str, ...]
CLASS: Path = ("data", "object", "object")
_CURRENCY: Path = ("data", "object", "currency")
_PREVIOUS: Path = ("data", "previous_attributes")
_TIMED = ("in the last", "in the next")


class Slim(NamedTuple):
    """An event with the values that rules read: `data` is the envelope cut down to them, or the whole of it."""

    created: int
    id: str
    type: str
    keys: Sequence[str]
    partition: str
    causation: str | None
    data: JSON

    def key(self, prefix: str) -> str | None:
        """The event's first key with this prefix, as Event.key."""
        start = prefix + ":"
        for key in self.keys:
            if key.startswith(start):
                return key
        return None


@dataclass(frozen=True, slots=True)
class Reads:
    """types: the event types that matter. paths: by type, what is read of one. whole: why whole events are needed, in
    words; empty when these paths are enough."""

    types: frozenset[str]
    paths: Mapping[str, tuple[Path, ...]]
    whole: str = ""

    def merged(self, other: Reads) -> Reads:
        found = {
            type: tuple(sorted({*self.paths.get(type, ()), *other.paths.get(type, ())}))
            for type in sorted(self.types | other.types)
        }
        return Reads(self.types | other.types, found, self.whole or other.whole or _clash(found))


class Columns(Protocol):
    """Where slim events are kept beside the log. Nothing here is the truth: it can be made again from the events."""

    def fill(self, tenant: str, paths: Mapping[str, Sequence[Path]], limit: int) -> int:
        """Take these values out of up to so many recorded events of these types that are not there yet; how many
        events were looked at. 0: every recorded one is there. Raises Unavailable."""
        ...

    def slims(
        self, tenant: str, types: Iterable[str], since: int | None, until: int | None, after: tuple[int, str] | None
    ) -> list[Slim]:
        """The next page of slim events of these types behind `after`, by (created, id); empty at the end."""
        ...


# ---- what rules read ------------------------------------------------------------------------------------------------
def reads_of(rules: Iterable[Rule], more: Iterable[str] = ()) -> Reads:
    """What a pass of these rules over history reads of each event that does not start a run. more: further types of
    which only the keys matter."""
    found: dict[str, set[Path]] = {type: {CLASS} for type in more}
    declared: set[Path] = set()
    whole = ""
    for rule in rules:
        whole = whole or _needs_whole(rule)
        _add(found, rule)
        if rule.when.same and rule.when.same not in PREFIX:
            declared.add(paths.split(rule.when.same))
    ordered = {type: tuple(sorted(mine | declared)) for type, mine in sorted(found.items())}
    return Reads(frozenset(ordered), ordered, whole or _clash(ordered))


def _add(found: dict[str, set[Path]], rule: Rule) -> None:
    when, listening = rule.when, listens(rule)
    heard = {type for stop, _ in listening.stops for type in stop.types}
    for type in {*takes_part(when), *heard, *sources_of(wanted_by_rule(rule))}:
        found.setdefault(type, set()).add(CLASS)
    counted = {path for path, inside in condition_reads(rule.only_if) if not inside}
    if when.aggregate:
        counted |= {when.aggregate.path, _CURRENCY}
    if when.counting != "events":
        counted.add(paths.split(when.counting))
    for type in when.types:
        found[type] |= counted


def condition_reads(condition: Condition, inside: bool = False) -> Iterator[tuple[Path, bool]]:
    """Every path that a condition reads, and whether it starts inside a list's item."""
    match condition:
        case All(parts) | Any_(parts):
            for part in parts:
                yield from condition_reads(part, inside)
        case Not(part):
            yield from condition_reads(part, inside)
        case Test():
            yield from _test_reads(condition, inside)


def _test_reads(test: Test, inside: bool) -> Iterator[tuple[Path, bool]]:
    for path in (test.path, *((test.other.path,) if test.other else ())):
        yield path, inside and not paths.from_root(path)
    if test.operator.startswith("changed"):
        yield _PREVIOUS, False
    if test.operator in _TIMED:
        yield ("created",), False
    if test.where is not None:
        yield from condition_reads(test.where, inside=True)


# ---- what cannot be cut down ----------------------------------------------------------------------------------------
def _needs_whole(rule: Rule) -> str:
    """Why a pass of this rule needs whole events; empty when it does not."""
    if wanted := wanted_by_rule(rule):
        return f"{rule.id} reads {paths.join(wanted.paths[0])}, which is folded from whole events"
    for path, inside in condition_reads(rule.only_if):
        if inside and path in DERIVED["subscription_item"]:
            return f"{rule.id} reads {paths.join(path)} of list items, which older API versions keep elsewhere"
    return ""


def _clash(found: Mapping[str, Sequence[Path]]) -> str:
    """A path that other API versions keep elsewhere, below another path that is read: a cut-down envelope could show
    the second where the event has none."""
    for type, wanted in found.items():
        for path in wanted:
            below = any(path[:length] in wanted for length in range(1, len(path)))
            if below and may_have_moved(path[2:]):
                return f"{paths.join(path)} of {type} is read together with what holds it"
    return ""


# ---- cutting down ---------------------------------------------------------------------------------------------------
def pruned(envelope: JSON, wanted: Sequence[Path]) -> dict[str, Any]:
    """The envelope cut down to these paths, each value where the newest API version has it."""
    kept: dict[str, Any] = {}
    for path in sorted(wanted, key=len, reverse=True):  # what holds another comes later, and holds it again
        value = read(envelope, path)
        if value is MISSING:
            continue
        into = kept
        for key in path[:-1]:
            into = into.setdefault(key, {})
        into[path[-1]] = value
    return kept


def slim_of(event: Event, wanted: Sequence[Path] | None = None) -> Slim:
    """The event with these values only; with all of them without `wanted`."""
    data = event.data if wanted is None else pruned(event.data, wanted)
    return Slim(event.created, event.id, event.type, event.keys, event.partition, event.causation, data)


def event_of(slim: Slim, tenant: str) -> Event:
    """The slim event as one that was heard of when it was created, for deciding on virtual time."""
    return Event(
        id=slim.id,
        type=slim.type,
        tenant=tenant,
        created=slim.created,
        recorded=seconds(slim.created),
        data=slim.data,
        correlation="",
        partition=slim.partition,
        keys=tuple(slim.keys),
        causation=slim.causation,
    )
