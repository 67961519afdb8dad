"""Every page in a real browser: no serious accessibility finding, no error, no sideways scrolling, light and dark."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from app.web import create_app
from tests.browser.conftest import Product, running
from tests.builders import services_in_memory

PAGES = (
    "/",
    "/rules",
    "/rules/new",
    "/rules/new/edit?from=blank",
    "/rules/new/start?from=dunning-ladder",
    "/rules/new/edit?from=dunning-ladder",
    "/rules/two-failed-payments",
    "/rules/two-failed-payments/edit",
    "/backtests",
    "/fields?event=invoice.payment_failed",
    "/events",
    "/runs",
    "/runs/many?state=done",
    "/customers",
    "/traces",
    "/deliveries",
    "/needs-you",
    "/needs-you/assign?about=none",
    "/dead-letters",
    "/crm-inbox",
    "/settings",
    "/settings/stripe",
    "/settings/import",
    "/settings/audit",
    "/settings/audit/verify",
    "/settings/personal",
    "/schemas",
    "/schemas/invoice.payment_failed",
    "/schemas/compare",
    "/deliveries/quarantine",
    "/customers/cus_PmtESYz4fIuFTd/erase",
    "/proposals",
    "/settings/account",
    "/settings/switch?what=all",
    "/settings/dry-run?on=1",
    "/why",
    "/lint",
    "/settings/stripe/forget",
    "/settings/connections/crm",
    "/settings/connections/crm/secret",
    "/settings/connections/new?type=hubspot",
    "/settings/subjects/new",
    "/settings/scores/new",
    "/settings/scores/churn_risk",
    "/customers/cus_PmtESYz4fIuFTd/known",
    "/settings/routes/new",
    "/settings/no-email",
    "/rules/two-failed-payments/sends",
    "/sign-in",
    "/set-up",
    "/account",
    "/settings/members",
    "/settings/tokens",
    "/sample",
    "/find?q=nothing-has-this-id",
    "/no-such-page",
)
INNER = ("/backtests", "/events", "/runs", "/customers", "/traces", "/crm-inbox")  # whose first row has a page
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product that has played its sample business."""
    with running(tmp_path_factory.mktemp("sampled") / "data", {"SAMPLE": "1"}) as found:
        found.wait_for(lambda: len(found.api("GET", "/runs?state=done")["items"]) >= 10)
        found.api("PUT", "/scores/churn_risk", {"values": [{"customer": "cus_PmtESYz4fIuFTd", "value": 0.7}]})
        asked = {"rule": "two-failed-payments", "against": "live"}
        job = found.api("POST", "/backtests", asked)["id"]
        found.wait_for(lambda: found.api("GET", f"/backtests/{job}")["status"] == "done")
        yield found


@pytest.fixture(params=["light", "dark"])
def seen(request: pytest.FixtureRequest, chromium: Browser, sampled: Product) -> Iterator[Page]:
    context = chromium.new_context(base_url=sampled.address, color_scheme=request.param)
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


def findings(page: Page) -> list[str]:
    """axe-core's serious findings, with the first place of each."""
    violations = Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html'][:160]}" for v in violations if v["impact"] in SERIOUS]


@pytest.mark.browser
def test_no_page_has_a_serious_accessibility_finding(seen: Page) -> None:
    found = {}
    for address in [*PAGES, *first_rows(seen)]:
        seen.goto(address)
        if problems := findings(seen):
            found[address] = problems
    assert found == {}


@pytest.mark.browser
def test_no_page_scrolls_sideways_on_a_telephone(chromium: Browser, sampled: Product) -> None:
    context = chromium.new_context(base_url=sampled.address, viewport={"width": 390, "height": 800})
    page = context.new_page()
    wide = {}
    for address in [*PAGES, *first_rows(page)]:
        page.goto(address)
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > 390:
            wide[address] = width
    context.close()
    assert wide == {}


@pytest.mark.browser
def test_no_page_breaks_its_own_content_policy(chromium: Browser, sampled: Product) -> None:
    context = chromium.new_context(base_url=sampled.address)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    for address in [address for address in PAGES if address != "/no-such-page"]:
        page.goto(address)
    context.close()
    assert said == []


@pytest.mark.browser
def test_the_first_page_is_light(chromium: Browser, sampled: Product) -> None:
    context = chromium.new_context(base_url=sampled.address)
    page = context.new_page()
    sizes: list[int] = []
    page.on("response", lambda answer: sizes.append(int(answer.headers.get("content-length", "0"))))
    page.goto("/")
    page.wait_for_load_state("networkidle")
    context.close()
    assert 5_000 < sum(sizes) < 100_000


@pytest.mark.browser
def test_every_control_is_reached_by_keyboard(chromium: Browser, sampled: Product) -> None:
    context = chromium.new_context(base_url=sampled.address)
    page = context.new_page()
    page.goto("/rules")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to content")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")
    context.close()


def first_rows(page: Page) -> list[str]:
    """The page behind the first row of each list, so that the inner pages are looked at with real content."""
    found = []
    for address in INNER:
        page.goto(address)
        links = page.locator(f"main a[href^='{address}/']")
        found.append(str(links.first.get_attribute("href")))
    return found


def test_every_page_of_the_application_is_looked_at() -> None:
    """A new page without parameters has to be added above, or said here to be no page."""
    no_pages = {"/healthz", "/readyz", "/find", "/settings/audit/export", "/sign-in/openid", "/sign-in/openid/back"}
    routes = create_app(services_in_memory()).url_map.iter_rules()
    pages = {route.rule for route in routes if "GET" in (route.methods or ()) and not route.arguments}
    known = {address.split("?")[0] for address in PAGES}
    assert {page for page in pages if not page.startswith(("/api/", "/static/"))} - known - no_pages == set()
