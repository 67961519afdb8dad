"""Every page and answer of an installation full of hostile texts and secrets: nothing breaks out, nothing gets out."""

from __future__ import annotations

import gzip
import html
import json
import re
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest

from app.web import create_app
from app.web.api.entrance import OPERATIONS
from app.web.gate import headers
from tests.builders import services_in_memory
from tests.hostile.haunted import EVIL, SECRET, SETTINGS, SHORT, Haunted, Page, haunted, walk

LEADS_AWAY = ("https://dashboard.stripe.com/", "https://docs.stripe.com/", "https://console.cloud.google.com/",
              "https://github.com/", "https://docs.slack.dev/", "https://stripe.com/")  # fmt: skip


@pytest.fixture(scope="module")
def home() -> Iterator[Haunted]:
    with haunted() as found:
        yield found


@pytest.fixture(scope="module")
def pages(home: Haunted) -> dict[str, Any]:
    return dict(walk(home))


@pytest.fixture(scope="module")
def parsed(pages: dict[str, Any]) -> dict[str, Page]:
    return {address: Page(answer.text) for address, answer in pages.items() if answer.mimetype == "text/html"}


@pytest.fixture(scope="module")
def answers(home: Haunted) -> dict[str, Any]:
    """What every operation of the API that looks answers, about everything that there is."""
    found: dict[str, Any] = {}
    ids = known_ids(home)
    for operation in OPERATIONS:
        if operation.method == "GET":
            for path in filled(operation.path, ids):
                found[path] = home.client.get("/api/v1" + path, headers=home.api)
    return found


def known_ids(home: Haunted) -> dict[str, list[str]]:
    def listed(path: str) -> list[str]:
        return [
            str(row.get("id") or row.get("name"))
            for row in home.client.get("/api/v1" + path, headers=home.api).json["items"]
        ]

    found = {kind: listed(f"/{kind}") for kind in ("events", "runs", "rules", "commands")}
    return {**found, "traces": ["in_1"], "customers": ["cus_evil"], "schemas": ["invoice.paid"]}


def filled(path: str, ids: dict[str, list[str]]) -> list[str]:
    kind = path.strip("/").split("/")[0].split(":")[0]
    return [re.sub(r"{\w+}", id, path) for id in ids.get(kind, ["x"])] if "{" in path else [path]


# ---- breaking out ---------------------------------------------------------------------------------------------------
def test_the_walk_reaches_every_kind_of_page_and_none_fails(pages: dict[str, Any]) -> None:
    assert [address for address, answer in pages.items() if answer.status_code >= 500] == []
    good = [address for address, answer in pages.items() if answer.status_code == 200]
    assert len(good) > 100
    for kind in (
        "/rules/evil",
        "/runs/run_",
        "/events/evt_",
        "/customers/cus_evil",
        "/traces/",
        "/settings/connections/crm",
    ):
        assert any(address.startswith(kind) for address in good), kind


def test_hostile_texts_are_shown_as_they_are_written(pages: dict[str, Any]) -> None:
    shown = "".join(answer.text for answer in pages.values() if answer.mimetype == "text/html")
    assert html.escape(SHORT, quote=False).replace('"', "&#34;").replace("'", "&#39;") in shown
    assert "{{7*191}}" in shown
    assert "1337" not in shown


def test_no_text_becomes_an_element_or_an_attribute(parsed: dict[str, Page]) -> None:
    broken = [
        (address, tag, found)
        for address, page in parsed.items()
        for tag, found in page.elements
        if tag == "hostile" or any("hostile" in name for name in found)
    ]
    assert broken == []


def test_no_text_becomes_a_link_out_or_a_script(parsed: dict[str, Page]) -> None:
    bad = {
        (address, link)
        for address, page in parsed.items()
        for link in page.links
        if re.match(r"[\s\x00-\x20]*(javascript|data|vbscript):", link, re.IGNORECASE)
        or (
            urlsplit(urljoin("http://localhost" + address, link)).netloc != "localhost"
            and not link.startswith(LEADS_AWAY)
        )
    }
    assert bad == set()


