"""The command that prepares a Google Cloud project: `provision` shows what it would change, or changes it."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from app import provision
from app.cli.commands import CommandError, explained, say
from app.provision import alerts as provision_alerts
from app.provision.fanout import Group, groups_of
from app.settings import Settings
from rules.ports import Refused, Unavailable

REGION = "europe-west1"
GROUPS = Path(__file__).parents[2] / "deploy" / "subscriptions.json"


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "provision",
        help="make what Signalbox needs in a Google Cloud project",
        description="Compare a Google Cloud project with what Signalbox needs, and make what is missing. Safe to"
        " repeat. Uses the Google Cloud CLI and its account.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  python main.py provision --plan\n  python main.py provision --apply --url https://...",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--plan", action="store_true", help="say what would be made; change nothing (the default)")
    how.add_argument("--apply", action="store_true", help="make what is missing")
    parser.add_argument("--region", default=REGION, help=f"where things are made ({REGION})")
    parser.add_argument("--url", default="", help="the deployed service's address, for the tick of each minute")
    parser.add_argument("--notify", default="", metavar="EMAIL", help="whom the alert policies tell")
    parser.add_argument(
        "--subscriptions",
        type=Path,
        default=GROUPS,
        metavar="FILE",
        help="groups of event types that other services read (deploy/subscriptions.json, where it is there)",
    )
    parser.set_defaults(run=lambda given, settings: explained(lambda: run(given, settings, gcloud)))


def run(given: argparse.Namespace, settings: Settings, call: provision.Run) -> int:
    """The exit code. call: runs the Google Cloud CLI."""
    from app.adapters.read_only import SAYS

    if not settings.google_project:
        raise CommandError("Set GOOGLE_CLOUD_PROJECT to the project that is to be prepared.")
    if given.apply and settings.read_only:
        raise Refused(SAYS)
    number = provision.number_of(settings.google_project, call)
    place = provision.Place(
        settings.google_project, given.region, number, given.url, tuple(groups(given.subscriptions))
    )
    count = 0
    for line in _everything(place, call, given.apply, given.notify):
        count += 1
        say(line)
    say("Nothing is missing." if not count else f"{count} {'made' if given.apply else 'to be made: add --apply'}.")
    if given.apply:
        say("Next:\n" + "\n".join(f"  {line}" for line in provision.next_steps(place)))
    return 0


def gcloud(command: provision.Command) -> tuple[int, str]:
    """Run the Google Cloud CLI. Raises CommandError where there is none."""
    found = shutil.which("gcloud")
    if found is None:
        raise CommandError("The Google Cloud CLI is not here: https://cloud.google.com/sdk/docs/install")
    done = subprocess.run([found, *command.arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)  # noqa: S603  the program and its arguments are our own
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr


def groups(path: Path) -> list[Group]:
    """The groups of a file; none where there is no such file. Raises CommandError with all that is wrong."""
    if not path.exists() and path == GROUPS:
        return []
    try:
        return groups_of(json.loads(path.read_text()))
    except (OSError, ValueError, Refused) as error:
        raise CommandError(f"{path}: {error}") from None


def _everything(place: provision.Place, call: provision.Run, apply: bool, notify: str) -> Iterator[str]:
    """A line for each thing that is made, or would be; what others need first."""
    yield from made(provision.foundations(place), call, apply)
    yield from _looked(_by_client(place, apply), apply)
    yield from made(provision.grants(place), call, apply)
    yield from _looked(alerts(place, call, apply, notify), apply)


def made(steps: Iterable[provision.Step], call: provision.Run, apply: bool) -> Iterator[str]:
    for step in provision.missing(steps, call):
        yield f"{'making' if apply else 'missing'}: {step.name}\n    {step.make.text}"
        if apply:
            provision.make(step, call)


def alerts(place: provision.Place, call: provision.Run, apply: bool, notify: str) -> Iterator[str]:
    for change in provision_alerts.changes(place, call, notify):
        yield f"{'making' if apply else 'missing'}: {change.text}"
        if apply:
            code, said = call(change.command)
            if code != 0:
                raise Unavailable(f"{change.text}: {said.strip()[-500:]}")


def _looked(lines: Iterator[str], apply: bool) -> Iterator[str]:
    """In a plan for a project where nothing is switched on yet, what cannot be looked at is no end of the plan."""
    try:
        yield from lines
    except Unavailable as error:
        if apply:
            raise
        yield f"cannot be looked at yet: {error}"


def _by_client(place: provision.Place, apply: bool) -> Iterator[str]:
    """What the clients that use it also make: topics and subscriptions, then indexes."""
    yield from topics(place.project, apply, place.groups)
    from google.cloud.firestore_admin_v1 import FirestoreAdminClient

    yield from indexes(FirestoreAdminClient(), place.project, apply)


def topics(project: str, apply: bool, groups: tuple[Group, ...] = ()) -> Iterator[str]:
    """What is made, or would be."""
    from app.adapters import pubsub_schema, pubsub_topics

    publisher, subscriber = pubsub_topics.clients()
    names = pubsub_topics.names(project)
    wrong = pubsub_topics.differences(publisher, subscriber, names, groups)
    if apply and any(found == ["missing"] for found in wrong.values()):
        pubsub_topics.create(publisher, subscriber, names, groups)
    for name, found in wrong.items():
        if found == ["missing"]:
            yield f"{'making' if apply else 'missing'}: {name}"
            continue
        fixed = [setting for setting in found if setting in pubsub_topics.FIXED]
        if apply and name in (names.topic, names.schema):
            pubsub_schema.correct(publisher, names, name)
        elif apply:
            pubsub_topics.correct(subscriber, names, name, found, groups)
        yield f"{'setting' if apply else 'differs'}: {name}: {', '.join(found)}" + (
            f" ({', '.join(fixed)} cannot be changed: delete it and run this again)" if fixed else ""
        )
    publisher.stop()
    subscriber.close()


def indexes(client: Any, project: str, apply: bool) -> Iterator[str]:
    """What is made, or would be. client: FirestoreAdminClient."""
    from app.adapters import firestore_admin

    lacking, overrides = firestore_admin.lacking(client, project)
    for row in lacking:
        if apply:
            firestore_admin.make_index(client, project, row)
        fields = ", ".join(part["fieldPath"] for part in row["fields"])
        yield f"{'making' if apply else 'missing'}: Firestore index on {row['collectionGroup']} ({fields})"
    for row in overrides:
        if apply:
            firestore_admin.make_override(client, project, row)
        yield f"{'setting' if apply else 'differs'}: Firestore field {row['collectionGroup']}.{row['fieldPath']}"
