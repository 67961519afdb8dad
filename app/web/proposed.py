"""The limits that are proposed for a rule: three times its busiest day of the last 30, and at least five runs.

The editor takes them with one press. Who puts a rule without limits in force is asked for them, or to go without.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import request

from app import author
from app.inquire import preview
from app.services import lab_of
from app.web.pages import actor, now, services, tenant

Row = dict[str, Any]
UNANSWERED = "It has no limits. Choose those that are proposed, or say that it may go without."


def proposal(document: Mapping[str, Any]) -> Row | None:
    """`{"limits", "busiest", "through"}`; None while the rule is not whole."""
    found = preview.preview(lab_of(services()), tenant(), document, now())
    return {name: found[name] for name in ("limits", "busiest", "through")} if found else None


def asked(row: Row, verb: str) -> Row:
    """What the page that asks before a rule goes live shows of it: nothing where the rule has limits of its own."""
    document = row["document"]
    if verb != "publish" or not document or document.get("limits"):
        return {}
    found = proposal(document)
    return {"proposed": found, "proposed_text": json.dumps(found["limits"]) if found else "", "limitless": True}


def answered(row: Row) -> str | None:
    """What is missing in the answer to it; takes the proposed limits into the draft, as they were shown."""
    document = row["document"]
    if not document or document.get("limits") or request.form.get("limits") == "none":
        return None
    shown = _shown(request.form.get("proposed", ""))
    if request.form.get("limits") != "proposed" or not shown:
        return UNANSWERED
    s, expect = services(), request.form.get("expect") or None
    author.save_draft(
        s.store, s.vault, s.catalogue, s.connectors, tenant(), {**document, "limits": shown}, actor(), now(), expect
    )
    return None


def _shown(text: str) -> Row:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
