"""Services holds every port, wired by hand in `build`; use cases take the ports they need as parameters."""

from __future__ import annotations

import secrets as random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from app.adapters.untraced import NoMeter
from app.settings import Settings, SettingsError
from rules.ports import (
    ActionExecutor,
    Body,
    Bus,
    Callers,
    Clock,
    Front,
    Guard,
    Inbox,
    Meter,
    OpenId,
    Passwords,
    Secrets,
    Store,
    Tracer,
    Vault,
    Verifier,
)

if TYPE_CHECKING:
    from app import jobs
    from app.approvals.changes import Office
    from app.inquire.backtests import Lab
    from app.personal.rotating import Rotation
    from app.receive.quarantine import Keeper
    from app.rulesets import RuleSets
    from rules.columns import Columns
    from rules.fields import Catalogue

LOCAL_SECRET = "stripe/webhook/local"  # noqa: S105  signs what this machine posts to itself in development (the sample)
STORED_SECRETS = "stripe/webhook"  # set in the pages: app.receive.signing
FRESH = 2.0  # seconds that a look at the stored webhook secrets stays good


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    clock: Clock
    store: Store
    bus: Bus
    inbox: Inbox
    vault: Vault
    secrets: Secrets
    verifier: Verifier
    tracer: Tracer
    connectors: Mapping[str, ActionExecutor]  # by action name, `stripe.change_plan`
    catalogue: Catalogue
    rulesets: RuleSets
    closers: tuple[Callable[[], None], ...] = ()
    wait: Callable[[float], object] | None = None  # for a message, where the bus can tell; else the folder's bell does
    columns: Columns | None = None  # where history is kept cut down to what rules read
    callers: Callers | None = None  # which service accounts may push events and ask for a tick
    passwords: Passwords = field(default_factory=lambda: _passwords())
    openid: OpenId | None = None  # signs people in, where an issuer is set
    front: Front | None = None  # has signed people in before they came here
    rotation: Rotation | None = None  # another key for the vault, where values are sealed
    guard: Guard | None = None  # reads again, just before a run acts, what its stops are about
    meter: Meter = field(default_factory=NoMeter)
    tell: Callable[[str, Body], None] | None = None  # says on a topic what was quarantined, where there is one

    def close(self) -> None:
        """Let go of files and threads, what waits first."""
        for close in self.closers:
            close()


def build(settings: Settings, process: str = "web") -> Services:
    """Everything for one process. process: its name in traces. Raises SettingsError, and what opening the data folder
    raises (Unavailable, NewerData, WrongKeys), with messages for a person."""
    from app import backends
    from app.adapters.clock import SystemClock
    from app.adapters.stripe_verifier import StripeVerifier
    from app.observe.telemetry import telemetry
    from app.rulesets import RuleSets
    from rules.matcher import choose_matcher

    clock = SystemClock()
    if settings.backend == "google":
        backend = backends.on_google(settings, clock, process)
    elif settings.backend == "sqlite":
        backend = backends.on_sqlite(settings, clock)
    else:
        raise SettingsError([f"SIGNALBOX_BACKEND={settings.backend} is for tests; use sqlite or google"])
    told = telemetry(settings, process, backend.store, backend.inbox, clock)
    rulesets = RuleSets(choose_matcher(settings.matcher), settings.dry_run)
    columns, close_columns = _columns(settings)
    return Services(
        settings=settings,
        clock=clock,
        store=backend.store,
        bus=backend.bus,
        inbox=backend.inbox,
        vault=backend.vault,
        secrets=backend.secrets,
        verifier=StripeVerifier(webhook_secrets(settings, backend.secrets)),
        tracer=told.tracer,
        meter=told.meter,
        connectors=every_action(settings, backend.secrets, backend.vault, backend.store, rulesets),
        catalogue=catalogue(),
        rulesets=rulesets,
        closers=(told.close, close_columns, *backend.closers, rulesets.close),
        columns=columns,
        guard=guard_of(settings),
        wait=backend.wait,
        tell=backend.tell,
        rotation=backend.rotation,
        callers=_callers(settings),
        openid=_openid(settings),
        front=_front(settings),
    )


