"""What a Google Cloud project needs before Signalbox runs there: each thing, how to look for it, and how it is made.

Every step is safe to repeat. The service accounts get what their process needs and no more: `signalbox-web` publishes
and reads, `signalbox-worker` pulls as well, `signalbox-caller` may only call the two addresses that ask for a token.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.provision.fanout import Group
from rules.ports import Unavailable

APIS = (
    "run",
    "pubsub",
    "firestore",
    "secretmanager",
    "cloudkms",
    "cloudscheduler",
    "cloudtrace",
    "telemetry",
    "monitoring",
    "artifactregistry",
)
ACCOUNTS = {
    "web": "Signalbox: receives webhooks and shows the pages",
    "worker": "Signalbox: handles events and acts",
    "caller": "Signalbox: pushes events and asks for what is due",
}
SECRETS = ("stripe-webhook-secret", "stripe-api-key", "signalbox-admin-token")  # app.yaml reads these
RUNNING_ROLES = (
    "roles/datastore.user",
    "roles/cloudtrace.agent",
    "roles/telemetry.tracesWriter",
    "roles/telemetry.metricsWriter",
    "roles/logging.logWriter",
)
SECRETS_ROLE = "signalboxSecrets"
SECRETS_PERMISSIONS = (
    "secretmanager.secrets.create",
    "secretmanager.secrets.get",
    "secretmanager.versions.add",
    "secretmanager.versions.access",
)
KEYRING, KEY = "signalbox", "vault"


@dataclass(frozen=True, slots=True)
class Command:
    """A call of the Google Cloud CLI, without `gcloud`."""

    arguments: tuple[str, ...]

    @property
    def text(self) -> str:
        return "gcloud " + shlex.join(self.arguments)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing. look: succeeds and prints something when it is there. make: makes it."""

    name: str
    look: Command
    make: Command


@dataclass(frozen=True, slots=True)
class Place:
    """Where. number: the project's, by which Pub/Sub's own service account is named. url: the service's address, known
    after the first deployment; without it nothing is scheduled. groups: of other services that read the topic."""

    project: str
    region: str
    number: str
    url: str = ""
    groups: tuple[Group, ...] = ()

    def account(self, name: str) -> str:
        return f"signalbox-{name}@{self.project}.iam.gserviceaccount.com"

    @property
    def kms_key(self) -> str:
        return f"projects/{self.project}/locations/{self.region}/keyRings/{KEYRING}/cryptoKeys/{KEY}"


Run = Callable[[Command], tuple[int, str]]  # exit code, and what it printed


def number_of(project: str, run: Run) -> str:
    """The project's number. Raises Unavailable where the CLI cannot tell."""
    command = Command(("projects", "describe", project, "--format=value(projectNumber)", "--quiet"))
    code, said = run(command)
    if code != 0 or not said.strip():
        raise Unavailable(f"`{command.text}` failed: {said.strip()[-500:] or 'no such project'}")
    return said.strip()


def steps(place: Place) -> Iterator[Step]:
    """Everything that the Google Cloud CLI makes, what others build on first."""
    yield from foundations(place)
    yield from grants(place)


def foundations(place: Place) -> Iterator[Step]:
    """What is made before topics and subscriptions are."""
    yield from _apis(place)
    yield from _accounts(place)
    yield _step(
        "Firestore database",
        place,
        "firestore databases describe --database=(default) --format=value(name)",
        f"firestore databases create --database=(default) --location={place.region} --type=firestore-native"
        " --delete-protection --enable-pitr",
    )
    yield _step(
        "daily backup of Firestore",
        place,
        "firestore backups schedules list --database=(default) --format=value(name)",
        "firestore backups schedules create --database=(default) --recurrence=daily --retention=14d",
    )
    where = f"--location={place.region}"
    yield _step(
        "image repository",
        place,
        f"artifacts repositories describe signalbox {where} --format=value(name)",
        f"artifacts repositories create signalbox {where} --repository-format=docker",
    )
    yield from _keys(place)
    yield from _secrets(place)


def grants(place: Place) -> Iterator[Step]:
    """Who may do what, with the topics and subscriptions that are there by then; and the tick."""
    yield from _roles(place)
    for group in place.groups:
        if group.reader:
            what, role = f"pubsub subscriptions {{}} signalbox-for-{group.name}", "roles/pubsub.subscriber"
            yield _bound(place, f"{group.reader} may pull {group.name}", what, group.reader, role)
    if place.url:
        yield _tick(place)


def missing(chosen: Iterable[Step], run: Run) -> Iterator[Step]:
    """The steps whose thing is not there."""
    for step in chosen:
        code, found = run(step.look)
        if code != 0 or not found.strip():
            yield step


def make(step: Step, run: Run) -> None:
    """Raises Unavailable with what the CLI said."""
    code, said = run(step.make)
    if code != 0:
        raise Unavailable(f"{step.name}: `{step.make.text}` failed: {said.strip()[-500:]}")


# ---- the steps ------------------------------------------------------------------------------------------------------
def _apis(place: Place) -> Iterator[Step]:
    for name in APIS:
        api = f"{name}.googleapis.com"
        look = f"services list --enabled --filter=config.name={api} --format=value(config.name)"
        yield _step(f"API {api}", place, look, f"services enable {api}")


def _accounts(place: Place) -> Iterator[Step]:
    for name, title in ACCOUNTS.items():
        yield Step(
            f"service account signalbox-{name}",
            _command(place, "iam", "service-accounts", "describe", place.account(name), "--format=value(email)"),
            _command(place, "iam", "service-accounts", "create", f"signalbox-{name}", f"--display-name={title}"),
        )


