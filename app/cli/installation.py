"""Commands on the installation: the sample business, the doctor, and the token of the API."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from app.cli.commands import (
    CommandError,
    command,
    explained,
    follow,
    say,
    show,
)
from app.settings import Settings
from rules.words import counted

if TYPE_CHECKING:
    from app.services import Services

PRESENT = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}
REVIEWED = {"ok": "ok          ", "note": "look at this", "wrong": "WRONG       "}


def register(subparsers: Any) -> None:
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
    yield "Nothing is wrong." if not wrong else f"{counted(wrong, 'thing')} to mend."


def token(given: argparse.Namespace, settings: Settings) -> int:
    def run() -> int:
        if not settings.admin_token:
            raise CommandError("No token is set: set SIGNALBOX_ADMIN_TOKEN.")
        say(settings.admin_token)
        return 0

    return explained(run)
