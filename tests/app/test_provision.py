"""Preparing a Google Cloud project: the plan, its repetition, and the deployed files held against each other."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.api_core import exceptions

from app import provision
from app.adapters.firestore_indexes import firestore_indexes
from app.cli import CommandError, google
from app.provision import Command, Place
from app.provision.alerts import LABEL, changes
from app.provision.fanout import Group
from app.settings import Settings
from rules.kinds import EXPIRING
from rules.ports import Unavailable
from tests.emulators import lacking_program

ROOT = Path(__file__).parents[2]
PLACE = Place("my-project", "europe-west1", "123", "https://box.example/")
DEPLOYED = {name: yaml.safe_load((ROOT / name).read_text()) for name in ("app.yaml", "deploy/worker.yaml")}


class Cloud:
    """The Google Cloud CLI on a project that is empty at first: what was made is found."""

    def __init__(self, refuses: str = "") -> None:
        self.made: list[str] = []
        self.refuses = refuses
        self._found = {step.look: step.make for step in provision.steps(PLACE)}

    def __call__(self, command: Command) -> tuple[int, str]:
        if command in self._found:
            return (0, "here\n") if self._found[command].text in self.made else (1, "NOT_FOUND")
        if self.refuses and self.refuses in command.text:
            return 1, "PERMISSION_DENIED"
        self.made.append(command.text)
        return 0, ""


def test_what_was_made_is_not_made_again() -> None:
    cloud = Cloud()
    first = list(provision.missing(provision.steps(PLACE), cloud))
    assert [step.name for step in first] == [step.name for step in provision.steps(PLACE)]
    assert cloud.made == []
    for step in first:
        provision.make(step, cloud)
    assert list(provision.missing(provision.steps(PLACE), cloud)) == []


def test_each_thing_is_named_and_made_once() -> None:
    steps = list(provision.steps(PLACE))
    assert len({step.name for step in steps}) == len(steps)
    assert len({step.make for step in steps}) == len(steps)


def test_a_step_that_is_refused_says_which_and_what_was_said() -> None:
    cloud = Cloud(refuses="keyrings create")
    refused = next(step for step in provision.missing(provision.steps(PLACE), cloud) if step.name == "KMS key ring")
    with pytest.raises(Unavailable, match=r"KMS key ring.*PERMISSION_DENIED"):
        provision.make(refused, cloud)


def test_without_an_address_nothing_is_scheduled() -> None:
    names = [step.name for step in provision.steps(Place("p", "r", "1"))]
    assert "the tick of each minute" not in names
    assert "the tick of each minute" in [step.name for step in provision.steps(PLACE)]


def test_nobody_gets_a_role_over_everything() -> None:
    text = "\n".join(step.make.text for step in provision.steps(PLACE))
    assert not re.search(r"roles/(owner|editor|\w+\.admin)\b", text)
    assert "signalbox-caller" not in "\n".join(line for line in text.splitlines() if "add-iam-policy-binding" in line)


def test_topics_are_there_before_anybody_gets_a_role_on_them() -> None:
    before = "\n".join(step.make.text for step in provision.foundations(PLACE))
    after = "\n".join(step.make.text for step in provision.grants(PLACE))
    assert "pubsub" not in before.replace("pubsub.googleapis.com", "")
    assert "pubsub topics add-iam-policy-binding" in after


def test_what_cannot_be_looked_at_yet_ends_no_plan_but_ends_an_apply() -> None:
    def lines() -> Any:
        yield "missing: a"
        raise Unavailable("the API is off")

    assert list(google._looked(lines(), apply=False)) == ["missing: a", "cannot be looked at yet: the API is off"]
    with pytest.raises(Unavailable):
        list(google._looked(lines(), apply=True))


def test_groups_come_from_a_file_whose_faults_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "groups.json"
    path.write_text('{"groups": [{"name": "A", "types": []}, {"name": "b", "types": ["x"], "typo": 1}]}')
    with pytest.raises(CommandError) as error:
        google.groups(path)
    assert all(part in str(error.value) for part in ("'A' is no name", "types are event types", "typo is no part"))
    with pytest.raises(CommandError, match="No such file"):
        google.groups(tmp_path / "none.json")
    example = google.groups(ROOT / "deploy" / "subscriptions.example.json")
    assert [group.name for group in example] == ["provisioning", "reporting", "legacy"]


def test_the_command_needs_a_project() -> None:
    given = argparse.Namespace(apply=False, region="r", url="")
    with pytest.raises(CommandError, match="GOOGLE_CLOUD_PROJECT"):
        google.run(given, Settings(), Cloud())


# ---- the files that are deployed ------------------------------------------------------------------------------------
def variables(name: str) -> dict[str, Any]:
    (container,) = DEPLOYED[name]["spec"]["template"]["spec"]["containers"]
    return {row["name"]: row for row in container["env"]}


@pytest.mark.parametrize("name", DEPLOYED)
def test_every_variable_of_a_deployed_file_is_one_that_the_settings_read(name: str) -> None:
    read = set(re.findall(r'read\.\w+\(\s*"([A-Z_]+)"', (ROOT / "app" / "settings.py").read_text()))
    assert set(variables(name)) <= read | {"OTEL_RESOURCE_ATTRIBUTES"}  # which OpenTelemetry reads by itself


@pytest.mark.parametrize("name", DEPLOYED)
def test_the_settings_of_a_deployed_file_contradict_nothing(name: str) -> None:
    environ = {key: row.get("value", "x" * 32) for key, row in variables(name).items()}
    settings = Settings.from_env(environ)
    assert settings.backend == "google"
    assert not settings.development


@pytest.mark.parametrize("name", DEPLOYED)
def test_what_a_deployed_file_names_is_what_provision_makes(name: str) -> None:
    filled = yaml.safe_load(
        (ROOT / name).read_text().replace("PROJECT", PLACE.project).replace("REGION", PLACE.region)
    )["spec"]["template"]["spec"]
    made = "\n".join(step.make.text for step in provision.steps(PLACE))
    account = filled["serviceAccountName"].split("@")[0]
    assert f"service-accounts create {account} " in made
    (container,) = filled["containers"]
    for row in container["env"]:
        if "valueFrom" in row:
            assert f"secrets create {row['valueFrom']['secretKeyRef']['name']} " in made
    values = {row["name"]: row.get("value") for row in container["env"]}
    assert values["SIGNALBOX_KMS_KEY"] == PLACE.kms_key
    assert values["SIGNALBOX_CALLERS"] == PLACE.account("caller")
    assert container["image"].startswith(f"{PLACE.region}-docker.pkg.dev/{PLACE.project}/signalbox/")


def test_the_topics_that_get_roles_are_those_that_are_made() -> None:
    from app.adapters import pubsub_topics

    names = pubsub_topics.names(PLACE.project)
    full_names = (names.topic, names.subscription, names.quarantine_topic, *vars_of(names))
    known = {full.rsplit("/", 1)[-1] for full in full_names}
    used = re.findall(
        r"pubsub (?:topics|subscriptions) \S+ (\S+)", "\n".join(s.make.text for s in provision.steps(PLACE))
    )
    assert set(used) == known
    reader = Group("reporting", ("invoice.*",), reader="reader@other.iam.gserviceaccount.com")
    grants = list(provision.grants(replace(PLACE, groups=(reader,))))
    (may_pull,) = [step.make.text for step in grants if reader.reader in step.make.text]
    (subscription,) = [full for full in pubsub_topics.subscriptions(names, (reader,)) if full.endswith("reporting")]
    assert f"pubsub subscriptions add-iam-policy-binding {subscription.rsplit('/', 1)[-1]} " in may_pull


def vars_of(names: Any) -> tuple[str, str]:
    return names.dead_topic, names.dead_subscription


def test_the_image_has_every_folder_that_runs_and_is_nobodys_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = {line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line}
    assert {"main.py", "app", "rules", "templates", "static", "requirements.txt"} <= copied
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied <= allowed
    assert "USER signalbox" in lines


# ---- against the real ones ------------------------------------------------------------------------------------------
@pytest.fixture
def project(pubsub_emulator: None) -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.mark.emulator
def test_topics_and_subscriptions_are_planned_made_and_then_as_wanted(project: str) -> None:
    planned = list(google.topics(project, apply=False))
    assert len(planned) == 7
    assert all(line.startswith("missing: ") for line in planned)
    assert len(list(google.topics(project, apply=False))) == 7
    assert all(line.startswith("making: ") for line in google.topics(project, apply=True))
    assert list(google.topics(project, apply=False)) == []


@pytest.mark.emulator
def test_a_setting_that_somebody_changed_is_found_and_set_right(project: str) -> None:
    from app.adapters import pubsub_topics

    list(google.topics(project, apply=True))
    publisher, subscriber = pubsub_topics.clients()
    name = pubsub_topics.names(project).subscription
    wanted = {"name": name, "topic": pubsub_topics.names(project).topic, "ack_deadline_seconds": 11}
    subscriber.update_subscription(request={"subscription": wanted, "update_mask": {"paths": ["ack_deadline_seconds"]}})
    (line,) = google.topics(project, apply=False)
    assert line == f"differs: {name}: ack_deadline_seconds"
    list(google.topics(project, apply=True))
    assert list(google.topics(project, apply=False)) == []
    publisher.stop()
    subscriber.close()


class Admin:
    """FirestoreAdminClient on a database that keeps what it is told."""

    def __init__(self) -> None:
        self.indexes: dict[str, list[Any]] = {}
        self.fields: dict[str, Any] = {}

    def list_indexes(self, parent: str) -> list[Any]:
        return self.indexes.get(parent, [])

    def create_index(self, parent: str, index: Any) -> None:
        self.indexes.setdefault(parent, []).append(index)

    def get_field(self, name: str) -> Any:
        if name not in self.fields:
            raise exceptions.NotFound(name)
        return self.fields[name]

    def update_field(self, field: Any) -> None:
        self.fields[field.name] = field


def test_indexes_and_exemptions_are_planned_made_and_then_all_there() -> None:
    admin, wanted = Admin(), firestore_indexes()
    count = len(wanted["indexes"]) + len(wanted["fieldOverrides"])
    assert len(list(google.indexes(admin, "p", apply=False))) == count
    assert len(list(google.indexes(admin, "p", apply=True))) == count
    assert list(google.indexes(admin, "p", apply=False)) == []
    group = next(iter(admin.indexes))
    admin.indexes[group].pop()
    assert len(list(google.indexes(admin, "p", apply=False))) == 1


@pytest.mark.parametrize("kind", EXPIRING)
def test_a_time_to_live_policy_that_is_off_is_switched_on(kind: str) -> None:
    admin = Admin()
    list(google.indexes(admin, "p", apply=True))
    name = f"projects/p/databases/(default)/collectionGroups/{kind}/fields/ttl"
    there = admin.fields[name]
    assert there._pb.HasField("ttl_config")
    assert not there.index_config.indexes  # a time that only grows has no index
    there._pb.ClearField("ttl_config")
    assert list(google.indexes(admin, "p", apply=False)) == [f"differs: Firestore field {kind}.ttl"]
    list(google.indexes(admin, "p", apply=True))
    assert list(google.indexes(admin, "p", apply=False)) == []


@pytest.mark.nightly
@pytest.mark.emulator
def test_the_google_cloud_cli_knows_every_command_and_flag(tmp_path: Path) -> None:
    gcloud = shutil.which("gcloud") or lacking_program("gcloud")
    environ = {**os.environ, "CLOUDSDK_CONFIG": str(tmp_path), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
    commands = [command for step in provision.steps(PLACE) for command in (step.look, step.make)]
    lag = json.dumps([{"name": "policies/1", "userLabels": {LABEL: "lag"}}])

    def console(command: Command) -> tuple[int, str]:
        commands.append(command)
        return 0, lag if "policies" in command.arguments else "[]"

    commands += [change.command for change in changes(PLACE, console, "ops@example.com")]
    shapes = {}
    for command in commands:
        flags = tuple(part.split("=")[0] for part in command.arguments if part.startswith("--"))
        deep = 4 if "monitoring" in command.arguments else 3
        shapes[command.arguments[:deep], flags] = command
    for command in shapes.values():
        done = subprocess.run([gcloud, *command.arguments], env=environ, capture_output=True, text=True, check=False)
        assert "active account" in done.stderr, (command.text, done.stderr)
