"""What was done to a thing while a change of it waited for a second person, in words, from the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.browse.audit import audit
from app.browse.audit_diff import difference
from rules.ports import Store

OFFICE = ("ask for approval", "approve", "decline", "withdraw", "refuse stale")  # talk about changes, not changes
MOST = 3  # changes, and parts of each, that are told


def meanwhile(store: Store, tenant: str, asked: Mapping[str, Any]) -> str:
    """asked: the proposal. Empty when the log knows of nothing, such as after what Signalbox did by itself."""
    found = audit(store, tenant, about=asked["about"], since=asked["created_at"], limit=50)["items"]
    told = [_said(entry) for entry in found if entry["verb"] not in OFFICE]
    more = f" And {len(told) - MOST:,} more." if len(told) > MOST else ""
    return " ".join(told[:MOST]) + more


def _said(entry: Mapping[str, Any]) -> str:
    parts = [_part(**line) for line in difference(entry["from"], entry["to"])]
    more = "; ..." if len(parts) > MOST else ""
    return f"{entry['actor']}, {entry['verb']}: {'; '.join(parts[:MOST])}{more}."


def _part(path: str, before: str, after: str) -> str:
    """>>> _part("rate", "10", "20"), _part("removed", "cus_1", ""), _part("", "no", "yes")
    ('rate: 10 → 20', 'removed: cus_1', 'no → yes')
    """
    change = f"{before} → {after}" if before and after else before or after
    return f"{path}: {change}" if path else change
