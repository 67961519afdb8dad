"""Commands on personal values: a new key for the vault, a customer erased, what is older than its time removed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from app.cli.commands import ACTOR, CommandError, at, command, say, show, tenant_of
from rules.kinds import SYSTEM

if TYPE_CHECKING:
    from app.services import Services

WHY = {"default": "", "help": "why; kept in the audit log"}
POLL = 0.2  # seconds between looks at a job that rests


def register(subparsers: Any) -> None:
    top = subparsers.add_parser("vault", help="the keys of personal values: rotate, status")
    vault = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    command(
        vault,
        "rotate",
        "seal every personal value anew with a new key, while everything goes on; interrupted, it goes on when asked"
        " again",
        ["vault rotate --reason yearly"],
        rotate,
        reason=WHY,
    )
    command(vault, "status", "which keys there are, and how far a rotation is", ["vault status"], status)
    command(
        subparsers,
        "erase",
        "erase a customer's personal values for good; without --yes it only counts them",
        [
            "erase cus_123",
            "erase cus_123 --reason 'asked by letter' --yes",
            "erase cus_123 --lift --reason 'came back'",
        ],
        erase,
        id={"flag": False, "metavar": "CUSTOMER", "help": "the customer's id"},
        reason=WHY,
        yes={"action": "store_true", "help": "do it"},
        lift={"action": "store_true", "help": "keep what is heard of an erased customer from now on"},
    )


def rotate(given: argparse.Namespace, services: Services) -> None:
    from app.personal import rotating

    if services.rotation is None:
        raise CommandError("Values are not sealed here.")
    id = rotating.start(services.store, services.rotation, ACTOR, given.reason, services.clock.now())
    if services.rotation.grace:
        minutes = int(services.rotation.grace.total_seconds() // 60)
        say(f"The new key is in use. Values are sealed anew, and the old key goes {minutes} minutes later.", error=True)
    _drive(services, SYSTEM, id)
    status(given, services)


def status(given: argparse.Namespace, services: Services) -> None:
    from app.personal import rotating

    if services.rotation is None:
        raise CommandError("Values are not sealed here.")
    found = rotating.status(services.store, services.rotation)
    show(given, found, lambda: _keys(found))


def _keys(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"key {found['key']}" + (f"; still opening: {', '.join(found['old'])}" if found["old"] else "")
    if job := found["job"]:
        yield f"last rotation {job['state']}, {job['sealed']:,} values sealed anew, {at(job['updated_at'])}"


def erase(given: argparse.Namespace, services: Services) -> None:
    from app.personal import erasing

    s, tenant, now = services, tenant_of(given, services), services.clock.now()
    if given.lift:
        erasing.lift(s.store, s.vault, tenant, given.id, ACTOR, given.reason, now)
        say(f"What is heard of {given.id} from now on is kept again.")
        return
    found = erasing.preview(s.store, s.vault, tenant, given.id)
    if not given.yes:
        show(given, found, lambda: _counts(found))
        return
    id = erasing.start(s.store, s.vault, tenant, given.id, ACTOR, given.reason, now)
    _drive(s, tenant, id)
    found = erasing.preview(s.store, s.vault, tenant, given.id)
    gone = found["job"]["summary"]["values"]
    show(given, found, lambda: iter([f"{given.id} is erased: {gone:,} values removed. Backups made before hold them."]))


def _counts(found: Mapping[str, Any]) -> Iterator[str]:
    shared = f", {found['shared']:,} of them somebody else has as well and keeps" if found["shared"] else ""
    yield f"{found['values']:,} values in the vault{shared}"
    yield f"{found['quarantined']:,} payloads in quarantine, {found['actions']:,} actions, {found['events']:,} events"
    yield "Nothing was removed. Say --reason and --yes to erase." if not found["erased"] else "Erased already."


def _drive(services: Services, tenant: str, id: str) -> None:
    """Do the job's steps here, where no worker does; until it has ended. Stopped, it goes on when a worker runs."""
    from app import jobs
    from app.services import job_types

    types = job_types(services)
    while True:
        found = services.store.get(tenant, "job", id)
        if found is None:
            raise LookupError(f"There is no job {id!r}.")
        if found.body["state"] not in jobs.OPEN:
            break
        if not jobs.run_one(services.store, {found.body["type"]: types[found.body["type"]]}, services.clock.now()):
            time.sleep(POLL)
    if found.body["state"] != "done":
        raise CommandError(f"It {found.body['state']}: {found.body['error'] or 'no reason is known'}")