def catalogue() -> Catalogue:
    """The field catalogue of the installed Stripe SDK."""
    from rules.fields import Catalogue

    return Catalogue.load()


def connectors(
    settings: Settings, secrets: Secrets, vault: Vault, store: Store | None = None
) -> Mapping[str, ActionExecutor]:
    """Every action that reaches the outside, by name. store: where it is kept who gets no e-mail."""
    from app.connectors import actions
    from app.suppressions import StoredSuppressions

    return actions(
        settings.stripe_api_key,
        settings.stripe_api_base,
        secrets,
        vault,
        development=settings.development,
        public_url=settings.public_url,
        suppressions=StoredSuppressions(store) if store else None,
        events=lambda tenant, id: _event(store, tenant, id),
        topics=_topics(settings),
    )


def _event(store: Store | None, tenant: str, id: str) -> Body | None:
    """The CloudEvent of an event as it is kept."""
    found = store.get(tenant, "event", id) if store else None
    return found.body["event"] if found else None


def _topics(settings: Settings) -> Callable[[str], Bus] | None:
    """Other Pub/Sub topics by their full names; None where there is no Google project. Its client takes half a second
    to import and is made when an event first goes there."""
    if not settings.google_project:
        return None

    @cache
    def publisher() -> Any:
        from app.adapters.pubsub_topics import clients

        return clients()[0]

    @cache
    def topic(name: str) -> Bus:
        from app.adapters.pubsub import PubSubBus
        from app.adapters.pubsub_envelope import plain

        return PubSubBus(publisher(), name, data=plain)

    return topic


def every_action(
    settings: Settings, secrets: Secrets, vault: Vault, store: Store, rulesets: RuleSets
) -> Mapping[str, ActionExecutor]:
    """What reaches the outside, and what rules do to our own runs."""
    from app.perform.own_runs import own_actions

    ours = {action.name: action for action in own_actions(store, rulesets)}
    return {**connectors(settings, secrets, vault, store), **ours}


def guard_of(settings: Settings) -> Guard:
    """What reads the state again just before a run acts."""
    from app.connectors.stripe_answers import StripeAccess
    from app.connectors.stripe_guard import StripeGuard

    return StripeGuard(StripeAccess(settings.stripe_api_key, settings.stripe_api_base))


def keeper_of(services: Services) -> Keeper:
    """What keeps a payload that does not conform."""
    from app.receive.quarantine import Keeper

    return Keeper(services.store, services.vault, services.tell)


def lab_of(services: Services) -> Lab:
    """The ports of whoever tries rules out."""
    from app.inquire.backtests import Lab

    s = services
    return Lab(s.store, s.vault, s.catalogue, s.connectors, s.columns)


def office_of(services: Services) -> Office:
    """The ports of whoever changes what is in force; in production that takes a second person."""
    from app.approvals.changes import Office

    s, settings = services, services.settings
    production = settings.environment == "production"
    return Office(s.store, s.secrets, s.catalogue, s.connectors, production, settings.development)


def job_types(services: Services, wait: Callable[[float], object] = time.sleep) -> Mapping[str, jobs.Run]:
    """How each type of job takes a step. wait: sleeps so many seconds, where a job has to."""
    from app import declared, sample
    from app.adapters.stripe_events import StripeEvents
    from app.audit import job
    from app.inquire import backtest_job
    from app.operate import bulk, dead_letters
    from app.personal import erasing, retention, rotating
    from app.receive import history, quarantine, quarantine_job

    s, settings = services, services.settings
    lister = StripeEvents(settings.stripe_api_key, settings.stripe_api_base)
    address = settings.public_url or f"http://{settings.host}:{settings.port}"
    keep = partial(quarantine.keep, keeper_of(s))
    fetch = partial(history.step, lister=lister, bus=s.bus, vault=s.vault, quarantine=keep)
    play = sample.job(
        s.store, s.secrets, s.vault, s.catalogue, s.connectors, address, partial(local_secret, s.secrets), s.clock, wait
    )
    backtest = backtest_job.job(s.store, s.columns)
    return {
        "import": fetch,
        "gap": fetch,
        "sample": play,
        "backtest": backtest,
        declared.JOB: declared.job(s.store),
        bulk.JOB: bulk.job(s.store),
        job.TYPE: job.job(s.store),
        dead_letters.JOB: dead_letters.job(s.store, s.inbox),
        quarantine_job.JOB: quarantine_job.job(keeper_of(s), s.bus),
        erasing.JOB: erasing.job(s.store, s.vault),
        retention.JOB: retention.job(s.store, s.vault),
        **({rotating.JOB: rotating.job(s.rotation)} if s.rotation else {}),
    }


