"""Facts and scores as fields that the editor offers and the check knows, beside Stripe's own (rules.catalogue)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from rules.aliases import Path
from rules.catalogue import FieldInfo
from rules.facts import FACTS, Fact

SCORE_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
PERSONAL: Final = frozenset({"fact.customer.email"})  # kept as tokens, as in the events
GROUPS: Final = {
    "customer": "What we know about the customer",
    "subscription": "What we know about the subscription",
    "invoice": "What we know about the invoice",
    "charge": "What we know about the charge",
    "payment": "What we know about the payment",
}


@lru_cache(maxsize=1024)
def known_field(path: str) -> FieldInfo | None:
    """The fact or the score of this path; None for any other path."""
    fact = FACTS.get(path)
    if fact is not None:
        return _of(fact)
    start, _, name = path.partition(".")
    if start != "score" or not SCORE_NAME.fullmatch(name):
        return None
    said = "A score of the customer, as it was set last."
    return FieldInfo(path, f"score {name.replace('_', ' ')}", "number", description=said, nullable=True)


def fact_fields() -> list[FieldInfo]:
    """Every fact, in the order in which they are offered."""
    return [_of(fact) for fact in FACTS.values()]


def said_path(path: Path) -> str | None:
    """What people call the fact, with its article; None for what is none."""
    fact = FACTS.get(".".join(path))
    return f"the {fact.title}" if fact else None


def _of(fact: Fact) -> FieldInfo:
    return FieldInfo(
        path=fact.name,
        label=fact.title,
        type=fact.type,
        enum=fact.enum,
        description=fact.says,
        nullable=fact.empty is None,
        personal=fact.name in PERSONAL,
        common=True,
        item="text" if fact.type == "list" else None,
    )
