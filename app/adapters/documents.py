"""What every Store adapter shares: which queries and writes are allowed, cursors, and how a body becomes bytes.

The limits are Firestore's (https://cloud.google.com/firestore/quotas), held on every backend, so that what production
would refuse fails on a laptop first.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson

from rules.kinds import KINDS, Kind
from rules.ports import ABSENT, ANY, Put, RefusedQuery, TooLarge, Where, Write

MAX_WRITES = 100  # in one commit
MAX_BODY = 1_000_000  # bytes as stored; a Firestore document is at most 1 MiB with its searched fields
MAX_ID = 1_000  # bytes; Firestore's 1,500 less room for escapes
MAX_SEARCHED = 1_500  # bytes of a searched text; Firestore indexes no more of it
COMPRESS_FROM = 16_384  # bytes; zlib on each event's 5 KB would cost a third of the commit for a seventh of the disk
_SCALARS = (str, int, float, bool, type(None))
_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


class AppendOnly(ValueError):
    """A document of this kind is written once: it is neither changed nor let go."""


# ---- queries --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Query:
    """A find that rules.kinds declares. has: the test on a list field. order: the field to sort by, or "" for id."""

    kind: Kind
    equal: tuple[tuple[str, Any], ...]
    has: tuple[str, Any] | None
    ranges: tuple[Where, ...]
    order: str
    descending: bool

    @property
    def cursor_name(self) -> str:
        return f"{self.kind.name} {'-' if self.descending else ''}{self.order}"


def check_query(kind: str, where: Sequence[Where], order: str | None) -> Query:
    """The query in parts; raises RefusedQuery unless rules.kinds declares one that serves it.
    A range without an order sorts by its field, as Firestore does."""
    if kind not in KINDS:
        raise RefusedQuery(f"no kind {kind!r}")
    _check_values(KINDS[kind], where)
    equal = [name for name, op, _ in where if op in ("==", "has")]
    ranged = {name for name, op, _ in where if op not in ("==", "has")}
    sort = (order or "").lstrip("-") or next(iter(ranged), "")
    if not _served(KINDS[kind], sorted(equal), ranged, sort):
        raise RefusedQuery(f"{kind}: no declared index serves where {list(where)} order {order}")
    return Query(
        KINDS[kind],
        tuple((name, value) for name, op, value in where if op == "=="),
        next(((name, value) for name, op, value in where if op == "has"), None),
        tuple(test for test in where if test[1] not in ("==", "has")),
        sort,
        bool(order and order[0] == "-"),
    )


def _served(kind: Kind, equal: list[str], ranged: set[str], sort: str) -> bool:
    if not equal and not ranged and not sort:
        return True
    return any(
        (equal == sorted(query[:-1]) and ranged <= {query[-1]} and sort in ("", query[-1]))
        or (equal == sorted(query) and not ranged and not sort)
        for query in kind.queries
    )


def _check_values(kind: Kind, where: Sequence[Where]) -> None:
    for name, op, value in where:
        if not isinstance(value, (str, int, float)):
            raise RefusedQuery(f"{kind.name}: {name} {op} {value!r} is no text, number or truth value")
        if (op == "has") != (name in kind.lists):
            raise RefusedQuery(f"{kind.name}: {name} {op}: 'has' is for lists, the others for single values")


def cursor_after(query: Query, value: Any, id: str) -> str:
    """The opaque cursor that goes on after the document with this id and this value of the order field."""
    return base64.urlsafe_b64encode(orjson.dumps([query.cursor_name, value, id])).decode().rstrip("=")


def read_cursor(query: Query, cursor: str) -> tuple[Any, str]:
    """The order value and the id in a cursor; raises RefusedQuery when it is no cursor of this query."""
    try:
        name, value, id = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError):
        raise RefusedQuery("this is no cursor: start at the first page") from None
    if name != query.cursor_name or not isinstance(id, str) or not _fits(query, value):
        raise RefusedQuery("this cursor belongs to another list: start at the first page")
    return value, id


def _fits(query: Query, value: Any) -> bool:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:  # no column holds it
        return False
    return isinstance(value, (str, int, float)) if query.order else value is None


# ---- writes ---------------------------------------------------------------------------------------------------------
def check_commit(event: Put | None, writes: Sequence[Write]) -> None:
    """Raise ValueError for a commit that some backend could not make: over 100 writes, one document written twice."""
    if len(writes) > MAX_WRITES:
        raise ValueError(f"a commit has at most {MAX_WRITES} writes, not {len(writes)}")
    if event is not None and event.kind != "event":
        raise ValueError(f"the event of a commit has kind 'event', not {event.kind!r}")
    if event is None and len(writes) < 2:
        return
    named = {(write.kind, write.id) for write in writes}
    if event is not None:
        named.add((event.kind, event.id))
    if len(named) < len(writes) + (event is not None):
        raise ValueError(f"a commit writes each document once: {sorted((w.kind, w.id) for w in writes)}")


def expectation(write: Write) -> str:
    """What a write expects to find. One of an append-only kind creates; whatever else it asks raises AppendOnly."""
    if not KINDS[write.kind].append_only:
        return write.expect
    if isinstance(write, Put) and write.expect in (ANY, ABSENT):
        return ABSENT
    raise AppendOnly(f"{write.kind} {write.id}: what was written is neither changed nor let go")


def check_id(kind: str, id: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"no kind {kind!r}")
    if not id or (len(id) > MAX_ID // 4 and len(id.encode()) > MAX_ID):
        raise TooLarge(f"{kind}: an id has 1 to {MAX_ID} bytes, not {len(id.encode())}")


def searched(kind: Kind, body: Mapping[str, Any]) -> list[Any]:
    """The values of the kind's searched fields, in their order; raises for what no index can hold."""
    values = [body.get(name) for name in kind.fields]
    for value in values:
        if value.__class__ is str:
            if len(value) > MAX_SEARCHED // 4:
                _check_text(kind, value)
        elif not isinstance(value, _SCALARS):
            raise TypeError(f"{kind.name}: a searched field holds {type(value).__name__}, not a single value")
    if kind.lists:
        _check_lists(kind, body)
    return values


