"""The durable-rules matcher: Rete, in the one confined mode that was measured to be right and safe.

Used as its documentation says, the engine crashes, hangs and answers wrong on ordinary input. Here it sees only flat
facts of typed slots and `$and` chains that begin with an anchor (rules.dnf), at most 60 chains and 200 slots a handle,
handles by event type, each under a lock; facts are retracted at once. What goes wrong throws the handle away: the
answer then comes from the plain-Python program, and a new handle is built.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import durable_rules_engine as engine

from rules.dnf import LONGEST_TEXT, MOST_CHAINS, Atom, Chain, Op, Slot, chains, plain_number
from rules.expr import compile_conditions
from rules.fields import MISSING, read
from rules.matcher import JSON, Bound, Number, PythonProgram, Report, RuleId, bound, combined
from rules.model import Condition, Rule

NAME = "durable-rules/2.0.28"
MOST_SLOTS = 200
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

    def compile(self, rules: Sequence[Rule]) -> DurableProgram:
        return DurableProgram(rules, self._report)


class DurableProgram:
    """A rule set in the engine, with the plain-Python program beside it."""

    def __init__(self, rules: Sequence[Rule], report: Report) -> None:
        self._python = PythonProgram(rules, NAME)
        self._report = report
        self.revision = self._python.revision
        self._types = {event_type: _Type(found) for event_type, found in _by_type(rules).items()}
        self._bounds = {rule.id: needed for rule in rules if (needed := bound(rule))}
        self._numbers = _Numbers(list(self._bounds.values()))

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


def _by_type(rules: Sequence[Rule]) -> dict[str, list[Rule]]:
    found: dict[str, list[Rule]] = {}
    for rule in rules:
        for event_type in dict.fromkeys(rule.when.types):
            found.setdefault(event_type, []).append(rule)
    return found


class _Type:
    """The rules of one event type: slots filled from the event, chains in handles, handles that cannot hold skipped."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        predicates: dict[Slot, Condition] = {}
        pairs = [(rule.id, chain) for rule in rules for chain in chains(rule.only_if, predicates)]
        slots = dict.fromkeys(atom.slot for _, chain in pairs for atom in sorted(chain, key=_atom_order))
        self.names = {slot: f"{slot.kind}{index}" for index, slot in enumerate(slots)}
        self.paths: dict[tuple[str, ...], dict[str, str]] = {}
        for slot, name in self.names.items():
            if slot.kind != "p":
                self.paths.setdefault(slot.of, {})[slot.kind] = name
        used = {self.names[slot]: condition for slot, condition in predicates.items() if slot in self.names}
        self.predicates = compile_conditions(used) if used else None
        self.predicate_names = tuple(used)
        self.handles: list[_Handle] = []
        self.always: list[_Handle] = []
        self.guarded: dict[str, dict[Any, list[_Handle]]] = {}
        for group in _grouped(pairs):
            self._add(group)

    def _add(self, group: list[tuple[RuleId, Chain, Atom | None]]) -> None:
        handle = _Handle([(rule_id, chain) for rule_id, chain, _ in group], self.names)
        self.handles.append(handle)
        guards = {guard for _, _, guard in group}
        if None in guards:
            self.always.append(handle)
            return
        for guard in sorted((guard for guard in guards if guard), key=_atom_order):
            self.guarded.setdefault(self.names[guard.slot], {}).setdefault(guard.value, []).append(handle)

    def match(self, doc: JSON) -> frozenset[RuleId]:
        values = self._values(doc)
        handles = dict.fromkeys(self.always)
        for name, by_value in self.guarded.items():
            if name in values:
                handles.update(dict.fromkeys(by_value.get(values[name], ())))
        if not handles:
            return frozenset()
        if self.predicates:
            true = frozenset(self.predicates(doc))
            values.update((name, int(name in true)) for name in self.predicate_names)
        texts = {name: _fragment(name, value) for name, value in values.items()}
        return frozenset().union(*(handle.fire(texts) for handle in handles))

    def _values(self, doc: JSON) -> dict[str, Any]:
        """The typed slots that this event fills."""
        values: dict[str, Any] = {}
        for path, kinds in self.paths.items():
            value = read(doc, path)
            if value is None or value is MISSING:
                continue
            if "x" in kinds:
                values[kinds["x"]] = 1
            kind, held = _typed(value)
            if kind in kinds:
                if kind == "n" and not plain_number(held):
                    raise Unfit
                values[kinds[kind]] = held
        return values

    def close(self) -> None:
        for handle in self.handles:
            handle.close()


