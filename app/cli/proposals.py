"""The commands on what waits for a second person: `proposals list`, `show`, `approve`, `decline`, and so on.

The command line has a name that several may use, so approving and acknowledging take a token: it acts for the member
who made it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.commands import ACTOR, CommandError, at, command, show, table, tenant_of

if TYPE_CHECKING:
    from app.services import Services

ID = {"flag": False, "metavar": "ID", "help": "the proposal's id"}
NOTE = {"required": True, "help": "why; kept in the audit log"}
TOKEN = {"metavar": "FILE", "required": True, "help": "a file that holds your API token; - is standard input"}


def register(subparsers: Any) -> None:
    top = subparsers.add_parser("proposals", help="what waits for a second person: list, show, approve, decline")
    verbs = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    command(
        verbs,
        "list",
        "what waits for a second person, and what came of earlier ones",
        ["proposals list", "proposals list --state emergency"],
        list_proposals,
        state={"help": "only in this state: open, approved, declined, withdrawn, stale, emergency, acknowledged"},
    )
    command(verbs, "show", "one proposal and what it would change", ["proposals show prop_12ab"], show_one, id=ID)
    for name, words in (
        ("approve", "do what was asked for, as the second person"),
        ("acknowledge", "say that an emergency was seen"),
    ):
        example = f"proposals {name} prop_12ab --note 'looks right' --token ~/.signalbox-token"
        made = command(verbs, name, words, [example], second, id=ID, note=NOTE, token=TOKEN)
        made.set_defaults(verb=name)
    for name, words in (("decline", "say no"), ("withdraw", "ask no longer")):
        made = command(verbs, name, words, [f"proposals {name} prop_12ab --note 'not now'"], end, id=ID, note=NOTE)
        made.set_defaults(verb=name)


def list_proposals(given: argparse.Namespace, services: Services) -> None:
    from app import approvals

    if given.state and given.state not in approvals.STATES:
        raise CommandError(f"There is no state {given.state!r}; there are {', '.join(approvals.STATES)}.")
    found = approvals.proposals(services.store, tenant_of(given, services), given.state)["items"]
    heads = ("PROPOSAL", "ASKED", "BY", "STATE", "WHAT")
    rows = [(one["id"], at(one["created_at"]), one["asked_by"], one["state"], one["title"]) for one in found]
    show(given, found, lambda: table([heads, *rows]) if rows else iter(["nothing was asked for"]))


def show_one(given: argparse.Namespace, services: Services) -> None:
    from app import approvals

    _show(given, approvals.proposal(services.store, tenant_of(given, services), given.id))


def second(given: argparse.Namespace, services: Services) -> None:
    from app import approvals
    from app.access import api_tokens
    from app.services import office_of
    from rules.steps import NotPossible

    tenant, now = tenant_of(given, services), services.clock.now()
    text = sys.stdin.read() if given.token == "-" else Path(given.token).expanduser().read_text()  # noqa: S105  a name or a sentence, not a secret
    token = api_tokens.check(services.store, text.strip(), now)
    may = (
        token is not None
        and bool({"approve", "admin"} & set(token.rights))
        and all({"approver", "admin"} & set(one.roles) for one in api_tokens.behind(services.store, token))
    )
    if token is None or not may:
        raise CommandError("This token does not hold, or has no right to approve: make one under Settings, Tokens.")
    person = token.made_by if "@" in token.made_by else ""
    act = approvals.approve if given.verb == "approve" else approvals.acknowledge
    try:
        found = act(office_of(services), tenant, given.id, token.actor, person, given.note, now)
    except NotPossible as error:
        raise CommandError(str(error)) from error
    _show(given, found)


def end(given: argparse.Namespace, services: Services) -> None:
    from app import approvals
    from app.services import office_of
    from rules.steps import NotPossible

    act = approvals.decline if given.verb == "decline" else approvals.withdraw
    tenant, now = tenant_of(given, services), services.clock.now()
    try:
        found = act(office_of(services), tenant, given.id, ACTOR, given.note, now)
    except NotPossible as error:
        raise CommandError(str(error)) from error
    _show(given, found)


def _show(given: argparse.Namespace, found: dict[str, Any]) -> None:
    def lines() -> Iterator[str]:
        yield f"{found['title']}  ({found['id']}, {found['state']})"
        yield f"asked by {found['asked_by']}, {at(found['created_at'])}: {found['note']}"
        yield from (f"  {line}" for line in found["says"])
        if found["decided_by"]:
            yield f"{found['state']} by {found['decided_by']}, {at(found['decided_at'])}: {found['decision']}"

    show(given, found, lines)
