"""The document that somebody asks about: as it was given, or that of a rule as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app import author
from app.author.parts import suppressed
from rules.fields import Catalogue
from rules.ports import Store, Vault

__all__ = ["document_of", "suppressed"]


def document_of(
    store: Store, vault: Vault, catalogue: Catalogue, tenant: str, rule: str | Mapping[str, Any]
) -> Mapping[str, Any]:
    """The document with its personal constants as tokens, or the draft of the rule with this id, else what is in
    force. LookupError."""
    if not isinstance(rule, str):
        return author.without_personal(rule, vault, catalogue, tenant)
    document = author.rule(store, tenant, rule)["document"]
    if document is None:
        raise LookupError(f"The rule {rule!r} has neither a draft nor a version.")
    found: Mapping[str, Any] = document
    return found
