"""The command line: the same use cases as the pages and the API, on the data folder that the settings name.

Every command prints what it did, or with --json what it found; what stops it is one line and exit code 2.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.numbers import whole
from app.settings import Settings
from rules.event import instant, iso
from rules.model import RuleError
from rules.ports import Conflict, Refused, Unavailable

if TYPE_CHECKING:
    from app.services import Services

WRONG = 2  # exit code: what was asked cannot be done; standard error says why
ACTOR = "command line"
Row = Mapping[str, Any]


class CommandError(Exception):
    """What was asked cannot be done; the message says why and what to do."""


# ---- declaring commands ---------------------------------------------------------------------------------------------
Body = Callable[[argparse.Namespace, "Services"], int | None]
EXAMPLE = "python main.py"


def register(subparsers: Any) -> None:
    """Add every command to main.py's."""
    from app.cli import (
        access,
        audit,
        events,
        google,
        inquire,
        installation,
        moving,
        personal,
        proposals,
        rules,
        runs,
        schemas,
        scores,
        starters,
    )

    for part in (
        events,
        inquire,
        rules,
        starters,
        runs,
        scores,
        schemas,
        proposals,
        access,
        audit,
        personal,
        moving,
        google,
        installation,
    ):
        part.register(subparsers)


def command(
    subparsers: Any, name: str, help: str, examples: Sequence[str], body: Body, **arguments: Mapping[str, Any]
) -> argparse.ArgumentParser:
    """A command that works on the services. arguments: `add_argument` options by destination; those of one word are
    positional, `tenant` and `json` come by themselves."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n" + textwrap.indent("\n".join(f"{EXAMPLE} {line}" for line in examples), "  "),
    )
    for option, settings in arguments.items():
        flag = settings.get("flag", True)
        rest = {key: value for key, value in settings.items() if key != "flag"}
        parser.add_argument("--" + option.replace("_", "-") if flag else option, **rest)
    parser.add_argument("--tenant", help="account and mode, such as default/live; without it the only one")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=lambda given, settings: perform(body, given, settings), body=body)
    return parser


def perform(body: Body, given: argparse.Namespace, settings: Settings) -> int:
    """Run a command's body on open services; the exit code."""

    def run() -> int:
        with opened(settings) as services:
            return body(given, services) or 0

    return explained(run)


@contextmanager
def opened(settings: Settings) -> Iterator[Services]:
    from app.services import build

    services = build(settings, "cli")
    try:
        yield reading(services) if settings.read_only else services
    finally:
        services.close()


def reading(services: Services) -> Services:
    """The services, whose every port refuses what would change something; nothing is filed or told either."""
    from app.adapters import read_only

    s = services
    return replace(
        s,
        store=read_only.ReadOnlyStore(s.store),
        bus=read_only.bus(s.bus),
        inbox=read_only.inbox(s.inbox),
        vault=read_only.vault(s.vault),
        secrets=read_only.secrets(s.secrets),
        connectors=read_only.actions(s.connectors),
        rotation=read_only.rotation(s.rotation) if s.rotation else None,
        columns=None,
        tell=None,
    )


def explained(run: Callable[[], int]) -> int:
    """Say on one line what stopped a command, several only where several things are wrong; the exit code."""
    from app.adapters.keys import WrongKeys
    from app.adapters.sqlite import NewerData

    try:
        return run()
    except RuleError as error:
        for problem in error.problems:
            hint = f" (perhaps {problem.suggestion})" if problem.suggestion else ""
            complain(f"{problem.path or 'document'}: {problem.message}{hint}")
    except (CommandError, Refused, Conflict, LookupError, Unavailable, NewerData, WrongKeys, OSError) as error:
        complain(str(error.args[0] if isinstance(error, KeyError) and error.args else error))
    return WRONG


def say(line: str = "", end: str = "\n", error: bool = False) -> None:
    print(line, end=end, file=sys.stderr if error else sys.stdout, flush=True)


def complain(message: str) -> None:
    print(f"signalbox: {message}", file=sys.stderr)


# ---- what bodies share ----------------------------------------------------------------------------------------------
def tenant_of(given: argparse.Namespace, services: Services) -> str:
    """The tenant that was asked for, or the only one; with several it must be said."""
    from app import sample, tenants

    known = tenants.every(services.store)
    if given.tenant:
        if known and given.tenant not in known:
            raise CommandError(f"There is no tenant {given.tenant!r}; there are {', '.join(known)}.")
        return str(given.tenant)
    if len(known) > 1:
        raise CommandError(f"There are several tenants; say --tenant and one of {', '.join(known)}.")
    return known[0] if known else sample.TENANT


def moment(text: str | None, now: datetime) -> datetime | None:
    """An instant as a person writes it: ISO text, a date, or a span before now such as `7d` or `48h`."""
    if not text:
        return None
    units = {"d": "days", "h": "hours", "m": "minutes"}
    count = whole(text[:-1], 5)
    if count is not None and text[-1] in units:
        return now - timedelta(**{units[text[-1]]: count})
    try:
        found = instant(text)
    except ValueError:
        raise CommandError(f"{text!r} is no time: write 2026-11-23, 2026-11-23T10:00:00Z, or 7d") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def show(given: argparse.Namespace, value: Any, lines: Callable[[], Iterator[str]]) -> None:
    """The value as JSON when that was asked for, else as lines."""
    if given.json:
        print(json.dumps(value, indent=2, ensure_ascii=False, default=str))
        return
    for line in lines():
        print(line)


def table(rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Rows as columns that are as wide as they need to be."""
    texts = [[str(cell if cell is not None else "-") for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))] if texts else []
    for row in texts:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def read_json(path: str) -> Any:
    """The JSON in a file, or on standard input for `-`."""
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} is no JSON: {error}") from None


def follow(services: Services, tenant: str, job_id: str, tell: Callable[[str], None] = say) -> Row:
    """Wait for a job that the worker does, telling how far it is; its body at the end. CommandError when it failed, or
    when nobody works on it."""
    from app import jobs

    said, moved = -1.0, time.monotonic()
    while True:
        found = services.store.get(tenant, "job", job_id)
        if found is None:
            raise LookupError(f"There is no job {job_id!r}.")
        body = found.body
        if body["progress"] != said:
            said, moved = body["progress"], time.monotonic()
            tell(f"{body['type']}: {said:4.0%}")
        if body["state"] not in jobs.OPEN:
            break
        if time.monotonic() - moved > 60:
            raise CommandError(f"Nothing works on job {job_id}. Is the worker running? Start it with `make run`.")
        time.sleep(0.2)
    if body["state"] != "done":
        raise CommandError(f"The {body['type']} {body['state']}: {body['error'] or 'no reason is known'}")
    return body


def at(text: str | None) -> str:
    """An instant of a document, short: `2026-11-23 10:03:00`."""
    return iso(instant(text))[:19].replace("T", " ") if text else "-"
