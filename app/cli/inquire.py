"""Commands that ask: what a rule would have done, why it did it or did not, and where a transaction went."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from app.cli.commands import (
    CommandError,
    at,
    command,
    moment,
    read_json,
    say,
    show,
    table,
    tenant_of,
)
from rules.words import amount, counted

if TYPE_CHECKING:
    from app.services import Services

RULE = {"flag": False, "metavar": "RULE", "help": "a rule's id, or a file of its document (.json)"}


def register(subparsers: Any) -> None:
    command(
        subparsers,
        "backtest",
        "what a rule would have done in the past; nothing is sent",
        [
            "backtest two-failed-payments --since 30d",
            "backtest rule.json --since 2026-10-01 --json",
            "backtest two-failed-payments --against live --together",
        ],
        backtest,
        rule={**RULE, "nargs": "+", "help": "a rule's id, or a file of its document (.json); several run together"},
        against={"help": "compare: `live` (what is in force), an id with its version (rule@3), or a file"},
        together={"action": "store_true", "help": "let all other rules in force run along, with their caps and stops"},
        since={"help": "from then: 2026-10-01, or 30d before now; without it all of the history"},
        until={"help": "until then; without it now"},
    )
    command(
        subparsers,
        "explain",
        "why a rule fired for somebody or at an event, or why not",
        [
            "explain two-failed-payments sub_1Q2w3e",
            "explain rule.json evt_1Q2w3e",
            "explain two-failed-payments cus_9 --at 7d",
            "explain two-failed-payments cus_9 --number 3",
        ],
        explain,
        rule=RULE,
        about={"flag": False, "metavar": "ID", "help": "an event's id, or a subscription's, customer's or invoice's"},
        at={"help": "as it was then"},
        number={
            "type": int,
            "metavar": "VERSION",
            "help": "of the rule, as if in force since it was published",
        },
    )
    command(
        subparsers,
        "trace",
        "the journey of one transaction, from the webhook to the CRM",
        ["trace in_1Q2w3e", "trace evt_1Q2w3e", "trace run_0123"],
        trace,
        id={"flag": False, "metavar": "ID", "help": "event, invoice, run, transaction or trace id"},
    )


# ---- what if --------------------------------------------------------------------------------------------------------
def rule_of(text: str) -> str | Mapping[str, Any]:
    """A rule's id as it is, or the document in a file."""
    if text != "-" and not text.endswith(".json"):
        return text
    found = read_json(text)
    if not isinstance(found, dict):
        raise CommandError(f"{text} holds no rule document: one JSON object")
    return found


def backtest(given: argparse.Namespace, services: Services) -> None:
    from app.inquire import backtests
    from app.services import lab_of

    now = services.clock.now()
    since, until = moment(given.since, now), moment(given.until, now)
    rules = [rule_of(text) for text in given.rule]
    against = rule_of(given.against) if given.against else None
    asked = backtests.Question(tenant_of(given, services), rules, since, until, against, given.together)
    said = sys.stderr.isatty()
    found = backtests.at_once(lab_of(services), asked, now, lambda share: _progress(share) if said else None)
    if said:
        say(error=True)
    show(given, found, lambda: _backtest(found))


def _progress(share: float) -> None:
    say(f"\r{share:.0%}", end="", error=True)


def _backtest(found: Mapping[str, Any]) -> Iterator[str]:
    summary = found["summary"]
    yield f"{counted(summary['runs'], 'run')} for {counted(summary['subjects'], 'subject')}{_of(summary['amount'])}"
    yield from _bounds(summary["paid"])
    if "versus" in summary:
        yield from _versus(summary["versus"])
    rows = [(at(run["at"]), run["subject"], _money(run["money"]), _end(run)) for run in found["runs"]]
    if rows:
        yield from table([("AT", "SUBJECT", "MONEY", "WHAT"), *rows])
    if found["more"]:
        yield f"... and {found['more']:,} more"
    yield from ("", *summary["limits"])


