"""What another API version means: the fields that go, move or change their type, and the rules that read them.

Rules read old and new names alike through the table of moves (rules.aliases); what is told here is which of a rule's
paths stand in a version as they are written, which are read by another name, and which are not there at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

from rules import paths, registry
from rules.aliases import DERIVED, others
from rules.fact_paths import FACT_PATHS
from rules.facts import FACTS
from rules.model import All, Any_, Approve, Condition, Do, If, Not, Rule, Test, Wait
from rules.registry import Shape, Shapes
from rules.subjects import PREFIX
from rules.texts import holes, walk
from rules.wanted import is_known, wanted_by_rule

ChangeKind = Literal["removed", "moved", "retyped", "may be null", "added", "type gone", "type new"]
Standing = Literal["there", "by another name", "missing"]
BREAKING: tuple[ChangeKind, ...] = ("removed", "moved", "retyped", "type gone")
WORKED_OUT = "worked out of other fields"
_WIDER = {  # what conformed still does
    *((type, "any") for type in ("text", "id", "integer", "number", "boolean", "object", "page", "list", "map")),
    ("text", "id"),
    ("integer", "number"),
    ("map", "object"),
    ("any", "map"),
}


# ---- between two versions -------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Change:
    """was, now: in words what it is in either version; for what moved, `now` is the path where it stands."""

    kind: ChangeKind
    type: str
    path: str
    was: str = ""
    now: str = ""

    def body(self) -> dict[str, str]:
        return asdict(self)


@lru_cache(maxsize=1024)
def changes(old: str, new: str, type: str) -> tuple[Change, ...]:
    """Of one event type, those that break first. Only the top of what is gone is told. LookupError."""
    before, after = registry.of(old), registry.of(new)
    if not before.knows(type) and not after.knows(type):
        raise LookupError(f"Neither {old} nor {new} has an event type {type!r}.")
    if not after.knows(type):
        return (Change("type gone", type, ""),)
    if not before.knows(type):
        return (Change("type new", type, ""),)
    was, now = before.shapes(type), after.shapes(type)
    found = [*_gone(type, was, now, after), *_turned(type, was, now), *_new(type, was, now)]
    return tuple(sorted(found, key=lambda one: (one.kind not in BREAKING, one.kind, one.path)))


def between(old: str, new: str, types: Iterable[str]) -> Iterator[Change]:
    """The same of several types."""
    for type in types:
        yield from changes(old, new, type)


def _gone(type: str, was: dict[str, Shape], now: dict[str, Shape], after: Shapes) -> Iterator[Change]:
    told: set[str] = set()
    for path in sorted(was.keys() - now.keys()):
        shape, over = was[path], set(_above(path))
        other = next(_names(after, type, shape), WORKED_OUT if _is_derived(shape) else None)
        if other and not over & told:
            told.add(path)
            yield Change("moved", type, path, shape.says, other)
        elif not other and not any(above in was and above not in now for above in over):
            yield Change("removed", type, path, shape.says)


def _turned(type: str, was: dict[str, Shape], now: dict[str, Shape]) -> Iterator[Change]:
    for path in sorted(was.keys() & now.keys()):
        before, after = was[path], now[path]
        if (before.type, before.item) != (after.type, after.item) and (before.type, after.type) not in _WIDER:
            yield Change("retyped", type, path, before.says, after.says)
        elif after.nullable and not before.nullable:
            yield Change("may be null", type, path, before.says, after.says)


def _new(type: str, was: dict[str, Shape], now: dict[str, Shape]) -> Iterator[Change]:
    for path in sorted(now):
        if path not in was and not any(above in now and above not in was for above in _above(path)):
            yield Change("added", type, path, "", now[path].says)


def _above(path: str) -> Iterator[str]:
    """The fields that hold this one: `data.object.lines.data[].amount` lies in `data.object.lines`."""
    keys = path.split(".")
    for end in range(len(keys) - 1, 2, -1):
        yield ".".join([*keys[: end - 1], keys[end - 1].removesuffix("[]")])


# ---- other names ----------------------------------------------------------------------------------------------------
def _names(shapes: Shapes, type: str, shape: Shape) -> Iterator[str]:
    """Where a version keeps what another has at this path, by the table of moves; the innermost object counts first."""
    keys = tuple(shape.path.split(".")[2:])
    for start, kind in reversed(shape.within):
        for other in others(kind, keys[start:]):
            path = ".".join(("data", "object", *keys[:start], *other))
            if shapes.shape(type, path):
                yield path


def _is_derived(shape: Shape) -> bool:
    """Whether it is worked out of other fields where it is missing."""
    keys = tuple(shape.path.split(".")[2:])
    return any(keys[start:] in DERIVED.get(kind, {}) for start, kind in shape.within)


# ---- what rules read ------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Use:
    """A path that a rule reads of an event type. where: the part of the document, `only_if`, `steps.downgrade`;
    fact: the fact that is folded from it, empty for what the rule names itself."""

    rule: str
    type: str
    path: str
    where: str
    fact: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a use stands in a version. name: the path that is read instead; empty where it is worked out."""

    use: Use
    standing: Standing
    name: str = ""

    def body(self) -> dict[str, str]:
        return {**asdict(self.use), "standing": self.standing, "name": self.name}


