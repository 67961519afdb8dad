"""Groups of event types that other services read for themselves: each gets its own Pub/Sub subscription with a filter.

A route of the pages forwards with our ledger, our retries and conditions on any field; a group is the bus itself, for
services that rather pull at their own pace. A filter is Pub/Sub's to apply: whoever reads still drops what it does not
want (docs/subscriber.py), for emulators ignore filters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rules.ports import Refused

LONGEST = 256  # bytes of a filter (https://cloud.google.com/pubsub/docs/subscription-message-filter)
EVERY = "*"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_TYPE = re.compile(r"\*|[A-Za-z0-9_.\[\]-]{1,100}\*?")
_TENANT = re.compile(r"[A-Za-z0-9_]{1,64}/(live|test)")
_ACCOUNT = re.compile(r"[a-z0-9-]{1,63}@[a-z0-9.-]{1,200}")
_FIELDS = {"name", "types", "tenant", "reader", "history"}


@dataclass(frozen=True, slots=True)
class Group:
    """types: of Stripe's events; `invoice.*` is every one that begins so, `*` is every one. tenant: only this one's
    (`default/live`); empty: every one's. reader: the service account that may pull. history: imported events, too,
    which happened long ago."""

    name: str
    types: tuple[str, ...]
    tenant: str = ""
    reader: str = ""
    history: bool = False


def filter_of(group: Group) -> str:
    """The subscription's filter; empty where every message is wanted.

    >>> filter_of(Group("reporting", ("invoice.*", "charge.refunded"), history=True))
    'hasPrefix(attributes."ce-type", "invoice.") OR attributes."ce-type" = "charge.refunded"'
    >>> filter_of(Group("all", ("*",), "default/live"))
    'attributes."ce-tenant" = "default/live" AND attributes."ce-origin" != "import"'
    """
    asked = [f'attributes."ce-tenant" = "{group.tenant}"'] if group.tenant else []
    asked += [] if group.history else ['attributes."ce-origin" != "import"']
    wanted = " OR ".join(map(_type_is, group.types)) if EVERY not in group.types else ""
    if asked and " OR " in wanted:
        wanted = f"({wanted})"
    return " AND ".join([*asked, wanted] if wanted else asked)


def _type_is(name: str) -> str:
    if name.endswith(EVERY):
        return f'hasPrefix(attributes."ce-type", "{name[:-1]}")'
    return f'attributes."ce-type" = "{name}"'


def groups_of(found: Any) -> list[Group]:
    """The groups of a file's JSON: `{"groups": [{"name": "reporting", "types": ["invoice.*"]}]}`. Raises Refused with
    everything that is wrong with it."""
    rows = found.get("groups") if isinstance(found, Mapping) else None
    if not isinstance(rows, list):
        raise Refused('The file holds no groups: write {"groups": [{"name": "reporting", "types": ["invoice.*"]}]}.')
    problems = [problem for row in rows for problem in _problems(row)]
    names = [row.get("name") for row in rows if isinstance(row, Mapping)]
    problems += [f"{name} is there twice." for name in sorted({str(n) for n in names if names.count(n) > 1})]
    if problems:
        raise Refused(" ".join(problems))
    groups = [Group(**{**row, "types": tuple(row["types"])}) for row in rows]
    problems = [f"The filter of {one.name} is longer than {LONGEST} bytes: use prefixes, or two groups."
                for one in groups if len(filter_of(one)) > LONGEST]  # fmt: skip
    if problems:
        raise Refused(" ".join(problems))
    return groups


def _problems(row: Any) -> Sequence[str]:
    """What is wrong with one group, a sentence each."""
    if not isinstance(row, Mapping):
        return ["A group is an object with a name and types."]
    name = str(row.get("name", ""))
    called = name or "a group"
    found = [f"{called}: {field} is no part of a group." for field in sorted(map(str, set(row) - _FIELDS))]
    if not _NAME.fullmatch(name):
        found.append(f"{name!r} is no name of a group: small letters, digits and dashes, at most 40.")
    types = row.get("types")
    if not (isinstance(types, list) and types and all(isinstance(t, str) and _TYPE.fullmatch(t) for t in types)):
        found.append(f"{called}: types are event types such as invoice.paid, invoice.* or *.")
    if row.get("tenant", "") != "" and not _TENANT.fullmatch(str(row["tenant"])):
        found.append(f"{called}: a tenant is written default/live.")
    if row.get("reader", "") != "" and not _ACCOUNT.fullmatch(str(row["reader"])):
        found.append(f"{called}: a reader is a service account's address.")
    if not isinstance(row.get("history", False), bool):
        found.append(f"{called}: history is true or false.")
    return found
