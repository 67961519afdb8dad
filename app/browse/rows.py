"""The short form of each document: what a list shows of an event, a run or an action, and how lists are paged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rules.event import iso, seconds
from rules.ports import Document, Page
from rules.run import OPEN

JSON = Mapping[str, Any]
Row = dict[str, Any]

# the amount that says how big the matter is, best first; the object's own currency goes with it
_AMOUNTS = ("amount_remaining", "amount_due", "amount", "total", "unit_amount")
_WORDS = ("status", "reason", "failure_code")


def listing(page: Page, row: Callable[[JSON], Row]) -> Row:
    return {"items": [row(document.body) for document in page.items], "next": page.next}


def gather(
    read: Callable[[str | None], Page], keep: Callable[[Document], bool], after: str | None, enough: int, pages: int = 5
) -> Page:
    """Whole pages until `enough` documents are kept or `pages` are read, so a rare match cannot cost a scan."""
    kept: list[Document] = []
    for _ in range(pages):
        page = read(after)
        kept += [document for document in page.items if keep(document)]
        after = page.next
        if after is None or len(kept) >= enough:
            break
    return Page(tuple(kept), after)


def event_row(body: JSON) -> Row:
    envelope = body["event"]["data"]
    thing = subject_of(envelope)
    return {
        "id": body["event"]["id"],
        "type": body["type"],
        "created": iso(seconds(body["created"])),
        "recorded": body["recorded"],
        "correlation": body["correlation"],
        "customer": body.get("customer"),
        "origin": body.get("origin", "webhook"),
        "caused_by": body["event"].get("causationid"),
        "fired": bool(body.get("fired")),
        "considered": len(_entries(body)),
        "rules": [entry["name"] for entry in _entries(body) if entry["outcome"] in ("fired", "waiting")],
        "keys": list(body.get("keys", ())),
        "object": thing.get("id"),
        "money": money_of(thing),
        "words": words_of(thing),
        "changed": sorted(_mapping(_mapping(envelope.get("data")).get("previous_attributes"))),
    }


def _entries(body: JSON) -> Sequence[JSON]:
    """What each rule made of the event (rules.trace)."""
    found: Sequence[JSON] = (body.get("decision") or {}).get("rules") or ()
    return found


def run_row(body: JSON) -> Row:
    return {
        "id": body["id"],
        "rule_id": body["rule_id"],
        "rule_name": body["rule_name"],
        "version": body["version"],
        "mode": body["mode"],
        "state": body["state"],
        "open": body["state"] in OPEN,
        "reason": body.get("reason", ""),
        "key": body["key"],
        "customer": body.get("customer"),
        "trigger": body["trigger"],
        "triggered": iso(seconds(body["triggered"])),
        "correlation": body["correlation"],
        "created_at": body["created_at"],
        "updated_at": body["updated_at"],
        "due_at": body.get("due_at"),
        "money": dict(body.get("money") or {}),
        "contradicted_by": body.get("contradicted_by"),
        "undone": (body.get("undo") or {}).get("state", ""),
    }


def command_row(body: JSON) -> Row:
    attempts, outcome = body.get("attempts") or (), body.get("outcome") or {}
    return {
        "id": body["id"],
        "run_id": body["run_id"],
        "rule_id": body["rule_id"],
        "step": body["step"],
        "action": body["action"],
        "connection": body["connection"],
        "state": body["state"],
        "customer": body.get("customer"),
        "correlation": body["correlation"],
        "trigger": body.get("trigger", ""),
        "created_at": body["created_at"],
        "due_at": body.get("due_at"),
        "generation": body.get("generation", 0),
        "idempotency_key": f"{body['id']}/{body.get('generation', 0)}",
        "tries": len(attempts),
        "last": last_of(attempts),
        "held": outcome.get("message") if outcome.get("kind") == "held" else None,
    }


def last_of(attempts: Any) -> Row | None:
    if not attempts:
        return None
    last = attempts[-1]
    return {name: last.get(name) for name in ("at", "ended_at", "outcome", "message")}


def subject_of(envelope: JSON) -> JSON:
    """The Stripe object an event is about; a thin event names it in `related_object`."""
    found = _mapping(envelope.get("data")).get("object")
    return _mapping(found if found is not None else envelope.get("related_object"))


def money_of(thing: JSON) -> Row | None:
    currency = thing.get("currency")
    amounts = [thing[name] for name in _AMOUNTS if isinstance(thing.get(name), int)]
    if not amounts or not isinstance(currency, str):
        return None
    return {"minor": next((amount for amount in amounts if amount), 0), "currency": currency}


def words_of(thing: JSON) -> list[str]:
    """Two or three words that say the state of the object: `open`, `attempt 2`, `subscription cycle`."""
    words = [str(thing[name]).replace("_", " ") for name in _WORDS if isinstance(thing.get(name), str)]
    if isinstance(thing.get("attempt_count"), int) and thing["attempt_count"] > 0:
        words.append(f"attempt {thing['attempt_count']}")
    if isinstance(thing.get("billing_reason"), str):
        words.append(thing["billing_reason"].replace("_", " "))
    return words


def _mapping(value: Any) -> JSON:
    return value if isinstance(value, Mapping) else {}
