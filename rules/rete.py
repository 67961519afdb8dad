"""The durable-rules matcher: Rete, in the one confined mode that was measured to be right and safe.

Used as its documentation says, the engine crashes, hangs and answers wrong on ordinary input. Here it sees only flat
facts of typed slots and `$and` chains that begin with an anchor (rules.dnf), at most 60 chains and 200 slots a handle,
handles by event type, each under a lock; facts are retracted at once. What goes wrong throws the handle away: the
answer then comes from the plain-Python program, and a new handle is built.
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeVar

import durable_rules_engine as engine

from rules.dnf import MOST_CHAINS, Atom, Chain, Op, Slot, chains, plain_number
from rules.expr import compile_conditions
from rules.guards import Need, Range, Texts, grow, hull, meet
from rules.matcher import JSON, Bound, Number, Program, PythonProgram, Report, RuleId, bound, combined
from rules.model import All, Condition, Rule, Test
from rules.projection import compile_projection, held

NAME = "durable-rules/2.0.28"
MOST_SLOTS = 200
_FEW = (
    24  # chains that are not parted further: a handle costs 2.7 us an event and 180 KB, a chain 0.05-0.13 us and 22 KB
)
_INFINITE = float("inf")
_HEAD = '{"id":"1","sid":"1","k":1'
_SENTINEL = '{"id":"1","sid":"1","k":2}'
_OPS: dict[Op, str] = {
    "neq": "$neq",
    "lt": "$lt",
    "lte": "$lte",
    "gt": "$gt",
    "gte": "$gte",
    "ex": "$ex",
    "nex": "$nex",
}
_BOUND_OPS: dict[str, Op] = {
    "greater or equal to": "gte",
    "greater than": "gt",
    "less or equal to": "lte",
    "less than": "lt",
    "equal to": "eq",
    "not equal to": "neq",
}
_names = itertools.count()
_log = logging.getLogger("signalbox")


class Unfit(Exception):
    """This event holds a value that the engine does not read as Python does; Python answers for it."""


class Closed(Exception):
    """The handle is closed; somebody still had the old program."""


class Broken(Exception):
    """The engine answered what it must not."""


class DurableMatcher:
    name = "durable"

    def __init__(self, report: Report = _log.error) -> None:
        self._report = report

    def compile(self, rules: Sequence[Rule], before: Program | None = None) -> DurableProgram:
        return DurableProgram(rules, self._report, before if isinstance(before, DurableProgram) else None)


class DurableProgram:
    """A rule set in the engine, with the plain-Python program beside it."""

    def __init__(self, rules: Sequence[Rule], report: Report, before: DurableProgram | None = None) -> None:
        self._python: PythonProgram = PythonProgram(rules, NAME, before._python if before else None)
        self._report = report
        self.revision = self._python.revision
        known = before._types if before else {}
        self._types: dict[str, _Type] = {
            event_type: _taken_over(known.get(event_type), found) or _Type(found)
            for event_type, found in _by_type(rules).items()
        }
        self._bounds = {rule.id: needed for rule in rules if (needed := bound(rule))}
        bounds = list(self._bounds.values())
        self._numbers: _Numbers = (_taken_over(before._numbers, bounds) if before else None) or _Numbers(bounds)

    def candidates(self, event_type: str, doc: JSON) -> frozenset[RuleId]:
        found = self._types.get(event_type)
        if found is None:
            return frozenset()
        try:
            return found.match(doc)
        except (Unfit, Closed):
            return self._python.candidates(event_type, doc)
        except Exception as error:
            self._report(f"durable-rules failed on {event_type} ({error!r}); the Python matcher answered")
            return self._python.candidates(event_type, doc)

    def reached(self, slots: Mapping[RuleId, Number]) -> frozenset[RuleId]:
        try:
            return self._numbers.reached(slots)
        except (Unfit, Closed):
            return self._python.reached(slots)
        except Exception as error:
            self._report(f"durable-rules failed on {dict(slots)} ({error!r}); the Python matcher answered")
            return self._python.reached(slots)

    def match(self, event_type: str, doc: JSON, slots: Mapping[RuleId, Number]) -> frozenset[RuleId]:
        return combined(self, self._bounds, event_type, doc, slots)

    def needs(self, event_type: str) -> Sequence[Bound]:
        return self._python.needs(event_type)

    def close(self) -> None:
        for found in self._types.values():
            found.close()
        self._numbers.close()


def _by_type(rules: Sequence[Rule]) -> dict[str, list[tuple[RuleId, Condition]]]:
    found: dict[str, list[tuple[RuleId, Condition]]] = {}
    for rule in rules:
        for event_type in dict.fromkeys(rule.when.types):
            found.setdefault(event_type, []).append((rule.id, rule.only_if))
    return found


class _Shared:
    """Handles that programs which follow each other share while what they are made of stays the same."""

    def __init__(self, made_of: Sequence[object]) -> None:
        self.made_of = made_of
        self.handles: list[_Handle] = []
        self._users = 1
        self._lock = threading.Lock()

    def share(self) -> bool:
        """One more program uses them; False when they are freed already."""
        with self._lock:
            self._users += self._users > 0
            return self._users > 0

    def close(self) -> None:
        with self._lock:
            self._users -= self._users > 0
            last = self._users == 0
        for handle in self.handles if last else ():
            handle.close()


_Kept = TypeVar("_Kept", bound=_Shared)


def _taken_over(known: _Kept | None, made_of: Sequence[object]) -> _Kept | None:
    return known if known is not None and known.made_of == made_of and known.share() else None


class _Type(_Shared):
    """The rules of one event type: slots filled from the event, chains in handles, handles that cannot hold skipped."""

    def __init__(self, rules: Sequence[tuple[RuleId, Condition]]) -> None:
        super().__init__(rules)
        predicates: dict[Slot, Condition] = {}
        pairs = [(rule_id, chain) for rule_id, condition in rules for chain in chains(condition, predicates)]
        slots = tuple(dict.fromkeys(atom.slot for _, chain in pairs for atom in sorted(chain, key=_atom_order)))
        names = {slot: f"{slot.kind}{index}" for index, slot in enumerate(slots)}
        used = {index: predicates[slot] for index, slot in enumerate(slots) if slot.kind == "p"}
        groups = list(_grouped(pairs))
        self.project = compile_projection(slots, Unfit)
        self.predicates = compile_conditions(used) if used else None
        self.predicate_slots = tuple(used)
        self.handles = [_Handle(group, names, slots) for group in groups]
        self.possible = compile_conditions({index: _necessary(group) for index, group in enumerate(groups)})

    def match(self, doc: JSON) -> frozenset[RuleId]:
        possible = [self.handles[index] for index in self.possible(doc)]
        if not possible:
            return frozenset()
        parts = self.project(doc)
        if self.predicates and any(handle.predicates for handle in possible):
            true = self.predicates(doc)
            for index in self.predicate_slots:
                parts[index] = f',"p{index}":{int(index in true)}'
        if len(possible) == 1:
            return frozenset(possible[0].fire(parts))
        return frozenset().union(*[handle.fire(parts) for handle in possible])


class _Numbers(_Shared):
    """The bounds of rules that need a number: one slot a rule."""

    def __init__(self, bounds: Sequence[Bound]) -> None:
        super().__init__(bounds)
        self.where: dict[RuleId, tuple[_Handle, int]] = {}
        plain = [one for one in bounds if plain_number(one.value)]
        self.outside = {one.slot: one for one in bounds if not plain_number(one.value)}
        for start in range(0, len(plain), MOST_CHAINS):
            self._add(plain[start : start + MOST_CHAINS])

    def _add(self, bounds: Sequence[Bound]) -> None:
        slots = [Slot("n", (one.slot,)) for one in bounds]
        names = {slot: f"n{index}" for index, slot in enumerate(slots)}
        atoms = [Atom(slot, _BOUND_OPS[one.operator], one.value) for slot, one in zip(slots, bounds, strict=True)]
        chains = [(one.slot, frozenset({atom})) for one, atom in zip(bounds, atoms, strict=True)]
        handle = _Handle(chains, names, slots)
        self.handles.append(handle)
        self.where.update((one.slot, (handle, index)) for index, one in enumerate(bounds))

    def reached(self, slots: Mapping[RuleId, Number]) -> frozenset[RuleId]:
        parts: dict[_Handle, list[str]] = {}
        found = {id for id, number in slots.items() if id in self.outside and self.outside[id].reached(number)}
        for id, number in slots.items():
            if id in self.where:
                handle, index = self.where[id]
                if not plain_number(number):
                    raise Unfit
                known = parts.setdefault(handle, [""] * len(handle.rules))
                known[index] = f',"n{index}":{held(number)}'
        return frozenset(found.union(*(handle.fire(known) for handle, known in parts.items())))


class _Handle:
    """One ruleset of the engine: chains under a lock, rebuilt when it misbehaves."""

    def __init__(
        self, chains: Sequence[tuple[RuleId, Chain]], names: Mapping[Slot, str], slots: Sequence[Slot]
    ) -> None:
        self.rules = [rule_id for rule_id, _ in chains]
        used = {atom.slot for _, chain in chains for atom in chain}
        self.predicates = any(slot.kind == "p" for slot in used)
        indexes = [index for index, slot in enumerate(slots) if slot in used]
        self._pick: Callable[[Sequence[str]], Iterable[str]] = itemgetter(*indexes) if indexes else lambda parts: ()
        definition: dict[str, Any] = {"z": {"all": [{"m": {"k": 2}}]}}
        for index, (_, chain) in enumerate(chains):
            definition[f"c{index}"] = {"all": [{"m": _condition(chain, names)}]}
        self._definition = json.dumps(definition, ensure_ascii=False)
        self._lock = threading.Lock()
        self._open = True
        self._handle = self._created()

    def fire(self, parts: Sequence[str]) -> set[RuleId]:
        """The rules of the chains that hold. parts: the JSON of every slot of the type, empty where not filled."""
        message = f"{_HEAD}{''.join(self._pick(parts))}}}"
        with self._lock:
            if not self._open:
                raise Closed
            try:
                fired = _evaluate(self._handle, message)
            except Exception:
                self._handle = self._created()  # the old one is in no known state; freeing it could crash
                raise
        return {self.rules[int(name[1:])] for name in fired}

    def close(self) -> None:
        """Free the engine's memory. Safe only after an action ran in the session, which the sentinel sees to."""
        with self._lock:
            if not self._open:
                return
            self._open = False
            _evaluate(self._handle, _SENTINEL)
            engine.delete_state(self._handle, "1")
            engine.delete_ruleset(self._handle)

    def _created(self) -> int:
        return int(engine.create_ruleset(f"signalbox{next(_names)}", self._definition))


