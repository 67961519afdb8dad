"""Backtests: ask for one, watch it, read its numbers with the list behind them, take the list as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, request

from app import author, browse
from app.inquire import backtests, preview
from app.numbers import whole
from app.services import lab_of
from app.web import naming
from app.web.addresses import asked
from app.web.pages import go, now, page, services, tenant
from rules.event import instant

blueprint = Blueprint("backtests", __name__)
SPANS = {"7": "the last 7 days", "30": "the last 30 days", "90": "the last 90 days", "365": "the last year", "": "all"}
USUAL = "30"
CHANGES = ("enters", "stays", "leaves")
COLUMNS = ("at", "rule", "subject", "customer", "money", "state", "reason", "outcome", "paid_at", "change", "steps")


# ---- asking ---------------------------------------------------------------------------------------------------------
@blueprint.get("/backtests")
def index() -> Response:
    store, mine = services().store, tenant()
    return page(
        "backtests.html",
        found=[_row(job.body) for job in backtests.recent(store, mine)],
        rules=browse.rule_names(store, mine),
        chosen=asked("rule") or "",
        spans=list(SPANS.items()),
        usual=USUAL,
    )


def _row(body: Mapping[str, Any]) -> dict[str, Any]:
    return {**body, "names": [one.get("name") or one["id"] for one in body["params"]["documents"]]}


@blueprint.post("/backtests")
def begin() -> Response:
    """A rule by its id, in the form of the list or from a button elsewhere."""
    form = request.form
    chosen = [id for id in form.getlist("rule") if id]
    if not chosen:
        return go("/backtests", "Choose a rule to try.", "warn")
    against = backtests.IN_FORCE if form.get("against") else None
    question = backtests.Question(tenant(), chosen, since_of(form), None, against, bool(form.get("together")))
    return _begun(question, form.get("back", ""))


def begin_with(document: Mapping[str, Any]) -> Response:
    """What stands in the editor, against what is in force."""
    since = now() - timedelta(days=preview.DAYS)
    return _begun(backtests.Question(tenant(), [document], since, None, backtests.IN_FORCE))


def _begun(question: backtests.Question, back: str = "") -> Response:
    id = backtests.start(lab_of(services()), question, now())
    return go(back if back.startswith("/rules/") else f"/backtests/{id}")


def since_of(form: Mapping[str, str]) -> datetime | None:
    days = form.get("days", USUAL)
    return now() - timedelta(days=int(days)) if days in SPANS and days else None


# ---- reading --------------------------------------------------------------------------------------------------------
@blueprint.get("/backtests/<id>")
def look(id: str) -> Response:
    store, mine = services().store, tenant()
    after = _number("after")
    found = backtests.backtest(store, mine, id, after)
    change = asked("change") if asked("change") in CHANGES else None
    rows = [row for row in found["runs"] if change is None or row.get("change") == change]
    naming.name(rows)
    return page(
        "backtest.html",
        "answer",
        found=found,
        rows=rows,
        change=change,
        after=after,
        names=_names(store, mine, id),
        open_runs=backtests.in_flight(store, mine, found["rule"]) if "versus" in found["summary"] else 0,
        limits=found["summary"].get("proposed_limits"),
    )


def _names(store: Any, mine: str, id: str) -> dict[str, str]:
    documents = store.get(mine, "job", id).body["params"]["documents"]
    return {document["id"]: str(document.get("name") or document["id"]) for document in documents}


@blueprint.post("/backtests/<id>/cancel")
def cancel(id: str) -> Response:
    backtests.cancel(services().store, tenant(), id, now())
    return go(f"/backtests/{id}", "It was stopped. Nothing had been sent or changed.")


@blueprint.get("/backtests/<id>.csv")
def file(id: str) -> Response:
    """The kept runs as a spreadsheet takes them; amounts in minor units."""
    store, mine = services().store, tenant()
    found = backtests.backtest(store, mine, id)
    lines = csv_lines(backtests.rows(store, mine, found["id"]))
    headers = {"Content-Disposition": f'attachment; filename="{found["rule"]}-{found["id"]}.csv"'}
    return Response(lines, mimetype="text/csv", headers=headers)


def csv_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield _line(COLUMNS)
    for row in rows:
        money = "; ".join(f"{minor} {currency}" for currency, minor in row["money"].items())
        steps = "; ".join(f"{step['name']} {step['state']} {step['at'][:19]}Z" for step in row["steps"])
        paid = row["paid"]["at"] if row["paid"] else ""
        head = (row["at"], row["rule"], row["subject"], row["customer"], money, row["state"], row["reason"])
        yield _line((*head, row["outcome"], paid, row.get("change"), steps))


def _line(values: Iterable[Any]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow([_safe(value) for value in values])
    return out.getvalue()


def _safe(value: Any) -> Any:
    """A spreadsheet takes what begins like a formula for one."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r\n＝＋－＠" else value


def _number(name: str) -> int:
    return whole(asked(name), 8) or 0


# ---- the measured effect of a rule that is about to be published ----------------------------------------------------
@blueprint.get("/rules/<id>/effect")
def effect(id: str) -> Response:
    return page("effect.html", "effect", **effect_of(author.rule(services().store, tenant(), id)))


@blueprint.post("/rules/<id>/effect")
def measured(id: str) -> Response:
    """Measure what putting the draft in force would change, then look at it where it is asked."""
    row = author.rule(services().store, tenant(), id)
    if _working(row) is None:
        since = now() - timedelta(days=preview.DAYS)
        question = backtests.Question(tenant(), [id], since, None, backtests.IN_FORCE, together=True)
        backtests.start(lab_of(services()), question, now())
    if request.form.get("back") == "watch":
        return go(f"/rules/{id}/watch")
    return go(f"/rules/{id}/publish")


def effect_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the page that asks before publishing says of the effect."""
    store, mine = services().store, tenant()
    found = backtests.effect(store, mine, row["document"], now()) if row["document"] else None
    working = None if found else _working(row)
    span = (instant(found["until"]) - instant(found["since"])).days if found and found["since"] else None
    return {
        "rule_id": row["id"],
        "effect": found,
        "working": working,
        "days": span,
        "open_runs": backtests.in_flight(store, mine, row["id"]),
    }


def _working(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The backtest of this very document that is under way."""
    wanted = backtests.hash_of(row["document"]) if row["document"] else ""
    for job in backtests.recent(services().store, tenant()):
        question = job.body["params"]
        same = question.get("rule_hash") == wanted and question["against"] is not None
        if same and job.body["state"] in ("queued", "running"):
            return dict(job.body)
    return None
