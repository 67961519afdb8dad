"""One customer whole: what is known, what came, what we decided and did, in the order of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.browse.rows import JSON, Row, command_row, event_row, gather, run_row, subject_of
from rules.english import amount
from rules.event import iso, seconds
from rules.ports import Document, Page, Store, Where

RECENT = 100  # events of a customer that its page reads at once
ACTED = 50  # runs and actions likewise
OPEN_INVOICE = ("open", "past_due", "uncollectible")
_FACTS = ("name", "email", "phone", "currency", "balance", "delinquent", "created", "description")


def customers(store: Store, tenant: str, *, after: str | None = None, limit: int = 100) -> Row:
    """The customers whom the newest events are about, each once a page, the latest first."""
    found: dict[str, Row] = {}

    def read(cursor: str | None) -> Page:
        return store.find(tenant, "event", order="-recorded", after=cursor, limit=limit)

    page = gather(read, lambda document: bool(document.body.get("customer")), after, limit // 2, pages=3)
    for document in page.items:
        row = event_row(document.body)
        known = found.setdefault(row["customer"], {"id": row["customer"], "latest": row, "events": 0, "fired": 0})
        known["events"] += 1
        known["fired"] += row["fired"]
    return {"items": list(found.values()), "next": page.next}


def customer(store: Store, tenant: str, id: str, *, after: str | None = None) -> Row:
    """One customer: facts, subscriptions, open invoices, runs, actions and events; `next` pages the older events.
    Raises LookupError for one of whom nothing is known."""
    page = store.find(tenant, "event", [("keys", "has", f"cus:{id}")], order="-created", after=after, limit=RECENT)
    mine: list[Where] = [("customer", "==", id)]
    runs = store.find(tenant, "run", mine, order="-created_at", limit=ACTED)
    commands = store.find(tenant, "command", mine, order="-created_at", limit=ACTED)
    if not page.items and not runs.items:
        raise LookupError(f"Nothing is known of the customer {id!r}.")
    invoices = [row for row in _latest(page.items, "invoice") if row["status"] in OPEN_INVOICE]
    return {
        "id": id,
        "facts": _facts(store, tenant, id, page.items),
        "subscriptions": _latest(page.items, "subscription"),
        "invoices": invoices,
        "owed": _sum(row["money"] for row in invoices),
        "keys": _by_prefix({key for document in page.items for key in document.body.get("keys", ())}),
        "runs": [run_row(document.body) for document in runs.items],
        "commands": [command_row(document.body) for document in commands.items],
        "history": _history(
            page.items, runs.items, commands.items, newer=after is not None, older=page.next is not None
        ),
        "next": page.next,
    }


def _facts(store: Store, tenant: str, id: str, recent: Sequence[Document]) -> Row | None:
    """What the newest customer event said of the customer, and which event that was."""
    newest = _newest_of(recent, "customer")
    for type in () if newest else ("customer.updated", "customer.created"):
        where: list[Where] = [("keys", "has", f"cus:{id}"), ("type", "==", type)]
        found = store.find(tenant, "event", where, order="-created", limit=1).items
        if found:
            newest = found[0]
            break
    if newest is None:
        return None
    thing = _thing(newest)
    return {
        "event": newest.id,
        "as_of": iso(seconds(newest.body["created"])),
        **{name: thing[name] for name in _FACTS if thing.get(name) not in (None, "")},
        "metadata": dict(thing.get("metadata") or {}),
    }


def _newest_of(recent: Sequence[Document], object: str) -> Document | None:
    return next((document for document in recent if _thing(document).get("object") == object), None)


def _latest(recent: Sequence[Document], object: str) -> list[Row]:
    """The last known state of each object of this class among the recent events."""
    rows: dict[str, Row] = {}
    for document in recent:
        thing = _thing(document)
        if thing.get("object") == object and thing.get("id") and thing["id"] not in rows:
            rows[thing["id"]] = _STATE[object](thing) | {
                "event": document.id,
                "as_of": iso(seconds(document.body["created"])),
            }
    return list(rows.values())


def _subscription(thing: JSON) -> Row:
    items = _object(thing.get("items")).get("data")
    return {
        "id": thing["id"],
        "status": thing.get("status"),
        "plans": [_plan(_object(item)) for item in items] if isinstance(items, list) else [],
        "cancel_at": _whole(thing.get("cancel_at")),
        "ended_at": _whole(thing.get("ended_at")),
    }


def newest_plan(things: Iterable[JSON]) -> str:
    """What the first subscription among these objects is called: its price's name, else `$49.00 a month`."""
    newest = next((thing for thing in things if thing.get("object") == "subscription" and thing.get("id")), {})
    plan = next(iter(_subscription(newest)["plans"]), None) if newest else None
    if plan is None:
        return ""
    money, interval = plan["money"], plan["interval"]
    named = plan["name"] if isinstance(plan["name"], str) else ""
    return named or (f"{amount(money['minor'], money['currency'])} a {interval}" if money["minor"] and interval else "")


