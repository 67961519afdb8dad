"""The doctor on Google Cloud: topics, Firestore, keys, secrets, permissions, the schedule, the clock. Each line that is
wrong names the command that mends it.

With the emulators only what they have is looked at: they know no indexes, policies, permissions, keys or schedules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from app.doctor.finding import Finding
from app.provision import SECRETS, Place
from app.settings import Settings
from rules.kinds import EXPIRING
from rules.ports import Unavailable

APPLY = "python main.py provision --apply"
SKEW = timedelta(seconds=5)  # identity tokens and leases take half a minute
LATE = 60  # seconds that an event may wait
TICK = "signalbox-tick"
OURS = "signalbox-"
MODE = "FIRESTORE_NATIVE"
ON_PROJECT = (
    "datastore.entities.get",
    "datastore.entities.list",
    "datastore.entities.create",
    "datastore.entities.update",
    "datastore.entities.delete",
    "secretmanager.secrets.create",
    "cloudtrace.traces.patch",
)
ON_KEY = ("cloudkms.cryptoKeyVersions.useToEncrypt", "cloudkms.cryptoKeyVersions.useToDecrypt")
ON_SECRET = ("secretmanager.versions.access",)
ON_TOPIC = ("pubsub.topics.publish",)
ON_SUBSCRIPTION = ("pubsub.subscriptions.consume",)


class Project(Protocol):
    """app.adapters.google_project.GoogleProject; each may raise Unavailable."""

    def database(self) -> Mapping[str, str] | None: ...
    def time_to_live(self) -> dict[str, str]: ...
    def building(self) -> list[str]: ...
    def job(self, name: str) -> Mapping[str, Any] | None: ...
    def may_not(self, resource: str, permissions: Sequence[str]) -> list[str] | None: ...
    def key(self, name: str) -> Mapping[str, Any] | None: ...
    def unacknowledged(self, subscription: str, now: datetime) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Look:
    """What the doctor looks with. project: None with the emulators. messages: what is missing or set otherwise in
    Pub/Sub, by full name. names: of topics and of subscriptions that this process uses. indexes: those that Firestore
    lacks, in words. answered_at: Firestore's own clock."""

    messages: Callable[[], Mapping[str, Sequence[str]]]
    names: tuple[tuple[str, ...], tuple[str, ...]]
    answered_at: Callable[[], datetime]
    project: Project | None = None
    indexes: Callable[[], Sequence[str]] = tuple


def examine(settings: Settings, look: Look, now: datetime) -> Iterator[Finding]:
    """Everything that can be looked at, what others build on first."""
    yield from asked("topics", lambda: messages(look), "Is Pub/Sub reached? " + APPLY)
    yield from asked("clock", lambda: clock(look, now), "Is Firestore reached? " + APPLY)
    yield callers(settings)
    if look.project is None:
        text = "the emulators have no indexes, policies, keys, permissions or schedules to look at"
        yield Finding("project", "note", text, "Look at the real project too, without *_EMULATOR_HOST.")
        return
    project, region = look.project, region_of(settings)
    yield from asked("database", lambda: database(project, region), APPLY)
    yield from asked("indexes", lambda: indexes(look, project), APPLY)
    yield from asked("time to live", lambda: time_to_live(project), APPLY)
    yield from asked("key", lambda: key(settings, project), APPLY)
    yield from asked("permissions", lambda: permissions(settings, look, project), APPLY)
    yield from asked("schedule", lambda: schedule(settings, project, region), APPLY)
    yield from asked("waiting", lambda: waiting(look, project, now), "Is the worker deployed? deploy/worker.yaml")


def asked(name: str, ask: Callable[[], Iterator[Finding]], mend: str) -> Iterator[Finding]:
    """The findings; one that says why, where they cannot be had."""
    try:
        yield from list(ask())
    except Unavailable as error:
        yield Finding(name, "wrong", str(error)[:400], mend)


def region_of(settings: Settings) -> str:
    """Where things were made: the key's name tells."""
    parts = settings.kms_key.split("/")
    return parts[3] if len(parts) > 3 else ""


