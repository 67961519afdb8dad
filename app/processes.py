"""The processes of an installation: web, worker, a tick, and `serve`, which runs all of it on one machine.

One process receives and one works on a data folder, whoever starts them: locks in the folder see to it.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from app import logs
from app.jobs import TryLater
from app.settings import Settings
from rules.ports import Unavailable

if TYPE_CHECKING:
    from app.services import Services
    from app.supervise import Supervisor
    from app.worker import Worker

CANNOT_RUN = 2  # exit code: a person has to change something first
ROOT = Path(__file__).parents[1]
MAIN = str(ROOT / "main.py")
TOKEN_FILE = "admin-token"  # noqa: S105  a name or a sentence, not a secret


class CannotRun(Exception):
    """The process cannot run here; the message says what to change."""


# ---- web ------------------------------------------------------------------------------------------------------------
def web(arguments: argparse.Namespace, settings: Settings) -> int:
    _leave(_run(partial(_web, settings, arguments.with_worker)))


def _leave(code: int) -> NoReturn:
    """End without taking the interpreter down: a thread of the server that is still on its way back from a request
    would meet it half gone, and abort the process with a stack trace. Everything is closed by now."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _web(settings: Settings, with_worker: bool) -> int:
    from app import services as wiring
    from app.adapters.lock import FolderLock
    from app.web import create_app, server
    from app.web.webhooks import in_front_of

    _begin(settings)
    if server.is_taken(settings.host, settings.port):
        raise CannotRun(f"Something else listens on {settings.host}:{settings.port}. Set PORT to another number.")
    lock = FolderLock(settings.data / "ingest.lock", "receives into")
    if settings.backend == "sqlite":  # one process receives into a folder; into a topic as many as there are
        lock.hold()
    services = wiring.build(settings, "worker" if with_worker else "web")
    if settings.development:
        wiring.local_secret(services.secrets)
    worker = _started_worker(services) if with_worker else None
    try:
        application = in_front_of(create_app(services), services)
        server.Server(settings.host, settings.port).serve_application(application)
    finally:
        if worker is not None:
            worker.stop()
            worker.join()
        services.close()
        lock.close()
    return 0


# ---- worker ---------------------------------------------------------------------------------------------------------
def work(_: argparse.Namespace, settings: Settings) -> int:
    return _run(partial(_work, settings))


def _work(settings: Settings) -> int:
    from app.services import build

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    _begin(settings)
    services = build(settings, "worker")
    worker = _started_worker(services)
    while worker.alive and not stop.wait(0.5):
        pass
    worker.stop()
    worker.join()
    services.close()
    return 0 if stop.is_set() else 1


def _started_worker(services: Services) -> Worker:
    """The worker of this folder, running. Raises AlreadyRunning when another one is."""
    from app.adapters.doorbell import Bell
    from app.services import job_types
    from app.worker import Work, Worker

    take_over(services)
    stop = threading.Event()
    wait = services.wait or Bell(services.settings.data / "worker.sock").wait
    worker = Worker(Work(services, job_types(services, partial(_wait, stop))), wait, stop)
    worker.start()
    return worker


def take_over(services: Services) -> None:
    """Become the one worker of a data folder, and make due again what the one before, which is gone, had claimed. A
    subscription has many workers; there each lease runs out by itself."""
    from app.perform import desk, waking

    hold, release = getattr(services.inbox, "hold", None), getattr(services.store, "release", None)
    if hold and release:
        now = services.clock.now()
        hold(now)  # raises AlreadyRunning: then nothing is released under a living worker
        for kind, lease in (("command", desk.LEASE), ("run", waking.LEASE)):
            if count := release(kind, now, lease):
                logs.line("worker.took_over", kind=kind, count=count)


def _wait(stop: threading.Event, seconds: float) -> None:
    """Sleep in a job, but not into the worker's end."""
    if stop.wait(seconds):
        raise TryLater("the worker is stopping")


def tick(_: argparse.Namespace, settings: Settings) -> int:
    return _run(partial(_tick, settings))


def _tick(settings: Settings) -> int:
    from app.services import build, job_types
    from app.worker import Work
    from app.worker import tick as all_that_is_due

    _begin(settings)
    services = build(settings, "tick")
    take_over(services)
    done = all_that_is_due(Work(services, job_types(services)), services.clock.now())
    services.close()
    _say(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in done.items()))
    return 0


# ---- everything on one machine --------------------------------------------------------------------------------------
def serve(arguments: argparse.Namespace, settings: Settings) -> int:
    return _run(partial(_serve, settings, arguments.one_process))


