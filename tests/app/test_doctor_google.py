"""The doctor on Google: each thing that can be wrong with a project is found, with the command that mends it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.adapters.google_project import GoogleProject
from app.cli import google
from app.doctor import google as doctor_google
from app.doctor.finding import Finding
from app.doctor.google import APPLY, Look
from app.settings import Settings
from rules.kinds import EXPIRING
from rules.ports import Unavailable
from tests.builders import NOON

URL = "https://box.example"
KEY = "projects/p/locations/europe-west1/keyRings/signalbox/cryptoKeys/vault"
CALLER = "signalbox-caller@p.iam.gserviceaccount.com"
SETTINGS = Settings(
    backend="google",
    google_project="p",
    kms_key=KEY,
    public_url=URL,
    callers=(CALLER,),
    environment="production",
)
TOPIC, SUBSCRIPTION = "projects/p/topics/signalbox-events", "projects/p/subscriptions/signalbox-worker"


@dataclass
class Answer:
    status_code: int
    body: Any = None

    def json(self) -> Any:
        return self.body


@dataclass
class Rest:
    """Google's REST APIs for a project that is as it should be, until a test says otherwise: answers by a part of the
    address, the latest first."""

    said: list[tuple[str, Answer]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def say(self, part: str, body: Any, status: int = 200) -> None:
        self.said.insert(0, (part, Answer(status, body)))

    def request(self, method: str, url: str, **more: Any) -> Answer:
        self.asked.append((method, url))
        if not url.endswith(":testIamPermissions"):
            return next((answer for part, answer in self.said if part in url), Answer(404))
        refused = [(part, answer) for part, answer in self.said if ":test" in part or answer.status_code != 200]
        allowed = Answer(200, {"permissions": more["json"]["permissions"]})
        return next((answer for part, answer in refused if part in url), allowed)


@pytest.fixture
def rest() -> Rest:
    found = Rest()
    found.say(
        "databases/(default)",
        {
            "type": "FIRESTORE_NATIVE",
            "locationId": "europe-west1",
            "deleteProtectionState": "DELETE_PROTECTION_ENABLED",
            "pointInTimeRecoveryEnablement": "POINT_IN_TIME_RECOVERY_ENABLED",
        },
    )
    found.say("/collectionGroups/-/indexes", {"indexes": [{"name": index_name("run"), "state": "READY"}]})
    found.say("/collectionGroups/-/fields", {"fields": [policy(kind) for kind in EXPIRING]})
    found.say("cloudkms.googleapis.com/v1/" + KEY, {"primary": {"state": "ENABLED"}, "rotationPeriod": "7776000s"})
    found.say("jobs/signalbox-tick", job())
    found.say("monitoring", {"timeSeries": [{"points": [{"value": {"int64Value": "3"}}]}]})
    return found


def index_name(kind: str) -> str:
    return f"projects/p/databases/(default)/collectionGroups/{kind}/indexes/1"


def policy(kind: str, state: str = "ACTIVE") -> dict[str, Any]:
    return {"name": f"projects/p/databases/(default)/collectionGroups/{kind}/fields/ttl", "ttlConfig": {"state": state}}


def job(**more: Any) -> dict[str, Any]:
    target = {"uri": f"{URL}/tasks/tick", "oidcToken": {"serviceAccountEmail": CALLER}}
    return {"state": "ENABLED", "schedule": "* * * * *", "httpTarget": target, **more}


def looked(
    rest: Rest,
    settings: Settings = SETTINGS,
    wrong: Mapping[str, Sequence[str]] | None = None,
    off: timedelta = timedelta(0),
    lacking: Sequence[str] = (),
) -> list[Finding]:
    project = GoogleProject(rest, "p", "europe-west1")
    look = Look(lambda: wrong or {}, ((TOPIC,), (SUBSCRIPTION,)), lambda: NOON + off, project, lambda: lacking)
    return list(doctor_google.examine(settings, look, NOON))


def one(found: list[Finding], state: str = "wrong") -> Finding:
    (chosen,) = [finding for finding in found if finding.state == state]
    return chosen


def test_a_project_that_is_as_it_should_be_has_nothing_wrong(rest: Rest) -> None:
    found = looked(rest)
    assert {finding.state for finding in found} == {"ok"}, found
    names = {"topics", "clock", "callers", "database", "indexes", "time to live", "key", "permissions", "schedule"}
    assert {finding.name for finding in found} == names | {"waiting"}


def test_nothing_is_changed_by_looking(rest: Rest) -> None:
    looked(rest)
    posted = [url for method, url in rest.asked if method != "GET"]
    assert all(url.endswith(":testIamPermissions") for url in posted)


# ---- each wrong thing -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("part", "answer", "name", "text", "mend"),
    [
        ("databases/(default)", {"type": "DATASTORE_MODE"}, "database", "DATASTORE_MODE", "new project"),
        (
            "databases/(default)",
            {"type": "FIRESTORE_NATIVE", "pointInTimeRecoveryEnablement": "POINT_IN_TIME_RECOVERY_ENABLED"},
            "database",
            "delete it",
            "--delete-protection",
        ),
        (
            "databases/(default)",
            {"type": "FIRESTORE_NATIVE", "deleteProtectionState": "DELETE_PROTECTION_ENABLED"},
            "database",
            "yesterday",
            "--enable-pitr",
        ),
        ("/fields", {"fields": [policy(kind) for kind in EXPIRING[1:]]}, "time to live", EXPIRING[0], APPLY),
        ("/fields", {}, "time to live", "missing", APPLY),
        ("v1/" + KEY, {"primary": {"state": "DISABLED"}}, "key", "disabled", "keys versions enable"),
        ("jobs/", job(state="PAUSED"), "schedule", "paused", "scheduler jobs resume signalbox-tick"),
        ("jobs/", job(httpTarget={"uri": "https://old"}), "schedule", "https://old", f"--uri={URL}/tasks/tick"),
        (
            "jobs/",
            job(httpTarget={"uri": f"{URL}/tasks/tick", "oidcToken": {"serviceAccountEmail": "a@b"}}),
            "schedule",
            "may not call",
            "SIGNALBOX_CALLERS",
        ),
        (
            "monitoring",
            {"timeSeries": [{"points": [{"value": {"int64Value": "600"}}]}]},
            "waiting",
            "600 s",
            "worker",
        ),
        ("topics/signalbox-events:test", {}, "permissions", "pubsub.topics.publish", APPLY),
        ("subscriptions/signalbox-worker:test", {}, "permissions", "pubsub.subscriptions.consume", APPLY),
        ("secrets/stripe-api-key:test", {}, "permissions", "secretmanager.versions.access", APPLY),
        ("cryptoKeys/vault:test", {"permissions": []}, "permissions", "useToDecrypt", APPLY),
        (
            "v3/projects/p:test",
            {"permissions": ["cloudtrace.traces.patch"]},
            "permissions",
            "datastore.entities.create",
            APPLY,
        ),
    ],
)
def test_what_is_wrong_is_found_with_its_mend(
    rest: Rest, part: str, answer: Any, name: str, text: str, mend: str
) -> None:
    rest.say(part, answer)
    found = one([finding for finding in looked(rest) if not _follows(finding, part)])
    assert (found.name, text in found.text, mend in found.mend) == (name, True, True), found


def _follows(finding: Finding, part: str) -> bool:
    """What a broken database answer brings along in these tests, whose addresses begin alike."""
    return part == "databases/(default)" and finding.name in ("indexes", "time to live")


@pytest.mark.parametrize(
    ("part", "name"),
    [("v1/" + KEY, "key"), ("databases/(default)", "database"), ("secrets/stripe-api-key:test", "permissions")],
)
def test_what_is_missing_is_made_by_provision(rest: Rest, part: str, name: str) -> None:
    rest.say(part, None, 404)
    found = [finding for finding in looked(rest) if finding.name == name and finding.state == "wrong"]
    assert found[0].mend == APPLY


@pytest.mark.parametrize("part", ["databases/(default)", "cloudkms", "cloudscheduler", "monitoring", "pubsub"])
def test_what_may_not_be_looked_at_is_a_finding_and_the_rest_goes_on(rest: Rest, part: str) -> None:
    rest.say(part, {"error": {"message": "API has not been used in project p"}}, 403)
    found = looked(rest)
    wrong = [finding for finding in found if finding.state == "wrong"]
    assert wrong
    assert all("has not been used" in finding.text for finding in wrong)
    assert found[-1].name == "waiting"


def test_topics_that_differ_are_named_with_what_differs(rest: Rest) -> None:
    found = looked(rest, wrong={SUBSCRIPTION: ["ack_deadline_seconds", "dead_letter_policy"], TOPIC: ["missing"]})
    said = [finding.text for finding in found if finding.name == "topics"]
    assert said == [
        "subscriptions/signalbox-worker is set otherwise: ack_deadline_seconds, dead_letter_policy",
        "topics/signalbox-events is missing",
    ]


def test_an_index_that_is_lacking_or_still_built_is_told_apart(rest: Rest) -> None:
    assert one(looked(rest, lacking=["run (state, created_at)"])).mend == APPLY
    rest.say("/indexes", {"indexes": [{"name": index_name("run"), "state": "CREATING"}]})
    assert "still being built for run" in one(looked(rest), "note").text


@pytest.mark.parametrize(("off", "way"), [(60, "behind"), (-60, "ahead of")])
def test_a_clock_that_is_off_is_found(rest: Rest, off: int, way: str) -> None:
    found = one(looked(rest, off=timedelta(seconds=off)))
    assert (found.name, f"60 s {way} Google's" in found.text) == ("clock", True)


def test_callers_are_service_accounts(rest: Rest) -> None:
    assert one(looked(rest, replace(SETTINGS, callers=("ada@example.com", CALLER)))).name == "callers"
    rest.say("jobs/", None, 404)
    notes = [finding.name for finding in looked(rest, replace(SETTINGS, callers=())) if finding.state == "note"]
    assert notes == ["callers", "schedule"]


def test_every_mend_is_a_command_or_a_setting_that_there_is(rest: Rest) -> None:
    for part in (
        "databases/(default)",
        "/fields",
        "cloudkms",
        "jobs/",
        "secrets/",
        "cloudresourcemanager",
        "monitoring",
    ):
        rest.say(part, {"state": "PAUSED", "primary": {"state": "DISABLED"}, "type": "FIRESTORE_NATIVE"})
    found = looked(rest, replace(SETTINGS, callers=("x",)), {TOPIC: ["missing"]}, timedelta(hours=1), ["run (x)"])
    wrong = [finding for finding in found if finding.state == "wrong"]
    assert len(wrong) >= 9
    read = (Path(__file__).parents[2] / "app" / "settings.py").read_text()
    for finding in wrong:
        assert re.search(r"python main\.py|gcloud |timedatectl|SIGNALBOX_", finding.mend), finding
        assert all(name in read for name in re.findall(r"SIGNALBOX_\w+", finding.mend))


# ---- on the emulators -----------------------------------------------------------------------------------------------
def doctor(project: str, data: Path) -> tuple[int, list[dict[str, Any]]]:
    environ = {
        **{name: os.environ[name] for name in ("PATH", "FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST")},
        "SIGNALBOX_BACKEND": "google",
        "GOOGLE_CLOUD_PROJECT": project,
        "SIGNALBOX_DATA": str(data),
        "SIGNALBOX_MATCHER": "python",
    }
    program = [sys.executable, str(Path(__file__).parents[2] / "main.py"), "doctor", "--offline", "--json"]
    done = subprocess.run(program, env=environ, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.emulator
def test_the_command_looks_at_the_emulators(firestore_emulator: None, pubsub_emulator: None, tmp_path: Path) -> None:
    project = f"test-{uuid.uuid4().hex[:12]}"
    code, found = doctor(project, tmp_path)
    assert code == 1
    assert {row["mend"] for row in found if row["name"] == "topics"} == {APPLY}
    assert not {"folder", "web", "worker", "address", "disk"} & {row["name"] for row in found}
    list(google.topics(project, apply=True))
    code, found = doctor(project, tmp_path)
    assert (code, [row for row in found if row["state"] == "wrong"]) == (0, [])
    by = {row["name"]: row["text"] for row in found}
    assert "dead letters and ack deadlines as they must be" in by["topics"]
    assert "within 5 s" in by["clock"]
    assert "emulators" in by["project"]


@pytest.mark.emulator
def test_a_database_that_does_not_answer_is_a_finding(firestore_emulator: None) -> None:
    def gone() -> datetime:
        raise Unavailable("Firestore: nobody there")

    look = Look(dict, ((), ()), gone)
    found = {finding.name: finding for finding in doctor_google.examine(SETTINGS, look, NOON)}
    assert (found["clock"].state, found["project"].state) == ("wrong", "note")
