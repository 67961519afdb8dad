"""The catalogue of Stripe's events: 275 types, the objects they carry, and every field of those objects.

It is data, made from the installed SDK (app.adapters.stripe_sdk) and checked in: {"sdk", "api_version", "events":
{type: [title, description, [class number, ...]]}, "classes": [[[field, type, nullable, reference, text number], ...],
...], "names": {class number: object name}, "enums": [[word, ...], ...], "texts": [...]}. Fields are worked out when
they are asked for.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from rules import paths
from rules.aliases import others
from rules.labels import common_paths, label
from rules.personal import is_personal

DATA = Path(__file__).with_name("catalogue.json.gz")
DEPTH = 4
FieldType = Literal[
    "text", "id", "enum", "decimal", "number", "amount", "time", "boolean", "list", "object", "map", "any"
]
_OBJECT = ("data", "object")


@dataclass(frozen=True, slots=True)
class EventType:
    """name: `invoice.payment_failed`. title: in plain words, `An invoice payment fails`. description: Stripe's own.
    object: the class of the object it carries, `invoice`; objects: all of them for the few types that carry several."""

    name: str
    title: str
    description: str
    object: str
    objects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field of an event. path: as rules write it, `data.object.amount_due`; fields of a list's items have `[]` in
    it, `data.object.lines.data[].amount`. type: amount = minor units, time = unix seconds, id = of a Stripe object,
    decimal = number in text, map = keys of your own. enum: the words it may hold, empty when any. nullable: may be null
    or absent. personal: kept as a token. common: one of the fields people ask for first. item: a list's item type."""

    path: str
    label: str
    type: FieldType
    enum: tuple[str, ...] = ()
    description: str = ""
    nullable: bool = False
    personal: bool = False
    common: bool = False
    item: FieldType | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """A field found in the class graph. below: the classes of what it holds, or of a list's items."""

    type: FieldType
    nullable: bool
    enum: tuple[str, ...]
    text: str
    below: tuple[int, ...] = ()
    item: FieldType | None = None
    page: bool = False


_EVENT_FIELDS = (
    FieldInfo("created", "the event’s time", "time", description="When it happened at Stripe."),
    FieldInfo("type", "the event’s type", "text", description="Such as invoice.payment_failed."),
    FieldInfo("livemode", "the event’s live mode", "boolean", description="False for test data."),
    FieldInfo("account", "the event’s account", "id", description="The connected account, if any.", nullable=True),
    FieldInfo("api_version", "the event’s API version", "text", description="That its data follows.", nullable=True),
    FieldInfo("id", "the event’s id", "id", description="evt_..."),
    FieldInfo("request.id", "the event’s request id", "id", description="The API request, or none.", nullable=True),
    FieldInfo(
        "request.idempotency_key",
        "the event’s idempotency key",
        "text",
        description="Of the API request that caused it; our own keys come back here.",
        nullable=True,
    ),
    FieldInfo("data.object", "the event’s object", "object", description="What the event is about."),
    FieldInfo("data.previous_attributes", "what the event changed", "object", nullable=True),
)
_EVENT_FIELD = {info.path: info for info in _EVENT_FIELDS}
_PAGE = {
    "data": ("list", "The items; of a long list the first page."),
    "has_more": ("boolean", "Whether there are more items than these."),
    "total_count": ("number", "How many items there are."),
    "url": ("text", "Where Stripe lists them all."),
}


