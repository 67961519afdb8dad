"""Schemas of Stripe's events as people ask for them: types, fields, what a version changes, and which rules read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rules import compatibility, registry
from rules.catalogue import Catalogue
from rules.compatibility import BREAKING, Change, uses
from rules.model import Rule, RuleError
from rules.ports import Store
from rules.registry import Shape
from rules.rule import parse

Row = dict[str, Any]
MANY = 1_000  # rules that are looked at
LATEST = 50  # events that say which version an account's webhooks have
LISTED = 200  # unknown types
SHORT = 80  # characters of an example


# ---- types ----------------------------------------------------------------------------------------------------------
def types(catalogue: Catalogue, read_by: Mapping[str, int], seen: Mapping[str, int]) -> list[Row]:
    """Every type of the newest version, by name: `{"name", "title", "description", "object", "seen", "rules",
    "versions"}`. seen: how often each came lately. read_by: how many rules listen to each."""
    kept = [registry.of(version) for version in registry.versions()]
    return [
        {
            "name": found.name,
            "title": found.title,
            "description": found.description,
            "object": found.object,
            "seen": seen.get(found.name, 0),
            "rules": read_by.get(found.name, 0),
            "versions": [shapes.api_version for shapes in kept if shapes.knows(found.name)],
        }
        for found in sorted(catalogue.event_types(), key=lambda found: found.name)
    ]


def unknown(store: Store, tenant: str) -> list[Row]:
    """The types that came and are in no registry, the newest first, with how many events are kept of each."""
    found = store.find(tenant, "unknown_type", order="-last_at", limit=LISTED)
    return [
        {**one.body, "count": store.count(tenant, "event", [("type", "==", one.body["type"])])} for one in found.items
    ]


def listened(rules: Iterable[Rule]) -> Counter[str]:
    """How many rules read each type."""
    return Counter(type for rule in rules for type in {*rule.when.types, *(use.type for use in uses(rule))})


# ---- one type -------------------------------------------------------------------------------------------------------
def fields(
    catalogue: Catalogue, type: str, version: str, rules: Iterable[Rule] = (), example: Mapping[str, Any] | None = None
) -> list[Row]:
    """The fields of a type in a version: `{"path", "type", "meaning", "personal", "example", "rules"}`, those that
    people ask for first at the top. example: an event, its personal values as tokens. LookupError."""
    shapes = registry.of(version)
    if not shapes.knows(type):
        raise LookupError(f"The registry of {version} has no event type {type!r}.")
    readers = _readers(rules, type)
    known = {info.path: info for info in catalogue.fields(type)}
    listed = shapes.shapes(type)
    first = [path for path in known if path in listed]
    return [
        _field(listed[path], known.get(path), readers.get(path, ()), example or {})
        for path in dict.fromkeys([*first, *sorted(listed, key=lambda path: (path.count("."), path))])
    ]


def _field(shape: Shape, info: Any, rules: Iterable[str], example: Mapping[str, Any]) -> Row:
    return {
        "path": shape.path,
        "type": shape.says,
        "meaning": info.description if info else "",
        "label": info.label if info else "",
        "personal": bool(info and info.personal),
        "example": example_at(example, shape.path),
        "rules": sorted(set(rules)),
    }


def _readers(rules: Iterable[Rule], type: str) -> dict[str, list[str]]:
    """The rules by the path that they read of this type, by its name in the newest version."""
    found: dict[str, list[str]] = {}
    for rule in rules:
        for use in uses(rule):
            if use.type == type:
                found.setdefault(use.path, []).append(rule.id)
    return found


def example_at(example: Mapping[str, Any], path: str) -> str:
    """The value that an event has there, as text; of a list's items the first one's."""
    value: Any = example
    for key in path.split("."):
        name = key.removesuffix("[]")
        value = value.get(name) if isinstance(value, dict) else None
        if key.endswith("[]"):
            value = value[0] if isinstance(value, list) and value else None
    if value is None or isinstance(value, dict | list):
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= SHORT else text[: SHORT - 1] + "…"


def shown_schema(catalogue: Catalogue, type: str, version: str) -> Row:
    """The JSON Schema that is enforced, the object's own fields in place, and beside it what the fields mean.
    LookupError."""
    schema = registry.of(version).schema(type)
    data = schema["properties"].get("data", {}).get("properties", {})
    thing = data.get("object", {})
    if "$ref" in thing:
        own = schema["$defs"][thing["$ref"].removeprefix("#/$defs/")]
        data["object"] = {**{key: value for key, value in thing.items() if key != "$ref"}, **own}
    meanings = {
        info.path: {
            "title": info.label,
            **({"description": info.description} if info.description else {}),
            **({"examples": list(info.enum)} if info.enum else {}),
            **({"personal": True} if info.personal else {}),
        }
        for info in catalogue.fields(type)
        if registry.of(version).shape(type, info.path)
    }
    return {**schema, "x-fields": meanings}


# ---- versions -------------------------------------------------------------------------------------------------------
def versions() -> list[Row]:
    """The stored versions, the newest first: `{"version", "sdk", "types"}`."""
    kept = [registry.of(version) for version in reversed(registry.versions())]
    return [{"version": one.api_version, "sdk": one.sdk, "types": len(one.event_types())} for one in kept]


def compared(old: str, new: str, rules: Iterable[Rule], only: Iterable[str] | None = None) -> Row:
    """What a move from one version to the other means: `{"from", "to", "breaking": counts, "changes": of the types in
    `only`, "rules": what rules lose}`. Without `only`: of the types that rules read. LookupError."""
    kept = list(rules)
    counts: Counter[str] = Counter()
    wanted = set(only) if only is not None else set(listened(kept))
    told: list[Change] = []
    names = {*registry.of(old).event_types(), *registry.of(new).event_types()}
    for change in compatibility.between(old, new, sorted(names)):
        counts[change.kind] += 1
        if change.type in wanted:
            told.append(change)
    return {
        "from": old,
        "to": new,
        "counts": dict(sorted(counts.items())),
        "changes": [change.body() for change in sorted(told, key=_worst_first)],
        "rules": [loss.body() for loss in compatibility.losses(kept, old, new)],
    }


def _worst_first(change: Change) -> tuple[bool, str, str]:
    return change.kind not in BREAKING, change.type, change.path


def account_versions(store: Store, tenant: str) -> list[str]:
    """The API versions of the newest events, the commonest first: what the account's webhook endpoint is set to."""
    found = store.find(tenant, "event", order="-recorded", limit=LATEST).items
    named = (one.body["event"]["data"].get("api_version") for one in found if one.body["origin"] == "webhook")
    return [name for name, _ in Counter(one for one in named if isinstance(one, str)).most_common()]


