"""Advice about a rule document that only the store can give: connections and lists that it names and nobody made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rules.ports import Store
from rules.rule import Problem

LOOKED_AT = 200  # rules, the latest changed ones: this is asked at every pause in the typing


def advice(store: Store, tenant: str, document: Mapping[str, Any]) -> list[Problem]:
    """What only the store knows: connections and lists that are not there yet."""
    found = []
    for path, name in connections_of(document.get("steps"), "steps"):
        if store.get(tenant, "connection", name) is None:
            message = f"there is no connection {name!r} yet; until it is made under Settings, this step will wait"
            found.append(Problem(path, message, severity="advice"))
    found += _same_name(store, tenant, document)
    never = document.get("never_for")
    names = never.get("lists") if isinstance(never, Mapping) else None
    for place, name in enumerate(names if isinstance(names, list) else []):
        if store.get(tenant, "list", str(name)) is None:
            message = f"there is no list {name!r} yet; until it is made under Settings, it excludes nobody"
            found.append(Problem(f"never_for.lists[{place}]", message, severity="advice"))
    return found


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
    found: list[tuple[str, str]] = []
    for place, step in enumerate(steps if isinstance(steps, list) else []):
        if not isinstance(step, Mapping):
            continue
        params = step.get("with")
        if isinstance(params, Mapping) and isinstance(params.get("connection"), str):
            found.append((f"{path}[{place}].with.connection", params["connection"]))
        for branch in ("then", "else"):
            found += connections_of(step.get(branch), f"{path}[{place}].{branch}")
    return found
