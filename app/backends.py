"""Where an installation keeps things: store, bus and inbox, vault and secrets, all of one technology."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from app import tenants
from app.audit import entry
from app.audit.writers import numbering
from app.settings import Settings, SettingsError
from rules.ports import Body, Bus, Clock, Inbox, Secrets, Store, Vault

if TYPE_CHECKING:
    from app.adapters.keys import Keyring, LiveKeys
    from app.doctor.google import Look
    from app.personal.rotating import Rotation

PATIENCE = 10.0  # seconds for one answer of Firestore
IDLE = timedelta(seconds=1)  # a worker's look at what is due in Firestore is billed; see app.adapters.firestore_claims
WRAPPING_KEY = "wrapping-key.json"  # in the data folder; plays Cloud KMS where the emulators play Google


@dataclass(frozen=True, slots=True)
class Backend:
    """closers: what is to be let go of, in this order. wait: waits for a message so many seconds, where the inbox can
    tell; None: the data folder's bell does."""

    store: Store
    bus: Bus
    inbox: Inbox
    vault: Vault
    secrets: Secrets
    closers: tuple[Callable[[], None], ...]
    keys: LiveKeys
    rotation: Rotation
    wait: Callable[[float], object] | None = None
    tell: Callable[[str, Body], None] | None = None  # says on a topic what was quarantined


def on_sqlite(settings: Settings, clock: Clock) -> Backend:
    """In the data folder. Raises what opening it raises: Unavailable, NewerData, WrongKeys."""
    from app.adapters.folder import private
    from app.adapters.keys import LiveKeys, load_keys, save_keys
    from app.adapters.sqlite_bus import SqliteBus
    from app.adapters.sqlite_inbox import SqliteInbox
    from app.adapters.sqlite_rotation import SqliteRotation
    from app.adapters.sqlite_store import SqliteStore
    from app.adapters.sqlite_vault import SqliteSecrets, SqliteVault

    path = private(settings.data) / "keys.json"
    keys = LiveKeys(partial(load_keys, path), partial(save_keys, path))
    store: Any = numbering(SqliteStore(settings.data / "store.db"))
    bus = SqliteBus(settings.data, clock.now)
    inbox = SqliteInbox(settings.data)
    secrets = SqliteSecrets(settings.data, keys)
    vault = SqliteVault(settings.data, keys, bus, _looked(store, clock))
    closers = (bus.close, inbox.close, vault.close, secrets.close, store.close)
    rotation = SqliteRotation(settings.data, keys, vault, secrets)
    return Backend(store, bus, inbox, vault, secrets, closers, keys, rotation)


def on_google(settings: Settings, clock: Clock, process: str) -> Backend:
    """On Firestore and Pub/Sub: the project's, or the emulators where their hosts are set. process: a worker reads by
    an open stream, the others by pulling when they must. Raises Unavailable, WrongKeys."""
    from app.adapters import pubsub_topics
    from app.adapters.firestore import FirestoreStore
    from app.adapters.firestore_keys import FirestoreRotation, FirestoreSecrets, StoredKeyring
    from app.adapters.firestore_vault import FirestoreVault
    from app.adapters.keys import LiveKeys
    from app.adapters.pubsub import PubSubBus, PubSubInbox
    from app.adapters.pubsub_dead import Tenants
    from app.adapters.pubsub_quarantine import teller
    from app.adapters.pubsub_stream import StreamInbox

    client = _client(settings)
    publisher, subscriber = pubsub_topics.clients()
    names = pubsub_topics.names(settings.google_project)
    if settings.pubsub_emulator and process != "doctor":
        pubsub_topics.create(publisher, subscriber, names)
    streams = process == "worker" and not settings.pubsub_emulator  # the emulator outlives no stream's end
    claims = (token_hex(8), IDLE) if process == "worker" else ("", timedelta(0))
    store: Any = numbering(FirestoreStore(client, PATIENCE, *claims))
    known = Tenants(partial(tenants.every, store), partial(tenants.ensure, store))
    inbox: Any = (StreamInbox if streams else PubSubInbox)(subscriber, publisher, names, store, known)
    keyring = StoredKeyring(client, _wrapper(settings))
    keys = LiveKeys(keyring.load, keyring.save)
    secrets = _secrets(settings, client, keys)
    return Backend(
        store=store,
        bus=PubSubBus(publisher, names.topic),
        tell=teller(publisher, names.quarantine_topic),
        inbox=inbox,
        vault=FirestoreVault(client, keys, _looked(store, clock)),
        secrets=secrets,
        rotation=FirestoreRotation(client, keys, secrets if isinstance(secrets, FirestoreSecrets) else None),
        closers=(*((inbox.close,) if streams else ()), publisher.stop, subscriber.close, store.close, client.close),
        keys=keys,
        wait=inbox.wait if streams else _no_wait,
    )


