"""Conditions as durable-rules may see them: typed literals in disjunctive normal form, everything else a predicate.

A value is copied into a slot of its own type (number, text, true/false, presence), so that no coercion can happen in
the engine. Negation is pushed to the leaves, where it is "no such slot, or the opposite test". What the engine cannot
be trusted with (regular expressions, lists, other fields, dates, long lists of constants, extreme numbers) becomes a
predicate: a 0/1 slot computed in Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from rules.model import All, Any_, Condition, Not, Test

Op = Literal["eq", "neq", "lt", "lte", "gt", "gte", "ex", "nex"]
Scalar = int | float | str
MOST_CHAINS = 60  # conjunctions of one rule, and of one handle: the engine's tables end at 64
LONGEST_CHAIN = 28  # literals of one conjunction: the engine's expressions end at 31
LONGEST_LIST = 8  # constants of a `one of` that become literals
LONGEST_TEXT = 2000  # bytes; longer texts are compared by their hash
_OPPOSITE: dict[Op, Op] = {"eq": "neq", "neq": "eq", "lt": "gte", "gte": "lt", "gt": "lte", "lte": "gt"}
_ORDER: dict[str, Op] = {
    "greater than": "gt",
    "greater or equal to": "gte",
    "less than": "lt",
    "less or equal to": "lte",
}


class TooWide(Exception):
    """More conjunctions, or a longer one, than the engine is safe with."""


@dataclass(frozen=True, slots=True)
class Slot:
    """kind: n number, s text, b true/false as 1/0, x present, p predicate. of: the path, or the predicate's text."""

    kind: Literal["n", "s", "b", "x", "p"]
    of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Atom:
    slot: Slot
    op: Op
    value: Scalar = 1


Chain = frozenset[Atom]


def chains(condition: Condition, predicates: dict[Slot, Condition]) -> list[Chain]:
    """The conjunctions of which one must hold. Predicates that they need are added to `predicates`."""
    needed: dict[Slot, Condition] = {}
    try:
        found = _dnf(condition, True, needed)
    except TooWide:
        needed = {}
        found = [frozenset({_predicate(condition, needed)})]
    predicates.update(needed)
    return found


def _dnf(condition: Condition, positive: bool, predicates: dict[Slot, Condition]) -> list[Chain]:
    match condition:
        case Not(part):
            return _dnf(part, not positive, predicates)
        case All(parts) | Any_(parts):
            branches = [_dnf(part, positive, predicates) for part in parts]
            return _conjunction(branches) if isinstance(condition, All) is positive else _disjunction(branches)
        case Test():
            return _disjunction([[frozenset(atoms)] for atoms in _leaf(condition, positive, predicates)])
    raise AssertionError(condition)


def _disjunction(branches: list[list[Chain]]) -> list[Chain]:
    found = list(dict.fromkeys(chain for branch in branches for chain in branch))
    return _checked(found)


def _conjunction(branches: list[list[Chain]]) -> list[Chain]:
    found: list[Chain] = [frozenset()]
    for branch in branches:
        found = _checked(list(dict.fromkeys(left | right for left in found for right in branch)))
    return found


def _checked(found: list[Chain]) -> list[Chain]:
    if len(found) > MOST_CHAINS or any(len(chain) > LONGEST_CHAIN for chain in found):
        raise TooWide
    return found


def _leaf(test: Test, positive: bool, predicates: dict[Slot, Condition]) -> Iterator[list[Atom]]:
    """The test, or its negation, as alternatives of conjunctions."""
    atoms = _atoms(test)
    together = test.operator in ("between", "none of")  # all of the atoms must hold; else one of them
    if atoms is None:
        atom = _predicate(test, predicates)
        yield [atom if positive else Atom(atom.slot, "eq", 0)]
    elif positive:
        yield from [atoms] if together else [[atom] for atom in atoms]
    else:
        yield from _refused(atoms, together)


def _refused(atoms: list[Atom], together: bool) -> Iterator[list[Atom]]:
    """Not (a and b ...), or not (a or b ...), of atoms on one slot: no such value, or the opposite."""
    slot, op = atoms[0].slot, atoms[0].op
    if slot.kind == "x":
        yield [Atom(slot, "nex" if op == "ex" else "ex")]
        return
    yield [Atom(slot, "nex")]
    opposites = [Atom(slot, _OPPOSITE[atom.op], atom.value) for atom in atoms]
    yield from [[opposite] for opposite in opposites] if together else [opposites]


def _atoms(test: Test) -> list[Atom] | None:
    """The test as literals; None when it is none of the engine's."""
    operator, value = test.operator, test.value
    if test.other is not None or test.where is not None:
        return None
    if operator in ("is present", "is absent"):
        return [Atom(Slot("x", test.path), "ex" if operator == "is present" else "nex")]
    if operator in ("is true", "is false"):
        return [Atom(Slot("b", test.path), "eq", 1 if operator == "is true" else 0)]
    if operator in _ORDER:
        return [Atom(Slot("n", test.path), _ORDER[operator], value)] if plain_number(value) else None
    if operator == "between":
        return _between(test)
    if operator in ("equal to", "not equal to"):
        atom = _constant(test.path, value, "eq" if operator == "equal to" else "neq")
        return [atom] if atom else None
    return _list(test) if operator in ("one of", "none of") else None


def _between(test: Test) -> list[Atom] | None:
    low, high = test.value
    if not (plain_number(low) and plain_number(high)):
        return None
    slot = Slot("n", test.path)
    return [Atom(slot, "gte", low), Atom(slot, "lte", high)]


def _list(test: Test) -> list[Atom] | None:
    op: Op = "eq" if test.operator == "one of" else "neq"
    atoms = [_constant(test.path, one, op) for one in test.value]
    if not 0 < len(atoms) <= LONGEST_LIST or len({atom.slot for atom in atoms if atom}) != 1:
        return None
    return [atom for atom in atoms if atom] if all(atoms) else None


def _constant(path: tuple[str, ...], value: Any, op: Op) -> Atom | None:
    if isinstance(value, bool):
        return Atom(Slot("b", path), "eq", int(value) if op == "eq" else 1 - int(value))
    if plain_number(value):
        return Atom(Slot("n", path), op, value)
    return Atom(Slot("s", path), op, value) if isinstance(value, str) else None


def _predicate(condition: Condition, predicates: dict[Slot, Condition]) -> Atom:
    slot = Slot("p", (repr(condition),))
    predicates[slot] = condition
    return Atom(slot, "eq", 1)


def plain_number(value: Any) -> bool:
    """Whether the engine reads the number as Python does: below 2^53, and not printed with an exponent.

    >>> plain_number(5), plain_number(0.1), plain_number(1e16), plain_number(2**53), plain_number(True)
    (True, True, False, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -(2**53) < value < 2**53:
        return False
    return "e" not in repr(value) and "n" not in repr(value)