# ---- Pub/Sub --------------------------------------------------------------------------------------------------------
def messages(look: Look) -> Iterator[Finding]:
    """Topics, subscriptions, dead letters: there, and set as they must be."""
    found = look.messages()
    for name, wrong in found.items():
        what = "is missing" if list(wrong) == ["missing"] else f"is set otherwise: {', '.join(wrong)}"
        yield Finding("topics", "wrong", f"{_short(name)} {what}", APPLY)
    if not found:
        topics, subscriptions = look.names
        count = f"{len(topics)} topics and {len(subscriptions)} subscriptions"
        yield Finding("topics", "ok", f"{count}, dead letters and ack deadlines as they must be")


def waiting(look: Look, project: Project, now: datetime) -> Iterator[Finding]:
    for name in look.names[1][:1]:
        seconds = project.unacknowledged(name.rsplit("/", 1)[-1], now)
        if seconds is None:
            yield Finding("waiting", "note", "Cloud Monitoring has no point yet of how long messages wait")
        elif seconds > LATE:
            mend = "Is the worker running? gcloud run services describe signalbox-worker; its log says what it meets."
            yield Finding("waiting", "wrong", f"the oldest event waits since {seconds} s", mend)
        else:
            yield Finding("waiting", "ok", f"the oldest event waits since {seconds} s")


# ---- Firestore ------------------------------------------------------------------------------------------------------
def database(project: Project, region: str) -> Iterator[Finding]:
    found = project.database()
    if found is None:
        yield Finding("database", "wrong", "there is no Firestore database (default)", APPLY)
        return
    if found.get("type") != MODE:
        mend = "Signalbox needs native mode, and a database keeps its mode: use a new project."
        yield Finding("database", "wrong", f"it is in mode {found.get('type')}", mend)
        return
    place = found.get("locationId", "")
    yield Finding("database", "ok", f"native mode in {place}")
    if region and region not in (place, "") and not place.startswith(("eur", "nam")):
        text = f"it is in {place}, and the key in {region}: each start asks across"
        yield Finding("location", "note", text, f"{APPLY} --region {place}")
    update = "gcloud firestore databases update --database='(default)'"
    if found.get("deleteProtectionState") != "DELETE_PROTECTION_ENABLED":
        yield Finding("database", "wrong", "one command could delete it", f"{update} --delete-protection")
    if found.get("pointInTimeRecoveryEnablement") != "POINT_IN_TIME_RECOVERY_ENABLED":
        yield Finding("database", "wrong", "yesterday's state cannot be had back", f"{update} --enable-pitr")


def indexes(look: Look, project: Project) -> Iterator[Finding]:
    lacking = look.indexes()
    for text in lacking:
        yield Finding("indexes", "wrong", f"{text}: queries that need it fail", APPLY)
    building = project.building()
    if building:
        text = f"still being built for {', '.join(building)}"
        yield Finding("indexes", "note", text, "Wait: gcloud firestore operations list")
    if not lacking and not building:
        yield Finding("indexes", "ok", "all there, and no needless one on bodies")


def time_to_live(project: Project) -> Iterator[Finding]:
    found = project.time_to_live()
    wrong = [f"{kind} ({found.get(kind) or 'missing'})" for kind in EXPIRING if found.get(kind) != "ACTIVE"]
    missing = [kind for kind in EXPIRING if kind not in found]
    if not wrong:
        yield Finding("time to live", "ok", f"active for {', '.join(EXPIRING)}")
    elif missing:
        yield Finding(
            "time to live", "wrong", f"not active for {', '.join(wrong)}: nothing of it goes by itself", APPLY
        )
    else:
        mend = "Wait: gcloud firestore fields ttls list"
        yield Finding("time to live", "note", f"not active yet for {', '.join(wrong)}", mend)


# ---- keys, secrets, permissions -------------------------------------------------------------------------------------
def key(settings: Settings, project: Project) -> Iterator[Finding]:
    if not settings.kms_key:
        yield Finding("key", "wrong", "no key wraps the vault's keys", "Set SIGNALBOX_KMS_KEY. " + APPLY)
        return
    found = project.key(settings.kms_key)
    state = (found or {}).get("primary", {}).get("state", "missing")
    if found is None or state != "ENABLED":
        short = settings.kms_key.rsplit("/", 1)[-1]
        mend = APPLY if found is None else f"gcloud kms keys versions enable VERSION --key={short}"
        yield Finding("key", "wrong", f"{short} is {state.lower()}: no personal value can be read", mend)
    else:
        yield Finding("key", "ok", "enabled" + (", rotated" if found.get("rotationPeriod") else ""))


