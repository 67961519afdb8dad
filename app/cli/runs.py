"""Commands on runs: list, show, and what a person may ask of one or of many, counted first."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

from app.cli.commands import ACTOR, CommandError, at, command, follow, show, table, tenant_of
from rules.run import RunState
from rules.words import amount

if TYPE_CHECKING:
    from app.services import Services

STATES = get_args(RunState)
ONE = ("cancel", "skip", "retry", "again", "approve", "decline", "release", "discard", "start", "undo", "from")
MANY = tuple(verb for verb in ONE if verb != "from")
WHICH: Mapping[str, Any] = {
    "state": {"choices": STATES, "help": "only in this state"},
    "rule": {"help": "only of this rule"},
    "customer": {"help": "only of this customer"},
}
WHY = {"default": "", "help": "why; kept in the audit log"}


def register(subparsers: Any) -> None:
    top = subparsers.add_parser("runs", help="list, show, cancel, undo ... runs, one or many")
    runs = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    command(runs, "list", "the newest runs", ["runs list --state waiting --rule dunning"], list_runs, **WHICH)
    run = {"flag": False, "metavar": "RUN", "help": "the run's id"}
    command(runs, "show", "one run: its story and its undo", ["runs show run_0123"], show_run, id=run)
    command(
        runs,
        "act",
        "ask something of one run; `undo` without --yes says which calls it would make",
        ["runs act run_0123 cancel --why 'paid by transfer'", "runs act run_0123 undo --yes"],
        act,
        id=run,
        verb={"flag": False, "metavar": "VERB", "choices": ONE, "help": ", ".join(ONE)},
        step={"default": "", "help": "for `from`: the step to go from again"},
        why=WHY,
        yes={"action": "store_true", "help": "do it"},
    )
    command(
        runs,
        "many",
        "ask the same of many runs; without --yes it only counts them",
        ["runs many cancel --rule dunning --state waiting --called 'Incident 1234' --why 'wrong price' --yes"],
        many,
        verb={"flag": False, "metavar": "VERB", "choices": MANY, "help": ", ".join(MANY)},
        **WHICH,
        called={"default": "", "help": "what people call it, such as Incident 1234"},
        why=WHY,
        yes={"action": "store_true", "help": "do it"},
    )
    command(
        runs,
        "exclude",
        "put a customer on a suppression list and cancel what is open for it",
        ["runs exclude cus_9 --why 'contract customer'"],
        exclude,
        customer={"flag": False, "metavar": "CUSTOMER", "help": "the customer's id"},
        list={"default": "", "help": "the list; without it `excluded`"},
        why=WHY,
    )


def list_runs(given: argparse.Namespace, services: Services) -> None:
    from app import browse

    about = {"state": given.state, "rule": given.rule, "customer": given.customer}
    found = browse.runs(services.store, tenant_of(given, services), **about)
    rows = [(at(row["created_at"]), row["id"], row["state"], row["rule_id"], row["key"]) for row in found["items"]]
    show(given, found, lambda: table([("STARTED", "RUN", "STATE", "RULE", "FOR"), *rows]))


def show_run(given: argparse.Namespace, services: Services) -> None:
    from app import browse

    found = browse.run(services.store, tenant_of(given, services), given.id)
    show(given, found, lambda: _told(found))


def _told(run: Mapping[str, Any]) -> Iterator[str]:
    yield f"{run['rule_name']} for {run['key']}: {run['state']}" + (f" ({run['reason']})" if run["reason"] else "")
    yield from (f"  {at(one['at'])}  {one['text']}" for one in run["story"])
    if run["can"]:
        yield f"It can: {', '.join(run['can'])}"


def act(given: argparse.Namespace, services: Services) -> None:
    from app import operate

    tenant, now = tenant_of(given, services), services.clock.now()
    if given.verb == "undo" and not given.yes:
        calls = operate.undo_preview(services.store, services.connectors, tenant, given.id)
        show(given, calls, lambda: _calls(calls))
        return
    found = _possible(
        lambda: operate.act(services.store, tenant, given.id, given.verb, ACTOR, given.why, now, given.step)
    )
    show(given, found, lambda: iter([f"{given.id} is {found['state']}"]))


def _possible(act: Any) -> Any:
    from rules.steps import NotPossible

    try:
        return act()
    except NotPossible as refused:
        raise CommandError(f"Not possible: {refused}.") from None


def _calls(calls: list[dict[str, Any]]) -> Iterator[str]:
    for one in calls:
        if "cannot" in one:
            yield f"  stays  {one['step']}: {one['cannot']}"
        else:
            call = one["call"]
            where = call.get("url") or call.get("to", "")
            yield f"  undo   {one['step']}: {call.get('method', '')} {where} {call.get('body', '')}"
            yield f"         then {one['says']}"
    yield "Nothing was done. Say --yes to do it." if calls else "Nothing that was done can be taken back."


def many(given: argparse.Namespace, services: Services) -> None:
    from app.operate import bulk

    tenant, now = tenant_of(given, services), services.clock.now()
    which = bulk.Chosen(state=given.state or "", rule=given.rule or "", customer=given.customer or "")
    counted = bulk.counted(services.store, tenant, which)
    if not given.yes:
        show(given, counted, lambda: iter([f"{_count(counted)} would be asked to {given.verb}. Say --yes to do it."]))
        return
    came = bulk.act(services.store, tenant, which, given.verb, ACTOR, given.why, given.called, now)
    if came["job"]:
        came = {**came, **follow(services, tenant, came["job"])["summary"]}
    refused = len(came["refused"])
    show(
        given,
        came,
        lambda: iter([f"{came['done']:,} of {came['count']:,} done" + (f", {refused} refused" if refused else "")]),
    )


def _count(counted: Mapping[str, Any]) -> str:
    money = ", ".join(amount(minor, currency) for currency, minor in (counted["money"] or {}).items())
    return f"{counted['count']:,} runs" + (f" ({money})" if money else "")


def exclude(given: argparse.Namespace, services: Services) -> None:
    from app.operate import bulk

    tenant, now = tenant_of(given, services), services.clock.now()
    came = bulk.exclude(services.store, tenant, given.customer, given.list, ACTOR, given.why, now)
    show(given, came, lambda: _excluded(given.customer, came))


def _excluded(customer: str, came: Mapping[str, Any]) -> Iterator[str]:
    yield f"{customer} is on the list {came['list']}; {came['cancelled']} open runs were cancelled"
    if came["not_by"]:
        yield f"These rules name no such list and go on as before: {', '.join(came['not_by'])}"
