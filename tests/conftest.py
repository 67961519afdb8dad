"""Fixtures for every test: assertions of the contracts explain themselves."""

import pytest

pytest.register_assert_rewrite("tests.contracts.store", "tests.contracts.bus", "tests.contracts.vault")
