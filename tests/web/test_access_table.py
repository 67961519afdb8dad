"""Every route, role and method: who is let through is written out in tests/golden/access.txt, and held on requests."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, Response, request
from flask.testing import FlaskClient
from werkzeug.exceptions import MethodNotAllowed

from app.access import api_tokens, members, sessions
from app.access.members import ROLES
from app.services import Services
from app.web import create_app
from app.web.gate import roles
from tests.builders import ADMIN_TOKEN, NOON, services_in_memory
from tests.web.access_table import FILE, METHODS, Place, known, lines, places

SCOPE = {"viewer": "read", "author": "author", "approver": "approve", "operator": "operate reveal", "admin": "admin"}
REACHED = 299  # what is answered in place of every view
TABLE = known()


class House:
    """A production installation with a member and a token of each role; no view runs, so nothing is changed."""

    def __init__(self, **settings: Any) -> None:
        self.services: Services = services_in_memory(**{"environment": "production", **settings})
        self.flask: Flask = create_app(self.services)
        self.flask.before_request(_reached)  # after the gate, before the view
        self.places = places(self.flask)
        self.clients = {role: self._signed_in(role) for role in ROLES}
        self.tokens = {role: self._token(role) for role in ROLES}

    def _signed_in(self, role: str) -> FlaskClient:
        s = self.services
        given = {"email": f"{role}@example.com", "roles": [role]}
        secret = sessions.begin(s.store, members.add(s.store, s.passwords, given, "x", NOON), "password", NOON)
        client = self.flask.test_client()
        with client.session_transaction(base_url="https://localhost") as cookie:
            cookie["sid"] = secret
        return client

    def _token(self, role: str) -> str:
        return api_tokens.make(self.services.store, {"name": role, "rights": SCOPE[role].split()}, "x", NOON)[1]

    def ask(self, role: str, method: str, address: str, **headers: str) -> Any:
        """As a member by session, or in the API by token."""
        bearer = {"Authorization": f"Bearer {self.tokens[role]}"} if role and address.startswith("/api/") else {}
        accept = {"Accept": headers.pop("Accept", "application/json")}  # refusals are made quicker without a page
        client = self.clients[role] if role else self.flask.test_client()
        return client.open(
            address, method=method, headers={**bearer, **accept, **_dashed(headers)}, base_url="https://localhost"
        )


def _reached() -> Response | None:
    return Response(status=REACHED) if request.endpoint else None


def _dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.fixture(scope="module")
def house() -> House:
    return House()


def may(place: Place, role: str) -> bool:
    found = TABLE[place.method, place.address]
    return role in found or not found.isdisjoint({"anybody", "machines"})


def test_the_table_is_the_one_that_people_have_read(house: House) -> None:
    """A new route belongs into app/web/gate/roles.py; write the table again (tests/web/access_table.py) and read it."""
    assert lines(house.flask) == FILE.read_text().splitlines()


def test_no_route_is_nobodys_and_no_line_is_about_a_route_that_has_gone(house: House) -> None:
    there = {(place.method, place.endpoint) for place in house.places}
    assert there - set(roles.RULES) == set()
    assert set(roles.RULES) - there == set()


@pytest.mark.parametrize("role", ROLES)
def test_every_route_lets_through_whom_the_table_says_and_nobody_else(house: House, role: str) -> None:
    wrong = []
    for place in house.places:
        status = house.ask(role, place.method, place.address).status_code
        if status != (REACHED if may(place, role) else 403):
            wrong.append((place.method, place.address, status))
    assert wrong == []


@pytest.mark.parametrize("role", ["viewer", "admin"])
def test_no_other_method_reaches_anything(house: House, role: str) -> None:
    """But ids that hold a slash: GET of `/backtests/one/cancel` asks for the backtest `one/cancel`."""
    there = {(place.method, place.address) for place in house.places}
    adapter = house.flask.url_map.bind("localhost")
    for address in sorted({place.address for place in house.places}):
        for method in METHODS:
            if (method, address) in there:
                continue
            try:
                endpoint, args = adapter.match(address, method=method)
            except MethodNotAllowed:
                assert house.ask(role, method, address).status_code == 405, (method, address)
                continue
            wanted = roles.needed(roles.RULES, method, str(endpoint), args) or ()
            let = role in roles.holders(wanted)
            assert house.ask(role, method, address).status_code == (REACHED if let else 403), (method, address)


def test_every_route_is_reached_by_its_address_in_the_table(house: House) -> None:
    adapter = house.flask.url_map.bind("localhost")
    for place in house.places:
        assert adapter.match(place.address, method=place.method)[0] == place.endpoint


def test_head_is_let_through_like_get(house: House) -> None:
    for place in house.places:
        if place.method == "GET":
            status = house.ask("viewer", "HEAD", place.address).status_code
            assert status == (REACHED if may(place, "viewer") else 403), place.address


def test_a_stranger_reaches_what_is_open_and_nothing_else(house: House) -> None:
    for place in house.places:
        answer = house.ask("", place.method, place.address)
        if not TABLE[place.method, place.address].isdisjoint({"anybody", "machines"}):
            assert answer.status_code == REACHED, place
        elif place.address.startswith("/api/"):
            assert (answer.status_code, answer.json["status"]) == (401, 401), place
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert "Authorization: Bearer" in answer.json["detail"]
        elif place.method == "GET":
            assert (answer.status_code, answer.location[:14]) == (303, "/sign-in?next="), place
        else:
            assert answer.status_code == 401, place


def test_the_open_addresses_are_few_and_known() -> None:
    opened = {f"{method} {address}" for (method, address), who in TABLE.items() if "anybody" in who}
    assert opened == {
        "GET /api/v1/openapi.json",
        "GET /set-up",
        "POST /set-up",
        "GET /sign-in",
        "POST /sign-in",
        "GET /sign-in/openid",
        "GET /sign-in/openid/back",
        "POST /sign-out",
        "GET /static/one",
        "GET /unsubscribe/one",
        "POST /unsubscribe/one",
    }
    machines = {f"{method} {address}" for (method, address), who in TABLE.items() if "machines" in who}
    assert machines == {"POST /crm-inbox", "POST /pubsub/push", "POST /tasks/tick"}


def test_parts_of_pages_are_refused_like_whole_ones(house: House) -> None:
    for place in house.places:
        if not may(place, "viewer"):
            part = house.ask("viewer", place.method, place.address, HX_Request="true", Accept="*/*")
            assert part.status_code == 403, place
            assert "<html" not in part.text
            stranger = house.ask("", place.method, place.address, HX_Request="true")
            assert stranger.status_code == 401, place


def test_a_refusal_says_in_one_sentence_what_it_takes_and_who_has_it(house: House) -> None:
    page = house.ask("viewer", "GET", "/settings/members", Accept="text/html")
    assert "the role admin" in page.text
    assert "viewer@example.com" in page.text
    problem = house.ask("author", "POST", "/api/v1/connections")
    assert problem.content_type == "application/problem+json"
    assert problem.json["title"] == "Not allowed"
    assert "the role admin" in problem.json["detail"]


def test_a_route_that_nobody_put_into_the_table_is_nobodys() -> None:
    house = House()
    house.flask._got_first_request = False
    house.flask.add_url_rule("/forgotten", "forgotten", lambda: "secret", methods=["GET", "POST"])
    for method in ("GET", "POST"):
        for role in ROLES:
            assert house.ask(role, method, "/forgotten").status_code == 403
        token = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        assert house.flask.test_client().open("/forgotten", method=method, headers=token).status_code == 403


def test_the_api_takes_no_cookie(house: House) -> None:
    """A browser sends it along for any page; the token is sent by whoever means it."""
    answer = house.clients["admin"].get("/api/v1/rules", base_url="https://localhost")
    assert answer.status_code == 401


# ---- other sites ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("header", [{"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"},
                                    {"Origin": "https://evil.example"}, {"Origin": "null"}])  # fmt: skip
def test_no_unsafe_route_is_reached_from_another_site(house: House, header: dict[str, str]) -> None:
    for place in house.places:
        if place.method != "GET":
            assert house.ask("admin", place.method, place.address, **header).status_code == 403, place
            part = house.ask("admin", place.method, place.address, HX_Request="true", **header)
            assert part.status_code == 403, place


# ---- read-only ------------------------------------------------------------------------------------------------------
STOPS = {"POST /settings/switch", "POST /api/v1/switches"}  # what goes out can always be stopped
READS_BY_POST = {
    "POST /settings/audit/verify", "POST /api/v1/explain", "POST /api/v1/rules:check", "POST /api/v1/starters/one",
}  # fmt: skip


def test_read_only_refuses_every_change_by_people_and_nothing_else() -> None:
    house = House(read_only=True)
    for place in house.places:
        answer = house.ask("admin", place.method, place.address)
        known = f"{place.method} {place.address}"
        free = not TABLE[place.method, place.address].isdisjoint({"anybody", "machines"})
        if place.method == "GET" or free or known in READS_BY_POST | STOPS:
            assert answer.status_code == REACHED, place
        else:
            assert answer.status_code == 403, place
            assert "read-only" in answer.text, place


# ---- what is written about it ---------------------------------------------------------------------------------------
def test_scopes_of_the_openapi_document_are_those_of_the_table(house: House) -> None:
    described = create_app(house.services).test_client().get("/api/v1/openapi.json").json
    assert described is not None
    archive = described["paths"]["/api/v1/rules/{id}/archive"]["post"]
    pause = described["paths"]["/api/v1/rules/{id}/pause"]["post"]
    assert archive["security"] == [{"bearer": ["approve"]}]
    assert pause["security"] == [{"bearer": ["approve"]}, {"bearer": ["operate"]}]
    assert described["paths"]["/api/v1/openapi.json"]["get"]["security"] == []