def _keys(place: Place) -> Iterator[Step]:
    where = f"--location={place.region}"
    ring = f"--keyring={KEYRING} {where}"
    yield _step(
        "KMS key ring",
        place,
        f"kms keyrings describe {KEYRING} {where} --format=value(name)",
        f"kms keyrings create {KEYRING} {where}",
    )
    yield _step(
        "KMS key that wraps the vault's keys",
        place,
        f"kms keys describe {KEY} {ring} --format=value(name)",
        f"kms keys create {KEY} {ring} --purpose=encryption --rotation-period=90d --next-rotation-time=+p90d",
    )
    for name in ("web", "worker"):
        role = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
        yield _bound(place, f"{name} may use the KMS key", f"kms keys {{}} {KEY} {ring}", place.account(name), role)


def _secrets(place: Place) -> Iterator[Step]:
    for secret in SECRETS:
        look = f"secrets describe {secret} --format=value(name)"
        yield _step(f"secret {secret}", place, look, f"secrets create {secret} --replication-policy=automatic")
        for name in ("web", "worker"):
            role = "roles/secretmanager.secretAccessor"
            yield _bound(place, f"{name} may read {secret}", f"secrets {{}} {secret}", place.account(name), role)
    yield _step(
        "role for the secrets of connections",
        place,
        f"iam roles describe {SECRETS_ROLE} --format=value(name)",
        f"iam roles create {SECRETS_ROLE} --permissions={','.join(SECRETS_PERMISSIONS)} --stage=GA",
    )


def _roles(place: Place) -> Iterator[Step]:
    own = f"projects/{place.project}/roles/{SECRETS_ROLE}"
    for name in ("web", "worker"):
        for role in (*RUNNING_ROLES, own):
            yield _bound(place, f"{name} has {role}", f"projects {{}} {place.project}", place.account(name), role)
    topic = "pubsub topics {} signalbox-events"
    yield _bound(place, "web may publish", topic, place.account("web"), "roles/pubsub.publisher")
    yield _bound(place, "worker may publish again", topic, place.account("worker"), "roles/pubsub.publisher")
    for name in ("web", "worker"):  # the worker quarantines what it fetches for a gap
        what = "pubsub topics {} signalbox-quarantine"
        said = f"{name} may tell of a quarantined payload"
        yield _bound(place, said, what, place.account(name), "roles/pubsub.publisher")
    for subscription in ("signalbox-worker", "signalbox-dead-events"):
        what = f"pubsub subscriptions {{}} {subscription}"
        yield _bound(place, f"worker may pull {subscription}", what, place.account("worker"), "roles/pubsub.subscriber")
    yield _bound(
        place,
        "worker may give up an event",
        "pubsub topics {} signalbox-dead-events",
        place.account("worker"),
        "roles/pubsub.publisher",
    )
    agent = f"service-{place.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
    dead_topic, source = "pubsub topics {} signalbox-dead-events", "pubsub subscriptions {} signalbox-worker"
    yield _bound(place, "Pub/Sub may give up an event", dead_topic, agent, "roles/pubsub.publisher")
    yield _bound(place, "Pub/Sub may take it off the subscription", source, agent, "roles/pubsub.subscriber")
    dead = "pubsub subscriptions {} signalbox-dead-events"
    yield _bound(place, "web may file dead events", dead, place.account("web"), "roles/pubsub.subscriber")


def _tick(place: Place) -> Step:
    address = f"{place.url.rstrip('/')}/tasks/tick"
    return _step(
        "the tick of each minute",
        place,
        f"scheduler jobs describe signalbox-tick --location={place.region} --format=value(name)",
        f"scheduler jobs create http signalbox-tick --location={place.region} --uri={address} --http-method=POST"
        f" --oidc-service-account-email={place.account('caller')} --oidc-token-audience={address}",
        "--schedule=* * * * *",
    )


def _bound(place: Place, name: str, what: str, account: str, role: str) -> Step:
    """An IAM binding. what: the command with `{}` where its verb stands."""
    member = f"serviceAccount:{account}"
    look = [
        *what.format("get-iam-policy").split(),
        "--flatten=bindings[].members",
        f"--filter=bindings.role={role} AND bindings.members={member}",
        "--format=value(bindings.role)",
    ]
    add = [*what.format("add-iam-policy-binding").split(), f"--member={member}", f"--role={role}"]
    unconditional = ["--condition=None"] if what.startswith("projects") else []
    return Step(name, _command(place, *look), _command(place, *add, *unconditional))


def _step(name: str, place: Place, look: str, create: str, *more: str) -> Step:
    return Step(name, _command(place, *look.split()), _command(place, *create.split(), *more))


def _command(place: Place, *arguments: str) -> Command:
    return Command((*arguments, f"--project={place.project}", "--quiet"))


def next_steps(place: Place) -> Sequence[str]:
    """What a person does afterwards, in order."""
    versions = [f"printf '%s' VALUE | gcloud secrets versions add {name} --data-file=-" for name in SECRETS]
    deploy = [
        f"gcloud builds submit --tag {place.region}-docker.pkg.dev/{place.project}/signalbox/signalbox:VERSION",
        f"gcloud run services replace app.yaml --region {place.region}",
        f"gcloud run services replace deploy/worker.yaml --region {place.region}",
    ]
    again = [] if place.url else ["python main.py provision --apply --url https://THE-SERVICE   (for the tick)"]
    return [*versions, *deploy, *again]
