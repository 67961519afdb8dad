"""What the rule editor offers: Stripe's events by their plain names, the fields of an event with a real value, and
the operators and values that fit a field."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from app import sample
from app.web import picker_known
from app.web.forms.document import Form
from app.web.forms.read import PICKED
from app.web.forms.values import Kind, KindName, operators, scalar_shown
from rules import paths
from rules.event import JSON
from rules.fact_fields import known_field
from rules.facts import LISTS
from rules.fields import MISSING, Catalogue, FieldInfo, read
from rules.ports import Store
from rules.subjects import PREFIX, carried_by

KINDS: Mapping[str, KindName] = {
    "amount": "money",
    "number": "number",
    "decimal": "text",
    "time": "time",
    "boolean": "boolean",
    "enum": "choice",
    "list": "list",
    "map": "object",
    "object": "object",
}
STEP_STATES = ("done", "branch", "failed", "skipped")  # what a step may have come to, for the steps after it
SAME = {"payment_intent": "payment", "account": "account"}  # else the subject's own name
SEEN_FOR = timedelta(minutes=5)  # how long the numbers of seen events are good enough
SEEN_LONG = timedelta(hours=1)  # and when some type has reached MOST_SEEN
MOST_SEEN = 1_000  # counted no further: in Firestore each thousand is a read, for each of some 275 types
EXAMPLE_DAY = 1_795_435_200  # 2026-11-23T12:00:00Z, for the instants of examples
OFTEN = ("invoice.", "customer.subscription.", "charge.", "payment_intent.", "customer.", "checkout.")


@dataclass(frozen=True, slots=True)
class Picker:
    """types: the rule's event types. sample: the newest event of the first of them, tokenised; where none was heard of
    the sample business's (real is False), or empty. seen: events by type in the last 30 days. declared: (path, name) of
    what settings declare to count by."""

    catalogue: Catalogue
    types: Sequence[str] = ()
    sample: JSON = field(default_factory=dict)
    real: bool = True
    seen: Mapping[str, int] = field(default_factory=dict)
    declared: Sequence[tuple[str, str]] = ()
    scores: Sequence[str] = ()

    # ---- events -----------------------------------------------------------------------------------------------------
    def title(self, type: str) -> str:
        """`An invoice payment fails`; the type itself when it is unknown."""
        found = self.catalogue.event_type(type)
        return found.title if found else type

    def event(self, type: str) -> str:
        """What the picker's field holds."""
        return f"{self.title(type)}{PICKED}{type}" if self.catalogue.event_type(type) else type

    def events(self) -> list[tuple[str, str]]:
        """(what the field will hold, how often it was seen), those that were seen and the usual ones first."""
        names = sorted((found.name for found in self.catalogue.event_types()), key=self._usual)
        return [(self.event(name), self.seen_text(name)) for name in names]

    def seen_text(self, type: str) -> str:
        count = self.seen.get(type, 0)
        return f"{count:,}{' or more' if count == MOST_SEEN else ''} in 30 days" if count else "0 so far"

    def _usual(self, type: str) -> tuple[int, int, str]:
        start = next((at for at, prefix in enumerate(OFTEN) if type.startswith(prefix)), len(OFTEN))
        return -self.seen.get(type, 0), start, type

    # ---- subjects ---------------------------------------------------------------------------------------------------
    def subjects(self, anything: bool = True) -> list[tuple[str, str]]:
        """What "for the same" may be: what every one of the rule's events says it is about."""
        names = [name for name in PREFIX if all(name in self._carried(type) for type in self.types)]
        found = [(name, SAME.get(name, name)) for name in names]
        found += [
            (path, name) for path, name in self.declared if all(self.catalogue.field(t, path) for t in self.types)
        ]
        return [("", "event"), *found] if anything else found

    def _carried(self, type: str) -> Sequence[str]:
        return carried_by(self.catalogue, type) if self.catalogue.event_type(type) else tuple(PREFIX)

    def countings(self) -> list[tuple[str, str]]:
        """What is counted: every event, or the different objects they are about."""
        found = self.catalogue.event_type(self.types[0]) if self.types else None
        thing = found.object.replace("_", " ") if found else "object"
        return [("events", "every event"), ("data.object.id", f"different {thing}s")]

    # ---- fields -----------------------------------------------------------------------------------------------------
    def info(self, path: str) -> FieldInfo | None:
        """What is known of a field on the rule's events."""
        plain = path.replace("data.previous_attributes.", "data.object.", 1)
        if known := known_field(plain):
            return known
        return next((found for type in self.types if (found := self.catalogue.field(type, plain))), None)

    def kind(self, types: Sequence[str], path: str) -> Kind:
        if path.startswith("step.") and path.endswith(".state"):
            return Kind("choice", STEP_STATES)
        found = known_field(path)
        found = found or next((info for type in types if type and (info := self.catalogue.field(type, path))), None)
        return Kind(KINDS.get(found.type, "text"), tuple(found.enum), self.currency) if found else Kind()

    def field(self, path: str) -> str:
        """What the picker's field holds."""
        found = self.info(path)
        if path.startswith("step.") and path.endswith(".state"):
            return f"What came of {path.removeprefix('step.').removesuffix('.state')}{PICKED}{path}"
        return f"{found.label[:1].upper()}{found.label[1:]}{PICKED}{path}" if found else path

    def fields(self, everything: bool = False) -> list[FieldInfo]:
        """The fields of the rule's first event, the common ones first; only these unless `everything`."""
        found = self.catalogue.fields(self.types[0]) if self.types and self.catalogue.event_type(self.types[0]) else []
        chosen = [info for info in found if "[]" not in info.path and (everything or info.common)]
        return sorted(chosen, key=lambda info: not info.common)

    def known(self, query: str = "") -> list[tuple[str, list[FieldInfo]]]:
        """What is known beyond the events, in groups with their headings."""
        found = picker_known.groups(self.catalogue, self.types, self.scores)
        sought = [(heading, picker_known.searched(fields, query)) for heading, fields in found]
        return [(heading, fields) for heading, fields in sought if fields]

    def is_known(self, path: str) -> bool:
        return known_field(path) is not None

    def known_value(self, path: str) -> str | None:
        """A made-up value of a fact or a score."""
        return picker_known.sample_of(path, self.currency)

    def value(self, path: str) -> str | None:
        """The field's value in the newest event of the type, as text; None when there is none."""
        try:
            found = read(self.sample, paths.split(path)) if self.sample else MISSING
        except ValueError:
            return None
        if found is MISSING or isinstance(found, dict | list):
            return None
        if found is None:
            return "nothing"
        kind = self.kind(self.types, path)
        text = scalar_shown(found, kind)
        return f"{text} {kind.currency.upper()}" if kind.name == "money" else text

    # ---- rows of conditions -----------------------------------------------------------------------------------------
    def operators(self, row: Form) -> list[str]:
        info = self.info(row["field"])
        if row["field"] == ".".join(LISTS):
            return list(dict.fromkeys(["contains", row["is"] or "contains"]))
        updated = not self.is_known(row["field"]) and any(type.endswith("updated") for type in self.types)
        return operators(self.kind(self.types, row["field"]), row["is"], updated, bool(info and info.personal))

    def choices(self, row: Form) -> tuple[str, ...]:
        return self.kind(self.types, row["field"]).choices

    @property
    def currency(self) -> str:
        """The currency in which amounts are typed: the newest event's."""
        found = read(self.sample, ("data", "object", "currency")) if self.sample else None
        return found if isinstance(found, str) and len(found) == 3 else "usd"


