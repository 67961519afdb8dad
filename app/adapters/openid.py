"""Sign-in by OpenID Connect at any issuer: discovery, authorization code with PKCE, and the ID token checked.

OpenID Connect Core 1.0, section 3.1; RFC 7636. Of the issuer's answer only the ID token is read and nothing is kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from secrets import token_urlsafe
from typing import Any
from urllib.parse import urlsplit

from app.adapters import signed_tokens
from rules.ports import Begun, Identity, Refused, Unavailable

WELL_KNOWN = "/.well-known/openid-configuration"
ALGORITHMS = ("RS256", "ES256", "PS256")  # never `none`, and nothing that a shared secret signs
SCOPE = "openid email profile"
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class OpenIdIssuer:
    """issuer: its address, under which its configuration is found. elapsed: seconds."""

    def __init__(
        self, issuer: str, client_id: str, client_secret: str, elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = "Google" if issuer == "https://accounts.google.com" else urlsplit(issuer).hostname or issuer
        self._issuer = issuer
        self._client = client_id
        self._secret = client_secret
        self._elapsed = elapsed
        self._lock = threading.Lock()
        self._found: Mapping[str, Any] = {}
        self._at = float("-inf")
        self._keys = signed_tokens.Keys(lambda: signed_tokens.fetched(self._configuration()["jwks_uri"]), elapsed)

    def begin(self, callback: str) -> Begun:
        state, nonce, verifier = token_urlsafe(24), token_urlsafe(24), token_urlsafe(48)
        endpoint = self._configuration()["authorization_endpoint"]
        url, _ = self._session(callback).create_authorization_url(
            endpoint, state=state, nonce=nonce, code_verifier=verifier
        )
        return Begun(url, state, nonce, verifier)

    def finish(self, callback: str, code: str, begun: Begun, now: datetime) -> Identity:
        token = self._exchanged(callback, code, begun.verifier)
        issuer = self._configuration()["issuer"]
        found = signed_tokens.claims(token, self._keys, ALGORITHMS, issuer, self._client, now=now, nonce=begun.nonce)
        if found.get("azp", self._client) != self._client:
            raise Refused("The token was issued to another client.")
        verified = found.get("email_verified") in (True, "true")
        return Identity(
            issuer=issuer,
            subject=str(found["sub"]),
            email=str(found.get("email", "")).strip().lower() if verified else "",
            name=str(found.get("name", ""))[:80],
        )

    def _exchanged(self, callback: str, code: str, verifier: str) -> str:
        """The ID token for the code."""
        import requests
        from authlib.integrations.base_client import OAuthError  # type: ignore[import-untyped]

        try:
            answer = self._session(callback).fetch_token(
                self._configuration()["token_endpoint"],
                grant_type="authorization_code",
                code=code,
                code_verifier=verifier,
                timeout=signed_tokens.TIMEOUT,
                allow_redirects=False,
            )
        except OAuthError as error:
            raise Refused(f"{self.name} refused the sign-in: {str(error.error)[:60]}") from None
        except requests.RequestException as error:
            raise Unavailable(f"{self.name} does not answer: {type(error).__name__}") from error
        except (ValueError, TypeError, AttributeError):
            raise Refused(f"{self.name} answered what cannot be read.") from None
        if not isinstance(answer.get("id_token"), str):
            raise Refused(f"{self.name} sent no ID token.")
        return str(answer["id_token"])

    def _session(self, callback: str) -> Any:
        from authlib.integrations.requests_client import OAuth2Session  # type: ignore[import-untyped]

        return OAuth2Session(
            self._client,
            self._secret or None,
            scope=SCOPE,
            redirect_uri=callback,
            code_challenge_method="S256",
            token_endpoint_auth_method=self._authentication(),
        )

    def _authentication(self) -> str:
        if not self._secret:
            return "none"
        supported = self._configuration().get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return "client_secret_basic" if "client_secret_basic" in supported else "client_secret_post"

    def _configuration(self) -> Mapping[str, Any]:
        with self._lock:
            if self._elapsed() - self._at > signed_tokens.FRESH:
                self._found, self._at = self._discovered(), self._elapsed()
            return self._found

    def _discovered(self) -> Mapping[str, Any]:
        return checked(signed_tokens.fetched(self._issuer + WELL_KNOWN), self._issuer)


def checked(found: Mapping[str, Any], issuer: str) -> Mapping[str, Any]:
    """The configuration, when it is this issuer's and all in it is as safe as its address. Raises Unavailable."""
    if str(found.get("issuer", "")).rstrip("/") != issuer:
        raise Unavailable(f"the configuration at {issuer} is another issuer's")
    for name in ENDPOINTS:
        given = urlsplit(str(found.get(name) or ""))
        if not given.hostname or (issuer.startswith("https:") and given.scheme != "https"):
            raise Unavailable(f"the configuration at {issuer} names no safe {name}")
    return found
