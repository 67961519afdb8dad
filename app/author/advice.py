"""Advice about a rule document that only the store can give: connections, lists and prices that nobody here knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.connections.types import TYPES
from rules.ports import Store
from rules.reading import nearest
from rules.rule import Problem

PRICED = ("price.created", "customer.subscription.created", "customer.subscription.updated", "invoice.paid")
NEWEST = 25  # events of each of these types
NEEDED = {type.action.partition(".")[0]: type.name for type in TYPES.values()}  # the type by the action's connector
LOOKED_AT = 200  # rules, the latest changed ones: this is asked at every pause in the typing


def advice(store: Store, tenant: str, document: Mapping[str, Any]) -> list[Problem]:
    """What only the store knows: connections and lists that are not there yet."""
    found = []
    for path, action, params in _actions(document.get("steps"), "steps"):
        found += _connection(store, tenant, f"{path}.with.connection", action, params.get("connection"))
        found += _price(store, tenant, f"{path}.with.price", params.get("price"))
    found += _same_name(store, tenant, document)
    never = document.get("never_for")
    names = never.get("lists") if isinstance(never, Mapping) else None
    for place, name in enumerate(names if isinstance(names, list) else []):
        if store.get(tenant, "list", str(name)) is None:
            message = f"there is no list {name!r} yet; until it is made under Settings, it excludes nobody"
            found.append(Problem(f"never_for.lists[{place}]", message, severity="advice"))
    return found


def _connection(store: Store, tenant: str, path: str, action: str, name: Any) -> list[Problem]:
    if not isinstance(name, str):
        return []
    known = store.get(tenant, "connection", name)
    if known is None:
        message = f"there is no connection {name!r} yet; until it is made under Settings, this step will wait"
        return [Problem(path, message, severity="advice")]
    wanted = NEEDED.get(action.partition(".")[0])
    if wanted is None or known.body["type"] in (wanted, None):
        return []
    mine, needed = (TYPES[kind].title if kind in TYPES else kind for kind in (known.body["type"], wanted))
    message = f"{name!r} is a connection of the kind {mine}; this step needs one of the kind {needed}, and will wait"
    return [Problem(path, message, severity="advice")]


def _price(store: Store, tenant: str, path: str, price: Any) -> list[Problem]:
    """A price that no event has named. It may be right all the same: nobody has to be on it."""
    if not isinstance(price, str) or "{{" in price or not price:
        return []
    known = prices_seen(store, tenant)
    if not known or price in known:
        return []
    others = ", ".join(f"{id} ({name})" if name else id for id, name in list(known.items())[:3])
    message = f"no event here has named the price {price!r}; see that it is one of Stripe’s, such as {others}"
    return [Problem(path, message, nearest(price, known), "advice")]


def prices_seen(store: Store, tenant: str) -> dict[str, str]:
    """The prices that the newest events name, each with its own name where an event says it."""
    found: dict[str, str] = {}
    for type in PRICED:
        for document in store.find(tenant, "event", [("type", "==", type)], order="-created", limit=NEWEST).items:
            for id, name in _prices(document.body["event"]["data"].get("data", {}).get("object")):
                found[id] = found.get(id) or name
    return found


def _prices(thing: Any) -> Iterator[tuple[str, str]]:
    """Every price in an object, `price_1` or `{"object": "price", "id", "nickname"}`."""
    if isinstance(thing, list):
        for part in thing:
            yield from _prices(part)
    elif isinstance(thing, Mapping):
        if thing.get("object") == "price" and isinstance(thing.get("id"), str):
            yield thing["id"], str(thing.get("nickname") or "")
        elif isinstance(thing.get("price"), str):
            yield thing["price"], ""
        for key in ("items", "data", "lines", "price", "pricing", "price_details"):
            yield from _prices(thing.get(key))


def _actions(steps: Any, path: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Every action of a document, finished or not: its place, its name, its parameters."""
    for place, step in enumerate(steps if isinstance(steps, list) else []):
        if not isinstance(step, Mapping):
            continue
        params = step.get("with")
        yield f"{path}[{place}]", str(step.get("do") or ""), params if isinstance(params, Mapping) else {}
        for branch in ("then", "else"):
            yield from _actions(step.get(branch), f"{path}[{place}].{branch}")


def _same_name(store: Store, tenant: str, document: Mapping[str, Any]) -> list[Problem]:
    """Two rules of one name cannot be told apart in lists and notices."""
    name = document.get("name")
    newest = store.find(tenant, "rule", order="-updated_at", limit=LOOKED_AT)
    others = [one.body for one in newest.items if one.id != document.get("id") and one.body["state"] != "archived"]
    if name and any(other["name"] == name for other in others):
        return [Problem("name", "another rule has this name; lists and notices tell rules apart by it", None, "advice")]
    return []


def connections_of(steps: Any, path: str) -> list[tuple[str, str]]:
    """(path, name) of every connection that a document's steps name."""
    named = ((place, params.get("connection")) for place, _, params in _actions(steps, path))
    return [(f"{place}.with.connection", name) for place, name in named if isinstance(name, str)]
