"""What a customer may be called on a list without showing a personal value: the mask of its e-mail, and its plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

from app.browse.customers import newest_plan
from app.browse.rows import JSON, subject_of
from rules.personal import TOKEN
from rules.ports import Store

RECENT = 12  # events of a customer that are looked through for one
KEPT = timedelta(minutes=5)
MOST = 5_000  # names that are kept
SHORT = 6  # signs of a token that are enough to tell two apart on a page
_MAILS = (("email",), ("customer_email",), ("receipt_email",), ("billing_details", "email"))
_NAMES = (("name",), ("customer_name",), ("billing_details", "name"))


class Names:
    """The names of customers, each looked up at most once in `KEPT`. at_once: look-ups together, where each takes its
    way over a network."""

    def __init__(self, at_once: int = 1) -> None:
        self._at_once = at_once
        self._known: dict[tuple[str, str], tuple[datetime, str]] = {}

    def of(self, store: Store, tenant: str, customers: Iterable[str], now: datetime) -> dict[str, str]:
        """The name of each customer; empty where nothing may be said."""
        asked = list(dict.fromkeys(customers))
        found = {id: name for id in asked if (name := self._fresh(tenant, id, now)) is not None}
        missing = [id for id in asked if id not in found]
        found.update(zip(missing, self._each(lambda id: called(store, tenant, id), missing), strict=True))
        if len(self._known) + len(missing) > MOST:
            self._known.clear()
        self._known.update({(tenant, id): (now, found[id]) for id in missing})
        return found

    def _fresh(self, tenant: str, id: str, now: datetime) -> str | None:
        at, name = self._known.get((tenant, id), (None, ""))
        return name if at is not None and timedelta(0) <= now - at < KEPT else None

    def _each(self, look: Callable[[str], str], ids: Sequence[str]) -> list[str]:
        if self._at_once == 1 or len(ids) < 2:
            return [look(id) for id in ids]
        with ThreadPoolExecutor(self._at_once) as pool:
            return list(pool.map(look, ids))


def called(store: Store, tenant: str, customer: str) -> str:
    """`a9ef32…@acme.com · Basic monthly`: from the customer's newest events; empty when they say nothing."""
    page = store.find(tenant, "event", [("keys", "has", f"cus:{customer}")], order="-created", limit=RECENT)
    things = [subject_of(document.body["event"]["data"]) for document in page.items]
    mask = next(_masks(things, _MAILS), "") or next(_masks(things, _NAMES), "")
    return " · ".join(part for part in (mask, newest_plan(things)) if part)


def _masks(things: Iterable[JSON], paths: Iterable[Sequence[str]]) -> Iterator[str]:
    """Short forms of the tokens at these paths. What is no token, such as an erased or a foreign value, is none."""
    for thing in things:
        for path in paths:
            value = _at(thing, path)
            if isinstance(value, str) and TOKEN.fullmatch(value):
                token, at, domain = value.removeprefix("tok_").partition("@")
                yield f"{token[:SHORT]}…{at}{domain}"


def _at(thing: Any, path: Sequence[str]) -> Any:
    for key in path:
        thing = thing.get(key) if isinstance(thing, Mapping) else None
    return thing
