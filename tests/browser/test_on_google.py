"""The same product on Google's engines: the main job, page for page, on the emulators that `serve` starts by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from app import emulators
from tests.browser.conftest import Product, running
from tests.browser.test_the_main_job import follow_the_notice, inbox, two_failures, write_the_example_rule
from tests.emulators import lacking

__all__ = ["inbox"]  # a fixture

pytestmark = [pytest.mark.browser, pytest.mark.emulator]


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    try:
        for which in emulators.VARIABLES:
            emulators.command(which, 1)
    except emulators.Missing as error:
        lacking(error)
    own = {"SIGNALBOX_BACKEND": "google", **dict.fromkeys((*emulators.VARIABLES.values(), "GOOGLE_CLOUD_PROJECT"), "")}
    with running(tmp_path_factory.mktemp("google") / "data", own) as found:
        yield found


def test_an_operator_writes_the_example_rule_on_google_and_reaches_the_webhook_from_the_notice(
    page: Page, product: Product, inbox: None
) -> None:
    write_the_example_rule(page, "Two failures on Google")
    subscription, event = two_failures(product)
    follow_the_notice(page, product, subscription, event)


@pytest.mark.parametrize(
    "address",
    ["/", "/rules", "/events", "/runs", "/customers", "/traces", "/deliveries", "/needs-you", "/settings", "/find?q=x"],
)
def test_every_list_opens_on_google(page: Page, product: Product, address: str) -> None:
    answer = page.goto(address)
    assert answer is not None
    assert answer.status == 200
