"""What the editor offers beside an event's own fields: facts and scores, in groups, each with a made-up value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rules.catalogue import Catalogue, FieldInfo
from rules.fact_fields import GROUPS, fact_fields, known_field
from rules.facts import CARRIES, FACTS
from rules.subjects import carried_by
from rules.texts import known_text
from rules.words import moment

SCORES = "Scores of the customer"


def groups(catalogue: Catalogue, types: Sequence[str], scores: Iterable[str]) -> list[tuple[str, list[FieldInfo]]]:
    """(heading, fields) of what is known of whom these events are about; a group without fields is left out."""
    carried = [carried_by(catalogue, type) for type in types if catalogue.event_type(type)]
    found: dict[str, list[FieldInfo]] = {heading: [] for heading in (*GROUPS.values(), SCORES)}
    for info in fact_fields():
        subject = info.path.split(".")[1]
        if all(any(name in one for name in CARRIES[subject]) for one in carried):
            found[GROUPS[subject]].append(info)
    if all(any(name in one for name in CARRIES["customer"]) for one in carried):
        found[SCORES] = [known for name in sorted(scores) if (known := known_field(f"score.{name}"))]
    return [(heading, fields) for heading, fields in found.items() if fields]


def searched(fields: Iterable[FieldInfo], query: str) -> list[FieldInfo]:
    """Those whose name, path or meaning holds every word."""
    words = query.lower().replace("_", " ").split()
    return [info for info in fields if all(word in _text(info) for word in words)]


def sample_of(path: str, currency: str) -> str | None:
    """A value as people write it, made up; None where there is none to show."""
    fact = FACTS.get(path)
    if fact is None:
        return "0.7" if path.startswith("score.") else None
    if fact.type == "time":
        return moment(datetime.fromtimestamp(fact.sample, UTC))
    return known_text(fact.sample, fact.type, currency)


def _text(info: FieldInfo) -> str:
    return f"{info.label} {info.path.replace('_', ' ').replace('.', ' ')} {info.description}".lower().replace("’", "'")
