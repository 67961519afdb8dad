"""An issuer of OpenID Connect in this process: real keys, real HTTP on loopback, and every way to misbehave.

`person` is who sits at its sign-in page. What it hands out is remembered, so that a test sees what was asked of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from tests.builders import NOON

CLIENT, SECRET = "signalbox-client", "a secret of the client"


def rsa_key(id: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": id, "use": "sig", "alg": "RS256"})


def ec_key(id: str) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": id, "use": "sig", "alg": "ES256"})


def public(*keys: RSAKey | ECKey) -> dict[str, Any]:
    return dict(KeySet(list(keys)).as_dict(private=False))


@dataclass
class Issuer:
    """claims: put in place of the right ones (None leaves one out). signs_with: another key. forged: a whole token.
    away: answers 500. error: what the token endpoint refuses with."""

    address: str = ""
    key: RSAKey = field(default_factory=lambda: rsa_key("first"))
    person: dict[str, Any] = field(
        default_factory=lambda: {"sub": "1234", "email": "ada@example.com", "email_verified": True, "name": "Ada"}
    )
    now: datetime = NOON
    claims: dict[str, Any] = field(default_factory=dict)
    signs_with: Any = None
    header: dict[str, Any] = field(default_factory=dict)
    forged: str = ""
    away: bool = False
    error: str = ""
    configuration: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def sign_in(self, url: str) -> str:
        """What the person's browser does at the sign-in page; the address that it is sent back to."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert url.startswith(f"{self.address}/authorize?")
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
        assert "openid" in asked["scope"].split()
        assert asked["code_challenge_method"] == "S256"
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, asked: dict[str, str]) -> str:
        stamp = int(self.now.timestamp())
        claims = {
            "iss": self.address,
            "aud": CLIENT,
            "iat": stamp,
            "exp": stamp + 3600,
            "nonce": asked["nonce"],
            **self.person,
            **self.claims,
        }
        kept = {name: value for name, value in claims.items() if value is not None}
        signer = self.signs_with or self.key
        return jwt.encode({"alg": "RS256", "kid": "first", **self.header}, kept, signer)

    def answer(self, path: str, body: bytes, authorization: str) -> tuple[int, dict[str, Any]]:
        self.asked.append(path)
        if self.away:
            return 500, {}
        if path == "/.well-known/openid-configuration":
            return 200, self._configuration()
        if path == "/keys":
            return 200, public(self.key)
        return self._exchange({name: values[0] for name, values in parse_qs(body.decode()).items()}, authorization)

    def _configuration(self) -> dict[str, Any]:
        return {
            "issuer": self.address,
            "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token",
            "jwks_uri": f"{self.address}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            **self.configuration,
        }

    def _exchange(self, given: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        expected = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        asked = self.codes.pop(given.get("code", ""), None)  # a code is good once
        digest = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if self.error or authorization != f"Basic {expected}" or asked is None:
            return 400, {"error": self.error or "invalid_grant"}
        if asked["code_challenge"] != challenge or asked["redirect_uri"] != given.get("redirect_uri"):
            return 400, {"error": "invalid_grant"}
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": self.forged or self.token(asked)}


@contextmanager
def issuing() -> Iterator[Issuer]:
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/authorize?"):  # the person signs in at once
                self.send_response(303)
                self.send_header("Location", issuer.sign_in(issuer.address + self.path))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._say(b"")

        def do_POST(self) -> None:
            self._say(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

        def _say(self, body: bytes) -> None:
            status, said = issuer.answer(self.path, body, self.headers.get("Authorization", ""))
            text = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: Any) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield issuer
    server.shutdown()
    server.server_close()
    thread.join()
