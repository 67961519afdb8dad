"""Google's own emulators for the tests: found where the Cloud CLI keeps them, started with java on free ports.

An emulator that already runs is used when its `*_EMULATOR_HOST` is set. Without the jars the tests skip, and say how
to have them; with REQUIRE_EMULATORS=1 they fail.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

INSTALL = (
    "needs Java 17 and Google's emulators: gcloud components install pubsub-emulator cloud-firestore-emulator"
    " (Debian: apt-get install google-cloud-cli-pubsub-emulator google-cloud-cli-firestore-emulator)"
)
STARTING = 60.0  # seconds; about 1 is usual


def lacking(what: str) -> NoReturn:
    """Skip, or fail where emulators are required."""
    if os.environ.get("REQUIRE_EMULATORS") == "1":
        pytest.fail(f"{what} is not here: the test {INSTALL}")
    pytest.skip(f"{what} is not here: the test {INSTALL}")


@contextmanager
def firestore() -> Iterator[None]:
    """FIRESTORE_EMULATOR_HOST is set inside."""
    with _running("FIRESTORE_EMULATOR_HOST", _firestore_command):
        yield


@contextmanager
def pubsub() -> Iterator[None]:
    """PUBSUB_EMULATOR_HOST is set inside."""
    with _running("PUBSUB_EMULATOR_HOST", _pubsub_command):
        yield


def _pubsub_command(port: int) -> list[str]:
    jar = _jar("pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar")
    return ["-Xmx256m", "-jar", str(jar), "--host=127.0.0.1", f"--port={port}"]


def _firestore_command(port: int) -> list[str]:
    jar = _jar("cloud-firestore-emulator/cloud-firestore-emulator.jar")
    main = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
    return ["-Xmx512m", "-cp", str(jar), main, "start", "--host=127.0.0.1", f"--port={port}"]


def _jar(pattern: str) -> Path:
    for root in _roots():
        for found in sorted((root / "platform").glob(pattern)):
            return found
    return lacking(pattern)


def _roots() -> Iterator[Path]:
    """Where the Cloud CLI may be: where it says, and where its installers put it."""
    if os.environ.get("CLOUDSDK_ROOT_DIR"):
        yield Path(os.environ["CLOUDSDK_ROOT_DIR"])
    gcloud = shutil.which("gcloud")
    if gcloud:
        yield Path(gcloud).resolve().parents[1]
    yield Path("/usr/lib/google-cloud-sdk")
    yield Path.home() / "google-cloud-sdk"


@contextmanager
def _running(variable: str, command_for: Callable[[int], list[str]]) -> Iterator[None]:
    if os.environ.get(variable):
        yield
        return
    port, java = _free_port(), shutil.which("java") or lacking("java")
    command = command_for(port)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([java, "-XX:+UseSerialGC", *command], stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_for(port, process)
            os.environ[variable] = f"127.0.0.1:{port}"
            yield
        finally:
            os.environ.pop(variable, None)
            process.terminate()
            process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + STARTING
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        threading.Event().wait(0.05)
    raise AssertionError("the emulator did not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
