"""Sign-in at an issuer of OpenID Connect and by Identity-Aware Proxy: what holds lets a member in, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient
from joserfc import jwt

from app.access import members
from app.adapters.iap import ISSUER as IAP
from app.adapters.iap import IdentityAwareProxy
from app.adapters.openid import OpenIdIssuer, checked
from app.adapters.signed_tokens import FRESH, SOONEST
from app.services import Services
from app.web import create_app
from app.web.gate.identity import ASSERTION
from rules.kinds import SYSTEM
from rules.ports import Unavailable
from tests.builders import NOON, services_in_memory
from tests.fakes.issuer import CLIENT, SECRET, Issuer, ec_key, issuing, public, rsa_key

AUDIENCE = "/projects/1/global/backendServices/2"
BOX = "https://box.example"
FIRST = rsa_key("first")


class Stopwatch:
    """Seconds that a test sets."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(scope="module")
def server() -> Iterator[Issuer]:
    with issuing() as found:
        yield found


@pytest.fixture
def issuer(server: Issuer) -> Issuer:
    """Well-behaved again."""
    fresh = Issuer(address=server.address, key=FIRST)
    server.__dict__.update(fresh.__dict__)
    return server


@pytest.fixture
def watch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def services(issuer: Issuer, watch: Stopwatch) -> Services:
    s = services_in_memory(environment="production", oidc_issuer=issuer.address, public_url=BOX)
    members.add(s.store, s.passwords, {"email": "ada@example.com", "roles": ["operator"]}, "root", NOON)
    return replace(s, openid=OpenIdIssuer(issuer.address, CLIENT, SECRET, watch))


@pytest.fixture
def client(services: Services) -> FlaskClient:
    return browser(services)


def browser(services: Services) -> FlaskClient:
    client = create_app(services).test_client()
    client.environ_base["wsgi.url_scheme"] = "https"
    return client


def go(client: FlaskClient, target: str = "/runs") -> str:
    """Off to the issuer."""
    answer = client.get("/sign-in/openid", query_string={"next": target})
    assert answer.status_code == 303
    return str(answer.location)


def back(client: FlaskClient, address: str) -> Any:
    parts = urlsplit(address)
    return client.get(f"{parts.path}?{parts.query}")


def refused(client: FlaskClient, issuer: Issuer, status: int = 403) -> str:
    """A whole sign-in that ends outside; what was said."""
    answer = back(client, issuer.sign_in(go(client)))
    assert answer.status_code == status, answer.location
    assert client.get("/runs").status_code == 303
    return str(answer.text)


# ---- what holds -----------------------------------------------------------------------------------------------------
def test_a_member_signs_in_at_the_issuer_and_goes_on_where_they_wanted_to(client: FlaskClient, issuer: Issuer) -> None:
    assert f"Sign in with {urlsplit(issuer.address).hostname}" in client.get("/sign-in").text
    url = go(client, "/runs?state=done")
    asked = parse_qs(urlsplit(url).query)
    assert asked["redirect_uri"] == [f"{BOX}/sign-in/openid/back"]
    answer = back(client, issuer.sign_in(url))
    assert answer.location == "/runs?state=done"
    page = client.get("/account").text
    assert "ada@example.com" in page
    assert "OpenID Connect" in page


def test_the_browser_and_the_store_keep_nothing_of_the_issuers_tokens(services: Services, issuer: Issuer) -> None:
    client = browser(services)
    back(client, issuer.sign_in(go(client)))
    with client.session_transaction(base_url="https://localhost") as cookie:
        assert set(cookie) == {"sid", "_permanent"}
    kept = str([one.body for kind in ("session", "member", "audit") for one in services.store.find(SYSTEM, kind).items])
    assert "eyJ" not in kept


def test_state_nonce_and_verifier_are_others_each_time(client: FlaskClient) -> None:
    one, other = (parse_qs(urlsplit(go(client)).query) for _ in "12")
    for name in ("state", "nonce", "code_challenge"):
        assert one[name] != other[name]
        assert len(one[name][0]) >= 32