def _evaluate(handle: int, message: str) -> list[str]:
    """Assert the fact, run what fires, retract it; the names of the chains that fired."""
    status, state = engine.assert_fact(handle, message)
    fired: list[str] = []
    if status == 0:
        started = engine.start_action_for_state(handle, state)
        action = started[1] if started else None
        while action:
            fired.append(action[2 : action.index('"', 2)])
            action = engine.complete_and_start_action(handle, state)
    elif status != 1:
        raise Broken(f"assert_fact answered {status}")
    engine.retract_fact(handle, message)
    return fired


def _condition(chain: Chain, names: Mapping[Slot, str]) -> dict[str, Any]:
    """The chain with its anchor first, equalities before the rest so that chains share their beginnings."""
    if not chain:
        return {"k": 1}
    return {"$and": [{"k": 1}, *(_test(atom, names[atom.slot]) for atom in sorted(chain, key=_atom_order))]}


def _test(atom: Atom, name: str) -> dict[str, Any]:
    value = held(atom.value) if atom.op not in ("ex", "nex") else 1
    return {name: value} if atom.op == "eq" else {_OPS[atom.op]: {name: value}}


def _grouped(pairs: Sequence[tuple[RuleId, Chain]]) -> Iterator[list[tuple[RuleId, Chain]]]:
    """Chains that need the same things of an event side by side (rules.guards), cut into what one handle may hold."""
    for leaf in grow([(pair, _box(pair[1])) for pair in pairs], _FEW).leaves():
        group: list[tuple[RuleId, Chain]] = []
        slots: set[Slot] = set()
        for row in leaf:
            more = slots | {atom.slot for atom in row[1]}
            if len(group) >= MOST_CHAINS or len(more) > MOST_SLOTS:
                yield group
                group, more = [], {atom.slot for atom in row[1]}
            group.append(row)
            slots = more
        if group:
            yield group