def _callers(settings: Settings) -> Callers | None:
    if not settings.callers:
        return None
    from app.adapters import oidc

    return oidc.Callers(settings.callers)


def _passwords() -> Passwords:
    from app.adapters.passwords import Argon2Passwords

    return Argon2Passwords()


def _openid(settings: Settings) -> OpenId | None:
    if not settings.oidc_issuer:
        return None
    from app.adapters.openid import OpenIdIssuer

    return OpenIdIssuer(settings.oidc_issuer, settings.oidc_client_id, settings.oidc_client_secret)


def _front(settings: Settings) -> Front | None:
    if not settings.iap_audience:
        return None
    from app.adapters.iap import IdentityAwareProxy

    return IdentityAwareProxy(settings.iap_audience)


def _columns(settings: Settings) -> tuple[Columns | None, Callable[[], None]]:
    """Beside the SQLite store; elsewhere backtests read whole documents."""
    if settings.backend != "sqlite":
        return None, lambda: None
    from app.adapters.sqlite_columns import SqliteColumns

    columns = SqliteColumns(settings.data / "columns.db", settings.data / "store.db")
    return columns, columns.close


# ---- the secrets that sign webhooks ---------------------------------------------------------------------------------
def local_secret(secrets: Secrets) -> str:
    """The secret with which this machine signs what it posts to itself; made when there is none. Two processes that
    make one at the same moment end with the same, because the verifier reads what was stored last."""
    found = secrets.get(LOCAL_SECRET)
    if found is None:
        secrets.put(LOCAL_SECRET, f"whsec_local_{random.token_hex(24)}")
        found = secrets.get(LOCAL_SECRET)
    return found or ""


def webhook_secrets(
    settings: Settings, secrets: Secrets, monotonic: Callable[[], float] = time.monotonic
) -> Callable[[], Mapping[str, tuple[str, ...]]]:
    """The signing secrets of each account, `default/live` those of one mode: the environment's, the stored ones, and in
    development the local one."""
    lock = threading.Lock()
    known: Mapping[str, tuple[str, ...]] = {}
    looked_at = float("-inf")

    def stored() -> tuple[str, ...]:
        text = secrets.get(STORED_SECRETS) or ""
        own = (secrets.get(LOCAL_SECRET) or "",) if settings.development else ()
        return tuple(part.strip() for part in (*text.split(","), *own) if part.strip())

    def current() -> Mapping[str, tuple[str, ...]]:
        nonlocal known, looked_at
        with lock:
            if monotonic() - looked_at > FRESH:
                known = by_mode((*settings.stripe_webhook_secrets, *stored()))
                looked_at = monotonic()
        return known

    return current


def by_mode(secrets: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Those written `live:whsec_...` or `test:whsec_...` sign events of that mode alone.

    >>> by_mode(["whsec_a", "live:whsec_b"])
    {'default': ('whsec_a',), 'default/live': ('whsec_b',)}
    """
    found: dict[str, dict[str, None]] = {"default": {}}
    for given in secrets:
        mode, colon, secret = given.partition(":")
        of_mode = bool(colon) and mode in ("live", "test")
        found.setdefault(f"default/{mode}" if of_mode else "default", {})[secret if of_mode else given] = None
    return {account: tuple(several) for account, several in found.items()}


def key_tenant(api_key: str) -> str:
    """The tenant that a Stripe API key belongs to; the key's prefix says its mode."""
    return "default/live" if api_key.startswith(("sk_live_", "rk_live_")) else "default/test"
