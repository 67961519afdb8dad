"""A real Chromium against the real product: `main.py serve` in a folder of its own, with a fake Stripe beside it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, sync_playwright

from tests.builders import ADMIN_TOKEN, WEBHOOK_SECRET, body_of, signed
from tests.fakes.stripe_api import FakeStripe

ROOT = Path(__file__).parents[2]
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 60.0  # seconds; everything here is usually there within two


@dataclass(frozen=True)
class Product:
    """A running Signalbox. address: without a slash at the end. stripe: the fake that its actions reach."""

    address: str
    stripe: FakeStripe
    process: subprocess.Popen[str]
    data: Path

    def post_event(self, envelope: Mapping[str, Any]) -> int:
        """Deliver it as Stripe would, signed now; the status."""
        body = body_of(envelope)
        return self._request("POST", "/webhooks/stripe", body, signed(body, datetime.now(UTC)))[0]

    def api(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON answer of the API; fails the test on a refusal."""
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        status, answer = self._request(method, f"/api/v1{path}", data, headers)
        assert status < 300, (method, path, status, answer)
        return json.loads(answer) if answer else None

    def wait_for(self, look: Callable[[], Any]) -> Any:
        """What `look` returns as soon as it is true; the worker is another process, so there is no clock to set."""
        pause, deadline = threading.Event(), time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if found := look():
                return found
            pause.wait(0.1)
        raise AssertionError(f"not within {PATIENCE:.0f} s")

    def _request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found


@contextmanager
def running(data: Path, environment: Mapping[str, str] | None = None) -> Iterator[Product]:
    """Signalbox on a free port, started by its own command and stopped as Ctrl-C does."""
    fake = FakeStripe(sample=True)
    with fake.running() as base:
        settings = {
            "PORT": "0",
            "SIGNALBOX_DATA": str(data),
            "SIGNALBOX_ADMIN_TOKEN": ADMIN_TOKEN,
            "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "STRIPE_API_KEY": "sk_test_made_up",
            "STRIPE_API_BASE": base,
            "PYTHONUNBUFFERED": "1",
            **(environment or {}),
        }
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("STRIPE_", "SIGNALBOX_"))}
        process = subprocess.Popen(
            [sys.executable, "main.py", "serve"],
            cwd=ROOT,
            env={**clean, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=(data.parent / "stderr.txt").open("w"),
            text=True,
        )
        try:
            yield Product(_address(process, data), fake, process, data)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def _address(process: subprocess.Popen[str], data: Path) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        found = next((word.rstrip(".,") for word in line.split() if word.startswith("http://")), None)
        if found:
            threading.Thread(target=process.stdout.read, daemon=True).start()  # so that the pipe never fills
            return found.rstrip("/")
    raise AssertionError("it did not start:\n" + (data.parent / "stderr.txt").read_text()[-3000:])


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with running(tmp_path_factory.mktemp("product") / "data") as found:
        yield found


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail("Chromium is missing: apt-get install chromium")
        pytest.skip("Chromium is missing: apt-get install chromium")
    browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
    yield browser
    browser.close()


@pytest.fixture
def page(chromium: Browser, product: Product) -> Iterator[Page]:
    """A page with JavaScript. Anything that the browser reports as an error fails the test."""
    yield from _page(chromium.new_context(base_url=product.address, viewport={"width": 1280, "height": 900}))


@pytest.fixture
def plain_page(chromium: Browser, product: Product) -> Iterator[Page]:
    """The same without JavaScript."""
    yield from _page(chromium.new_context(base_url=product.address, java_script_enabled=False))


def _aborted(said: ConsoleMessage) -> bool:
    """htmx tells of a request that a newer one has replaced; that is what hx-sync is for."""
    return said.text.startswith(("htmx:sendAbort", "htmx:afterRequest"))


def _page(context: BrowserContext) -> Iterator[Page]:
    context.set_default_timeout(15_000)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" and not _aborted(said) else None)
    yield page
    context.close()
    assert not problems, problems