def _client(settings: Settings) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import firestore

    if not settings.google_project:
        raise SettingsError(["GOOGLE_CLOUD_PROJECT is not set; `python main.py serve` runs Google's emulators itself"])
    credentials = AnonymousCredentials() if settings.firestore_emulator else None
    return firestore.Client(project=settings.google_project, credentials=credentials)


def _no_wait(seconds: float) -> None:
    """A pull has waited for a message already."""


def _looked(store: Store, clock: Clock) -> Callable[[str, str, str, str, str], None]:
    def looked(tenant: str, token: str, actor: str, reason: str, on: str) -> None:
        where = {"on": on} if on else None
        store.commit(tenant, None, [entry(clock.now(), actor, "reveal", token, None, where, reason)])

    return looked


def _wrapper(settings: Settings) -> Any:
    from app.adapters.kms import FileWrapper, KmsWrapper

    if not settings.kms_key:
        return FileWrapper(settings.data / WRAPPING_KEY)
    from google.cloud import kms

    return KmsWrapper(kms.KeyManagementServiceClient(), settings.kms_key)


def _secrets(settings: Settings, client: Any, keys: Any) -> Secrets:
    if settings.firestore_emulator:
        from app.adapters.firestore_keys import FirestoreSecrets

        return FirestoreSecrets(client, keys)
    from google.cloud import secretmanager

    from app.adapters.secret_manager import SecretManager

    return SecretManager(secretmanager.SecretManagerServiceClient(), settings.google_project)


# ---- looking at it ---------------------------------------------------------------------------------------------------
def look(settings: Settings) -> tuple[Look, Callable[[], None]]:
    """What the doctor looks with on Google, and what lets go of it. Raises Unavailable, SettingsError."""
    from app.adapters import firestore_admin, google_project, pubsub_topics
    from app.adapters.firestore_errors import named
    from app.doctor.google import Look, region_of

    client = _client(settings)
    publisher, subscriber = pubsub_topics.clients()
    names = pubsub_topics.names(settings.google_project)
    project: Any = None
    indexes: Callable[[], list[str]] = list
    if not settings.firestore_emulator:
        session = google_project.session()
        project = google_project.GoogleProject(session, settings.google_project, region_of(settings))
        indexes = partial(firestore_admin.in_words, settings.google_project)

    def close() -> None:
        publisher.stop()
        subscriber.close()
        client.close()

    def answered_at() -> datetime:
        with named():
            found: datetime = client.document("installation/keyring").get(timeout=PATIENCE).read_time
        return found

    used = (names.topic, names.dead_topic), (names.subscription, names.dead_subscription)
    messages = partial(pubsub_topics.differences, publisher, subscriber, names)
    return Look(messages, used, answered_at, project, indexes), close


# ---- moving ---------------------------------------------------------------------------------------------------------
def adopt(settings: Settings, keys: Keyring) -> None:
    """Make an import's keys those of this installation, before anything is opened. Raises WrongKeys when it has others
    already."""
    if settings.backend != "sqlite":
        from app.adapters.firestore_keys import StoredKeyring

        return StoredKeyring(_client(settings), _wrapper(settings)).adopt(keys)
    from app.adapters.folder import private
    from app.adapters.keys import WrongKeys, load_keys, save_keys

    path = settings.data / "keys.json"
    if path.exists() and load_keys(path).fingerprint != keys.fingerprint:
        raise WrongKeys(f"{path} has other keys: an import needs a data folder that is empty")
    save_keys(private(settings.data) / path.name, keys)
    return None
