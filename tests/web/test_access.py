"""Who may come in: denied unless it is open to all, the operator's own machine, or shown the admin token."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from flask import abort
from flask.testing import FlaskClient

from app.services import Services
from app.web import create_app
from app.web.gate import limits, roles
from app.web.gate.access import safe_target
from rules.event import iso
from rules.kinds import SYSTEM
from rules.ports import Put, Unavailable
from tests.builders import ADMIN_TOKEN, NOON, TENANT, services_in_memory
from tests.web.html import form

PAGES = ["/", "/rules", "/rules/new", "/settings", "/settings/audit", "/events", "/runs", "/needs-you", "/find?q=x"]


def browser(**settings: Any) -> FlaskClient:
    return create_app(services_in_memory(**settings)).test_client()


@pytest.fixture
def production() -> FlaskClient:
    client = browser(environment="production")
    client.environ_base["wsgi.url_scheme"] = "https"
    return client


def sign_in(client: FlaskClient, token: str = ADMIN_TOKEN, target: str = "/rules") -> Any:
    return client.post("/sign-in", data={"token": token, "next": target})


# ---- development ----------------------------------------------------------------------------------------------------
def test_on_this_machine_the_local_operator_needs_no_sign_in() -> None:
    assert browser().get("/rules").status_code == 200


def test_from_elsewhere_development_asks_for_the_token_too() -> None:
    answer = browser().get("/rules", environ_base={"REMOTE_ADDR": "203.0.113.9"})
    assert answer.location == "/sign-in?next=%2Frules"


def test_a_foreign_name_that_points_at_this_machine_is_a_stranger() -> None:
    assert browser().get("/rules", headers={"Host": "rebound.example"}).status_code == 303


# ---- production -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("address", PAGES)
def test_every_page_leads_a_stranger_to_the_sign_in(production: FlaskClient, address: str) -> None:
    answer = production.get(address)
    assert answer.status_code == 303
    assert answer.location.startswith("/sign-in?next=")


def test_the_token_opens_and_the_way_leads_on(production: FlaskClient) -> None:
    page = production.get("/sign-in?next=/settings").text
    assert form(page, "/sign-in").sent()["next"] == ["/settings"]
    answer = sign_in(production, target="/settings")
    assert answer.location == "/settings"
    assert "admin token" in production.get("/settings").text


def test_the_session_cookie_is_signed_and_out_of_reach(production: FlaskClient) -> None:
    cookie = sign_in(production).headers["Set-Cookie"]
    for flag in ("HttpOnly", "Secure", "SameSite=Lax"):
        assert flag in cookie
    assert ADMIN_TOKEN not in cookie


def test_a_wrong_token_is_refused_beside_its_field(production: FlaskClient) -> None:
    answer = sign_in(production, "wrong")
    assert answer.status_code == 401
    assert 'aria-invalid="true"' in answer.text
    assert production.get("/rules").status_code == 303


def test_without_a_configured_token_nobody_signs_in() -> None:
    client = browser(environment="production", admin_token="")
    assert "SIGNALBOX_ADMIN_TOKEN" in client.get("/sign-in").text
    assert sign_in(client, "").status_code == 401


def test_a_part_that_refreshes_itself_leads_the_whole_page_to_the_sign_in(production: FlaskClient) -> None:
    answer = production.get("/", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/sign-in")


def test_signing_out_ends_the_session(production: FlaskClient) -> None:
    sign_in(production)
    production.post("/sign-out")
    assert production.get("/rules").status_code == 303


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example", "evil", "/a\nb"])
def test_the_way_after_sign_in_stays_on_this_site(target: str) -> None:
    assert safe_target(target) == "/"
    assert safe_target("/rules?x=1") == "/rules?x=1"


# ---- other sites ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_a_form_of_another_site_changes_nothing(headers: dict[str, str]) -> None:
    client = browser()
    answer = client.post("/rules/new/edit", data={"do": "save", "name": "x"}, headers=headers)
    assert answer.status_code == 403
    assert "from another site" in answer.text


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}, {}])
def test_a_form_of_this_site_is_taken(headers: dict[str, str]) -> None:
    assert browser().post("/rules/new/edit", data={"do": "check"}, headers=headers).status_code == 200


# ---- headers and tenants --------------------------------------------------------------------------------------------
def test_no_script_or_style_but_our_own_may_run() -> None:
    answer = browser().get("/rules/new/edit?from=two-failed-payments")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", answer.text)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


def two_tenants() -> Services:
    services = services_in_memory()
    put = Put("tenant", "default/live", {"id": "default/live", "created_at": iso(NOON)})
    services.store.commit(SYSTEM, None, [put])
    return services


def test_the_chosen_tenant_is_remembered() -> None:
    client = create_app(two_tenants()).test_client()
    assert ">Test mode<" in client.get(f"/rules?tenant={TENANT}").text
    assert ">Test mode<" in client.get("/rules").text
    client.get("/rules?tenant=default/live")
    assert ">Live<" in client.get("/rules").text


def test_a_tenant_that_does_not_exist_is_a_404_and_not_remembered() -> None:
    client = create_app(two_tenants()).test_client()
    answer = client.get("/rules?tenant=other/live")
    assert answer.status_code == 404
    assert "There is no tenant" in answer.text
    assert client.get_cookie("tenant") is None


def test_an_error_in_a_tenant_that_does_not_exist_is_a_calm_404_too() -> None:
    client = create_app(two_tenants()).test_client()
    assert client.get("/fields?event=none&tenant=other/live").status_code == 404


def test_a_connected_accounts_first_event_does_not_change_what_is_shown_unasked() -> None:
    services = two_tenants()
    put = Put("tenant", "acct_1/live", {"id": "acct_1/live", "created_at": iso(NOON)})
    services.store.commit(SYSTEM, None, [put])
    page = create_app(services).test_client().get("/rules").text
    assert "account default" in page


def test_static_files_are_kept_for_ever_under_the_name_of_their_content() -> None:
    client = browser()
    address = re.search(r'href="(/static/signalbox.css\?v=[^"]+)"', client.get("/rules").text)
    assert address
    answer = client.get(address[1], headers={"Accept-Encoding": "gzip"})
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Encoding"] == "gzip"


def test_the_first_page_is_under_100_kilobytes_over_the_wire() -> None:
    client = browser()
    zipped = {"Accept-Encoding": "gzip"}
    page = client.get("/", headers=zipped)
    files = re.findall(r'(?:href|src)="(/static/[^"]+)"', client.get("/").text)
    assert len(page.data) + sum(len(client.get(file, headers=zipped).data) for file in files) < 100_000


# ---- errors ---------------------------------------------------------------------------------------------------------
def broken(error: Exception) -> FlaskClient:
    flask = create_app(services_in_memory())

    def fail() -> str:
        raise error

    flask.add_url_rule("/broken", view_func=fail)
    flask.add_url_rule("/api/v1/broken", "api_broken", view_func=fail)
    flask.extensions["rights"] |= {("GET", "fail"): "read", ("GET", "api_broken"): "open"}
    return flask.test_client()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unavailable("disk"), 503),
        (RuntimeError("secret detail"), 500),
        (KeyError("x"), 500),
        (LookupError("gone"), 404),
    ],
)
def test_an_error_is_a_calm_page_without_its_inside(error: Exception, status: int) -> None:
    answer = broken(error).get("/broken")
    assert answer.status_code == status
    assert "Traceback" not in answer.text
    assert "secret detail" not in answer.text
    assert "<h1>" in answer.text


def test_the_api_and_htmx_get_errors_in_their_own_form() -> None:
    client = broken(Unavailable("disk"))
    api = client.get("/api/v1/broken")
    assert api.content_type == "application/problem+json"
    assert api.json is not None
    assert api.json["status"] == 503
    fragment = client.get("/broken", headers={"HX-Request": "true"})
    assert "<html" not in fragment.text
    assert fragment.headers["Retry-After"] == "5"


def test_an_aborted_view_says_why() -> None:
    flask = create_app(services_in_memory())
    flask.add_url_rule("/gone", "gone", lambda: abort(404, "It was here."))
    flask.extensions["rights"]["GET", "gone"] = "read"
    assert "It was here." in flask.test_client().get("/gone").text


# ---- what a token's rights come to ----------------------------------------------------------------------------------
def test_every_right_of_a_token_lets_it_read_and_without_any_it_may_nothing() -> None:
    assert roles.of_scopes(["operate"]) == {"read", "operate"}
    assert roles.of_scopes(["read"]) == {"read"}
    assert roles.of_scopes([]) == roles.of_scopes(["unheard of"]) - {"read"} == frozenset()


def test_a_token_with_every_right_has_no_account_of_its_own() -> None:
    assert roles.of_scopes(["admin"]) == set(roles.RIGHTS)
    assert "self" not in roles.of_scopes(["admin"])


def test_a_session_is_worth_nothing_to_the_api(production: FlaskClient) -> None:
    sign_in(production)
    assert production.get("/settings").status_code == 200
    assert production.get("/api/v1/settings").status_code == 401
    assert production.post("/api/v1/switches", json={"scope": "all", "on": True}).status_code == 401


def test_on_this_machine_the_api_asks_for_a_token_all_the_same() -> None:
    assert browser().get("/api/v1/settings").status_code == 401


@pytest.mark.parametrize(
    "origin", ["https://localhost.evil.example", "https://localhost:1", "null", "https://evil.example"]
)
def test_an_address_that_only_begins_like_ours_is_another_site(production: FlaskClient, origin: str) -> None:
    answer = production.post("/sign-in", data={"token": ADMIN_TOKEN}, headers={"Origin": origin})
    assert answer.status_code == 403
    assert production.get("/settings").status_code == 303


def test_another_admin_token_ends_every_session() -> None:
    services = services_in_memory(environment="production")
    before = create_app(services).test_client()
    before.environ_base["wsgi.url_scheme"] = "https"
    sign_in(before)
    assert before.get("/settings").status_code == 200
    rolled = replace(services, settings=replace(services.settings, admin_token="another-admin-token-made-up"))
    after = create_app(rolled).test_client()
    after.environ_base["wsgi.url_scheme"] = "https"
    cookie = before.get_cookie("signalbox")
    assert cookie is not None
    after.set_cookie("signalbox", cookie.value)
    assert after.get("/settings").status_code == 303


def test_a_stranger_sends_little_and_a_member_more(production: FlaskClient) -> None:
    long = {"token": "x" * 20_000, "next": "/"}
    assert production.post("/sign-in", data=long).status_code == 413
    sign_in(production)
    assert production.post("/settings/tokens", data={"name": "x" * 20_000}).status_code == 422


def test_only_so_many_fields_are_read(production: FlaskClient) -> None:
    sign_in(production)
    many = "&".join(["a=1"] * (limits.FIELDS + 1))
    answer = production.post("/settings/tokens", data=many, content_type="application/x-www-form-urlencoded")
    assert answer.status_code == 413


def test_asking_what_a_route_takes_is_refused_like_the_route_itself(production: FlaskClient) -> None:
    assert production.options("/settings").status_code in (303, 401)
    assert production.options("/api/v1/settings").status_code == 401
