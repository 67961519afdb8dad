"""Signing in at an issuer of OpenID Connect, in a real Chromium: what browsers refuse, no other test sees."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser
from werkzeug.serving import make_server

from app.access import members
from app.adapters.openid import OpenIdIssuer
from app.web import create_app
from tests.builders import NOON, services_in_memory
from tests.fakes.issuer import CLIENT, SECRET, issuing


@pytest.fixture
def address() -> Iterator[str]:
    """A Signalbox whose members sign in at an issuer on another origin."""
    with issuing() as issuer:
        base = services_in_memory(oidc_issuer=issuer.address)
        members.add(base.store, base.passwords, {"email": "ada@example.com", "roles": ["operator"]}, "root", NOON)
        app = create_app(replace(base, openid=OpenIdIssuer(issuer.address, CLIENT, SECRET)))
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_person_signs_in_at_the_issuer_and_comes_back(chromium: Browser, address: str) -> None:
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(f"{address}/sign-in?next=/runs")
        page.get_by_role("link", name="Sign in with 127.0.0.1").click()
        page.wait_for_url(f"{address}/runs")
        page.goto(f"{address}/account")
        assert "ada@example.com" in page.locator("main").inner_text()
    finally:
        context.close()