def mismatch(store: Store, tenant: str) -> Row | None:
    """`{"version", "registry", "read_as", "newer", "rules": what is not there under its name}` when the account's
    webhooks have another version than the newest that is stored; None when they agree, or nothing was heard."""
    found = account_versions(store, tenant)
    newest = registry.versions()[-1]
    if not found or found[0] == newest:
        return None
    read_as = registry.nearest_version(found[0])
    odd = compatibility.unserved(rules_of(store, tenant), read_as) if read_as != newest else []
    return {
        "version": found[0],
        "registry": newest,
        "read_as": read_as,
        "newer": found[0] > newest,
        "rules": [one.body() for one in odd],
    }


# ---- the tenant's rules ---------------------------------------------------------------------------------------------
def rules_of(store: Store, tenant: str) -> list[Rule]:
    """Every rule that is not archived: the version in force, else the draft; those that cannot be read are left out."""
    return [rule for rule in map(_parsed, _documents(store, tenant)) if rule is not None]


def _documents(store: Store, tenant: str) -> Iterator[Mapping[str, Any]]:
    for row in store.find(tenant, "rule", order="-updated_at", limit=MANY).items:
        if row.body["state"] == "archived":
            continue
        number = row.body.get("number")
        version = store.get(tenant, "rule_version", f"{row.id}@{number}") if number else None
        document = version.body["document"] if version else row.body.get("draft")
        if document:
            yield document


def _parsed(document: Mapping[str, Any]) -> Rule | None:
    try:
        return parse(document)
    except RuleError:
        return None


def names_of(rules: Iterable[Rule]) -> dict[str, str]:
    return {rule.id: rule.name for rule in rules}
