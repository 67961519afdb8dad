"""The commands on the audit log: `audit verify`, `audit head`, `audit export`. Exit code 1: the log is not whole."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.commands import CommandError, at, command, moment, say, show, tenant_of

if TYPE_CHECKING:
    from app.audit.verify import Anchor, Report
    from app.services import Services

BROKEN = 1  # exit code
SINCE = {"help": "only what bears this time or a later one: 2026-11-23, 2026-11-23T10:00:00Z, 7d"}


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "audit", help="verify the audit log, print its head, export it", description="The audit log: who did what."
    )
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    command(
        verbs,
        "verify",
        "walk the chain; name what was changed, removed or put in. Exit code 1 when anything was",
        ["audit verify", "audit verify --since 30d", "audit verify --anchors heads.txt"],
        verify,
        since=SINCE,
        anchor={"action": "append", "metavar": "HEAD", "help": "a head kept elsewhere, as `audit head` printed it"},
        anchors={"metavar": "FILE", "help": "heads kept elsewhere, one a line, or such lines of the log"},
    )
    command(
        verbs,
        "head",
        "print the head of each tenant's chain: keep it elsewhere, and verify against it",
        ["audit head", "audit head >> /elsewhere/heads.txt"],
        head,
    )
    command(
        verbs,
        "export",
        "write the entries, oldest first: CloudEvents as JSON lines, or as one JSON batch",
        ["audit export --format cloudevents", "audit export --since 7d --batch --to audit.json"],
        export,
        format={"choices": ("cloudevents", "json"), "default": "cloudevents", "help": "what each entry is written as"},
        since=SINCE,
        until={"help": "only up to this time"},
        batch={"action": "store_true", "help": "one JSON array instead of a line each"},
        to={"metavar": "FILE", "help": "write there instead of standard output"},
    )


def _tenants(given: argparse.Namespace, services: Services) -> list[str]:
    """The one that was asked for, else all of them, and what belongs to none."""
    from app import tenants
    from rules.kinds import SYSTEM

    if given.tenant:
        return [SYSTEM if given.tenant == SYSTEM else tenant_of(given, services)]
    return [SYSTEM, *tenants.every(services.store)]


# ---- verify ---------------------------------------------------------------------------------------------------------
def verify(given: argparse.Namespace, services: Services) -> int:
    from app.audit import verify as audit_verify

    since = moment(given.since, services.clock.now())
    asked, anchors = _tenants(given, services), _anchors(given)
    _check_anchors(anchors, asked)
    found = [audit_verify.verify(services.store, tenant, since, anchors) for tenant in asked]
    show(given, [one.body() for one in found], lambda: (line for one in found for line in _told(one)))
    return 0 if all(one.whole for one in found) else BROKEN


def _anchors(given: argparse.Namespace) -> list[Anchor]:
    from app.audit.verify import read_anchor

    listed = Path(given.anchors).read_text().splitlines() if given.anchors else []
    return [read_anchor(_of_line(text)) for text in (*(given.anchor or ()), *listed) if text.strip()]


def _of_line(text: str) -> str:
    """The head in a line: as `audit head` or an alert has it, or in the line that the worker logs each day."""
    if not text.lstrip().startswith("{"):
        return text.removeprefix("Audit log:")
    try:
        found = json.loads(text)
        return f"{found['tenant']}={int(found['number'])}:{found['hash']}"
    except (ValueError, TypeError, KeyError):
        raise CommandError(f"{text.strip()[:100]!r} is no line of `audit.head`.") from None


def _check_anchors(anchors: list[Anchor], tenants: list[str]) -> None:
    """An anchor that nothing is held against would lull."""
    for one in anchors:
        if one.tenant and one.tenant not in tenants:
            raise CommandError(f"The anchor {one.tenant}={one.number} is of another tenant than {', '.join(tenants)}.")
        if not one.tenant and len(tenants) > 1:
            raise CommandError(
                f"Say whose the anchor {one.number}:{one.hash[:8]}... is: --tenant, or TENANT=NUMBER:HASH."
            )


def _told(found: Report) -> Iterator[str]:
    if not found.entries and not found.seals and found.whole:
        yield f"{found.tenant}: nothing was written yet."
        return
    sealed = f"verified up to {at(found.until)}" if found.whole and found.until else f"{found.sealed:,} sealed"
    yield (
        f"{found.tenant}: {'whole' if found.whole else 'NOT WHOLE'}, {sealed}."
        f" {found.entries:,} entries, {found.seals:,} seals, {found.unsealed:,} not yet sealed."
    )
    if found.unsealed:
        yield f"  the oldest that is not sealed is of {at(found.oldest_unsealed)} (the worker seals each minute)"
    if found.late:
        yield f"  {found.late:,} were sealed more than half an hour after the time they bear"
    if found.anchors:
        yield f"  held against {found.anchors:,} head{'s' if found.anchors > 1 else ''} kept elsewhere"
    yield from (f"  {one.what.upper()} {one.about}: {one.says}" for one in found.broken)
    if found.wrong > len(found.broken):
        yield f"  ... and {found.wrong - len(found.broken):,} more"


# ---- head, export ---------------------------------------------------------------------------------------------------
def head(given: argparse.Namespace, services: Services) -> None:
    from app.audit import seal

    found = {tenant: seal.head(services.store, tenant) for tenant in _tenants(given, services)}
    heads = {tenant: one for tenant, one in found.items() if one}
    rows = [{"tenant": tenant, "anchor": one.anchor, "until": one.until} for tenant, one in heads.items()]
    show(given, rows, lambda: (f"{tenant}={one.anchor}" for tenant, one in heads.items()))


def export(given: argparse.Namespace, services: Services) -> None:
    from app.audit import export as audit_export

    now = services.clock.now()
    since, until = moment(given.since, now), moment(given.until, now)
    found = (
        one
        for tenant in _tenants(given, services)
        for one in audit_export.exported(services.store, tenant, given.format, since, until)
    )
    with ExitStack() as stack:
        out = stack.enter_context(open(given.to, "w", encoding="utf-8")) if given.to else None
        for line in audit_export.lines(found, given.batch):
            if out:
                out.write(line + "\n")
            else:
                say(line)