def test_a_second_sign_in_is_by_the_subject_though_the_address_changed(client: FlaskClient, issuer: Issuer) -> None:
    back(client, issuer.sign_in(go(client)))
    client.post("/sign-out")
    issuer.person = {**issuer.person, "email": "ada@married.example"}
    assert back(client, issuer.sign_in(go(client))).location == "/runs"
    assert "ada@example.com" in client.get("/account").text


def test_the_configuration_and_the_keys_are_asked_for_once_an_hour(
    client: FlaskClient, issuer: Issuer, watch: Stopwatch
) -> None:
    for _ in range(3):
        back(client, issuer.sign_in(go(client)))
    assert issuer.asked.count("/.well-known/openid-configuration") == 1
    assert issuer.asked.count("/keys") == 1
    watch.seconds += FRESH + 1
    back(client, issuer.sign_in(go(client)))
    assert issuer.asked.count("/keys") == 2


def test_a_new_key_of_the_issuer_is_fetched_but_not_for_every_stranger(
    client: FlaskClient, issuer: Issuer, watch: Stopwatch
) -> None:
    back(client, issuer.sign_in(go(client)))
    client.post("/sign-out")
    issuer.key, issuer.header = rsa_key("second"), {"kid": "second"}
    refused(client, issuer)  # it has only just been asked
    assert issuer.asked.count("/keys") == 1
    watch.seconds += SOONEST + 1
    assert back(client, issuer.sign_in(go(client))).location == "/runs"


def test_a_client_without_a_secret_relies_on_the_verifier(services: Services, issuer: Issuer) -> None:
    client = browser(replace(services, openid=OpenIdIssuer(issuer.address, CLIENT, "")))
    assert "refused the sign-in" in refused(client, issuer)  # this issuer wants one: it was asked without


# ---- what does not --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"iss": "https://evil.example"}, "iss"),
        ({"aud": "another-client"}, "aud"),
        ({"aud": [CLIENT, "another"], "azp": "another"}, "another client"),
        ({"exp": int(NOON.timestamp()) - 31}, "claim exp"),
        ({"exp": None}, "exp"),
        ({"iat": int(NOON.timestamp()) + 31}, "iat"),
        ({"iat": None}, "iat"),
        ({"nonce": "another"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"sub": None}, "sub"),
        ({"email_verified": False}, "not verified"),
        ({"email_verified": None}, "not verified"),
        ({"email": "stranger@example.com"}, "stranger@example.com is no member here"),
        ({"email": None}, "not verified"),
    ],
)
def test_a_token_that_says_something_else_lets_nobody_in(
    client: FlaskClient, issuer: Issuer, claims: dict[str, Any], said: str
) -> None:
    issuer.claims = claims
    assert said in refused(client, issuer)


def test_a_token_of_another_key_under_the_right_name_lets_nobody_in(client: FlaskClient, issuer: Issuer) -> None:
    issuer.signs_with = rsa_key("first")
    assert "does not hold" in refused(client, issuer)


def test_a_token_that_nobody_or_a_shared_secret_signed_lets_nobody_in(client: FlaskClient, issuer: Issuer) -> None:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    url = go(client)
    nonce = parse_qs(urlsplit(url).query)["nonce"][0]
    stamp = int(NOON.timestamp())
    claims = {"iss": issuer.address, "aud": CLIENT, "sub": "1234", "iat": stamp, "exp": stamp + 60, "nonce": nonce}
    claims |= {"email": "ada@example.com", "email_verified": True}
    public_pem = issuer.key.as_pem(private=False)
    mac = hmac.new(public_pem, f"{part({'alg': 'HS256', 'kid': 'first'})}.{part(claims)}".encode(), hashlib.sha256)
    signed = base64.urlsafe_b64encode(mac.digest()).decode().rstrip("=")
    for forged in (
        f"{part({'alg': 'none'})}.{part(claims)}.",
        f"{part({'alg': 'HS256', 'kid': 'first'})}.{part(claims)}.{signed}",
        "not.a.token",
        "x",
    ):
        issuer.forged = forged
        assert back(client, issuer.sign_in(url)).status_code == 403
        url = go(client)
    assert client.get("/runs").status_code == 303


