"""Commands on what is known beyond the payload: list and import scores, and show what rules know of a customer."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import knowing, scores
from app.cli.commands import ACTOR, command, say, show, table, tenant_of

if TYPE_CHECKING:
    from app.services import Services


def register(subparsers: Any) -> None:
    top = subparsers.add_parser("scores", help="list and import scores of customers")
    made = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    command(made, "list", "every score, and how many customers have one", ["scores list"], list_scores)
    command(
        made,
        "import",
        "values from a CSV file: a column customer, one for each score, and perhaps at",
        ["scores import churn.csv", "scores import churn.csv --tenant default/live"],
        import_scores,
        file={"flag": False, "metavar": "FILE", "help": "the CSV file"},
    )
    command(
        made,
        "delete",
        "remove a score with all its values",
        ["scores delete churn_risk --note 'replaced by health'"],
        delete_score,
        score={"flag": False, "metavar": "NAME"},
        note={"default": "", "help": "why; kept in the audit log"},
    )
    command(
        subparsers,
        "facts",
        "the facts that rules may ask for, or what is known of a customer now",
        ["facts", "facts cus_1", "facts cus_1 --json"],
        show_facts,
        customer={"flag": False, "metavar": "CUSTOMER", "nargs": "?", "help": "an id at Stripe"},
    )


def list_scores(given: argparse.Namespace, services: Services) -> None:
    rows = scores.scores(services.store, tenant_of(given, services))

    def lines() -> Iterator[str]:
        if not rows:
            yield "There are no scores yet. `python main.py scores import FILE.csv` brings some in."
            return
        yield from table([("SCORE", "CUSTOMERS", "WHAT IT IS"), *((r["name"], r["values"], r["title"]) for r in rows)])

    show(given, rows, lines)


def import_scores(given: argparse.Namespace, services: Services) -> None:
    """Every column is checked before the first value is set."""
    tenant, path, now = tenant_of(given, services), Path(given.file), services.clock.now()
    with path.open(encoding="utf-8-sig", newline="") as lines:
        found = scores.read_csv(lines)
    for name in found:
        scores.declare(services.store, tenant, name, "", ACTOR, now)
    counts = {
        name: scores.set_values(services.store, tenant, name, rows, f"file: {path.name}", ACTOR, now)
        for name, rows in found.items()
    }

    def lines_() -> Iterator[str]:
        for name, count in counts.items():
            yield f"{name}: {count:,} {'value is' if count == 1 else 'values are'} set. Rules read score.{name}."

    show(given, counts, lines_)


def delete_score(given: argparse.Namespace, services: Services) -> None:
    now = services.clock.now()
    scores.delete(services.store, tenant_of(given, services), given.score, ACTOR, given.note, now)
    say(f"The score {given.score} is gone.")


def show_facts(given: argparse.Namespace, services: Services) -> None:
    if given.customer is None:
        rows = knowing.table()
        show(
            given,
            rows,
            lambda: table([("FACT", "TYPE", "WHAT IT IS"), *((r["name"], r["type"], r["says"]) for r in rows)]),
        )
        return
    now = datetime.fromtimestamp(services.clock.now().timestamp(), UTC)
    known = knowing.of_customer(services.store, tenant_of(given, services), given.customer, now)
    lines = [("FACT", "VALUE", "FROM"), *((r["name"], r["text"] or "-", r["event"] or "-") for r in known)]
    show(given, known, lambda: table(lines))
