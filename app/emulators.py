"""Google's own Firestore and Pub/Sub emulators: where the Cloud CLI keeps them, and how to run them without it.

`python -m app.emulators firestore PORT` runs one until it is stopped or its supervisor is gone. The gcloud wrapper is
left out because it leaves its Java child behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

INSTALL = (
    "needs Java 17 and Google's emulators: gcloud components install pubsub-emulator cloud-firestore-emulator"
    " (Debian: apt-get install google-cloud-cli-pubsub-emulator google-cloud-cli-firestore-emulator)"
)
VARIABLES = {"firestore": "FIRESTORE_EMULATOR_HOST", "pubsub": "PUBSUB_EMULATOR_HOST"}
PROJECT = "signalbox-local"
STARTING = 60.0  # seconds; about 1 is usual
_JARS = {
    "pubsub": "pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar",
    "firestore": "cloud-firestore-emulator/cloud-firestore-emulator.jar",
}


class Missing(RuntimeError):
    """An emulator is not here; the message says what and how to have it."""


def command(which: str, port: int) -> list[str]:
    """The command that runs the emulator. which: firestore | pubsub. Raises Missing."""
    java, jar, where = _java(), str(_jar(which)), ["--host=127.0.0.1", f"--port={port}"]
    if which == "pubsub":
        return [java, "-XX:+UseSerialGC", "-Xmx256m", "-jar", jar, *where]
    main = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
    return [java, "-XX:+UseSerialGC", "-Xmx512m", "-cp", jar, main, "start", *where]


def wait_for(port: int, process: subprocess.Popen[bytes] | None = None) -> bool:
    """Whether it listens before its time is over or its process has ended."""
    end = time.monotonic() + STARTING
    while time.monotonic() < end and (process is None or process.poll() is None):
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False


def _java() -> str:
    found = shutil.which("java")
    if found is None:
        raise Missing(f"java is not here: this {INSTALL}")
    return found


def _jar(which: str) -> Path:
    for root in _roots():
        for found in sorted((root / "platform").glob(_JARS[which])):
            return found
    raise Missing(f"the {which} emulator is not here: this {INSTALL}")


def _roots() -> Iterator[Path]:
    """Where the Cloud CLI may be: where it says, and where its installers put it."""
    if os.environ.get("CLOUDSDK_ROOT_DIR"):
        yield Path(os.environ["CLOUDSDK_ROOT_DIR"])
    if gcloud := shutil.which("gcloud"):
        yield Path(gcloud).resolve().parents[1]
    yield Path("/usr/lib/google-cloud-sdk")
    yield Path.home() / "google-cloud-sdk"


def main(which: str, port: int) -> int:
    from app import supervise

    process = subprocess.Popen(command(which, port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603  the program and its arguments are our own
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: process.terminate())
    supervise.end_with_parent()
    return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