def test_coming_back_with_another_state_or_twice_or_late_is_refused(services: Services, issuer: Issuer) -> None:
    client = browser(services)
    address = issuer.sign_in(go(client))
    assert back(client, address.replace("state=", "state=x")).status_code == 400
    assert back(client, address).status_code == 400  # good once, also for a wrong one
    address = issuer.sign_in(go(client))
    services.clock.set(NOON + timedelta(minutes=10))  # type: ignore[attr-defined]
    assert back(client, address).status_code == 400


def test_what_another_browser_began_does_not_sign_this_one_in(services: Services, issuer: Issuer) -> None:
    address = issuer.sign_in(go(browser(services)))
    victim = browser(services)
    assert back(victim, address).status_code == 400
    go(victim)
    assert back(victim, address).status_code == 400
    assert victim.get("/runs").status_code == 303


def test_a_stolen_code_is_worth_nothing_without_the_verifier(services: Services, issuer: Issuer) -> None:
    thief = browser(services)
    stolen = parse_qs(urlsplit(issuer.sign_in(go(browser(services)))).query)["code"][0]
    own = urlsplit(issuer.sign_in(go(thief)))
    state = parse_qs(own.query)["state"][0]
    assert thief.get(f"{own.path}?code={stolen}&state={state}").status_code == 403


def test_who_says_no_at_the_issuer_stays_outside(client: FlaskClient) -> None:
    state = parse_qs(urlsplit(go(client)).query)["state"][0]
    answer = client.get(f"/sign-in/openid/back?error=access_denied&state={state}")
    assert answer.status_code == 401
    assert "did not sign you in" in answer.text


def test_an_issuer_that_is_away_is_said_to_be_and_the_others_ways_stay(client: FlaskClient, issuer: Issuer) -> None:
    issuer.away = True
    answer = client.get("/sign-in/openid")
    assert answer.status_code == 503
    assert "does not answer just now" in answer.text
    issuer.away = False
    url = go(client)
    issuer.away = True
    assert back(client, issuer.sign_in(url)).status_code in (403, 503)


@pytest.mark.parametrize(
    "configuration",
    [{"issuer": "https://evil.example"}, {"token_endpoint": ""}, {"jwks_uri": ""}, {"authorization_endpoint": None}],
)
def test_a_configuration_that_is_not_the_issuers_is_not_used(
    client: FlaskClient, issuer: Issuer, configuration: dict[str, Any]
) -> None:
    issuer.configuration = configuration
    assert client.get("/sign-in/openid").status_code == 503


def test_an_issuer_over_https_is_not_left_for_http(issuer: Issuer) -> None:
    """Its configuration names plain addresses; the issuer's own is https by what was set."""
    names = {**issuer._configuration(), "issuer": "https://issuer.example"}
    with pytest.raises(Unavailable, match="no safe"):
        checked(names, "https://issuer.example")


def test_without_an_issuer_there_is_no_such_way() -> None:
    client = browser(services_in_memory(environment="production"))
    assert client.get("/sign-in/openid").status_code == 404
    assert "/sign-in/openid" not in client.get("/sign-in").text


# ---- Identity-Aware Proxy -------------------------------------------------------------------------------------------
class Proxy:
    """Google's proxy, with keys of our own."""

    def __init__(self) -> None:
        self.key = ec_key("iap-1")
        self.fetched = 0
        self.away = False

    def keys(self) -> dict[str, Any]:
        self.fetched += 1
        if self.away:
            raise Unavailable("no keys")
        return public(self.key)

    def word(self, key: Any = None, alg: str = "ES256", **claims: Any) -> str:
        stamp = int(NOON.timestamp())
        body = {"iss": IAP, "aud": AUDIENCE, "iat": stamp, "exp": stamp + 600, "email": "ada@example.com",
                "sub": "accounts.google.com:1234", **claims}  # fmt: skip
        kept = {name: value for name, value in body.items() if value is not None}
        return jwt.encode({"alg": alg, "kid": "iap-1"}, kept, key or self.key)


@pytest.fixture
def proxy() -> Proxy:
    return Proxy()


