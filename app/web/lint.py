"""What lint finds, with whom it is true of and the events that show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flask import Blueprint, Response

from app import author, browse
from app.author import lint
from app.web.addresses import asked
from app.web.pages import now, page, services, tenant
from rules.lint import Finding

blueprint = Blueprint("lint", __name__)

KINDS: Final[Mapping[str, str]] = {
    "never fires": "Never fires",
    "changes nothing": "Changes nothing",
    "collision": "Collides",
    "shadowed": "Done twice",
    "loop": "Goes in circles",
    "stop never comes": "Stop never comes",
    "too late": "Too late",
    "retried already": "Stripe does it",
}
SHOWN: Final = 8  # events of a constructed history that a page writes out


@blueprint.get("/lint")
def look() -> Response:
    s, rule = services(), asked("rule")
    document = author.rule(s.store, tenant(), rule)["document"] if rule else None
    looked = lint.looked(s.store, s.catalogue, tenant(), now(), document)
    return page(
        "lint.html",
        rule=rule,
        looked=looked,
        found=[shown(one, looked.names) for one in looked.findings],
        rules=browse.rule_names(s.store, tenant()),
    )


def shown(finding: Finding, names: Mapping[str, str]) -> dict[str, Any]:
    """A finding as the page draws it. real: its witness is recorded events, and not a constructed history."""
    real = all(set(event) == {"id"} for event in finding.witness)
    return {
        "kind": KINDS[finding.kind],
        "sentence": finding.sentence,
        "rules": [{"id": id, "name": names.get(id, id)} for id in finding.rules],
        "overlap": finding.overlap,
        "seen": finding.seen,
        "real": real,
        "witness": finding.witness[-SHOWN:],
        "more": max(0, len(finding.witness) - SHOWN),
    }
