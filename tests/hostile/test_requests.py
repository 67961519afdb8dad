"""Requests that another site makes a browser send, ways that lead out, and texts on their way to other programs."""

from __future__ import annotations

import csv
import io
import json
import re
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

from app.connectors.mail import UNWRITABLE, as_html, message
from app.connectors.slack import escaped
from app.web import create_app
from app.web.backtests import csv_lines
from app.web.gate.access import safe_target
from rules.event import iso
from tests.builders import ADMIN_TOKEN, NOON, services_in_memory
from tests.hostile.haunted import EVIL, SHORT, Page
from tests.hostile.nasty import LETTERS, TEXTS

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
ELSEWHERE: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "CROSS-SITE"},
    {"Sec-Fetch-Site": ""},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://localhost:81"},
    {"Origin": "http://user@localhost@evil.example"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "HX-Request": "true"},
    {
        "Origin": "https://evil.example",
        "HX-Request": "true",
        "HX-Boosted": "true",
        "HX-Current-URL": "http://localhost/",
    },
]


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app(services_in_memory()).test_client()


# ---- another site ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("headers", ELSEWHERE)
def test_nothing_that_another_site_has_sent_is_done(client: FlaskClient, headers: dict[str, str]) -> None:
    """Whatever method and route, for a form, for htmx and for JSON; in development the sender is at this machine."""
    for rule in client.application.url_map.iter_rules():
        for method in set(UNSAFE) & set(rule.methods or ()):
            address = re.sub(r"<[^>]+>", "x", rule.rule)
            for kind in ("application/x-www-form-urlencoded", "text/plain", "application/json"):
                answer = client.open(address, method=method, headers=headers, data=b"do=save", content_type=kind)
                assert answer.status_code in (403, 404, 405), (method, address, kind)


def test_a_page_cannot_be_read_or_framed_by_another_site(client: FlaskClient) -> None:
    answer = client.get("/rules", headers={"Origin": "https://evil.example"})
    assert [name for name, _ in answer.headers if name.lower().startswith("access-control-")] == []
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


def test_every_cookie_is_out_of_reach_of_scripts_and_other_sites() -> None:
    client = create_app(services_in_memory(environment="production")).test_client()
    signed_in = client.post("/sign-in", data={"token": ADMIN_TOKEN, "next": "/"}, base_url="https://localhost")
    chosen = client.get("/rules?tenant=default/test", base_url="https://localhost")
    cookies = [*signed_in.headers.getlist("Set-Cookie"), *chosen.headers.getlist("Set-Cookie")]
    assert len(cookies) >= 2
    for cookie in cookies:
        assert "HttpOnly" in cookie
        assert "Secure" in cookie
        assert "SameSite=" in cookie
        assert "SameSite=None" not in cookie
        assert "Domain=" not in cookie
        assert ADMIN_TOKEN not in cookie


def test_a_method_that_is_named_otherwise_is_not_believed(client: FlaskClient) -> None:
    headers = {"X-HTTP-Method-Override": "POST", "X-Method-Override": "POST", "Origin": "https://evil.example"}
    assert client.get("/rules?_method=POST", headers=headers).status_code == 200
    assert client.post("/rules?_method=GET", headers=headers).status_code in (403, 405)


# ---- ways that lead out ---------------------------------------------------------------------------------------------
OUT = [
    "https://evil.example", "http://evil.example/", "//evil.example", "///evil.example", "////evil.example", "/\\evil.example",
    "\\\\evil.example", "\\/evil.example", "/\t/evil.example", "/\n/evil.example", "\t//evil.example", " //evil.example",
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "https:evil.example", "https:/evil.example",
    "evil.example", "@evil.example", ".evil.example", "http://localhost@evil.example", "/\x00//evil.example", "",
    "\u2028//evil.example", "/\r\nSet-Cookie: a=b", "/a\r\nX: y", "／／evil.example", "http:\\\\evil.example",
]  # fmt: skip


