"""Find: from any id that a person may have in hand to the one page that tells of it."""

from __future__ import annotations

import re
from urllib.parse import quote

from app.browse.events import subject_key
from app.browse.journey import correlation_of
from app.browse.rows import Row, event_row
from rules.ports import Store, Where

LISTED = 25  # events that the answer lists for an id that many of them carry
RULES = 500  # rules whose names are looked through, the latest changed ones
LONGEST = 200  # characters of a question; Stripe's ids are far shorter
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_TRACE = re.compile(r"[0-9a-f]{32}")


def find(store: Store, tenant: str, q: str) -> Row:
    """`{"to": address}` when the id has one page; else `{"to": None, "choices": [...], "events": [...]}`.
    q: an event, invoice, subscription, customer, payment intent, charge, run, action, rule (by name
    too), trace id or traceparent."""
    asked = q.strip()[:LONGEST]
    if not asked:
        return _nothing(asked)
    to = _page(store, tenant, asked)
    if to:
        return {"q": asked, "to": to, "choices": [], "events": []}
    events = store.find(tenant, "event", [("keys", "has", subject_key(asked))], order="-created", limit=LISTED).items
    rows = [event_row(document.body) for document in events]
    return {"q": asked, "to": None, "choices": _choices(store, tenant, asked, rows), "events": rows}


def _page(store: Store, tenant: str, asked: str) -> str | None:
    """The page of what has exactly one."""
    for kind, address in (("event", "/events/"), ("run", "/runs/"), ("rule", "/rules/")):
        if store.get(tenant, kind, asked):
            return address + quote(asked, safe="")
    if "/" in asked:
        return _of_command(store, tenant, asked)
    if asked.startswith("cus_") and _known_customer(store, tenant, asked):
        return f"/customers/{quote(asked, safe='')}"
    if parent := _TRACEPARENT.fullmatch(asked):
        asked = parent[1]
    return f"/traces/{asked}" if _TRACE.fullmatch(asked) and _is_transaction(store, tenant, asked) else None


def _of_command(store: Store, tenant: str, asked: str) -> str | None:
    """An action `run/step`, or its key at Stripe `run/step/g`."""
    for id in (asked, asked.rsplit("/", 1)[0]):
        if store.get(tenant, "command", id):
            run, _, step = id.partition("/")
            return f"/runs/{quote(run, safe='')}#step-{quote(step, safe='')}"
    return None


def _known_customer(store: Store, tenant: str, id: str) -> bool:
    return bool(store.find(tenant, "event", [("keys", "has", f"cus:{id}")], order="created", limit=1).items)


def _is_transaction(store: Store, tenant: str, id: str) -> bool:
    try:
        return bool(correlation_of(store, tenant, id))
    except LookupError:
        return False


def _choices(store: Store, tenant: str, asked: str, events: list[Row]) -> list[Row]:
    """The pages that an id of several may mean: its transaction, its customers, the runs that are about it."""
    choices = _rules(store, tenant, asked)
    if _is_transaction(store, tenant, asked):
        choices.append(_choice("Journey", f"/traces/{quote(asked, safe='')}", "from the webhook to the last action"))
    for customer in dict.fromkeys(row["customer"] for row in events if row["customer"]):
        choices.append(_choice("Customer", f"/customers/{quote(customer, safe='')}", customer))
    where: list[Where] = [("key", "==", subject_key(asked))]
    for document in store.find(tenant, "run", where, order="-created_at", limit=LISTED).items:
        text = f"{document.body['rule_name']}: {document.body['state']}"
        choices.append(_choice("Run", f"/runs/{document.id}", text))
    return choices


def _rules(store: Store, tenant: str, asked: str) -> list[Row]:
    """Rules whose name or tags have every word that was asked for."""
    words = asked.casefold().split()
    found = []
    for document in store.find(tenant, "rule", order="-updated_at", limit=RULES).items:
        body = document.body
        tags = (body.get("draft") or {}).get("tags")
        text = " ".join([body["name"], document.id, *(tags if isinstance(tags, list) else ())]).casefold()
        if all(word in text for word in words):
            found.append(_choice("Rule", f"/rules/{quote(document.id, safe='')}", f"{body['name']}: {body['state']}"))
    return found[:LISTED]


def _choice(kind: str, to: str, text: str) -> Row:
    return {"kind": kind, "to": to, "text": text}


def _nothing(asked: str) -> Row:
    return {"q": asked, "to": None, "choices": [], "events": []}