class Catalogue:
    """Event types and their fields. Immutable; answers are kept, so asking again costs nothing."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.sdk: str = body["sdk"]
        self.api_version: str = body["api_version"]
        self._body = body
        self._rows: list[dict[str, list[Any]]] = [{} for _ in body["classes"]]
        self._types = {name: self._event_type(name) for name in body["events"]}
        self._fields: dict[str, tuple[FieldInfo, ...]] = {}
        self._found: dict[tuple[str, str], FieldInfo | None] = {}

    @classmethod
    def load(cls) -> Catalogue:
        """The checked-in catalogue; read once in a process (about 20 ms)."""
        return _load()

    # ---- event types ------------------------------------------------------------------------------------------------
    def event_types(self) -> list[EventType]:
        """Every snapshot event type, by name."""
        return list(self._types.values())

    def event_type(self, name: str) -> EventType | None:
        return self._types.get(name)

    def _event_type(self, name: str) -> EventType:
        title, description, classes = self._body["events"][name]
        objects = tuple(self._body["names"][str(number)] for number in classes)
        return EventType(name, title, description, " or ".join(objects), objects)

    # ---- fields -----------------------------------------------------------------------------------------------------
    def fields(self, event_type: str) -> list[FieldInfo]:
        """The fields of an event type to depth 4, those people ask for first at the top. Unknown type: none."""
        if event_type not in self._types:
            return []
        if event_type not in self._fields:
            self._fields[event_type] = tuple(self._listed(event_type))
        return list(self._fields[event_type])

    def field(self, event_type: str, path: str) -> FieldInfo | None:
        """One field at any depth, a key of a map such as metadata included; None when there is no such field."""
        key = (event_type, path)
        if key not in self._found:
            if len(self._found) > 50_000:
                self._found.clear()  # documents may name anything
            self._found[key] = self._field(event_type, path)
        return self._found[key]

    def nearest(self, event_type: str, path: str) -> str | None:
        """The path of this event type that was probably meant."""
        for guess in (*self._renamed(event_type, path), f"data.object.{path}", f"data.{path}"):
            if self.field(event_type, guess):
                return guess
        known = [info.path for info in self.fields(event_type)]
        within = get_close_matches(path, known, n=1, cutoff=0.75)
        if within:
            return within[0]
        last = path.rpartition(".")[2]
        by_last: dict[str, str] = {}
        for one in known:  # the first of that name is the most common one
            by_last.setdefault(one.rpartition(".")[2], one)
        found = get_close_matches(last, by_last, n=1, cutoff=0.6)
        return by_last[found[0]] if found else None

    def search(self, event_type: str, text: str, limit: int = 30) -> list[FieldInfo]:
        """Fields whose name, path or description holds every word of the text, the best first."""
        words = text.lower().replace("_", " ").replace("-", "").split()
        scored = []
        for index, info in enumerate(self.fields(event_type)):
            score = _score(info, words)
            if score is not None:
                scored.append((score, index, info))
        return [info for _, _, info in sorted(scored, key=lambda one: one[:2])[:limit]]

    def _listed(self, event_type: str) -> Iterator[FieldInfo]:
        found = {info.path: info for info in self._walk(event_type)}
        for name in self._types[event_type].objects:
            for path in common_paths(name):
                info = found.pop(f"data.object.{path}", None) or self._deep(event_type, path)
                if info:
                    yield info
        rest = sorted(found.values(), key=lambda info: (info.path.count("."), info.path))
        yield from (info for info in rest if info.path.count(".") == len(_OBJECT))
        yield from _EVENT_FIELDS
        yield from (info for info in rest if info.path.count(".") > len(_OBJECT))

    def _deep(self, event_type: str, path: str) -> FieldInfo | None:
        """A common field that lies below the depth of the list."""
        return self.field(event_type, f"data.object.{path}") if path.count(".") >= DEPTH else None

    def _walk(self, event_type: str) -> Iterator[FieldInfo]:
        event = self._types[event_type]
        seen: set[tuple[str, ...]] = set()
        stack: list[tuple[tuple[str, ...], tuple[int, ...], int]] = [
            ((), tuple(self._body["events"][event_type][2]), 1)
        ]
        while stack:
            prefix, classes, depth = stack.pop()
            for name in dict.fromkeys(name for number in classes for name in self._class(number)):
                path = (*prefix, name)
                place = self._row(classes, name)
                if place is None or path in seen:
                    continue
                seen.add(path)
                yield self._info(event, path, place)
                if place.page:
                    for extra, inner in self._page(place).items():
                        yield self._info(event, (*path, extra), inner)
                    path = (*path, "data[]")
                elif place.type == "list":
                    path = (*prefix, f"{name}[]")
                if place.below and depth < DEPTH:
                    stack.append((path, place.below, depth + 1))

    def _field(self, event_type: str, path: str) -> FieldInfo | None:
        if path in _EVENT_FIELD:
            return _EVENT_FIELD[path]
        event = self._types.get(event_type)
        try:
            keys = paths.split(path)
        except ValueError:
            return None
        if event is None or keys[:2] != _OBJECT or len(keys) < 3:
            return None
        place = self._find(tuple(self._body["events"][event_type][2]), keys[2:])
        return self._info(event, keys[2:], place) if place else None

    def _find(self, classes: tuple[int, ...], keys: Sequence[str]) -> _Place | None:
        name = keys[0].removesuffix("[]")
        place = self._row(classes, name)
        rest = keys[1:]
        if place is None or not rest:
            return place if keys[0] == name else None
        if place.type == "any":
            return _Place("any", True, (), "")
        if place.type == "map":
            return _Place("text", True, (), "A key of your own.") if len(rest) == 1 else None
        if place.page:
            if rest[0] != "data[]":
                return self._page(place).get(rest[0]) if len(rest) == 1 else None
            rest = rest[1:]
        elif (place.type == "list") != keys[0].endswith("[]"):
            return None
        return self._find(place.below, rest) if place.below and rest else None

    def _row(self, classes: Sequence[int], name: str) -> _Place | None:
        """The field of that name in the first of these classes that has it."""
        for number in classes:
            row = self._class(number).get(name)
            if row:
                return self._place(row)
        return None

    def _class(self, number: int) -> dict[str, list[Any]]:
        if not self._rows[number]:
            self._rows[number] = {row[0]: row for row in self._body["classes"][number]}
        return self._rows[number]

    def _place(self, row: list[Any]) -> _Place:
        _, type, nullable, reference, text = row
        described = self._body["texts"][text]
        if type == "enum":
            return _Place("enum", bool(nullable), tuple(self._body["enums"][reference]), described)
        if type == "list":
            item, inner = reference
            below = tuple(inner) if item == "object" else ()
            return _Place("list", bool(nullable), (), described, below, "number" if item == "integer" else item)
        if type == "page":
            return _Place("object", bool(nullable), (), described, tuple(reference), page=True)
        return _Place(type, bool(nullable), (), described, tuple(reference or ()))

    def _page(self, place: _Place) -> dict[str, _Place]:
        found = {name: _Place(type, False, (), text) for name, (type, text) in _PAGE.items()}  # type: ignore[arg-type]
        found["data"] = _Place("list", False, (), place.text, place.below, "object")
        return found

    def _info(self, event: EventType, path: tuple[str, ...], place: _Place) -> FieldInfo:
        plain = paths.join(path)
        return FieldInfo(
            path=f"data.object.{plain}",
            label=label(tuple(key for key in path if key != "data[]")),
            type=place.type,
            enum=place.enum,
            description=place.text,
            nullable=place.nullable,
            personal=any(is_personal(name, path) for name in event.objects),
            common=any(plain in common_paths(name) for name in event.objects),
            item=place.item,
        )

    def _renamed(self, event_type: str, path: str) -> Iterator[str]:
        """Newer names of a path that older API versions had."""
        event = self._types.get(event_type)
        if event and path.startswith("data.object."):
            keys = tuple(path.split(".")[2:])
            for name in event.objects:
                yield from ("data.object." + ".".join(other) for other in others(name, keys))
            if keys in _GONE:
                yield "data.object." + _GONE[keys]


# paths that are gone without an exact successor, and what says the same now
_GONE = {
    ("paid",): "status",
    ("paid_out_of_band",): "amount_paid_off_stripe",
    ("discount",): "discounts",
    ("tax",): "total_taxes",
    ("current_period_end",): "items.data",
    ("current_period_start",): "items.data",
    ("refund",): "refunds",
}


def _score(info: FieldInfo, words: Sequence[str]) -> int | None:
    """Lower is better: names before paths before descriptions, common before rare, near the top before deep."""
    name = info.label.lower().replace("-", "")
    where = info.path.lower().replace("_", " ")
    if not words:
        return 0
    if not all(word in where or word in name or word in info.description.lower() for word in words):
        return None
    text = " ".join(words)
    score = 0 if name == text else 1 if name.startswith(text) else 2 if text in name else 3
    score += 0 if all(word in where or word in name for word in words) else 3
    return score + (0 if info.common else 4) + min(info.path.count(".") - 1, 4)


@lru_cache(maxsize=1)
def _load() -> Catalogue:
    return Catalogue(json.loads(gzip.decompress(DATA.read_bytes())))
