"""Tokens of others: which signatures count, how long anything holds, and that no other address is asked for them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from app.adapters import iap, openid, signed_tokens
from app.adapters.signed_tokens import FRESH, SKEW, SOONEST, Keys, claims
from rules.ports import Begun, Identity, Refused, Unavailable
from tests.builders import NOON

ISSUER, CLIENT = "https://issuer.example", "signalbox"
KEY = ECKey.generate_key("P-256", {"kid": "first", "use": "sig", "alg": "ES256"})
SECOND = timedelta(seconds=1)


def published(*keys: Any) -> dict[str, Any]:
    return dict(KeySet(list(keys)).as_dict())


def token(key: Any = KEY, alg: str = "ES256", **more: Any) -> str:
    said = {"iss": ISSUER, "aud": CLIENT, "sub": "1", "iat": int(NOON.timestamp()), **more}
    said = {"exp": said["iat"] + 600, **said} if said["iat"] is not None else said
    kept = {name: value for name, value in said.items() if value is not None}
    return jwt.encode({"alg": alg, "kid": key.kid}, kept, key, algorithms=[alg])


def read(text: str, after: timedelta = timedelta(0), keys: Keys | None = None) -> Any:
    known = keys or Keys(lambda: published(KEY))
    return claims(text, known, openid.ALGORITHMS, ISSUER, CLIENT, NOON + after)


def test_a_token_holds_until_its_end_and_as_long_as_clocks_may_differ() -> None:
    assert read(token(), timedelta(seconds=600 + SKEW - 1))["sub"] == "1"
    with pytest.raises(Refused, match="exp"):
        read(token(), timedelta(seconds=600 + SKEW + 1))


def test_clocks_differ_by_half_a_minute_at_most() -> None:
    with pytest.raises(Refused, match="exp"):
        read(token(), timedelta(seconds=660))
    with pytest.raises(Refused, match="iat"):
        read(token(iat=int(NOON.timestamp()) + 60, exp=int(NOON.timestamp()) + 600))


@pytest.mark.parametrize("name", ["exp", "iat", "sub", "iss", "aud"])
def test_a_token_that_leaves_something_out_does_not_hold(name: str) -> None:
    with pytest.raises(Refused, match=name):
        read(token(**({"exp": int(NOON.timestamp()) + 600} | {name: None})))


def test_a_shared_secret_signs_nothing_even_when_it_is_among_the_keys() -> None:
    shared = OctKey.generate_key(256, {"kid": "shared"})
    keys = Keys(lambda: published(shared))
    with pytest.raises(Refused):
        read(token(shared, "HS256"), keys=keys)


def test_keys_are_fetched_when_they_are_old_and_for_an_unknown_one_once_a_minute() -> None:
    now, fetched = [0.0], []

    def fetch() -> dict[str, Any]:
        fetched.append(now[0])
        return published(KEY)

    keys = Keys(fetch, lambda: now[0])
    for at, key in (
        (0.0, "first"),
        (SOONEST - 1, "unknown"),
        (SOONEST + 1, "unknown"),
        (SOONEST + 2, "unknown"),
        (SOONEST + FRESH, "first"),
        (SOONEST + FRESH + 2, "first"),
    ):
        now[0] = at
        keys.knowing(key)
    assert fetched == [0.0, SOONEST + 1, SOONEST + FRESH + 2]


def test_the_proxys_words_that_are_remembered_have_an_end() -> None:
    front = iap.IdentityAwareProxy("backend", lambda: published(KEY))
    for number in range(iap.MOST + 5):
        front._seen[str(number).encode()] = (Identity(iap.ISSUER, str(number), ""), 0)
    word = token(iss=iap.ISSUER, aud="backend", email="Ada@Example.com")
    assert front.identity(word, NOON).email == "ada@example.com"
    assert len(front._seen) == iap.MOST


@pytest.mark.parametrize(
    ("other", "alg"),
    [
        (ECKey.generate_key("P-384", {"kid": "other"}), "ES384"),
        (RSAKey.generate_key(2048, {"kid": "other"}), "RS256"),
    ],
)
def test_the_proxys_word_is_signed_the_one_way_it_signs(other: ECKey | RSAKey, alg: str) -> None:
    front = iap.IdentityAwareProxy("backend", lambda: published(other))
    with pytest.raises(Refused):
        front.identity(token(other, alg, iss=iap.ISSUER, aud="backend"), NOON)


def test_an_address_of_another_directory_is_none_of_ours() -> None:
    front = iap.IdentityAwareProxy("backend", lambda: published(KEY))
    word = token(iss=iap.ISSUER, aud="backend", email="accounts.google.com:ada@example.com")
    assert front.identity(word, NOON).email == ""


# ---- over HTTP ------------------------------------------------------------------------------------------------------
class Elsewhere:
    """An issuer that sends whoever asks somewhere else. asked: every path."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.address = ""


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    found = Elsewhere()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found.asked.append(self.path)
            status, body = {
                "/moved": (307, {}),
                "/part": (206, {"keys": []}),
                "/.well-known/openid-configuration": (200, configuration()),
            }.get(self.path, (200, {"id_token": "a.b.c", "access_token": "x", "token_type": "Bearer"}))
            text = json.dumps(body).encode()
            self.send_response(status)
            for name, value in (
                ("Location", "/there"),
                ("Content-Type", "application/json"),
                ("Content-Length", len(text)),
            ):
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET

        def log_message(self, *about: Any) -> None:
            """Nothing is printed."""

    def configuration() -> dict[str, Any]:
        at = found.address
        return {
            "issuer": at,
            "authorization_endpoint": f"{at}/in",
            "token_endpoint": f"{at}/moved",
            "jwks_uri": f"{at}/keys",
        }

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("path", ["/moved", "/part"])
def test_what_is_elsewhere_or_only_a_part_is_not_read(elsewhere: Elsewhere, path: str) -> None:
    with pytest.raises(Unavailable):
        signed_tokens.fetched(elsewhere.address + path)
    assert elsewhere.asked == [path]


def test_the_code_and_the_clients_secret_go_to_the_issuer_alone(elsewhere: Elsewhere) -> None:
    issuer = openid.OpenIdIssuer(elsewhere.address, CLIENT, "a secret of the client")
    with suppress(Refused, Unavailable):
        issuer.finish("http://localhost/back", "code", Begun("", "state", "nonce", "verifier" * 8), NOON)
    assert "/moved" in elsewhere.asked
    assert "/there" not in elsewhere.asked


def test_the_configuration_is_read_anew_after_an_hour(elsewhere: Elsewhere) -> None:
    now = [0.0]
    issuer = openid.OpenIdIssuer(elsewhere.address, CLIENT, "", lambda: now[0])
    for at in (0.0, FRESH - 1, FRESH + 1):
        now[0] = at
        assert "code_challenge_method=S256" in issuer.begin("http://localhost/back").url
    assert len(elsewhere.asked) == 2