def uses(rule: Rule) -> Iterator[Use]:
    """Everything that the rule reads of events, once: conditions, subjects, steps' texts, what facts are made of."""
    seen: set[Use] = set()
    for use in (*_own(rule), *_of_facts(rule)):
        if use not in seen:
            seen.add(use)
            yield use


def _own(rule: Rule) -> Iterator[Use]:
    for where, types, path in _places(rule):
        if path.startswith("data.object."):
            yield from (Use(rule.id, type, path, where) for type in types)


def _places(rule: Rule) -> Iterator[tuple[str, tuple[str, ...], str]]:
    when = rule.when
    later = tuple(type for span in (when.then, when.and_not) if span for type in span.types)
    trigger = when.then.types if when.then else when.types
    for path in _condition(rule.only_if):
        yield "only_if", when.types, path
    if when.same and when.same not in PREFIX:
        yield "when.same", (*when.types, *later), when.same
    if when.counting != "events":
        yield "when.counting", when.types, when.counting
    if when.aggregate:
        yield "when.aggregate", when.types, when.aggregate.field
    if rule.money:
        yield "money", trigger, rule.money
    for stop in rule.stop_when:
        if stop.same not in PREFIX:
            yield "stop_when", stop.types, stop.same
    for step in walk(rule.steps):
        for path in _step(step):
            yield f"steps.{step.name}", trigger, path


def _step(step: Any) -> Iterator[str]:
    match step:
        case Do():
            yield from (paths.join(path) for path in holes(step.params))
        case If():
            yield from _condition(step.condition)
        case Approve() if step.condition is not None:
            yield from _condition(step.condition)
        case Wait() if step.until and not step.until[:1].isdigit():
            yield step.until


def _condition(condition: Condition, inside: str = "") -> Iterator[str]:
    """The paths of a condition; those inside a list's items from the list on, `data.object.lines.data[].amount`."""
    match condition:
        case All(parts) | Any_(parts):
            for part in parts:
                yield from _condition(part, inside)
        case Not(part):
            yield from _condition(part, inside)
        case Test():
            for path in (condition.path, *((condition.other.path,) if condition.other else ())):
                own = not inside or paths.from_root(path)
                yield paths.join(path) if own else f"{inside}.{paths.join(path)}"
            if condition.where is not None:
                yield from _condition(condition.where, f"{paths.join(condition.path)}[]")


def _of_facts(rule: Rule) -> Iterator[Use]:
    for known in wanted_by_rule(rule).paths:
        name = ".".join(known)
        fact = FACTS.get(name) if is_known(known) else None
        for type in fact.sources if fact else ():
            kinds = registry.newest().objects(type)
            for kind, fields in FACT_PATHS.get(name, {}).items():
                if kind in kinds:
                    yield from (Use(rule.id, type, f"data.object.{field}", "facts", name) for field in fields)


def reading(use: Use, version: str) -> Reading:
    """How a version of the API serves this use. What no version has of this type, as where one rule listens to several,
    and what thin events have, is no matter of versions: it is taken as there."""
    shapes = registry.of(version)
    if not shapes.knows(use.type):
        return Reading(use, "missing")
    if not shapes.objects(use.type) or shapes.shape(use.type, use.path):
        return Reading(use, "there")
    known = next(_elsewhere(use, version), None)
    if known is None:
        return Reading(use, "there")
    name = next(_names(shapes, use.type, known), None)
    if name:
        return Reading(use, "by another name", name)
    return Reading(use, "by another name" if _is_derived(known) else "missing")


def _elsewhere(use: Use, version: str) -> Iterator[Shape]:
    """The field in the newest version that has it."""
    for other in reversed(registry.versions()):
        shape = registry.of(other).shape(use.type, use.path) if other != version else None
        if shape:
            yield shape


@dataclass(frozen=True, slots=True)
class Loss:
    """A use that a version serves worse than another. now: how."""

    was: Reading
    now: Reading

    def body(self) -> dict[str, str]:
        return {**self.now.body(), "was": self.was.standing}


_RANK: dict[Standing, int] = {"there": 0, "by another name": 1, "missing": 2}


def losses(rules: Iterable[Rule], old: str, new: str) -> list[Loss]:
    """What the rules read that a move from one version to the other takes away or renames, the worst first."""
    found = [Loss(reading(use, old), reading(use, new)) for rule in rules for use in uses(rule)]
    worse = [one for one in found if _RANK[one.now.standing] > _RANK[one.was.standing]]
    return sorted(worse, key=lambda one: (-_RANK[one.now.standing], one.now.use.rule, one.now.use.path))


def unserved(rules: Iterable[Rule], version: str) -> list[Reading]:
    """What the rules read that this version does not have under that name, the worst first."""
    found = [reading(use, version) for rule in rules for use in uses(rule)]
    odd = [one for one in found if one.standing != "there"]
    return sorted(odd, key=lambda one: (-_RANK[one.standing], one.use.rule, one.use.path))
