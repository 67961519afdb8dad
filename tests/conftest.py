"""Fixtures for every test: Google's emulators, once a session; the assertions of the contracts explain themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import emulators

pytest.register_assert_rewrite(
    "tests.contracts.access", "tests.contracts.store", "tests.contracts.bus", "tests.contracts.vault"
)


@pytest.fixture(scope="session")
def firestore_emulator() -> Iterator[None]:
    with emulators.firestore():
        yield


@pytest.fixture(scope="session")
def pubsub_emulator() -> Iterator[None]:
    with emulators.pubsub():
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A nightly test has two hours unless it says otherwise: ended in the middle of a draw, a property test would
    report inconsistent data generation instead of its time."""
    for item in items:
        if item.get_closest_marker("nightly") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(7200))
