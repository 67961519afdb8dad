"""Scores of customers: declared by name, set by the API, the pages or a CSV file, and read by decisions (rules.scores).

A value is written over what was read; a whole import is one entry in the audit log.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from app.audit import entry
from rules.event import instant, iso
from rules.fact_fields import SCORE_NAME
from rules.model import Problem, RuleError
from rules.ports import ABSENT, Conflict, Delete, Document, Put, Store, Write
from rules.scores import is_value, value_id, with_value

Row = dict[str, Any]
MANY = 200  # scores of a tenant
AT_ONCE = 90  # values of one commit
MOST = 100_000  # values of one import
CONFLICTS = 6
_CUSTOMER = re.compile(r"[A-Za-z]+_[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Value:
    """One value of an import. at: since when it counts, unix seconds."""

    customer: str
    value: float
    at: int


# ---- looking --------------------------------------------------------------------------------------------------------
def scores(store: Store, tenant: str) -> list[Row]:
    """Every declared score, last changed first: `{"name", "title", "values", "updated_at"}`; values: how many."""
    found = store.find(tenant, "score", order="-updated_at", limit=MANY).items
    return [{**document.body, "values": _count(store, tenant, document.id)} for document in found]


def names(store: Store, tenant: str) -> list[str]:
    return sorted(document.id for document in store.find(tenant, "score", order="updated_at", limit=MANY).items)


def score(store: Store, tenant: str, name: str, after: str | None = None, limit: int = 100) -> Row:
    """One score with a page of its values, last set first: `{..., "items": [...], "next"}`. LookupError."""
    found = _score(store, tenant, name)
    page = store.find(tenant, "score_value", [("score", "==", name)], "-updated_at", after, limit)
    body = {**found.body, "values": _count(store, tenant, name), "version": found.version}
    return {**body, "items": [_shown(document) for document in page.items], "next": page.next}


def of_customer(store: Store, tenant: str, customer: str) -> list[Row]:
    """The scores of one customer, by name."""
    found = store.find(tenant, "score_value", [("customer", "==", customer)], "-updated_at", limit=MANY).items
    return sorted(map(_shown, found), key=lambda row: str(row["score"]))


def document_of(store: Store, tenant: str, name: str, customer: str) -> Mapping[str, Any] | None:
    """The value of a score with its history, as decisions read it."""
    found = store.get(tenant, "score_value", value_id(name, customer))
    return found.body if found else None


def _shown(document: Document) -> Row:
    body = {key: value for key, value in document.body.items() if key != "history"}
    return {**body, "history": list(document.body["history"])}


def _count(store: Store, tenant: str, name: str) -> int:
    return store.count(tenant, "score_value", [("score", "==", name)])


def _score(store: Store, tenant: str, name: str) -> Document:
    found = store.get(tenant, "score", name)
    if found is None:
        raise LookupError(f"There is no score {name!r}.")
    return found


# ---- changing -------------------------------------------------------------------------------------------------------
def declare(store: Store, tenant: str, name: str, title: str, actor: str, now: datetime) -> Row:
    """Make a score known to rules, or give it another title. RuleError when the name is none."""
    if not SCORE_NAME.fullmatch(name):
        wanted = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_")[:40] or None
        message = "the name begins with a letter and is lower-case letters, digits and _, up to 40"
        raise RuleError([Problem("name", message, wanted)])
    found = store.get(tenant, "score", name)
    title = title.strip()[:120] or (found.body["title"] if found else name.replace("_", " "))
    body = {"name": name, "title": title, "updated_at": iso(now)}
    if found is None or found.body["title"] != title:
        change = entry(now, actor, "declare score", name, found.body["title"] if found else None, title)
        store.commit(tenant, None, [Put("score", name, body, found.version if found else ABSENT), change])
    return body


def set_values(
    store: Store, tenant: str, name: str, rows: Sequence[Mapping[str, Any]], source: str, actor: str, now: datetime
) -> int:
    """Set values `{"customer", "value", "at"?}` of a declared score; how many. at: iso text or unix seconds since when
    it counts, now when it is not said. RuleError with every bad row, and then none is set; LookupError."""
    _score(store, tenant, name)
    values = _checked(rows, now)
    told = {"values": len(values), "source": source}
    store.commit(tenant, None, [entry(now, actor, "set score", name, None, told)])
    waiting = iter(values)
    with store.batch():
        while part := list(islice(waiting, AT_ONCE)):
            _write(store, tenant, name, part, source, now)
    return len(values)


def delete(store: Store, tenant: str, name: str, actor: str, why: str, now: datetime) -> None:
    """Remove a score with all its values; rules that read it find it absent from then on. LookupError."""
    found = _score(store, tenant, name)
    change = entry(now, actor, "delete score", name, found.body["title"], None, why)
    store.commit(tenant, None, [Delete("score", name, found.version), change])
    while page := store.find(tenant, "score_value", [("score", "==", name)], "updated_at", limit=AT_ONCE).items:
        store.commit(tenant, None, [Delete("score_value", one.id, one.version) for one in page])


def _write(store: Store, tenant: str, name: str, part: Sequence[Value], source: str, now: datetime) -> None:
    for _ in range(CONFLICTS):
        writes: dict[str, Write] = {}
        bodies: dict[str, Mapping[str, Any]] = {}
        for row in part:
            id = value_id(name, row.customer)
            found = store.get(tenant, "score_value", id)
            known = bodies.get(id) or (found.body if found else None)
            bodies[id] = with_value(known, name, row.customer, row.value, row.at, source, now)
            writes[id] = Put("score_value", id, bodies[id], found.version if found else ABSENT)
        try:
            store.commit(tenant, None, list(writes.values()))
            return
        except Conflict:
            continue
    raise Conflict(f"The values of {name!r} were changed by somebody else at the same time. Try again.")


def _checked(rows: Sequence[Mapping[str, Any]], now: datetime) -> list[Value]:
    problems: list[Problem] = []
    if len(rows) > MOST:
        problems.append(Problem("values", f"at most {MOST:,} values at once, not {len(rows):,}"))
    found = [_value(row, f"values[{index}]", now, problems) for index, row in enumerate(rows[:MOST])]
    if problems:
        raise RuleError(problems[:100])
    return [value for value in found if value is not None]


def _value(row: Any, path: str, now: datetime, problems: list[Problem]) -> Value | None:
    if not isinstance(row, Mapping):
        problems.append(Problem(path, 'a value is written {"customer": "cus_...", "value": 0.7}'))
        return None
    customer, value, at = row.get("customer"), row.get("value"), _time(row.get("at"), now)
    if not isinstance(customer, str) or not _CUSTOMER.fullmatch(customer):
        problems.append(Problem(f"{path}.customer", f"write the customer's id at Stripe, cus_..., not {customer!r}"))
    elif not is_value(value):
        problems.append(Problem(f"{path}.value", f"a score is a number, not {value!r}"))
    elif at is None or at > now.timestamp():
        problems.append(Problem(f"{path}.at", "since when it counts is a time that is not in the future"))
    else:
        assert value is not None
        return Value(customer, value, at)
    return None


def _time(at: Any, now: datetime) -> int | None:
    if at is None or at == "":
        return int(now.timestamp())
    if isinstance(at, int) and not isinstance(at, bool):
        return at
    try:
        found = instant(at) if isinstance(at, str) else None
    except ValueError:
        return None
    return int((found if found.tzinfo else found.replace(tzinfo=now.tzinfo)).timestamp()) if found else None


# ---- files ----------------------------------------------------------------------------------------------------------
def read_csv(lines: Iterable[str]) -> dict[str, list[Row]]:
    """The rows of a CSV file by score: a column `customer`, perhaps `at`, and one column for each score. An empty field
    sets nothing. RuleError with every bad row."""
    table = csv.DictReader(lines)
    columns = [name for name in table.fieldnames or () if name not in ("customer", "at")]
    if "customer" not in (table.fieldnames or ()) or not columns:
        message = "the first line names the columns: customer, one for each score, and perhaps at"
        raise RuleError([Problem("line 1", message, "customer,churn_risk")])
    found: dict[str, list[Row]] = {name: [] for name in columns}
    problems: list[Problem] = []
    for number, row in enumerate(table, 2):
        for name, value in _numbers(row, columns, number, problems):
            found[name].append(
                {"customer": (row["customer"] or "").strip(), "value": value, "at": row.get("at") or None}
            )
    if problems:
        raise RuleError(problems[:100])
    return found


def _numbers(
    row: Mapping[str, Any], columns: Sequence[str], number: int, problems: list[Problem]
) -> Iterator[tuple[str, float]]:
    for name in columns:
        text = (row.get(name) or "").strip()
        try:
            if text:
                yield name, int(text) if re.fullmatch(r"-?\d+", text) else float(text)
        except ValueError:
            problems.append(Problem(f"line {number}", f"{name} is a number, not {text!r}"))
