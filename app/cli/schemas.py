"""Commands on schemas and on the payloads that do not conform to them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from app.cli.commands import ACTOR, CommandError, at, command, follow, show, table, tenant_of
from rules import registry

if TYPE_CHECKING:
    from app.services import Services

VERSION: Mapping[str, Any] = {"default": "", "help": "the API version; without it the newest"}
WHICH: Mapping[str, Any] = {
    "type": {"default": "", "help": "only of this event type"},
    "cause": {"default": "", "help": "only of this cause, as the list says it"},
}
WHY = {"default": "", "help": "why; kept in the audit log"}
YES = {"action": "store_true", "help": "do it; without it they are only counted"}


def register(subparsers: Any) -> None:
    _schemas(subparsers.add_parser("schemas", help="the shapes of Stripe's events: list, show, compare versions"))
    _quarantine(subparsers.add_parser("quarantine", help="webhooks that do not have the shape of their type"))


def _schemas(top: Any) -> None:
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    type = {"flag": False, "metavar": "TYPE", "help": "an event type, such as invoice.payment_failed"}
    command(
        commands,
        "list",
        "the event types, how many rules read each, and the stored versions",
        ["schemas list --rules"],
        list_types,
        rules={"action": "store_true", "help": "only those that rules read"},
    )
    command(
        commands,
        "show",
        "one type's fields; with --json its JSON Schema as it is enforced",
        ["schemas show invoice.payment_failed", "schemas show invoice.paid --version 2025-02-24.acacia --json"],
        show_type,
        type=type,
        version=VERSION,
    )
    command(
        commands,
        "diff",
        "what changes between two API versions, and which rules read what goes or moves",
        ["schemas diff 2025-02-24.acacia 2026-10-28.endive", "schemas diff 2025-02-24.acacia --type invoice.paid"],
        compare,
        old={"flag": False, "metavar": "OLD", "choices": registry.versions(), "help": "the version before"},
        new={
            "flag": False,
            "metavar": "NEW",
            "nargs": "?",
            "choices": registry.versions(),
            "default": registry.versions()[-1],
            "help": "the version after; without it the newest",
        },
        type={"default": "", "help": "only of this event type; without it of those that rules read"},
    )


def _quarantine(top: Any) -> None:
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    state = {"default": "waiting", "choices": ("waiting", "replayed", "discarded", "erased"), "help": "in this state"}
    command(commands, "list", "what waits, by cause", ["quarantine list"], list_entries, state=state, **WHICH)
    command(
        commands,
        "replay",
        "check payloads again and let those on that conform; without --yes it only counts them",
        ["quarantine replay --type invoice.paid --why 'registry is up to date' --yes"],
        replay,
        **WHICH,
        as_it_is={"action": "store_true", "help": "let them on though they do not conform"},
        why=WHY,
        yes=YES,
    )
    command(
        commands,
        "discard",
        "give payloads up for good and clear their bodies; without --yes it only counts them",
        ["quarantine discard --type invoice.paid --why 'sent by a broken proxy' --yes"],
        discard,
        **WHICH,
        why=WHY,
        yes=YES,
    )


# ---- schemas --------------------------------------------------------------------------------------------------------
def list_types(given: argparse.Namespace, services: Services) -> None:
    from app import schemas

    tenant = tenant_of(given, services)
    rows = schemas.types(services.catalogue, schemas.listened(schemas.rules_of(services.store, tenant)), {})
    kept = [row for row in rows if row["rules"] or not given.rules]
    found = {"types": kept, "versions": schemas.versions(), "unknown": schemas.unknown(services.store, tenant)}
    show(given, found, lambda: _types(found))


def _types(found: Mapping[str, Any]) -> Iterator[str]:
    rows = [(row["name"], row["object"], row["rules"] or "", row["versions"][0]) for row in found["types"]]
    yield from table([("TYPE", "CARRIES", "RULES", "SINCE"), *rows])
    yield ""
    yield from table(
        [
            ("VERSION", "TYPES", "MADE FROM"),
            *((row["version"], row["types"], f"stripe {row['sdk']}") for row in found["versions"]),
        ]
    )
    if found["unknown"]:
        yield ""
        yield from table(
            [("NOT IN THE REGISTRY", "EVENTS"), *((row["type"], row["count"]) for row in found["unknown"])]
        )


def show_type(given: argparse.Namespace, services: Services) -> None:
    from app import schemas

    version = given.version or registry.versions()[-1]
    rules = schemas.rules_of(services.store, tenant_of(given, services))
    rows = schemas.fields(services.catalogue, given.type, version, rules)
    schema = schemas.shown_schema(services.catalogue, given.type, version)
    lines = [(row["path"], row["type"], "personal" if row["personal"] else "", ", ".join(row["rules"])) for row in rows]
    show(given, schema, lambda: table([("PATH", "TYPE", "", "RULES"), *lines]))


def compare(given: argparse.Namespace, services: Services) -> None:
    from app import schemas

    rules = schemas.rules_of(services.store, tenant_of(given, services))
    found = schemas.compared(given.old, given.new, rules, [given.type] if given.type else None)
    show(given, found, lambda: _compared(found))


def _compared(found: Mapping[str, Any]) -> Iterator[str]:
    counts = ", ".join(f"{count:,} {kind}" for kind, count in found["counts"].items())
    yield f"{found['from']} -> {found['to']}: {counts or 'nothing changes'}"
    yield from (
        f"  {row['kind']:<12} {row['type']}  {row['path']}" + (f"  -> {row['now']}" if row["kind"] == "moved" else "")
        for row in found["changes"]
    )
    for row in found["rules"]:
        how = "is missing" if row["standing"] == "missing" else f"is read as {row['name'] or 'worked out'}"
        yield f"rule {row['rule']} ({row['where']}) reads {row['path']} of {row['type']}: {how}"
    if not found["rules"]:
        yield "No rule reads what goes or moves."


# ---- quarantine -----------------------------------------------------------------------------------------------------
def _which(given: argparse.Namespace) -> Any:
    from app.receive.quarantine import Which

    return Which.of({"type": given.type, "cause": given.cause})


def list_entries(given: argparse.Namespace, services: Services) -> None:
    from app.receive import quarantine

    tenant = tenant_of(given, services)
    found = quarantine.entries(services.store, tenant, _which(given), given.state)
    rows = [(at(row["received_at"]), row["id"], row["type"], row["cause"]) for row in found["items"]]
    show(given, found, lambda: table([("SINCE", "ID", "TYPE", "WHAT IS WRONG"), *rows]))


def replay(given: argparse.Namespace, services: Services) -> None:
    _many(given, services, "replay", given.as_it_is)


def discard(given: argparse.Namespace, services: Services) -> None:
    _many(given, services, "discard")


def _many(given: argparse.Namespace, services: Services, verb: Any, as_it_is: bool = False) -> None:
    from app.receive import quarantine, quarantine_job

    tenant, which = tenant_of(given, services), _which(given)
    if not given.yes:
        count = quarantine.count(services.store, tenant, which)
        show(given, {"count": count}, lambda: iter([f"{count:,} payloads fit. Say --yes to {verb} them."]))
        return
    if not given.why.strip():
        raise CommandError("Say --why: it is kept in the audit log.")
    now = services.clock.now()
    begun = quarantine_job.start(services.store, tenant, verb, which, ACTOR, given.why, now, as_it_is)
    came = follow(services, tenant, begun["id"])["summary"]
    told = {"done": 0, "refused": 0, "why": [], **came}
    stay = f", {told['refused']:,} stay: {told['why'][0]['why']}" if told["refused"] else ""
    show(given, told, lambda: iter([f"{told['done']:,} of {begun['count']:,} done{stay}"]))
