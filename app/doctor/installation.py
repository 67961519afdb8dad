"""The doctor: looks at an installation and says, for everything that is wrong, what mends it. It changes nothing."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from app.doctor.finding import Finding, State
from app.settings import Settings

if TYPE_CHECKING:
    from app.services import Services

LITTLE_DISK = 500 * 1024 * 1024
LATE = timedelta(minutes=1)
FILES = ("store.db", "inbox.db", "consumer.db", "keys.json")


def examine(settings: Settings, services: Callable[[], Services], online: bool, now: datetime) -> Iterator[Finding]:
    """Everything that can be looked at, what others build on first. services: opens the data folder."""
    yield python()
    if settings.backend == "google":
        yield from on_google(settings, now)
    else:
        yield from folder(settings.data)
        yield from locks(settings.data)
        yield address(settings)
    yield from stripe_settings(settings)
    opened: Services | None = None
    try:
        opened = services()
    except Exception as error:  # whatever it is, the doctor's job is to say it
        mend = "Restore a backup, or set SIGNALBOX_DATA." if settings.backend == "sqlite" else "See the lines above."
        yield Finding("data", "wrong", f"It cannot be opened: {error}", mend)
    if opened is not None:
        try:
            yield from inside(opened, settings, online, now)
        finally:
            opened.close()


def on_google(settings: Settings, now: datetime) -> Iterator[Finding]:
    """The project, or the emulators that play it."""
    from app import backends
    from app.doctor import google

    try:
        look, close = backends.look(settings)
    except Exception as error:  # no project, no account, nobody there: that is the finding
        mend = "Set GOOGLE_CLOUD_PROJECT; gcloud auth application-default login"
        yield Finding("project", "wrong", f"It cannot be looked at: {error}", mend)
        return
    try:
        yield from google.examine(settings, look, now)
    finally:
        close()


# ---- the machine ----------------------------------------------------------------------------------------------------
def python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("python", "ok", version)


def folder(data: Path) -> Iterator[Finding]:
    if not data.exists():
        yield Finding("folder", "note", f"{data} is not there yet", "`make run` makes it.")
        return
    missing = [name for name in FILES if not (data / name).exists()]
    if not os.access(data, os.W_OK | os.X_OK):
        yield Finding("folder", "wrong", f"{data} cannot be written", f"chown -R $(id -un) {data}")
    else:
        text = f"{data}, {_size(data)}" + (f"; not made yet: {', '.join(missing)}" if missing else "")
        yield Finding("folder", "ok", text)
    keys = data / "keys.json"
    if keys.exists() and stat.S_IMODE(keys.stat().st_mode) & 0o077:
        yield Finding("keys", "wrong", f"{keys} can be read by others", f"chmod 600 {keys}")
    free = shutil.disk_usage(data).free
    state: State = "ok" if free > LITTLE_DISK else "wrong"
    mend = "" if state == "ok" else "Make room: when the disk is full, webhooks are answered 503 until there is."
    yield Finding("disk", state, f"{free / 1024**3:.1f} GB free", mend)


def _size(data: Path) -> str:
    total = sum(file.stat().st_size for file in data.rglob("*") if file.is_file())
    return f"{total / 1024**2:.1f} MB"


def locks(data: Path) -> Iterator[Finding]:
    """Who receives and who works: each holds a lock while it runs."""
    for file, what in (("ingest.lock", "web"), ("worker.lock", "worker")):
        holder = _holder(data / file)
        if holder:
            yield Finding(what, "ok", f"running (process {holder})")
        else:
            yield Finding(what, "note", "not running on this folder", "Start everything with `make run`.")


def _holder(path: Path) -> str:
    """The process that holds the lock, or nothing."""
    if not path.exists():
        return ""
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return file.read(20).strip() or "unknown"
    return ""


def address(settings: Settings) -> Finding:
    from app.supervise import answers

    where = f"http://{'127.0.0.1' if settings.host == '0.0.0.0' else settings.host}:{settings.port}"  # noqa: S104  compared with, or what Cloud Run requires
    if answers(where):
        return Finding("address", "ok", f"{where} answers")
    return Finding("address", "note", f"{where} does not answer", "Start it with `make run`, or set PORT.")


# ---- Stripe ---------------------------------------------------------------------------------------------------------
def stripe_settings(settings: Settings) -> Iterator[Finding]:
    key = settings.stripe_api_key
    if not key:
        what = "none: `make run` stands in a made-up Stripe" if settings.development else "none: no action can be done"
        yield Finding("stripe key", "note" if settings.development else "wrong", what, "Set STRIPE_API_KEY.")
    elif not key.startswith(("sk_", "rk_")):
        yield Finding("stripe key", "wrong", "it is no secret or restricted key", "Use one that begins with rk_.")
    else:
        yield Finding("stripe key", "ok", f"{key[:8]}... for {settings.stripe_api_base}")
    odd = [secret for secret in settings.stripe_webhook_secrets if not secret.startswith("whsec_")]
    if odd:
        mend = "Copy it from the endpoint's page at Stripe: whsec_..."
        yield Finding("webhook secret", "wrong", "STRIPE_WEBHOOK_SECRET is no signing secret", mend)


def webhook_secret(settings: Settings, services: Services) -> Finding:
    from app.services import LOCAL_SECRET, STORED_SECRETS

    count = len(settings.stripe_webhook_secrets)
    if count or services.secrets.get(STORED_SECRETS):
        return Finding("webhook secret", "ok", f"{count} in the environment" if count else "set in the pages")
    local = services.secrets.get(LOCAL_SECRET) and settings.development
    text = "only this machine's own, for the sample" if local else "none: no webhook can be verified"
    mend = "Set STRIPE_WEBHOOK_SECRET to the signing secret of your endpoint at Stripe."
    return Finding("webhook secret", "note" if settings.development else "wrong", text, mend)


def stripe_answers(settings: Settings, now: datetime) -> Finding:
    from app.adapters.stripe_events import StripeEvents

    at = int(now.timestamp())
    try:
        StripeEvents(settings.stripe_api_key, settings.stripe_api_base).page(at - 60, at, None, False)
    except Exception as error:  # refused, unreachable or surprising: all of it is the finding
        return Finding("stripe", "wrong", str(error), "Check STRIPE_API_KEY, STRIPE_API_BASE and the network.")
    return Finding("stripe", "ok", "answers, and the key may read events")


# ---- inside the folder ----------------------------------------------------------------------------------------------
def inside(services: Services, settings: Settings, online: bool, now: datetime) -> Iterator[Finding]:
    yield matcher(settings)
    yield webhook_secret(settings, services)
    if settings.stripe_api_key and online:
        yield stripe_answers(settings, now)
    yield backlog(services, now)
    yield from what_gave_up(services)
    yield from schemas_agree(services)


def matcher(settings: Settings) -> Finding:
    from rules.matcher import choose_matcher

    said: list[str] = []
    chosen = choose_matcher(settings.matcher, said.append)
    name = type(chosen).__name__
    if said:
        return Finding("matcher", "note", f"{name}: {said[0]}", "With a C compiler, `make setup` builds durable-rules.")
    return Finding("matcher", "ok", name)


def backlog(services: Services, now: datetime) -> Finding:
    oldest = services.inbox.oldest()
    if oldest is None:
        return Finding("queue", "ok", "every event has been handled")
    age = now - oldest
    text = f"the oldest event waits since {age.total_seconds():.0f} s"
    return Finding("queue", "wrong" if age > LATE else "ok", text, "Is the worker running? Start it with `make run`.")


def schemas_agree(services: Services) -> Iterator[Finding]:
    """The API version of each account's webhooks beside the registry's, and what does not conform."""
    from app import schemas, tenants
    from app.receive import quarantine

    for tenant in tenants.every(services.store):
        found = schemas.mismatch(services.store, tenant)
        if found:
            lost = len({one["path"] for one in found["rules"] if one["standing"] == "missing"})
            text = f"webhooks of {tenant} come as {found['version']}, the registry has {found['registry']}"
            text += f"; rules read {lost} fields that {found['read_as']} does not have" if lost else ""
            newer = "Bring Signalbox up to date, or set the endpoint's version at Stripe back."
            mend = newer if found["newer"] else f"python main.py schemas diff {found['read_as']} --tenant {tenant}"
            yield Finding("schemas", "wrong" if found["newer"] or lost else "note", text, mend)
        if held := quarantine.count(services.store, tenant):
            mend = f"python main.py quarantine list --tenant {tenant}"
            yield Finding("quarantine", "wrong", f"{held:,} payloads in {tenant} do not conform", mend)


def what_gave_up(services: Services) -> Iterator[Finding]:
    """Dead letters and failing connections of every tenant."""
    from app import browse, tenants

    for tenant in tenants.every(services.store):
        dead = browse.dead_letters(services.store, services.inbox, tenant)["items"]
        if dead:
            more = "or more " if len(dead) >= 50 else ""
            text = f"{len(dead)} {more}in {tenant}"
            yield Finding("dead letters", "wrong", text, f"python main.py replay --tenant {tenant}")
        for one in browse.connections(services.store, tenant):
            if one["state"] != "on":
                text = f"{one['name']} in {tenant} is {one['state']}: {one.get('reason') or 'no reason kept'}"
                yield Finding("connection", "wrong", text, "Mend it and resume it under Settings.")
