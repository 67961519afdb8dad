"""Accounts of this installation: set-up, sign-in, sessions, members, tokens, and what pages offer to whom."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from flask import Flask, Response, request
from flask.testing import FlaskClient

from app.access import api_tokens, members, sessions
from app.access.members import ROLES
from app.adapters.passwords import Argon2Passwords
from app.services import Services
from app.web import create_app
from rules.kinds import SYSTEM
from tests.builders import ADMIN_TOKEN, NOON, services_in_memory
from tests.web.html import form

PASSWORD, OTHER = "seven boats on a lake", "nine geese in the fog"
ADA, BO = "ada@example.com", "bo@example.com"
HASHES = Argon2Passwords()
HASHED = HASHES.hash(PASSWORD)


class Counting:
    """Passwords that count how often one was checked; each check costs the same."""

    decoy = HASHES.decoy

    def __init__(self) -> None:
        self.checked: list[str] = []

    def hash(self, password: str) -> str:
        return HASHED if password == PASSWORD else HASHES.hash(password)

    def holds(self, hash: str, password: str) -> bool:
        self.checked.append(hash)
        return HASHES.holds(hash, password)


@pytest.fixture
def services() -> Services:
    """Ada is an administrator, Bo an operator."""
    s = replace(services_in_memory(environment="production"), passwords=Counting())
    for email, role in ((ADA, "admin"), (BO, "operator")):
        members.add(s.store, s.passwords, {"email": email, "roles": [role], "password": PASSWORD}, "root", NOON)
    return s


LAST: list[tuple[Services, Flask]] = []  # one application for all browsers of a test


def browser(services: Services, address: str = "203.0.113.9") -> FlaskClient:
    if not LAST or LAST[0][0] is not services:
        LAST[:] = [(services, create_app(services))]
    client = LAST[0][1].test_client()
    client.environ_base.update({"wsgi.url_scheme": "https", "REMOTE_ADDR": address})
    return client


def sign_in(client: FlaskClient, email: str = ADA, password: str = PASSWORD, target: str = "/rules") -> Any:
    return client.post("/sign-in", data={"email": email, "password": password, "next": target})


def signed_in(services: Services, email: str = ADA) -> FlaskClient:
    client = browser(services)
    assert sign_in(client, email).status_code == 303
    return client


def is_in(client: FlaskClient) -> bool:
    return client.get("/account").status_code == 200


def log(services: Services) -> list[dict[str, Any]]:
    return [dict(one.body) for one in services.store.find(SYSTEM, "audit", order="-at", limit=100).items]


# ---- set-up ---------------------------------------------------------------------------------------------------------
def set_up(client: FlaskClient, **given: str) -> Any:
    body = {"email": ADA, "name": "Ada", "password": PASSWORD, "token": ADMIN_TOKEN, **given}
    return client.post("/set-up", data=body)


def test_the_first_administrator_is_made_with_the_admin_token() -> None:
    services = services_in_memory(environment="production")
    client = browser(services)
    assert "/set-up" in client.get("/sign-in").text
    assert form(client.get("/set-up").text, "/set-up").method == "post"
    assert set_up(client).location == "/settings/members"
    assert ADA in client.get("/settings/members").text
    assert [one.roles for one in members.every(services.store)] == [("admin",)]


def test_set_up_is_for_the_owner_of_the_installation_only() -> None:
    services = services_in_memory(environment="production")
    client = browser(services)
    assert set_up(client, token="guess").status_code == 401
    assert set_up(client, token="").status_code == 401
    assert members.is_empty(services.store)
    assert set_up(client, password="").status_code == 422
    assert set_up(client, password="short").status_code == 422
    assert members.is_empty(services.store)


def test_set_up_is_over_with_the_first_member(services: Services) -> None:
    client = browser(services)
    assert client.get("/set-up").location == "/sign-in"
    assert set_up(client, email="eve@example.com").location == "/sign-in"
    assert members.by_email(services.store, "eve@example.com") is None


def test_at_this_machine_in_development_set_up_asks_for_no_token() -> None:
    client = create_app(services_in_memory()).test_client()
    assert "token" not in form(client.get("/set-up").text, "/set-up").sent()
    assert set_up(client, token="").location == "/settings/members"
    assert ADA in client.get("/account").text  # a session goes before the local operator


# ---- signing in -----------------------------------------------------------------------------------------------------
def test_a_member_signs_in_and_goes_on(services: Services) -> None:
    client = browser(services)
    sent = form(client.get("/sign-in?next=/runs").text, "/sign-in").sent(email=ADA, password=PASSWORD)
    assert client.post("/sign-in", data=sent).location == "/runs"
    assert ADA in client.get("/rules").text


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_the_way_after_it_stays_on_this_site(services: Services, target: str) -> None:
    assert sign_in(browser(services), target=target).location == "/"


def test_whoever_is_asked_for_the_refusal_and_the_work_are_the_same(services: Services) -> None:
    passwords = services.passwords
    assert isinstance(passwords, Counting)
    ada = members.member_id(ADA)
    cases = [
        ("nobody@example.com", PASSWORD),
        (ADA, "wrong password here"),
        (BO, PASSWORD),
        ("", ""),
        ("x" * 9999, "y"),
    ]
    members.change(services.store, members.member_id(BO), {"state": "disabled"}, "root", NOON)
    members.add(services.store, passwords, {"email": "cy@example.com", "roles": ["admin"]}, "root", NOON)
    cases.append(("cy@example.com", PASSWORD))  # has no password
    seen, checks = set(), []
    for email, password in cases:
        passwords.checked.clear()
        answer = sign_in(browser(services), email, password)
        checks.append([hash[:31] for hash in passwords.checked])
        seen.add((answer.status_code, answer.text.replace(email, "EMAIL") if email else answer.text))
    assert checks == [[HASHED[:31]]] * len(cases)  # one hash of the same cost for each
    assert {status for status, _ in seen} == {401}
    assert len({text.replace('value="EMAIL"', 'value=""').count("do not belong together") for _, text in seen}) == 1
    assert members.read(services.store, ada).signed_in_at == ""


def test_the_ninth_try_at_an_account_waits_whether_it_exists_or_not(services: Services) -> None:
    for email in (ADA, "nobody@example.com"):
        for n in range(8):
            assert sign_in(browser(services, f"198.51.100.{n}"), email, "wrong").status_code == 401
        answer = sign_in(browser(services, "192.0.2.1"), email)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "900")
        assert "Try again in 15 minutes" in answer.text
    services.clock.set(NOON + timedelta(minutes=15))  # type: ignore[attr-defined]
    assert sign_in(browser(services)).status_code == 303


def test_an_address_that_tries_many_accounts_waits_and_others_do_not(services: Services) -> None:
    for n in range(30):
        sign_in(browser(services), f"{n}@example.com", "wrong")
    assert sign_in(browser(services)).status_code == 429
    assert sign_in(browser(services, "198.51.100.7")).status_code == 303


def test_guesses_at_the_admin_token_are_counted_by_address(services: Services) -> None:
    for _ in range(30):
        assert browser(services).post("/sign-in", data={"token": "guess"}).status_code == 401
    assert browser(services).post("/sign-in", data={"token": ADMIN_TOKEN}).status_code == 429
    elsewhere = browser(services, "198.51.100.7")
    assert elsewhere.post("/sign-in", data={"token": ADMIN_TOKEN}).status_code == 303


@pytest.mark.parametrize(
    ("proxies", "forwarded", "same"),
    [
        (0, ["1.1.1.1", "2.2.2.2"], True),  # anybody can write the header
        (1, ["1.1.1.1", "2.2.2.2"], False),
        (1, ["9.9.9.9, 1.1.1.1", "8.8.8.8, 1.1.1.1"], True),  # what stands before our own proxy's word is hearsay
        (2, ["9.9.9.9, 1.1.1.1, 7.7.7.7", "8.8.8.8, 1.1.1.1, 7.7.7.7"], True),
        (1, ["2001:db8:1:2::1", "2001:db8:1:2::2"], True),  # one network
    ],
)
def test_an_address_is_what_our_own_proxies_say(proxies: int, forwarded: list[str], same: bool) -> None:
    services = services_in_memory(environment="production", proxies=proxies)
    for text in forwarded:
        browser(services).post("/sign-in", data={"token": "x"}, headers={"X-Forwarded-For": text})
    kept = services.store.find(SYSTEM, "attempt", order="until").items
    assert (len(kept) == 1) is same


def test_no_password_or_token_is_in_the_store_or_the_answer(services: Services) -> None:
    client = browser(services)
    answer = sign_in(client, ADA, "a wrong pass phrase")
    assert "a wrong pass phrase" not in answer.text
    signed = signed_in(services)
    signed.post("/settings/members", data={"email": "cy@example.com", "roles": "viewer", "password": OTHER})
    signed.post("/settings/members", data={"email": "no address", "roles": "viewer", "password": OTHER})
    every = [one.body for kind in ("member", "session", "attempt", "audit", "api_token")
             for one in services.store.find(SYSTEM, kind, limit=100).items]  # fmt: skip
    assert PASSWORD not in str(every)
    assert OTHER not in str(every)


# ---- sessions -------------------------------------------------------------------------------------------------------
def cookie(client: FlaskClient) -> str:
    found = client.get_cookie("signalbox")
    assert found is not None
    return str(found.value)


def copied(services: Services, value: str) -> FlaskClient:
    client = browser(services)
    client.set_cookie("signalbox", value, secure=True)
    return client


def test_signing_in_begins_a_session_that_nobody_can_have_put_there(services: Services) -> None:
    client = signed_in(services, BO)
    planted = cookie(client)
    with client.session_transaction(base_url="https://localhost") as kept:
        kept["planted"] = "by whoever had the browser before"
    sign_in(client, ADA)
    assert cookie(client) != planted
    with client.session_transaction(base_url="https://localhost") as kept:
        assert set(kept) == {"sid", "_permanent"}
    assert BO in copied(services, planted).get("/account").text  # the old one is Bo's, and never became Ada's


def test_signing_out_ends_a_copied_cookie(services: Services) -> None:
    client = signed_in(services)
    copy = copied(services, cookie(client))
    assert is_in(copy)
    client.post("/sign-out")
    assert not is_in(copy)
    assert not is_in(client)


def test_a_session_ends_when_it_is_not_used_and_after_half_a_day(services: Services) -> None:
    client, clock = signed_in(services), services.clock
    clock.set(NOON + timedelta(hours=1, minutes=59))  # type: ignore[attr-defined]
    assert is_in(client)
    clock.set(NOON + timedelta(hours=3, minutes=58))  # type: ignore[attr-defined]
    assert is_in(client)
    clock.set(NOON + timedelta(hours=5, minutes=59))  # type: ignore[attr-defined]
    assert not is_in(client)
    client = signed_in(services)
    for hour in range(12):
        clock.set(NOON + timedelta(hours=5, minutes=59) + timedelta(hours=hour))  # type: ignore[attr-defined]
        assert is_in(client)
    clock.set(NOON + timedelta(hours=17, minutes=59))  # type: ignore[attr-defined]
    assert not is_in(client)


def test_a_forged_or_cut_cookie_is_a_strangers(services: Services) -> None:
    value = cookie(signed_in(services))
    for bad in (value[:-2], "x" + value, "", "e30.x.y"):
        assert not is_in(copied(services, bad))


def test_other_roles_are_in_force_with_the_next_request(services: Services) -> None:
    bo, ada = signed_in(services, BO), signed_in(services)
    assert bo.get("/needs-you/release?id=x").status_code == 200
    page = f"/settings/members/{members.member_id(BO)}"
    sent = form(ada.get(page).text, page).sent(roles="viewer", reason="changed teams")
    assert ada.post(page, data=sent).status_code == 303
    assert bo.get("/needs-you/release?id=x").status_code == 403
    assert is_in(bo)
    assert (log(services)[0]["why"], log(services)[0]["actor"]) == ("changed teams", ADA)


def test_an_administrator_signs_a_member_out_everywhere(services: Services) -> None:
    first, second, ada = signed_in(services, BO), signed_in(services, BO), signed_in(services)
    ada.post(f"/settings/members/{members.member_id(BO)}/sessions")
    assert [is_in(first), is_in(second), is_in(ada)] == [False, False, True]


def test_a_disabled_member_is_out_at_once_and_stays_out(services: Services) -> None:
    bo, ada = signed_in(services, BO), signed_in(services)
    page = f"/settings/members/{members.member_id(BO)}"
    sent = form(ada.get(page).text, page).sent()
    del sent["active"]
    ada.post(page, data=sent)
    assert not is_in(bo)
    assert sign_in(browser(services), BO).status_code == 401


def test_a_new_admin_token_ends_the_sessions_of_the_one_before(services: Services) -> None:
    client = browser(services)
    client.post("/sign-in", data={"token": ADMIN_TOKEN})
    assert is_in(client)
    rotated = replace(services, settings=replace(services.settings, admin_token="another" * 4))
    assert not is_in(copied(rotated, cookie(client)))


# ---- my account -----------------------------------------------------------------------------------------------------
def change(client: FlaskClient, current: str, new: str) -> Any:
    return client.post("/account/password", data={"current": current, "password": new})


def test_a_new_password_of_ones_own_takes_the_old_one_and_ends_the_other_sessions(services: Services) -> None:
    here, there = signed_in(services, BO), signed_in(services, BO)
    assert change(here, "a wrong one entirely", OTHER).status_code == 422
    assert change(here, PASSWORD, "short").status_code == 422
    assert is_in(there)
    assert change(here, PASSWORD, OTHER).status_code == 303
    assert [is_in(here), is_in(there)] == [True, False]
    assert sign_in(browser(services), BO).status_code == 401
    assert sign_in(browser(services), BO, OTHER).status_code == 303


def test_guesses_at_the_current_password_are_counted(services: Services) -> None:
    client = signed_in(services, BO)
    for _ in range(8):
        assert change(client, "a wrong one entirely", OTHER).status_code == 422
    assert change(client, PASSWORD, OTHER).status_code == 429


def test_ones_other_sessions_end_by_ones_own_press(services: Services) -> None:
    here, there = signed_in(services, BO), signed_in(services, BO)
    assert "End the others" in here.get("/account").text
    here.post("/account/sessions")
    assert [is_in(here), is_in(there)] == [True, False]


def test_the_page_says_what_one_may_do(services: Services) -> None:
    page = signed_in(services, BO).get("/account").text
    assert "act on runs and dead letters" in page
    assert "look after connections" not in page


# ---- members and tokens on pages ------------------------------------------------------------------------------------
def test_a_member_is_added_on_the_page_and_every_problem_stands_beside_its_field(services: Services) -> None:
    ada = signed_in(services)
    wrong = ada.post("/settings/members", data={"email": "no address", "password": "short"})
    assert wrong.status_code == 422
    assert wrong.text.count('class="error"') == 3
    made = ada.post("/settings/members", data={"email": "cy@example.com", "roles": ["viewer", "author"]})
    assert made.status_code == 303
    assert "cy@example.com" in ada.get("/settings/members").text
    again = ada.post("/settings/members", data={"email": "CY@example.com", "roles": "viewer"})
    assert again.status_code == 409
    assert "is a member already" in again.text


def test_a_token_is_shown_once_and_opens_what_it_was_made_for(services: Services) -> None:
    ada = signed_in(services)
    made = ada.post("/settings/tokens", data={"name": "etl", "rights": "author", "days": "7"}).text
    text = made.split('value="sbx_')[1].split('"')[0]
    bearer = {"Authorization": f"Bearer sbx_{text}"}
    stranger = browser(services)
    assert stranger.get("/api/v1/rules", headers=bearer).status_code == 200
    assert stranger.get("/api/v1/whoami", headers=bearer).json == {
        "actor": "token etl", "roles": [], "rights": ["read", "author"],
    }  # fmt: skip
    assert stranger.get("/api/v1/members", headers=bearer).status_code == 403
    page = ada.get("/settings/tokens").text
    assert "etl" in page
    assert text not in page
    (token,) = api_tokens.every(services.store)
    asked = ada.get(f"/settings/tokens/{token.id}/revoke").text
    assert form(asked, f"/settings/tokens/{token.id}/revoke").method == "post"
    ada.post(f"/settings/tokens/{token.id}/revoke", data={"reason": "the laptop was lost"})
    assert stranger.get("/api/v1/rules", headers=bearer).status_code == 401
    assert (log(services)[0]["verb"], log(services)[0]["why"]) == ("revoke token", "the laptop was lost")


def test_a_token_acts_in_its_own_name(services: Services) -> None:
    _, text = api_tokens.make(services.store, {"name": "ops", "rights": ["operate"]}, ADA, NOON)
    body = {"what": "all", "stopped": True, "note": "incident"}
    answer = browser(services).post("/api/v1/switches", json=body, headers={"Authorization": f"bearer {text}"})
    assert answer.status_code == 200, answer.text
    (entry,) = services.store.find("default/test", "audit", order="-at", limit=1).items
    assert entry.body["actor"] == "token ops"


# ---- what pages offer -----------------------------------------------------------------------------------------------
class Offers(HTMLParser):
    """Forms with a button that can be pressed, and links, as (method, address)."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, str]] = []
        self.shut = 0
        self.form = ("get", "")

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag == "a" and given.get("href", "").startswith("/"):
            self.found.append(("get", given["href"]))
        elif tag == "form":
            self.form = (given.get("method", "get"), given.get("action", ""))
        elif tag == "fieldset":
            self.shut += "disabled" in given or bool(self.shut)
        elif tag == "button" and not self.shut and "disabled" not in given:
            self.found.append((self.form[0], given.get("formaction") or self.form[1]))

    def handle_endtag(self, tag: str) -> None:
        if tag == "fieldset" and self.shut:
            self.shut -= 1


