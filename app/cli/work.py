"""Commands on events and what follows from them: import, replay, explain, backtest, trace; and demo, doctor, token."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.audit import entry
from app.cli.commands import (
    ACTOR,
    CommandError,
    at,
    command,
    explained,
    follow,
    moment,
    read_json,
    say,
    show,
    table,
    tenant_of,
)
from app.settings import Settings
from rules.words import amount

if TYPE_CHECKING:
    from app.operate.dead_letters import Verb
    from app.receive.history import Loaded
    from app.services import Services

RULE = {"flag": False, "metavar": "RULE", "help": "a rule's id, or a file of its document (.json)"}
WHICH: dict[str, Any] = {
    "connection": {"help": "only over this connection"},
    "action": {"help": "only this action, such as crm.notify"},
    "rule": {"help": "only of this rule"},
    "cause": {"help": "only of this cause, as dead-letters shows it"},
    "text": {"help": "only with these words in the reason, the ids or the type"},
}
PRESENT = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}
REVIEWED = {"ok": "ok          ", "note": "look at this", "wrong": "WRONG       "}


def register(subparsers: Any) -> None:
    command(
        subparsers,
        "import-events",
        "load events from a file as history; no rule acts on them",
        ["import-events events.jsonl", "import-events story.jsonl.xz --tenant default/test"],
        import_events,
        file={"flag": False, "metavar": "FILE", "help": "JSON lines, plain, .gz or .xz; one Stripe event each"},
    )
    command(
        subparsers,
        "fetch",
        "fetch the last 30 days of events from Stripe, as history",
        ["fetch", "fetch --no-wait"],
        import_stripe,
        no_wait={"action": "store_true", "help": "ask for it and do not watch"},
    )
    command(
        subparsers,
        "replay",
        "try again what gave up: events that could not be handled, actions that were refused",
        ["replay", "replay run_0123/tell-crm", "replay --only events", "replay --connection crm --why 'it is mended'"],
        replay,
        id={"flag": False, "metavar": "ID", "nargs": "*", "help": "only these; without any, all"},
        only={"choices": ("events", "actions"), "help": "one side only"},
        **WHICH,
        why={"help": "kept in the audit log", "default": ""},
    )
    command(
        subparsers,
        "dead-letters",
        "what gave up, by cause",
        ["dead-letters", "dead-letters --connection crm --json"],
        dead_letters_by_cause,
        only={"choices": ("events", "actions"), "help": "one side only"},
        **WHICH,
    )
    command(
        subparsers,
        "discard",
        "let go for good what gave up",
        ["discard run_0123/tell-crm --why 'told by phone'", "discard --connection crm --why 'replaced'"],
        discard,
        id={"flag": False, "metavar": "ID", "nargs": "*", "help": "only these; without any, all that fit"},
        only={"choices": ("events", "actions"), "help": "one side only"},
        **WHICH,
        why={"help": "kept in the audit log", "required": True},
    )
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
    command(
        subparsers,
        "demo",
        "play the sample business to the running server",
        ["demo", "demo --address http://127.0.0.1:8080"],
        demo,
        address={"help": "where the server is; without it this machine and PORT"},
    )
    doctor_ = subparsers.add_parser("doctor", help="look at the installation and say what mends what is wrong")
    doctor_.add_argument("--offline", action="store_true", help="do not ask Stripe")
    doctor_.add_argument("--security", action="store_true", help="who comes in, what goes out, what is kept and how")
    doctor_.add_argument("--json", action="store_true", help="print JSON")
    doctor_.set_defaults(run=doctor)
    token_ = subparsers.add_parser("token", help="print the API's admin token, to be sent as `Authorization: Bearer`")
    token_.set_defaults(run=token)


# ---- events in ------------------------------------------------------------------------------------------------------
def import_events(given: argparse.Namespace, services: Services) -> int:
    from app.receive import history

    path = Path(given.file)
    if not path.exists():
        raise CommandError(f"There is no file {path}.")
    account = (given.tenant or "default/").split("/")[0]
    said = sys.stderr.isatty()

    def progress(loaded: Loaded) -> None:
        if said:
            say(f"\r{loaded.events:,} events", end="", error=True)

    lines = history.lines_of(path)
    loaded = history.load(lines, services.bus, services.vault, services.clock.now(), account, progress=progress)
    _noted(given, services, "import events", "history", {"events": loaded.events, "file": path.name})
    if said:
        say(error=True)
    show(given, asdict(loaded), lambda: _loaded(loaded))
    return 2 if loaded.refused_count and not loaded.events else 0


def _loaded(loaded: Loaded) -> Iterator[str]:
    span = f", from {at(loaded.oldest)} to {at(loaded.newest)}" if loaded.events else ""
    yield f"{_many(loaded.events, 'event')} loaded as history{span}"
    if loaded.refused_count:
        yield f"{loaded.refused_count:,} lines are no events and were passed over:"
        yield from (f"  line {one['line']}: {one['problem']}" for one in loaded.refused[:20])


def _noted(given: argparse.Namespace, services: Services, verb: str, about: str, told: Mapping[str, Any]) -> None:
    """An entry in the audit log; the tenant is there once the first event has been handled."""
    from app import sample

    tenant = given.tenant or sample.TENANT
    services.store.commit(tenant, None, [entry(services.clock.now(), ACTOR, verb, about, None, dict(told))])


def import_stripe(given: argparse.Namespace, services: Services) -> None:
    from app.receive import history
    from app.services import key_tenant

    key = services.settings.stripe_api_key
    if not key:
        raise CommandError("No Stripe key is set: set STRIPE_API_KEY, then import.")
    tenant = given.tenant or key_tenant(key)
    job = history.start_import(services.store, tenant, services.clock.now())
    change = entry(services.clock.now(), ACTOR, "import history", job)
    services.store.commit(tenant, None, [change])
    if given.no_wait:
        show(given, {"job": job}, lambda: iter([f"{job} is queued; the worker does it"]))
        return
    body = follow(services, tenant, job)
    summary = body["summary"]
    show(given, dict(body), lambda: iter([f"{summary.get('events', 0):,} events imported as history"]))


# ---- what gave up ---------------------------------------------------------------------------------------------------
def replay(given: argparse.Namespace, services: Services) -> None:
    from app import operate

    tenant, now = tenant_of(given, services), services.clock.now()
    if not given.id and any(getattr(given, name) for name in WHICH):
        _in_bulk(given, services, "replay", "tried again")
        return
    done = operate.replay(services.store, services.inbox, tenant, given.id or None, ACTOR, given.why, now, given.only)
    show(given, done, lambda: iter([f"{done['events']} events and {done['actions']} actions are tried again"]))


def discard(given: argparse.Namespace, services: Services) -> None:
    from app import operate

    if not given.id:
        _in_bulk(given, services, "discard", "let go")
        return
    tenant, now = tenant_of(given, services), services.clock.now()
    done = operate.discard(services.store, services.inbox, tenant, given.id, ACTOR, given.why, now)
    show(given, done, lambda: iter([f"{done['events']} events and {done['actions']} actions were let go"]))


def _in_bulk(given: argparse.Namespace, services: Services, verb: Verb, done: str) -> None:
    """All that fit, by the job of the running worker; says how many first."""
    from app.operate import dead_letters

    tenant, now = tenant_of(given, services), services.clock.now()
    which = dead_letters.Which.of(vars(given))
    begun = dead_letters.start(services.store, services.inbox, tenant, verb, which, ACTOR, given.why, now)
    if not given.json:
        say(f"{begun['events']} events and {begun['actions']} actions fit")
    body = follow(services, tenant, begun["id"], tell=(lambda line: None) if given.json else say)
    summary = body["summary"]
    show(given, dict(body), lambda: iter([f"{summary['done']} {done}, {summary['refused']} refused"]))


def dead_letters_by_cause(given: argparse.Namespace, services: Services) -> None:
    from app import browse
    from app.operate import dead_letters

    which = dead_letters.Which.of(vars(given))
    found = browse.causes(services.store, services.inbox, tenant_of(given, services), which)
    heads = ("LETTERS", "WHERE", "CAUSE", "NEWEST")
    rows = [(f"{one['count']:,}", one["connection"] or "events in", one["cause"], at(one["newest"])) for one in found]
    show(given, {"items": found}, lambda: table([heads, *rows]) if rows else iter(["nothing gave up"]))


# ---- what if, and why -----------------------------------------------------------------------------------------------
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
    yield f"{_many(summary['runs'], 'run')} for {_many(summary['subjects'], 'subject')}{_of(summary['amount'])}"
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
        yield f"  {text}: {_many(part['customers'], 'customer')}{_of(part['amount'])}"


def _of(money: Mapping[str, int]) -> str:
    return f", {_money(money)}" if money else ""


def _money(money: Mapping[str, int]) -> str:
    return ", ".join(amount(minor, currency) for currency, minor in money.items())


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _end(run: Mapping[str, Any]) -> str:
    steps = ", ".join(f"{step['name']} {step['state']}" for step in run["steps"])
    return f"{steps}; stopped: {run['stopped']['reason']}" if run["stopped"] else steps


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


# ---- looking --------------------------------------------------------------------------------------------------------
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


# ---- the installation -----------------------------------------------------------------------------------------------
def demo(given: argparse.Namespace, services: Services) -> None:
    from app import sample, supervise

    settings = services.settings
    address = given.address or f"http://127.0.0.1:{settings.port}"
    if problem := sample.refusal(settings):
        raise CommandError(problem)
    if not supervise.answers(address):
        raise CommandError(f"No server answers at {address}: start it with `make run`, or say --address.")
    job = sample.begin(services.store, services.clock.now())
    body = follow(services, sample.TENANT, job, tell=(lambda line: None) if given.json else say)
    show(given, dict(body), lambda: iter([f"The sample business is in: {address}"]))


def doctor(given: argparse.Namespace, settings: Settings) -> int:
    from dataclasses import asdict
    from datetime import UTC, datetime

    from app import doctor as looking
    from app.doctor import security
    from app.services import build

    now = datetime.now(UTC)
    if given.security:
        found = list(security.examine(settings, lambda: build(settings, "doctor"), now))
    else:
        found = list(looking.examine(settings, lambda: build(settings, "doctor"), not given.offline, now))
    wrong = sum(one.state == "wrong" for one in found)
    words = REVIEWED if given.security else PRESENT
    show(given, [asdict(one) for one in found], lambda: _findings(found, wrong, words))
    return 1 if wrong else 0


def _findings(found: list[Any], wrong: int, words: Mapping[str, str]) -> Iterator[str]:
    for one in found:
        yield f"{words[one.state]}  {one.name}: {one.text}"
        if one.mend and one.state != "ok":
            yield f"{' ' * len(words['ok'])}  -> {one.mend}"
    yield "Nothing is wrong." if not wrong else f"{_many(wrong, 'thing')} to mend."


def token(given: argparse.Namespace, settings: Settings) -> int:
    def run() -> int:
        if not settings.admin_token:
            raise CommandError("No token is set: set SIGNALBOX_ADMIN_TOKEN.")
        say(settings.admin_token)
        return 0

    return explained(run)