@pytest.fixture
def behind(proxy: Proxy) -> Services:
    s = services_in_memory(environment="production", iap_audience=AUDIENCE)
    members.add(s.store, s.passwords, {"email": "ada@example.com", "roles": ["operator"]}, "root", NOON)
    return replace(s, front=IdentityAwareProxy(AUDIENCE, proxy.keys))


def test_the_proxys_word_lets_a_member_in_without_a_sign_in(behind: Services, proxy: Proxy) -> None:
    client = browser(behind)
    for _ in range(3):
        page = client.get("/account", headers={ASSERTION: proxy.word()})
        assert "ada@example.com" in page.text
    assert proxy.fetched == 1
    assert client.get_cookie("signalbox") is None
    verbs = [one.body["verb"] for one in behind.store.find(SYSTEM, "audit", order="at").items]
    assert sorted(verbs) == ["add member", "sign in"]  # noted once a day


def test_roles_and_disabling_are_in_force_with_the_next_request(behind: Services, proxy: Proxy) -> None:
    client, word = browser(behind), proxy.word()
    assert client.get("/needs-you/release?id=x", headers={ASSERTION: word}).status_code == 200
    ada = members.member_id("ada@example.com")
    members.change(behind.store, ada, {"roles": ["viewer"]}, "root", NOON)
    assert client.get("/needs-you/release?id=x", headers={ASSERTION: word}).status_code == 403
    members.change(behind.store, ada, {"state": "disabled"}, "root", NOON)
    answer = client.get("/runs", headers={ASSERTION: word})
    assert answer.status_code == 403
    assert "is no member here" in answer.text


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://accounts.google.com"},
        {"aud": "/projects/1/global/backendServices/3"},
        {"aud": None},
        {"exp": int(NOON.timestamp()) - 31},
        {"exp": None},
        {"iat": int(NOON.timestamp()) + 31},
        {"email": "stranger@example.com"},
        {"email": "securetoken.google.com/p:ada@example.com"},
        {"email": None},
        {"sub": None},
    ],
)
def test_a_word_that_does_not_hold_is_refused(behind: Services, proxy: Proxy, claims: dict[str, Any]) -> None:
    assert browser(behind).get("/runs", headers={ASSERTION: proxy.word(**claims)}).status_code == 403


def test_a_word_of_another_key_or_algorithm_is_refused(behind: Services, proxy: Proxy) -> None:
    client = browser(behind)
    assert client.get("/runs", headers={ASSERTION: proxy.word(ec_key("iap-1"))}).status_code == 403
    assert client.get("/runs", headers={ASSERTION: proxy.word(rsa_key("iap-1"), "RS256")}).status_code == 403
    assert client.get("/runs", headers={ASSERTION: "x.y.z"}).status_code == 403


def test_a_remembered_word_ends_with_its_time(behind: Services, proxy: Proxy) -> None:
    client, word = browser(behind), proxy.word()
    assert client.get("/runs", headers={ASSERTION: word}).status_code == 200
    behind.clock.set(NOON + timedelta(minutes=11))  # type: ignore[attr-defined]
    assert client.get("/runs", headers={ASSERTION: word}).status_code == 403


def test_the_header_is_nothing_where_no_proxy_is_set_up(proxy: Proxy) -> None:
    client = browser(services_in_memory(environment="production"))
    assert client.get("/runs", headers={ASSERTION: proxy.word()}).status_code == 303


def test_without_the_proxys_keys_nobody_is_let_in_by_it(behind: Services, proxy: Proxy) -> None:
    proxy.away = True
    assert browser(behind).get("/runs", headers={ASSERTION: proxy.word()}).status_code == 503


def test_the_api_takes_no_proxys_word(behind: Services, proxy: Proxy) -> None:
    assert browser(behind).get("/api/v1/rules", headers={ASSERTION: proxy.word()}).status_code == 401


def test_a_hundred_pages_behind_the_proxy_check_one_signature(behind: Services, proxy: Proxy) -> None:
    client, word = browser(behind), proxy.word()
    client.get("/account", headers={ASSERTION: word})
    began = time.perf_counter()
    for _ in range(100):
        assert behind.front is not None
        behind.front.identity(word, NOON)
    assert time.perf_counter() - began < 0.5