def offers(text: str) -> list[tuple[str, str]]:
    reader = Offers()
    reader.feed(text)
    return reader.found


LOOKED_AT = (
    "/", "/rules", "/events", "/runs", "/customers", "/traces", "/deliveries", "/needs-you", "/settings", "/account",
    "/settings/audit", "/settings/account", "/settings/no-email", "/settings/connections/new", "/settings/lists/new",
    "/settings/lists/role-finance", "/settings/routes/new", "/settings/scores/new", "/settings/subjects/new",
    "/dead-letters", "/crm-inbox", "/backtests", "/lint", "/settings/import", "/customers/cus_1", "/settings/members",
    "/rules/new/start", "/rules/new", "/settings/tokens",
)  # fmt: skip


@pytest.mark.parametrize(("role", "read_only"), [*((role, False) for role in ROLES), ("admin", True)])
def test_no_page_offers_what_would_be_refused(role: str, read_only: bool) -> None:
    s = services_in_memory(environment="production", read_only=read_only)
    member = members.add(s.store, s.passwords, {"email": ADA, "roles": [role]}, "root", NOON)
    secret = sessions.begin(s.store, member, "password", NOON)
    reader, gate = create_app(s), create_app(s)
    gate.before_request(lambda: Response(status=299) if request.endpoint else None)
    client, asker = (flask.test_client() for flask in (reader, gate))
    for one in (client, asker):
        with one.session_transaction(base_url="https://localhost") as kept:
            kept["sid"] = secret
    offered = {}
    for address in LOOKED_AT:
        answer = client.get(address, base_url="https://localhost")
        if answer.status_code == 200:
            offered |= {(method, to or address): address for method, to in offers(answer.text)}
    refused = []
    for (method, to), page in offered.items():
        headers = {"Accept": "application/json"}  # refusals are made quicker without a page
        if asker.open(to, method=method.upper(), base_url="https://localhost", headers=headers).status_code == 403:
            refused.append((page, method, to))
    open_buttons = sum(method == "post" for method, _ in offered)
    assert refused == []
    assert open_buttons > (0 if role == "viewer" or read_only else 1)


