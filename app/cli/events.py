"""Commands on events: from a file or from Stripe as history, and what became of those that gave up."""

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
    follow,
    say,
    show,
    table,
    tenant_of,
)
from rules.words import counted

if TYPE_CHECKING:
    from app.operate.dead_letters import Verb
    from app.receive.history import Loaded
    from app.services import Services

WHICH: dict[str, Any] = {
    "connection": {"help": "only over this connection"},
    "action": {"help": "only this action, such as crm.notify"},
    "rule": {"help": "only of this rule"},
    "cause": {"help": "only of this cause, as dead-letters shows it"},
    "text": {"help": "only with these words in the reason, the ids or the type"},
}


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
    yield f"{counted(loaded.events, 'event')} loaded as history{span}"
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