@pytest.mark.parametrize("target", OUT)
def test_no_way_leads_to_another_site(client: FlaskClient, target: str) -> None:
    assert safe_target(target) == "/"
    page = client.get("/sign-in", query_string={"next": target})
    kept = [found.get("value", "") for tag, found in Page(page.text).elements if found.get("name") == "next"]
    assert set(kept) <= {"/"}
    answer = client.post("/sign-in", data={"token": ADMIN_TOKEN, "next": target})
    assert answer.location in ("/", None)


@given(st.lists(st.sampled_from([*LETTERS, "/", "\\", "evil.example", ":", "http", "a"]), max_size=8).map("".join))
@settings(max_examples=300, deadline=None)
def test_a_way_is_a_path_of_this_site_or_the_first_page(target: str) -> None:
    found = safe_target(target)
    assert found.startswith("/")
    assert not found.startswith(("//", "/\\"))
    assert found.isprintable()
    assert found in ("/", target)


# ---- to other programs ----------------------------------------------------------------------------------------------
HOSTILE = [
    EVIL,
    SHORT,
    *map(str, TEXTS),
    "a\r\nBcc: evil@example.com",
    "a\nX: y",
    "a\x0bb",
    "a\u2028Bcc: x",
    "=?utf-8?q?x?=",
    "\r\n\r\n",
]
FORMULAS = [
    "=1+1",
    "+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "＋1",
    "－1",
    "＠1",
    "=cmd|' /C calc'!A0",
    "-",
]


@pytest.mark.parametrize("text", [*FORMULAS, *HOSTILE])
def test_no_cell_of_a_spreadsheet_is_a_formula_or_another_row(text: str) -> None:
    row = {"at": "2026", "rule": text, "subject": text, "customer": text, "money": {"usd": 5}, "state": text, "reason": text,
           "outcome": text, "paid": None, "steps": []}  # fmt: skip
    written = "".join(csv_lines([row]))
    rows = list(csv.reader(io.StringIO(written, newline="")))
    assert len(rows) == 2
    assert len(rows[1]) == len(rows[0])
    for cell in rows[1]:
        assert cell[:1] not in ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠") or cell == ""


def task(**more: Any) -> dict[str, Any]:
    return {"tenant": "default/test", "id": "run_1/mail", "created_at": iso(NOON), **more}


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_mail_becomes_a_header_or_markup(text: str) -> None:
    clean = text.encode(errors="replace").decode()
    made = message(task(), "ops@example.com", "ada@example.com", clean, clean, "https://x.example/unsubscribe/a")
    read = message_from_bytes(made.as_bytes(), policy=default)
    assert set(read.keys()) == {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "List-Unsubscribe",
                                "List-Unsubscribe-Post", "MIME-Version", "Content-Type"}  # fmt: skip
    assert read["To"] == "ada@example.com"
    shown = Page(as_html(clean))
    assert {tag for tag, _ in shown.elements} <= {"html", "head", "meta", "body", "p", "br", "a"}
    assert all(set(found) <= {"charset", "href"} for _, found in shown.elements)
    assert all(link.startswith(("http://", "https://")) for link in shown.links)


TWO = ["a@example.com\r\nBcc: b@example.com", "a@example.com, b@example.com", "a@x\ny", "<a@x>", "", "a..b@example.com"]


@pytest.mark.parametrize("to", TWO)
def test_no_address_of_a_mail_is_two(to: str) -> None:
    with pytest.raises(UNWRITABLE):
        message(task(), "ops@example.com", to, "s", "t").as_bytes()


@pytest.mark.parametrize(
    "text", [*HOSTILE, "<!channel>", "<!here>", "<@U123>", "<https://evil.example|bank>", "&lt;!channel&gt;"]
)
def test_no_text_for_slack_calls_people_or_hides_where_a_link_leads(text: str) -> None:
    assert not re.search(r"<[!@#h]", escaped(text))
    assert "<" not in escaped(text)
    json.dumps({"text": escaped(text)})
