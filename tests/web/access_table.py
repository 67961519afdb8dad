"""The table of who may do what, written out: one line a method and address, with the roles that are let through.

`python -m tests.web.access_table > tests/golden/access.txt` writes it again; the change is then read by a person.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flask import Flask

from app.access.members import ROLES
from app.operate import VERBS
from app.web.gate import roles

FILE = Path(__file__).parents[1] / "golden" / "access.txt"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class Place:
    """One way to write a route's address. method: one that the route has."""

    method: str
    address: str
    endpoint: str


def places(flask: Flask) -> list[Place]:
    """Every route with every method, and each verb in an address by itself."""
    return sorted(
        (
            Place(method, address, rule.endpoint)
            for rule in flask.url_map.iter_rules()
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
            for address in _addresses(rule.rule)
        ),
        key=lambda place: (place.address, place.method),
    )


def _addresses(rule: str) -> Iterator[str]:
    found = re.search(r"<any\(([^)]*)\):\w+>", rule)
    if found:
        for verb in found[1].split(","):
            yield from _addresses(rule.replace(found[0], verb.strip(), 1))
    elif "<verb>" in rule and rule.startswith("/runs/"):
        yield from (filled for verb in VERBS for filled in _addresses(rule.replace("<verb>", verb)))
    elif "/lists/<name>" in rule:
        yield from (filled for name in ("one", "role-one") for filled in _addresses(rule.replace("<name>", name)))
    else:
        yield re.sub(r"<[^>]+>", "one", rule)


def line(flask: Flask, place: Place) -> str:
    """`GET /rules: viewer author ...`, by the table of rights alone."""
    adapter = flask.url_map.bind("localhost")
    endpoint, args = adapter.match(place.address, method=place.method)
    wanted = roles.needed(flask.extensions["rights"], place.method, str(endpoint), args)
    if wanted is None:
        return f"{place.method} {place.address}: nobody"
    if roles.is_free(wanted):
        return f"{place.method} {place.address}: {'anybody' if wanted == ('open',) else 'machines'}"
    return f"{place.method} {place.address}: {' '.join(one for one in ROLES if one in roles.holders(wanted))}"


def lines(flask: Flask) -> list[str]:
    return [line(flask, place) for place in places(flask)]


def known() -> dict[tuple[str, str], frozenset[str]]:
    """What the file says: (method, address) -> roles, or `anybody`, `machines`."""
    found = (row.partition(": ") for row in FILE.read_text().splitlines())
    return {(head.split(" ")[0], head.split(" ")[1]): frozenset(said.split()) for head, _, said in found}


if __name__ == "__main__":
    from app.web import create_app
    from tests.builders import services_in_memory

    sys.stdout.write("".join(f"{row}\n" for row in lines(create_app(services_in_memory()))))