class _Numbers:
    """The bounds of rules that need a number: one slot a rule."""

    def __init__(self, bounds: Sequence[Bound]) -> None:
        self.where: dict[RuleId, tuple[_Handle, str]] = {}
        self.handles: list[_Handle] = []
        plain = [one for one in bounds if plain_number(one.value)]
        self.outside = {one.slot: one for one in bounds if not plain_number(one.value)}
        for start in range(0, len(plain), MOST_CHAINS):
            self._add(plain[start : start + MOST_CHAINS])

    def _add(self, bounds: Sequence[Bound]) -> None:
        slots = [Slot("n", (one.slot,)) for one in bounds]
        names = {slot: f"n{index}" for index, slot in enumerate(slots)}
        atoms = [Atom(slot, _BOUND_OPS[one.operator], one.value) for slot, one in zip(slots, bounds, strict=True)]
        handle = _Handle([(one.slot, frozenset({atom})) for one, atom in zip(bounds, atoms, strict=True)], names)
        self.handles.append(handle)
        self.where.update((one.slot, (handle, names[slot])) for one, slot in zip(bounds, slots, strict=True))

    def reached(self, slots: Mapping[RuleId, Number]) -> frozenset[RuleId]:
        texts: dict[_Handle, dict[str, str]] = {}
        found = {id for id, number in slots.items() if id in self.outside and self.outside[id].reached(number)}
        for id, number in slots.items():
            if id in self.where:
                handle, name = self.where[id]
                if not plain_number(number):
                    raise Unfit
                texts.setdefault(handle, {})[name] = _fragment(name, number)
        return frozenset(found.union(*(handle.fire(known) for handle, known in texts.items())))

    def close(self) -> None:
        for handle in self.handles:
            handle.close()


class _Handle:
    """One ruleset of the engine: chains under a lock, rebuilt when it misbehaves."""

    def __init__(self, chains: Sequence[tuple[RuleId, Chain]], names: Mapping[Slot, str]) -> None:
        self.rules = [rule_id for rule_id, _ in chains]
        self.slots = tuple(
            dict.fromkeys(names[atom.slot] for _, chain in chains for atom in sorted(chain, key=_atom_order))
        )
        definition: dict[str, Any] = {"z": {"all": [{"m": {"k": 2}}]}}
        for index, (_, chain) in enumerate(chains):
            definition[f"c{index}"] = {"all": [{"m": _condition(chain, names)}]}
        self._definition = json.dumps(definition, ensure_ascii=False)
        self._lock = threading.Lock()
        self._open = True
        self._handle = self._created()

    def fire(self, texts: Mapping[str, str]) -> set[RuleId]:
        """The rules of the chains that hold. texts: the filled slots as JSON fragments, by name."""
        message = _HEAD + "".join([texts[name] for name in self.slots if name in texts]) + "}"
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
    value = _held(atom.value) if atom.op not in ("ex", "nex") else 1
    return {name: value} if atom.op == "eq" else {_OPS[atom.op]: {name: value}}


def _grouped(pairs: Sequence[tuple[RuleId, Chain]]) -> Iterable[list[tuple[RuleId, Chain, Atom | None]]]:
    """Chains that share an equality side by side, cut into what one handle may hold."""
    shared = Counter(atom for _, chain in pairs for atom in chain if _guards(atom))
    guarded = [(rule_id, chain, _guard(chain, shared)) for rule_id, chain in pairs]
    guarded.sort(key=lambda row: (row[2] is None, _atom_order(row[2]) if row[2] else ()))
    group: list[tuple[RuleId, Chain, Atom | None]] = []
    slots: set[Slot] = set()
    for row in guarded:
        more = slots | {atom.slot for atom in row[1]}
        apart = bool(group) and (row[2] is None) != (group[-1][2] is None)
        if apart or len(group) >= MOST_CHAINS or len(more) > MOST_SLOTS:
            yield group
            group, more = [], {atom.slot for atom in row[1]}
        group.append(row)
        slots = more
    if group:
        yield group


def _guard(chain: Chain, shared: Counter[Atom]) -> Atom | None:
    """The equality that most other chains have too."""
    equalities = [atom for atom in chain if _guards(atom)]
    return min(equalities, key=lambda atom: (-shared[atom], _atom_order(atom)), default=None)


def _guards(atom: Atom) -> bool:
    return atom.op == "eq" and atom.slot.kind in ("s", "n", "b")


def _atom_order(atom: Atom) -> tuple[bool, str, tuple[str, ...], str, str]:
    return atom.op != "eq", atom.slot.kind, atom.slot.of, atom.op, repr(atom.value)


# ---- values ---------------------------------------------------------------------------------------------------------
def _typed(value: Any) -> tuple[str, Any]:
    if isinstance(value, bool):
        return "b", int(value)
    if isinstance(value, (int, float)):
        return "n", value
    return ("s", value) if isinstance(value, str) else ("", value)


def _held(value: Any) -> Any:
    """The value as the engine gets it: whole numbers without a point, long or unpaired texts as their hash."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and (len(value) * 3 > LONGEST_TEXT or not value.isascii()):
        encoded = value.encode("utf-8", "surrogatepass")
        paired = len(value) == 0 or not any("\ud800" <= char <= "\udfff" for char in value)
        if len(encoded) > LONGEST_TEXT or not paired:
            return "#" + hashlib.sha256(encoded).hexdigest()
    return value


_dumps: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False).encode


def _fragment(name: str, value: Any) -> str:
    held = _held(value)
    return f',"{name}":{held}' if isinstance(held, (int, float)) else f',"{name}":{_dumps(held)}'