def searched_list(kind: Kind, name: str, body: Mapping[str, Any]) -> list[str]:
    """The distinct texts of a searched list field."""
    texts = list(dict.fromkeys(body.get(name) or ()))
    for text in texts:
        _check_text(kind, text)
    return texts


def _check_lists(kind: Kind, body: Mapping[str, Any]) -> None:
    """A list is searched together with other fields; without them its index has no place for the document."""
    for name in kind.lists:
        searched_list(kind, name, body)
    lacking = sorted(name for name in _beside(kind) if body.get(name) is None)
    if lacking:
        raise ValueError(f"{kind.name}: searched fields {', '.join(lacking)} are missing")


@cache
def _beside(kind: Kind) -> frozenset[str]:
    return frozenset(name for query in kind.queries for name in query if set(query) & set(kind.lists)) - {*kind.lists}


def _check_text(kind: Kind, text: str) -> None:
    if len(text) > MAX_SEARCHED // 4 and len(text.encode()) > MAX_SEARCHED:
        raise TooLarge(f"{kind.name}: a searched text is over {MAX_SEARCHED} bytes: {text[:40]}...")


# ---- bodies ---------------------------------------------------------------------------------------------------------
def encode(body: Mapping[str, Any], compress_from: int = COMPRESS_FROM) -> bytes:
    """The body as stored: JSON, compressed from so many bytes on. Raises TypeError for what is not JSON, TooLarge."""
    plain = orjson.dumps(body, _plain, _OPTIONS)
    if len(plain) < compress_from:
        return plain
    packed = zlib.compress(plain, 1)
    if len(packed) > MAX_BODY:
        raise TooLarge(f"a document has at most {MAX_BODY} bytes as stored, not {len(packed)}")
    return packed


def decode(stored: bytes) -> dict[str, Any]:
    """The inverse of `encode`: JSON starts with `{`, zlib with 0x78."""
    plain = stored if stored[:1] == b"{" else _unpacked(stored)
    body: dict[str, Any] = orjson.loads(plain)
    return body


def _unpacked(stored: bytes | str) -> bytes:
    """A body that was edited by hand with SQL is text."""
    return stored.encode() if isinstance(stored, str) else zlib.decompress(stored)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a document holds JSON only, not {type(value).__name__}")
