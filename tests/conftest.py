"""Fixtures for every test: Google's emulators, once a session; the assertions of the contracts explain themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import emulators

pytest.register_assert_rewrite("tests.contracts.store", "tests.contracts.bus", "tests.contracts.vault")


@pytest.fixture(scope="session")
def firestore_emulator() -> Iterator[None]:
    with emulators.firestore():
        yield


@pytest.fixture(scope="session")
def pubsub_emulator() -> Iterator[None]:
    with emulators.pubsub():
        yield