def _bounds(paid: Mapping[str, Any]) -> Iterator[str]:
    words = {
        "without_action": "paid before any action",
        "after_action": "paid after an action, which was never taken",
        "never": "not paid",
        "open": "still open",
    }
    for name, text in words.items():
        if paid[name]["runs"]:
            yield f"  {text}: {paid[name]['runs']:,}{_of(paid[name]['amount'])}"


def _versus(versus: Mapping[str, Any]) -> Iterator[str]:
    for name, text in (("enter", "enter"), ("leave", "leave"), ("stay", "stay")):
        part = versus[name]
        yield f"  {text}: {counted(part['customers'], 'customer')}{_of(part['amount'])}"


def _of(money: Mapping[str, int]) -> str:
    return f", {_money(money)}" if money else ""


def _money(money: Mapping[str, int]) -> str:
    return ", ".join(amount(minor, currency) for currency, minor in money.items())


def _end(run: Mapping[str, Any]) -> str:
    steps = ", ".join(f"{step['name']} {step['state']}" for step in run["steps"])
    return f"{steps}; stopped: {run['stopped']['reason']}" if run["stopped"] else steps


# ---- why ------------------------------------------------------------------------------------------------------------
def explain(given: argparse.Namespace, services: Services) -> None:
    from app.inquire import explaining

    s, now = services, services.clock.now()
    about = {"event": given.about} if given.about.startswith("evt_") else {"subject": given.about}
    found = explaining.explain(
        s.store,
        s.vault,
        s.catalogue,
        s.connectors,
        tenant_of(given, s),
        rule_of(given.rule),
        now,
        at=moment(given.at, now),
        number=given.number,
        **about,
    )
    show(given, found, lambda: _explanation(found))


def _explanation(found: Mapping[str, Any]) -> Iterator[str]:
    yield ("It fired. " if found["fired"] else f"It did not fire ({found['gate']}). ") + found["sentence"]
    if found["tree"]:
        yield from _tree(found["tree"], 1)
        yield from _window(found["tree"].get("window"))
    near = found["nearest"]
    if near:
        yield f"Nearest: {near['sentence']}" + (f" {near['edit']['sentence']}" if near["edit"] else "")


def _window(found: Mapping[str, Any] | None) -> Iterator[str]:
    for one in found["events"] if found else ():
        yield f"  {one['created'][:19]}  {one['event']}  " + (
            "counted" if one["counted"] else f"not counted: {one['why']}"
        )


def _tree(node: Mapping[str, Any], depth: int) -> Iterator[str]:
    mark = "-" if node.get("skipped") else "yes" if node.get("true") else "no"
    if node.get("text"):
        yield f"{'  ' * depth}{mark:<3} {node['text']}"
    for part in node.get("parts") or ():
        yield from _tree(part, depth + 1)


# ---- where to -------------------------------------------------------------------------------------------------------
def trace(given: argparse.Namespace, services: Services) -> None:
    from app import browse

    tenant = tenant_of(given, services)
    journey = browse.journey(services.store, tenant, _correlation(services, tenant, given.id))
    show(given, journey, lambda: _journey(journey))


def _correlation(services: Services, tenant: str, id: str) -> str:
    """The transaction of an event, run or action; any other id is taken for a transaction's or a trace's."""
    for kind in ("event", "run", "command"):
        found = services.store.get(tenant, kind, id)
        if found is not None:
            return str(found.body["correlation"])
    return id


def _journey(journey: Mapping[str, Any]) -> Iterator[str]:
    yield f"transaction {journey['correlation']}   trace {journey['trace']}   customer {journey['customer'] or '-'}"
    rows = [
        (at(row["at"]), f"{row['seconds'] * 1000:.1f} ms", "  " * row["depth"] + row["name"], row["about"]["id"])
        for row in journey["rows"]
    ]
    yield from table([("AT", "TOOK", "STATION", "ABOUT"), *rows])