def test_what_is_shut_says_which_role_it_takes(services: Services) -> None:
    page = signed_in(services, BO).get("/settings/connections/new").text
    assert "<fieldset disabled>" in page
    assert "This takes the role admin." in page
    assert "/settings/tokens" not in signed_in(services, BO).get("/settings").text


def test_whoever_may_do_everything_gets_the_page_as_it_is(services: Services) -> None:
    assert "refused" not in signed_in(services).get("/settings").text


# ---- read-only ------------------------------------------------------------------------------------------------------
def test_read_only_is_said_on_every_page_and_people_still_come_in(services: Services) -> None:
    calm = replace(services, settings=replace(services.settings, read_only=True))
    client = signed_in(calm)
    assert "Read-only: nothing can be changed" in client.get("/rules").text
    answer = client.post("/settings/members", data={"email": "cy@example.com", "roles": "viewer"})
    assert answer.status_code == 403
    assert "Signalbox is read-only just now" in answer.text
    assert members.by_email(services.store, "cy@example.com") is None
    assert client.post("/sign-out").status_code == 303


def test_read_only_what_goes_out_can_be_stopped_but_not_let_go(services: Services) -> None:
    calm = replace(services, settings=replace(services.settings, read_only=True))
    client, why = signed_in(calm), {"what": "all", "reason": "incident"}
    assert client.post("/settings/switch", data={**why, "stop": "1"}).status_code == 303
    assert client.post("/settings/switch", data={**why, "stop": "0"}).status_code == 403
    bearer = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    for stopped, status in ((True, 200), (False, 403)):
        body = {"what": "all", "stopped": stopped}
        assert client.post("/api/v1/switches", json=body, headers=bearer).status_code == status


# ---- approvals in runs ----------------------------------------------------------------------------------------------
def test_who_may_answer_for_a_role_is_the_administrators_to_say(services: Services) -> None:
    """A list `role-...` makes people approvers: an author cannot put oneself on it, by whatever name it is sent."""
    members.change(services.store, members.member_id(BO), {"roles": ["author", "operator"]}, "root", NOON)
    bo, ada = signed_in(services, BO), signed_in(services)
    given = {"name": "role-finance", "members": BO}
    assert bo.post("/settings/lists/new", data=given).status_code == 403
    assert bo.post("/settings/lists/role-finance", data=given).status_code == 403
    assert services.store.get("default/test", "list", "role-finance") is None
    assert ada.post("/settings/lists/new", data={**given, "members": ADA}).status_code in (202, 303)
    excluded = bo.post(f"/customers/{BO}/exclude", data={"list": "role-finance", "reason": "x"})
    assert excluded.status_code in (403, 409)
    kept = services.store.get("default/test", "list", "role-finance")
    assert kept is None or BO not in kept.body["members"]
