"""The command that prepares a Google Cloud project: `provision` shows what it would change, or changes it."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

from app import provision
from app.cli import CommandError, explained, say
from app.settings import Settings

REGION = "europe-west1"


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
    parser.set_defaults(run=lambda given, settings: explained(lambda: run(given, settings, gcloud)))


def run(given: argparse.Namespace, settings: Settings, call: provision.Run) -> int:
    """The exit code. call: runs the Google Cloud CLI."""
    if not settings.google_project:
        raise CommandError("Set GOOGLE_CLOUD_PROJECT to the project that is to be prepared.")
    number = provision.number_of(settings.google_project, call)
    place = provision.Place(settings.google_project, given.region, number, given.url)
    count = 0
    for step in provision.missing(place, call):
        count += 1
        say(f"{'making' if given.apply else 'missing'}: {step.name}\n    {step.make.text}")
        if given.apply:
            provision.make(step, call)
    for line in _by_client(place, given.apply):
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
    done = subprocess.run([found, *command.arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr


def _by_client(place: provision.Place, apply: bool) -> Iterator[str]:
    """What the clients that use it also make: topics and subscriptions, then indexes."""
    yield from topics(place.project, apply)
    from google.cloud.firestore_admin_v1 import FirestoreAdminClient

    yield from indexes(FirestoreAdminClient(), place.project, apply)


def topics(project: str, apply: bool) -> Iterator[str]:
    """What is made, or would be."""
    from app.adapters import pubsub_topics

    publisher, subscriber = pubsub_topics.clients()
    names = pubsub_topics.names(project)
    wrong = pubsub_topics.differences(publisher, subscriber, names)
    if apply and any(found == ["missing"] for found in wrong.values()):
        pubsub_topics.create(publisher, subscriber, names)
    for name, found in wrong.items():
        if found == ["missing"]:
            yield f"{'making' if apply else 'missing'}: {name}"
            continue
        fixed = [setting for setting in found if setting in pubsub_topics.FIXED]
        if apply:
            pubsub_topics.correct(subscriber, names, name, found)
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