def test_no_page_has_a_script_style_or_handler_of_its_own(parsed: dict[str, Page]) -> None:
    inline = [
        (address, tag, name)
        for address, page in parsed.items()
        for tag, found in page.elements
        for name in [*found, ""]
        if name.startswith(("on", "hx-on", "hx-vars"))
        or name in ("style", "srcdoc")
        or tag in ("style", "iframe", "object", "embed", "base", "applet")
        or (tag == "script" and not found.get("src", "").startswith("/static/"))
    ]  # fmt: skip
    assert inline == []


def test_every_answer_says_what_a_browser_may_do_with_it(pages: dict[str, Any], answers: dict[str, Any]) -> None:
    for address, answer in {**pages, **answers}.items():
        for name, value in headers.HEADERS.items():
            assert answer.headers[name] == value, address
        assert answer.headers["Cache-Control"] == "no-store", address
    assert "unsafe" not in headers.POLICY
    assert "*" not in headers.POLICY


@pytest.mark.parametrize("path", ["/", "/none", "/static/none", "/api/v1/rules", "/sign-in", "/static/signalbox.js"])
def test_production_asks_for_https_whatever_it_answers(path: str) -> None:
    client = create_app(services_in_memory(environment="production")).test_client()
    assert client.get(path).headers["Strict-Transport-Security"].startswith("max-age=63072000")
    assert "Strict-Transport-Security" not in create_app(services_in_memory()).test_client().get(path).headers


def test_a_header_is_one_line_of_plain_letters_on_every_page(pages: dict[str, Any], answers: dict[str, Any]) -> None:
    """What is not, a server could not send."""
    for address, answer in {**pages, **answers}.items():
        for name, value in answer.headers.items():
            assert (name + value).isprintable(), address
            (name + value).encode("latin-1")


# ---- getting out ----------------------------------------------------------------------------------------------------
def test_no_secret_is_on_any_page(pages: dict[str, Any]) -> None:
    assert [address for address, answer in pages.items() if SECRET in answer.text or "UzNDUjNU" in answer.text] == []


def test_no_secret_is_in_any_answer_of_the_api(answers: dict[str, Any]) -> None:
    assert [path for path, answer in answers.items() if SECRET in answer.text or "UzNDUjNU" in answer.text] == []
    assert [path for path, answer in answers.items() if answer.status_code >= 500] == []


def test_no_secret_is_in_what_the_store_keeps(home: Haunted) -> None:
    kept = json.dumps(plain(home.services.store), default=str)
    assert "evt_1" in kept
    assert SECRET not in kept
    assert "UzNDUjNU" not in kept


def plain(value: Any, depth: int = 0) -> Any:
    """Everything inside of it, unpacked where it is packed."""
    if isinstance(value, bytes):
        for unpack in (zlib.decompress, gzip.decompress, bytes):
            try:
                return unpack(value).decode(errors="replace")
            except (zlib.error, OSError):
                continue
    if isinstance(value, dict):
        return [[plain(key, depth + 1), plain(part, depth + 1)] for key, part in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part, depth + 1) for part in value]
    if hasattr(value, "__dict__") or hasattr(value, "__slots__"):
        names = [*getattr(value, "__dict__", {}), *getattr(type(value), "__slots__", ())]
        return {name: plain(getattr(value, name, None), depth + 1) for name in names} if depth < 12 else ""
    return str(value)


@pytest.mark.parametrize(
    "token", ["", "wrong", SETTINGS["admin_token"][:-1], "Bearer", "\xff", "a" * 5000, "null", "sbx_" + "a" * 40]
)
def test_no_operation_answers_to_a_wrong_token(token: str) -> None:
    client = create_app(services_in_memory(**SETTINGS)).test_client()
    for operation in OPERATIONS:
        if not operation.open:
            path = "/api/v1" + re.sub(r"{\w+}", "x", operation.path)
            answer = client.open(path, method=operation.method, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 401, operation.name
            assert SECRET not in answer.text


def test_errors_tell_nothing_of_the_inside(home: Haunted) -> None:
    for path in (
        "/none",
        "/rules/" + EVIL,
        "/runs/x",
        "/api/v1/rules/x",
        "/events?after=" + SHORT,
        "/api/v1/runs?after=x",
    ):
        answer = home.client.get(path, headers=home.api)
        assert answer.status_code in (400, 404)
        assert not re.search(r"Traceback|File \"|site-packages|sqlite|werkzeug|/work|Error:", answer.text)
        assert "Server" not in answer.headers