def permissions(settings: Settings, look: Look, project: Project) -> Iterator[Finding]:
    """What this process's own account may do: run it as the service's account to see what that may."""
    topics, subscriptions = look.names
    wanted: list[tuple[str, tuple[str, ...]]] = [(f"projects/{settings.google_project}", ON_PROJECT)]
    wanted += [(name, ON_TOPIC) for name in topics]
    wanted += [(name, ON_SUBSCRIPTION) for name in subscriptions]
    wanted += [(f"projects/{settings.google_project}/secrets/{name}", ON_SECRET) for name in SECRETS]
    wanted += [(settings.kms_key, ON_KEY)] if settings.kms_key else []
    count = 0
    for resource, needed in wanted:
        lacking = project.may_not(resource, needed)
        if lacking is None:
            yield Finding("permissions", "wrong", f"{_short(resource)} is not there", APPLY)
        elif lacking:
            text = f"this account may not {', '.join(lacking)} on {_short(resource)}"
            yield Finding("permissions", "wrong", text, APPLY)
        count += lacking == []
    if count == len(wanted):
        yield Finding("permissions", "ok", f"all that is needed on {count} things")


def callers(settings: Settings) -> Finding:
    own = Place(settings.google_project, "", "").account("caller")
    if not settings.callers:
        text = "nobody may push events or ask for a tick: a worker must always run"
        return Finding("callers", "note", text, f"Set SIGNALBOX_CALLERS={own}")
    odd = [name for name in settings.callers if not name.endswith(".gserviceaccount.com")]
    if odd:
        return Finding("callers", "wrong", f"{', '.join(odd)}: no service account", f"Set SIGNALBOX_CALLERS={own}")
    return Finding("callers", "ok", ", ".join(settings.callers))


# ---- the schedule and the clock -------------------------------------------------------------------------------------
def schedule(settings: Settings, project: Project, region: str) -> Iterator[Finding]:
    found = project.job(TICK)
    base = settings.public_url.rstrip("/")
    make = f"{APPLY} --url {base or 'https://THE-SERVICE'}"
    if found is None:
        yield Finding("schedule", "note", "nobody asks for a tick each minute: a worker must always run", make)
        return
    target = found.get("httpTarget", {})
    if found.get("state") != "ENABLED":
        mend = f"gcloud scheduler jobs resume {TICK} --location={region}"
        yield Finding("schedule", "wrong", f"{TICK} is {found.get('state', 'off').lower()}", mend)
    elif base and target.get("uri") != f"{base}/tasks/tick":
        mend = f"gcloud scheduler jobs update http {TICK} --location={region} --uri={base}/tasks/tick"
        yield Finding("schedule", "wrong", f"{TICK} calls {target.get('uri')}", mend)
    elif target.get("oidcToken", {}).get("serviceAccountEmail") not in settings.callers:
        mend = f"Set SIGNALBOX_CALLERS to the account that {TICK} calls as."
        yield Finding("schedule", "wrong", f"{TICK} calls as an account that may not call", mend)
    else:
        yield Finding("schedule", "ok", f"{TICK}, {found.get('schedule')}")


def clock(look: Look, now: datetime) -> Iterator[Finding]:
    """The caller's `now` is taken before Firestore is asked, so an answer may be a moment later."""
    off = look.answered_at() - now
    if abs(off) > SKEW:
        way = "behind" if off > timedelta(0) else "ahead of"
        text = f"this clock is {abs(off).total_seconds():.0f} s {way} Google's: tokens and leases go wrong"
        yield Finding("clock", "wrong", text, "Set it by the network: timedatectl set-ntp true")
    else:
        yield Finding("clock", "ok", f"within {SKEW.total_seconds():.0f} s of Google's")


def _short(name: str) -> str:
    return "/".join(name.split("/")[2:]) or name
