"""The main job as a person does it: write the example rule, put it live, and follow what it did back to the webhook."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Product
from tests.builders import envelope, invoice

SECRET = "whsec_" + "c2lnbmFsYm94LWJyb3dzZXItdGVzdHMtc2VjcmV0"
numbers = itertools.count(1)


def failure(id: str, subscription: str, customer: str, ago: timedelta) -> dict[str, Any]:
    failed = invoice(f"in_{subscription}", customer, subscription)
    return envelope(id, object=failed, time=datetime.now(UTC) - ago)


@pytest.fixture
def inbox(product: Product) -> None:
    """The connection `crm`, to the product's own CRM inbox."""
    if not any(found["name"] == "crm" for found in product.api("GET", "/connections")["items"]):
        url = f"{product.address}/crm-inbox?tenant=default/test"
        product.api("POST", "/connections", {"name": "crm", "type": "webhook", "url": url, "secret": SECRET})


def write_the_example_rule(page: Page, name: str) -> None:
    """From the list of rules to a rule in force, through the form's own controls, with and without JavaScript."""
    page.goto("/rules")
    page.locator("main a[href='/rules/new']").first.click()
    page.get_by_role("link", name="Begin with an empty page").click()
    page.get_by_role("textbox", name="Name", exact=True).fill(name)
    page.get_by_role("combobox", name="Event", exact=True).fill("invoice.payment_failed")
    page.get_by_label("How often").select_option("count")
    settle(page)
    press(page, "Check")
    page.get_by_label("How many times").fill("2")
    page.get_by_label("Within", exact=True).fill("7")
    page.get_by_label("For the same", exact=True).select_option("subscription")
    press(page, "+ condition")
    page.get_by_role("combobox", name="Field", exact=True).fill("data.object.amount_remaining")
    press(page, "Check")
    page.get_by_label("Comparison").select_option("greater than")
    settle(page)
    page.get_by_role("textbox", name="Value", exact=True).fill("0")
    page.get_by_label("Action to add").select_option("stripe.change_plan")
    press(page, "+ action")
    page.get_by_label("New price").fill("price_free")
    page.get_by_label("Action to add").select_option("crm.notify")
    press(page, "+ action")
    page.get_by_label("Connection").select_option("crm")
    page.get_by_label("Stage").fill("At risk - payment")
    press(page, "Check")
    expect(page.get_by_text("When an invoice payment fails at least 2 times within 7 days")).to_be_visible()
    press(page, "Go live…")
    page.get_by_label("What does this version do, or why now?").fill("The first version")
    page.get_by_role("button", name="Go live").click()
    expect(page.get_by_text("Live", exact=True).first).to_be_visible()


def press(page: Page, name: str) -> None:
    """Press a button of the form and wait for what it brings."""
    page.get_by_role("button", name=name, exact=True).first.click()
    settle(page)


def settle(page: Page) -> None:
    """Until htmx has put in place what it asked for; at once where there is no JavaScript."""
    expect(page.locator(".htmx-request")).to_have_count(0)


def two_failures(product: Product) -> tuple[str, str]:
    """The subscription that failed twice in three days, and the event that completed it."""
    n = next(numbers)
    subscription, customer, last = f"sub_browser{n}", f"cus_browser{n}", f"evt_browser{n}b"
    assert product.post_event(failure(f"evt_browser{n}a", subscription, customer, timedelta(days=3))) == 200
    assert product.post_event(failure(last, subscription, customer, timedelta(minutes=1))) == 200
    return subscription, last


def follow_the_notice(page: Page, product: Product, subscription: str, event: str) -> None:
    """From the CRM's notice back to the webhook that caused it, and to the journey."""
    product.wait_for(lambda: any(subscription in str(run) and run["state"] == "done" for run in runs(product)))
    page.goto("/crm-inbox")
    notice = page.locator("section.card, article, li.card").filter(has_text="At risk - payment").first
    expect(notice.get_by_text("Signature verified")).to_be_visible()
    notice.get_by_role("link", name="The run that sent it").click()
    expect(page.get_by_text("Notify the CRM").first).to_be_visible()
    expect(page.get_by_text(subscription).first).to_be_visible()
    page.get_by_role("link", name="See its journey").click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    for station in ("receive", "handle", "crm.notify"):
        expect(page.get_by_text(station).first).to_be_visible()
    page.goto(f"/find?q={event}")
    expect(page).to_have_url(f"{product.address}/events/{event}")


def runs(product: Product) -> list[dict[str, Any]]:
    return list(product.api("GET", "/runs")["items"])


def archive(product: Product, name: str) -> None:
    """So that the next test's rule is the only one."""
    for rule in product.api("GET", "/rules")["items"]:
        if rule["name"] == name:
            product.api("POST", f"/rules/{rule['id']}/archive", {"note": "the test is over"})


@pytest.mark.browser
def test_an_operator_writes_the_example_rule_and_reaches_the_webhook_from_the_notice(
    page: Page, product: Product, inbox: None
) -> None:
    write_the_example_rule(page, "Two failures, with JavaScript")
    subscription, event = two_failures(product)
    follow_the_notice(page, product, subscription, event)
    assert any("price_free" in str(request.params) for request in product.stripe.requests("POST", "/v1/subscriptions/"))
    archive(product, "Two failures, with JavaScript")


@pytest.mark.browser
def test_the_same_works_without_javascript(plain_page: Page, product: Product, inbox: None) -> None:
    write_the_example_rule(plain_page, "Two failures, without JavaScript")
    subscription, event = two_failures(product)
    follow_the_notice(plain_page, product, subscription, event)
    archive(product, "Two failures, without JavaScript")


@pytest.mark.browser
def test_the_read_back_follows_as_one_types(page: Page, product: Product, inbox: None) -> None:
    page.goto("/rules/new/edit?from=two-failed-payments")
    page.get_by_label("New price").fill("price_free")
    page.get_by_label("How many times").fill("3")
    expect(page.locator("#read-back")).to_contain_text("at least 3 times within 7 days")
    page.get_by_label("How many times").fill("none")
    expect(page.locator("#when-at_least-error")).not_to_be_empty()


def put_into_a_branch(page: Page, name: str) -> None:
    """A step into the `Otherwise` of the dunning ladder, which has its own choice of action."""
    page.goto("/rules/new/edit?from=dunning-ladder")
    page.get_by_role("textbox", name="Name", exact=True).fill(name)
    otherwise = page.locator("#steps-3").get_by_role("group", name="Otherwise")
    otherwise.get_by_label("Action to add").select_option("review.flag")
    otherwise.get_by_role("button", name="+ action").click()
    added = page.locator("#steps-3").get_by_role("group", name="Otherwise").locator("li.step")
    expect(added).to_have_count(1)
    added.get_by_label("What to look at").fill("Paid in the meantime?")


@pytest.mark.browser
@pytest.mark.parametrize("scripts", [True, False])
def test_a_step_is_put_into_a_branch_of_the_ladder(
    page: Page, plain_page: Page, product: Product, inbox: None, scripts: bool
) -> None:
    chosen, id = (page, "ladder-with") if scripts else (plain_page, "ladder-without")
    put_into_a_branch(chosen, id)
    chosen.get_by_role("button", name="Save draft").click()
    expect(chosen.locator(".said")).to_contain_text("Draft saved")
    steps = product.api("GET", f"/rules/{id}")["draft"]["steps"]
    assert steps[3]["else"][0]["with"]["text"] == "Paid in the meantime?"
    archive(product, id)