def _serve(settings: Settings, one_process: bool) -> int:
    from app.supervise import Part, Supervisor
    from app.web.server import free_port, is_taken

    port = settings.port or free_port(settings.host)
    if is_taken(settings.host, port):
        raise CannotRun(f"Something else listens on {settings.host}:{port}. Set PORT to another number.")
    settings = replace(settings, port=port)
    address = f"http://{'127.0.0.1' if settings.host == '0.0.0.0' else settings.host}:{port}"  # noqa: S104  compared with, or what Cloud Run requires
    supervisor = Supervisor(_say)
    supervisor.stop_on_signals()
    environment = {"PORT": str(port), "SIGNALBOX_PUBLIC_URL": settings.public_url or address}
    try:
        environment |= _emulators(settings, supervisor)
        environment |= _stand_in(settings, supervisor)
        if one_process:
            supervisor.start(Part("signalbox", [MAIN, "web", "--with-worker"], environment))
        else:
            supervisor.start(Part("web", [MAIN, "web"], environment))
            supervisor.start(Part("worker", [MAIN, "work"], environment))
        if not supervisor.wait_until_ready(address):
            return 0 if supervisor.stopping else 1
        _say(f"Signalbox is ready: {address}   ({_kept(settings)}; Ctrl-C stops it)")
        return supervisor.run()
    finally:
        supervisor.stop()


def _emulators(settings: Settings, supervisor: Supervisor) -> dict[str, str]:
    """Where no project is named, Google's emulators play its part on this machine."""
    from app import emulators
    from app.supervise import Part
    from app.web.server import free_port

    if settings.backend != "google" or settings.google_project:
        return {}
    environment = {"GOOGLE_CLOUD_PROJECT": emulators.PROJECT}
    running = {"firestore": settings.firestore_emulator, "pubsub": settings.pubsub_emulator}
    for which in (name for name, host in running.items() if not host):
        port = free_port("127.0.0.1")
        try:
            emulators.command(which, port)
        except emulators.Missing as error:
            raise CannotRun(f"SIGNALBOX_BACKEND=google without GOOGLE_CLOUD_PROJECT: {error}") from None
        supervisor.start(
            Part(f"{which} emulator", ["-m", "app.emulators", which, str(port)], {"PYTHONPATH": str(ROOT)})
        )
        if not emulators.wait_for(port):
            raise CannotRun(f"The {which} emulator did not start.")
        environment[emulators.VARIABLES[which]] = f"127.0.0.1:{port}"
    return environment


def _kept(settings: Settings) -> str:
    if settings.backend == "google":
        return f"data in project {settings.google_project}" if settings.google_project else "data in Google's emulators"
    return f"data in {settings.data}/"


def _stand_in(settings: Settings, supervisor: Supervisor) -> dict[str, str]:
    """Without a Stripe account the sample's actions need something to act on: a small made-up Stripe."""
    from app.supervise import Part
    from app.web.server import free_port

    if settings.stripe_api_key or not settings.development:
        return {}
    port = free_port("127.0.0.1")
    arguments = ["-m", "tests.fakes.stripe_api", "--port", str(port), "--sample"]
    supervisor.start(Part("stand-in for Stripe", arguments, {"PYTHONPATH": str(ROOT)}, quiet=True))
    return {
        "STRIPE_API_BASE": f"http://127.0.0.1:{port}",
        "STRIPE_API_KEY": "sk_test_stand_in",
        "SIGNALBOX_STAND_IN": "1",
    }


# ---- what they share ------------------------------------------------------------------------------------------------
def with_local_token(settings: Settings) -> Settings:
    """In development the first admin's token is made in the data folder, so that the API works without a setting."""
    if settings.admin_token or not settings.development:
        return settings
    path = settings.data / TOKEN_FILE
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileExistsError), open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(secrets.token_urlsafe(32))
    return replace(settings, admin_token=path.read_text().strip())


def _begin(settings: Settings) -> None:
    from app import supervise

    os.umask(0o077)  # what this makes in the data folder is its owner's alone
    supervise.end_with_parent()
    logs.configure(settings.log, project=settings.google_project)


def _run(body: partial[int]) -> int:
    """Run a process; what stops it from starting is said in one line."""
    from app.adapters.keys import WrongKeys
    from app.adapters.lock import AlreadyHeld
    from app.adapters.sqlite import NewerData
    from app.adapters.sqlite_inbox import AlreadyRunning

    try:
        return body()
    except (CannotRun, AlreadyHeld, AlreadyRunning, NewerData, WrongKeys, Unavailable, OSError) as error:
        _say(f"signalbox: {error}")
        return CANNOT_RUN


def _say(line: str) -> None:
    print(line, file=sys.stderr if line.startswith("signalbox:") else sys.stdout, flush=True)