def _plan(item: JSON) -> Row:
    price = _object(item.get("price") or item.get("plan"))
    recurring = _object(price.get("recurring"))
    return {
        "price": price.get("id"),
        "name": price.get("nickname") or price.get("lookup_key"),
        "money": _money(price.get("unit_amount"), price.get("currency")),
        "interval": recurring.get("interval"),
        "quantity": _whole(item.get("quantity")) or 1,
    }


def _invoice(thing: JSON) -> Row:
    return {
        "id": thing["id"],
        "status": thing.get("status"),
        "money": _money(thing.get("amount_remaining"), thing.get("currency")),
        "attempts": _whole(thing.get("attempt_count")),
        "due": _whole(thing.get("due_date")),
    }


# Nobody has checked the shape of what came under an API version that the registry does not have.
def _money(minor: Any, currency: Any) -> Row:
    return {"minor": _whole(minor), "currency": currency if isinstance(currency, str) and currency else "usd"}


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _by_prefix(keys: Iterable[str]) -> dict[str, list[str]]:
    """`{"sub": ["sub_1"], "in": [...]}`: the ids of other objects that the customer's events carry."""
    found: dict[str, list[str]] = {}
    for key in sorted(keys):
        prefix, _, id = key.partition(":")
        found.setdefault(prefix, []).append(id)
    return found


def _sum(amounts: Iterable[JSON]) -> dict[str, int]:
    total: dict[str, int] = {}
    for money in amounts:
        total[money["currency"]] = total.get(money["currency"], 0) + (money["minor"] or 0)
    return total


_STATE: Mapping[str, Any] = {"subscription": _subscription, "invoice": _invoice}


def _thing(document: Document) -> JSON:
    return subject_of(document.body["event"]["data"])


def _history(
    events: Sequence[Document], runs: Sequence[Document], commands: Sequence[Document], *, newer: bool, older: bool
) -> list[Row]:
    """Events, runs and actions in one list, newest first. When other pages hold newer or older events, what we did in
    their time is on those pages too."""
    rows = [{"kind": "event", "at": row["created"], **row} for row in (event_row(d.body) for d in events)]
    since = min((row["at"] for row in rows), default="") if older else ""
    until = max((row["at"] for row in rows), default="~") if newer else "~"
    rows += [{"kind": "run", "at": row["triggered"], **row} for row in (run_row(d.body) for d in runs)]
    rows += [{"kind": "command", "at": _acted_at(row), **row} for row in (command_row(d.body) for d in commands)]
    shown = [row for row in rows if since <= row["at"] <= until]
    return sorted(shown, key=lambda row: (row["at"], row["kind"]), reverse=True)


def _acted_at(row: Row) -> str:
    return str((row["last"] or {}).get("at") or row["created_at"])
