"""The explanation of a condition: a tree with what each part needed, what was there, where it came from, and the truth.

It is slower than `rules.expr` and says more: every part is looked at, and `skipped` marks those that no longer
mattered when they were reached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rules import operators as ops
from rules import paths
from rules.aliases import MISSING, Path
from rules.event import iso, seconds
from rules.fields import locate, locate_in, previous, read
from rules.folds import NOTHING, Said
from rules.model import JSON, All, Any_, Condition, Not, Test
from rules.words import test_text

Node = dict[str, Any]
_ITEMS_SHOWN = 20
_NEEDS_TEXT = frozenset(ops.TEXT)
_NEEDS_NUMBER = frozenset({*ops.COMPARE, "between"})
_NEEDS_TIME = frozenset({*ops.TIMES, *ops.SPANS})


def tree(condition: Condition, envelope: JSON, event_id: str, known: Mapping[Path, Said] | None = None) -> Node:
    """Explain the condition on the event's envelope. `true` agrees with `compile_condition` on every input.

    A node is {"kind": test|all|any|not, "text", "true", "skipped", "note", "parts"}; a test has also "field", "is",
    "needed", "actual" and "from": {"event", "path"}, the path where this API version keeps it. known: what is known
    beyond the payload, which stands in the envelope too (rules.knowing), with the event that each value came from.
    """
    return _Explainer(envelope, event_id, known or {}).node(condition, None)


class _Explainer:
    def __init__(self, envelope: JSON, event_id: str, known: Mapping[Path, Said]) -> None:
        self.envelope = envelope
        self.event_id = event_id
        self.known = known
        currency = read(envelope, ("data", "object", "currency"))
        self.currency = currency if isinstance(currency, str) else None

    def node(self, condition: Condition, item: Any) -> Node:
        match condition:
            case All(parts):
                return self.group("all", parts, item)
            case Any_(parts):
                return self.group("any", parts, item)
            case Not(part):
                inner = self.node(part, item)
                return _node("not", "this is not true", not inner["true"], [inner])
        return self.test(condition, item)

    def group(self, kind: str, parts: Sequence[Condition], item: Any) -> Node:
        nodes, decided = [], False
        for part in parts:
            node = self.node(part, item)
            node["skipped"] = decided
            decided = decided or node["true"] is (kind == "any")
            nodes.append(node)
        text = "all of these are true" if kind == "all" else "at least one of these is true"
        return _node(kind, text, decided is (kind == "any"), nodes)

    def test(self, test: Test, item: Any) -> Node:
        value, path = self.find(test.path, item)
        needed = self.needed(test, item)
        node = _node("test", self.text(test, item), False)
        node |= {"field": test.field, "is": test.operator, "needed": needed, "actual": _shown(value)}
        node["from"] = self.source(test.path, path)
        if test.operator in ops.ITEMS:
            return self.items(node, test, value, item)
        if test.operator in ops.CHANGES:
            return self.change(node, test, value)
        node["true"] = self.holds(test, _plain(value), needed)
        node["note"] = None if node["true"] else _note(test, value, needed)
        return node

    def source(self, path: Path, place: Path) -> Node:
        """Where the value came from; of what is known beyond the payload, the event or the setting that said so."""
        if path[0] not in ("fact", "score"):
            return {"event": self.event_id, "path": paths.join(place)}
        said = self.known.get(path, NOTHING)
        found: Node = {"event": said.event, "path": said.path}
        if said.currency:
            found["currency"] = said.currency
        return found if said.at is None else {**found, "at": iso(seconds(said.at)), "source": said.source}

    def text(self, test: Test, item: Any) -> str:
        inside = item.path if item is not None else ""
        return test_text(test, inside, str(self.envelope.get("type", "")), self.currency)

    def holds(self, test: Test, value: Any, needed: Any) -> bool:
        if test.operator in ops.UNARY:
            return ops.UNARY[test.operator](value)
        if test.operator in ops.SPANS:
            near = ops.in_the_last if test.operator == "in the last" else ops.in_the_next
            return near(value, test.value, self.envelope.get("created"))
        return ops.BINARY[test.operator](value, needed)

    def needed(self, test: Test, item: Any) -> Any:
        if test.other is None:
            return list(test.value) if isinstance(test.value, tuple) else test.value
        value = _plain(self.find(test.other.path, item)[0])
        return ops.reckon(value, test.other.times, test.other.plus)

    def find(self, path: Path, item: Any) -> tuple[Any, Path]:
        if item is None or paths.from_root(path):
            return locate(self.envelope, path)
        return locate_in(item.value, path, self.envelope)

    def change(self, node: Node, test: Test, value: Any) -> Node:
        before = previous(self.envelope, test.path)
        changed = before is not MISSING
        match test.operator:
            case "changed":
                node["true"] = changed
            case "changed from":
                node["true"] = changed and ops.same(before, test.value)
            case _:
                node["true"] = changed and ops.same(_plain(value), test.value)
        node["note"] = f"was {_shown(before)!r} before" if changed else "it did not change"
        return node

    def items(self, node: Node, test: Test, value: Any, item: Any) -> Node:
        if not isinstance(value, list) or test.where is None:
            node["note"] = _missing(value) or f"a list was needed, this is {_a(value)}"
            return node
        where = f"{item.path}[].{test.field}" if item is not None and not paths.from_root(test.path) else test.field
        parts = [{**self.node(test.where, _Item(one, where)), "item": index} for index, one in enumerate(value)]
        truths = [part["true"] for part in parts]
        holds = {"any item": any(truths), "all items": all(truths), "no item": not any(truths)}
        node["true"] = holds[test.operator]
        node["note"] = f"{sum(truths)} of {len(truths)} items"
        node["parts"] = parts[:_ITEMS_SHOWN]
        return node


class _Item:
    """An item of the list at a path."""

    def __init__(self, value: Any, path: str) -> None:
        self.value = value
        self.path = path


def _node(kind: str, text: str, true: bool, parts: list[Node] | None = None) -> Node:
    return {"kind": kind, "text": text, "true": true, "skipped": False, "note": None, "parts": parts or []}


def _plain(value: Any) -> Any:
    return None if value is MISSING else value


def _shown(value: Any) -> Any:
    """The value as the page shows it; of a list or an object, its size."""
    if value is MISSING:
        return None
    if isinstance(value, list):
        scalars = len(value) <= 10 and not any(isinstance(one, (list, dict)) for one in value)
        return value if scalars else f"{len(value)} items"
    return f"{len(value)} fields" if isinstance(value, dict) else value


def _missing(value: Any) -> str | None:
    if value is MISSING:
        return "missing"
    return "null" if value is None else None


def _note(test: Test, value: Any, needed: Any) -> str | None:
    """Why a test that came out false could not be true: nothing there, or of the wrong type."""
    if test.operator in ops.BARE:
        wrong = test.operator in ("is true", "is false") and ops.kind(_plain(value)) != "true or false"
        return _missing(value) or (f"true or false was needed, this is {_a(value)}" if wrong else None)
    if _missing(value):
        return _missing(value)
    if needed is None:
        return "the field that it is compared with is missing, null or no number"
    wanted = _wanted(test, needed)
    fits = ops.clock(value) is not None if wanted == "a time" else ops.kind(value) in wanted
    return None if fits else f"{wanted} was needed, this is {_a(value)}"


def _wanted(test: Test, needed: Any) -> str:
    if test.operator in _NEEDS_TIME:
        return "a time"
    if test.operator in _NEEDS_NUMBER:
        return "a number"
    if test.operator in _NEEDS_TEXT:
        return "text"
    if test.operator == "contains":
        return "text or a list" if isinstance(needed, str) else "a list"
    if test.operator in ("one of", "none of"):
        return " or ".join(sorted({_a(one) for one in needed}))
    return _a(needed)


def _a(value: Any) -> str:
    """The kind of a value, with its article."""
    kind = ops.kind(value)
    return {"number": "a number", "list": "a list", "object": "an object"}.get(kind, kind)