def _box(chain: Chain) -> dict[tuple[str, ...], Need]:
    """What a chain needs of the event."""
    return meet({atom.slot.of: need} for atom in sorted(chain, key=_atom_order) if (need := _need(atom)))


def _need(atom: Atom) -> Need | None:
    value = atom.value
    if isinstance(value, str):
        return Texts(frozenset({value})) if atom.slot.kind == "s" and atom.op == "eq" else None
    if atom.slot.kind != "n":
        return None
    ranges = {"eq": Range(value, value), "gt": Range(value, _INFINITE), "lt": Range(-_INFINITE, value)}
    return ranges.get(atom.op[:2]) if atom.op != "nex" else None


def _necessary(group: Sequence[tuple[RuleId, Chain]]) -> Condition:
    """What must hold of an event before any chain of the group can."""
    return All(tuple(_as_test(path, need) for path, need in hull([_box(chain) for _, chain in group]).items()))


def _as_test(path: tuple[str, ...], need: Need) -> Test:
    if isinstance(need, Texts):
        return Test("", path, "one of", tuple(sorted(need.values)))
    return Test("", path, "between", (need.low, need.high))


def _atom_order(atom: Atom) -> tuple[bool, str, tuple[str, ...], str, str]:
    return atom.op != "eq", atom.slot.kind, atom.slot.of, atom.op, repr(atom.value)
