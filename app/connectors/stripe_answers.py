"""Access to Stripe's API and what its answers mean: each error becomes an Outcome (the table is in `outcome_of`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import stripe

from app.numbers import whole
from rules.ports import Body, Outcome, Unconfigured

TIMEOUT = (4.0, 15.0)  # seconds to connect and to answer; an action makes up to three calls within a lease
STATE_CHANGED = ("resource_missing", "payment_intent_unexpected_state", "invoice_not_editable")
E_MAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
REPLAYED = "idempotent-replayed"


@dataclass
class StripeAccess:
    """Clients by connected account, made when first needed. No retries of their own: a command has its schedule."""

    api_key: str
    api_base: str
    _clients: dict[str | None, stripe.StripeClient] = field(default_factory=dict)

    def client(self, tenant: str) -> stripe.StripeClient:
        """The client for a tenant (`account/mode`). Raises Unconfigured without a key for its mode."""
        account, _, mode = tenant.partition("/")
        if not self.api_key:
            raise Unconfigured("There is no Stripe key: set STRIPE_API_KEY and start again.")
        if re.match(r"(sk|rk)_(test|live)_", self.api_key) and f"_{mode}_" not in self.api_key[:9]:
            raise Unconfigured(f"The Stripe key is not for {mode} mode, where this comes from; nothing is sent.")
        connected = account if account.startswith("acct_") else None
        if connected not in self._clients:
            self._clients[connected] = self._made(connected)
        return self._clients[connected]

    def _made(self, connected: str | None) -> stripe.StripeClient:
        stripe.enable_telemetry = False
        return stripe.StripeClient(
            self.api_key,
            stripe_account=connected,
            base_addresses={"api": self.api_base},
            max_network_retries=0,
            http_client=stripe.RequestsClient(timeout=TIMEOUT),
        )


# ---- what an error means --------------------------------------------------------------------------------------------
def outcome_of(error: stripe.StripeError, request: Body) -> Outcome:
    """
    no answer                                  retry, same key
    402                                        branch: the payment did not go through; a machine does not try again
    409 key in use, 424, 429 (also lock)       retry later, same key
    5xx                                        retry; a stored one that is replayed needs a new key
    401, 403                                   nothing can work: the connection is held until a person mends it
    400 idempotency_error                      dead: our key was used for something else
    400, 404                                   dead
    """
    code = code_of(error)
    kept: dict[str, Any] = {"request": request, "response": kept_response(error)}
    text = _text(error)
    status = error.http_status or 0
    if isinstance(error, stripe.APIConnectionError) or status == 0:
        return Outcome.retry("No answer from Stripe.", **kept)
    if isinstance(error, stripe.CardError):
        return Outcome("branch", f"Stripe: {text}", data=_declined(error), **kept)
    if status in (401, 403):
        return Outcome.retry(f"Stripe refused the key ({status}): {text}", pause_connection=True, **kept)
    if isinstance(error, stripe.IdempotencyError) and code != "idempotency_key_in_use":
        return Outcome.dead(f"Stripe knows this key for another request: {text}", **kept)
    if status >= 500:
        replayed = _header(error, REPLAYED) == "true"
        data = {"new_key": True} if replayed else {}
        return Outcome.retry(f"Stripe had an error ({status}).", data=data, **kept)
    if status in (409, 424, 429):
        return Outcome.retry(f"Stripe asks to wait ({code or status}).", after=_after(error), **kept)
    return Outcome.dead(f"Stripe: {text}", data={"code": code}, **kept)


def code_of(error: stripe.StripeError) -> str | None:
    """`error.error.code`: the SDK leaves `error.code` empty on 409, 429 and 5xx."""
    inner = error.error
    return getattr(inner, "code", None) or error.code if inner is not None else error.code


def state_changed(error: stripe.StripeError) -> bool:
    """The object is not in the state that was read: read it again before deciding."""
    return isinstance(error, stripe.InvalidRequestError) and code_of(error) in STATE_CHANGED


def _declined(error: stripe.CardError) -> dict[str, Any]:
    inner = error.error
    names = ("code", "decline_code", "advice_code")
    return {"result": "declined", **{name: getattr(inner, name, None) for name in names}}


def _text(error: stripe.StripeError) -> str:
    return E_MAIL.sub("[e-mail]", str(error.user_message or error)[:2000])[:300]


def _after(error: stripe.StripeError) -> timedelta | None:
    asked = whole(_header(error, "retry-after"))
    return None if asked is None else timedelta(seconds=min(asked, 3600))


def _header(error: stripe.StripeError, name: str) -> str | None:
    headers: Mapping[str, str] = error.headers or {}
    return next((value for key, value in headers.items() if key.lower() == name), None)


# ---- what is kept of a call -----------------------------------------------------------------------------------------
def kept_request(method: str, path: str, params: Body, key: str | None) -> dict[str, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    return {"method": method, "url": path, "headers": headers, "body": dict(params)}


def kept_response(answer: stripe.StripeError | stripe.StripeObject) -> dict[str, Any]:
    """Status, request id and the few fields that tell the state: the rest of an object may be personal."""
    if isinstance(answer, stripe.StripeError):
        error = {"code": code_of(answer), "message": _text(answer)}
        return {"status": answer.http_status, "request_id": answer.request_id, "body": error}
    last = answer.last_response
    found = answer.to_dict(for_json=True)
    names = ("id", "object", "status", "cancel_at_period_end", "pause_collection", "amount_remaining", "currency")
    body = {name: found[name] for name in names if name in found}
    if found.get("object") == "subscription":
        body["prices"] = [item["price"]["id"] for item in found["items"]["data"]]
    headers = {"Idempotent-Replayed": "true"} if last and last.headers.get("Idempotent-Replayed") == "true" else {}
    return {
        "status": last.code if last else 200,
        "request_id": last.request_id if last else None,
        "headers": headers,
        "body": body,
    }
