"""Google's own emulators for the tests, started on free ports.

An emulator that already runs is used when its `*_EMULATOR_HOST` is set. Without the jars the tests skip, and say how
to have them; with REQUIRE_EMULATORS=1 they fail.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NoReturn

import pytest

from app import emulators


def lacking(error: emulators.Missing) -> NoReturn:
    """Skip, or fail where emulators are required."""
    if os.environ.get("REQUIRE_EMULATORS") == "1":
        pytest.fail(str(error))
    pytest.skip(str(error))


def lacking_program(name: str) -> NoReturn:
    lacking(emulators.Missing(f"{name} is not here: this {emulators.INSTALL}"))


def firestore() -> AbstractContextManager[None]:
    """FIRESTORE_EMULATOR_HOST is set inside."""
    return _running("firestore")


def pubsub() -> AbstractContextManager[None]:
    """PUBSUB_EMULATOR_HOST is set inside."""
    return _running("pubsub")


@contextmanager
def _running(which: str) -> Iterator[None]:
    variable = emulators.VARIABLES[which]
    if os.environ.get(variable):
        yield
        return
    port = _free_port()
    try:
        command = emulators.command(which, port)
    except emulators.Missing as error:
        lacking(error)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            assert emulators.wait_for(port, process), "the emulator did not start"
            os.environ[variable] = f"127.0.0.1:{port}"
            yield
        finally:
            os.environ.pop(variable, None)
            process.terminate()
            process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
