"""Commands on who may come in: members with their roles and passwords, and tokens of the API."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from app.access import api_tokens, members
from app.access.members import ROLES, Member
from app.cli.commands import ACTOR, CommandError, at, command, say, show, table

if TYPE_CHECKING:
    from app.services import Services

EMAIL: dict[str, Any] = {"flag": False, "metavar": "EMAIL"}
NOTE: dict[str, Any] = {"default": "", "help": "why; kept in the audit log"}


def register(subparsers: Any) -> None:
    _register_members(subparsers.add_parser("members", help="who may come in, and what each may do"))
    _register_tokens(subparsers.add_parser("tokens", help="tokens of the API, with the rights they carry"))


def _register_members(top: argparse.ArgumentParser) -> None:
    made = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    chosen: dict[str, Any] = {"help": f"comma-separated, of {', '.join(ROLES)}"}
    typed: dict[str, Any] = {
        "action": "store_true",
        "help": "ask for a password to sign in with (or read a line of standard input)",
    }
    command(made, "list", "every member with roles and state", ["members list", "members list --json"], list_members)
    command(
        made,
        "add",
        "let somebody in",
        ["members add ada@example.com --roles admin --password", "members add bo@example.com --roles author,operator"],
        add_member,
        email=EMAIL,
        roles={**chosen, "required": True},
        called={"default": "", "metavar": "NAME", "help": "what people call them"},
        password=typed,
        note=NOTE,
    )
    command(
        made,
        "change",
        "other roles or another name, in force at once",
        ["members change bo@example.com --roles viewer --note 'changed teams'"],
        change_member,
        email=EMAIL,
        roles=chosen,
        called={"metavar": "NAME", "help": "what people call them"},
        note=NOTE,
    )
    for verb, does in (
        ("disable", "let a member in no more, and end every session"),
        ("enable", "let a disabled member in again"),
        ("sign-out", "end every session of a member"),
    ):
        command(made, verb, does, [f"members {verb} bo@example.com"], _BODIES[verb], email=EMAIL, note=NOTE)
    command(
        made,
        "password",
        "set a member's password, and end every session",
        ["members password bo@example.com"],
        set_password,
        email=EMAIL,
    )


def _register_tokens(top: argparse.ArgumentParser) -> None:
    made = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    command(made, "list", "every token, without its text", ["tokens list"], list_tokens)
    command(
        made,
        "make",
        "make a token and print its text, once",
        ["tokens make nightly-import --rights read,author --days 90"],
        make_token,
        token={"flag": False, "metavar": "NAME", "help": "after what uses it"},
        rights={"required": True, "help": f"comma-separated, of {', '.join(api_tokens.RIGHTS)}"},
        days={"type": int, "default": api_tokens.USUAL, "help": f"until it ends, at most {api_tokens.LONGEST}"},
        note=NOTE,
    )
    command(
        made,
        "revoke",
        "end a token at once",
        ["tokens revoke 0123456789abcdef --note 'the laptop was lost'"],
        revoke_token,
        id={"flag": False, "metavar": "ID"},
        note=NOTE,
    )


# ---- members --------------------------------------------------------------------------------------------------------
def list_members(given: argparse.Namespace, services: Services) -> None:
    rows = [member.shown() for member in members.every(services.store)]

    def lines() -> Iterator[str]:
        if not rows:
            yield "Nobody is a member yet. `python main.py members add EMAIL --roles admin --password` adds the first."
            return
        told = ((r["email"], ",".join(r["roles"]), r["state"], at(r["signed_in_at"]), r["name"]) for r in rows)
        yield from table([("E-MAIL", "ROLES", "STATE", "SIGNED IN", "NAME"), *told])

    show(given, rows, lines)


def add_member(given: argparse.Namespace, services: Services) -> None:
    body = {"email": given.email, "name": given.called, "roles": _parts(given.roles)}
    if given.password:
        body["password"] = _password()
    made = members.add(services.store, services.passwords, body, ACTOR, services.clock.now(), given.note)
    _told(given, made, f"{made.email} may come in.")


def change_member(given: argparse.Namespace, services: Services) -> None:
    body: dict[str, Any] = {}
    if given.roles is not None:
        body["roles"] = _parts(given.roles)
    if given.called is not None:
        body["name"] = given.called
    if not body:
        raise CommandError("Say what to change: --roles or --called.")
    found = _member(services, given.email)
    done = members.change(services.store, found.id, body, ACTOR, services.clock.now(), given.note)
    _told(given, done, f"{done.email}: {', '.join(done.roles)}.")


def set_password(given: argparse.Namespace, services: Services) -> None:
    found = _member(services, given.email)
    done = members.set_password(services.store, services.passwords, found.id, _password(), ACTOR, services.clock.now())
    _told(given, done, f"The password of {done.email} is set; every session has ended.")


def _disable(given: argparse.Namespace, services: Services) -> None:
    _state(given, services, "disabled", "comes in no more; every session has ended")


def _enable(given: argparse.Namespace, services: Services) -> None:
    _state(given, services, "active", "may come in again")


def _state(given: argparse.Namespace, services: Services, state: str, says: str) -> None:
    found = _member(services, given.email)
    done = members.change(services.store, found.id, {"state": state}, ACTOR, services.clock.now(), given.note)
    _told(given, done, f"{done.email} {says}.")


def _sign_out(given: argparse.Namespace, services: Services) -> None:
    found = _member(services, given.email)
    done = members.end_sessions(services.store, found.id, ACTOR, services.clock.now(), given.note)
    _told(given, done, f"{done.email} is signed out everywhere.")


_BODIES = {"disable": _disable, "enable": _enable, "sign-out": _sign_out}


def _member(services: Services, email: str) -> Member:
    found = members.by_email(services.store, email)
    if found is None:
        raise CommandError(f"{email} is no member; `python main.py members list` shows who is.")
    return found


def _told(given: argparse.Namespace, member: Member, line: str) -> None:
    show(given, member.shown(), lambda: iter([line]))


def _password() -> str:
    """Typed twice by a person; a line of standard input from a program. Never an argument: others could see that."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != first:
        raise CommandError("The two differ; nothing was changed.")
    return first


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


# ---- tokens ---------------------------------------------------------------------------------------------------------
def list_tokens(given: argparse.Namespace, services: Services) -> None:
    rows = [token.shown(services.clock.now()) for token in api_tokens.every(services.store)]

    def lines() -> Iterator[str]:
        if not rows:
            yield "There are no tokens yet. `python main.py tokens make NAME --rights read` makes one."
            return
        heads = ("ID", "NAME", "STATE", "RIGHTS", "ENDS", "LAST USED")
        told = (
            (r["id"], r["name"], r["state"], ",".join(r["rights"]), at(r["until"])[:10], r["used_on"]) for r in rows
        )
        yield from table([heads, *told])

    show(given, rows, lines)


def make_token(given: argparse.Namespace, services: Services) -> None:
    body = {"name": given.token, "rights": _parts(given.rights), "days": given.days}
    made, text = api_tokens.make(services.store, body, ACTOR, services.clock.now(), given.note)
    if not given.json:
        say(f"The token {made.name} ({made.id}); its text is shown only now:", error=True)
    show(given, {**made.shown(services.clock.now()), "token": text}, lambda: iter([text]))


def revoke_token(given: argparse.Namespace, services: Services) -> None:
    done = api_tokens.revoke(services.store, given.id, ACTOR, services.clock.now(), given.note)
    show(given, done.shown(services.clock.now()), lambda: iter([f"The token {done.name} is worth nothing any more."]))