def newest(store: Store, tenant: str, types: Iterable[str]) -> JSON:
    """The envelope of the newest stored event of the first type that has one; empty when there is none."""
    for type in types:
        found = store.find(tenant, "event", [("type", "==", type)], order="-created", limit=1).items if type else ()
        if found:
            data: JSON = found[0].body["event"]["data"]
            return data
    return {}


@lru_cache(maxsize=1)
def _examples() -> Mapping[str, JSON]:
    """One event of each type of the made-up sample business."""
    business = sample.load()
    found: dict[str, JSON] = {}
    for number in range(len(business.events)):
        event = json.loads(business.body(number, EXAMPLE_DAY))
        found.setdefault(event["type"], event)
    return found


def example(types: Iterable[str]) -> JSON:
    """An event of the sample business of the first of these types that it has; empty when it has none."""
    return next((_examples()[type] for type in types if type in _examples()), {})


class Seen:
    """How often each event type came in the last 30 days, counted at most once in `SEEN_FOR` for each tenant.
    at_once: questions asked together, where each takes its way over a network."""

    def __init__(self, at_once: int = 1) -> None:
        self._at_once = at_once
        self._known: dict[str, tuple[datetime, Mapping[str, int]]] = {}

    def counts(self, store: Store, catalogue: Catalogue, tenant: str, now: datetime) -> Mapping[str, int]:
        at, counts = self._known.get(tenant, (None, {}))
        long = SEEN_LONG if MOST_SEEN in counts.values() else SEEN_FOR
        if at is None or not timedelta(0) <= now - at < long:
            counts = self._counted(store, catalogue, tenant, now)
            self._known[tenant] = (now, counts)
        return counts

    def _counted(self, store: Store, catalogue: Catalogue, tenant: str, now: datetime) -> dict[str, int]:
        since = int((now - timedelta(days=30)).timestamp())
        if not store.count(tenant, "event", [("created", ">=", since)], most=1):
            return {}
        names = [found.name for found in catalogue.event_types()]

        def count(name: str) -> int:
            return store.count(tenant, "event", [("type", "==", name), ("created", ">=", since)], MOST_SEEN)

        if self._at_once == 1:
            return {name: count(name) for name in names}
        with ThreadPoolExecutor(self._at_once) as pool:
            return dict(zip(names, pool.map(count, names), strict=True))
