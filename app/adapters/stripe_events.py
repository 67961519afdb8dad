"""Stripe's list of events over its API, as the raw JSON that Stripe keeps: SDK objects cost 25 times more."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from rules.ports import Refused, Unavailable

if TYPE_CHECKING:
    import stripe


class StripeEvents:
    """See app.receive.history.Lister. base: STRIPE_API_BASE. Nothing is tried twice here: the job takes its
    step again."""

    def __init__(self, api_key: str, base: str) -> None:
        self._api_key = api_key
        self._base = base

    @cached_property
    def _client(self) -> stripe.StripeClient:
        import stripe

        stripe.enable_telemetry = False  # it would write to the home folder and report
        return stripe.StripeClient(self._api_key, base_addresses={"api": self._base}, max_network_retries=0)

    def page(self, since: int, until: int, after: str | None, undelivered: bool) -> tuple[list[dict[str, Any]], bool]:
        """Up to 100 events, newest first, and whether there are more."""
        params: dict[str, Any] = {"limit": 100, "created": {"gte": since, "lt": until}}
        if after:
            params["starting_after"] = after
        if undelivered:
            params["delivery_success"] = False
        answer = orjson.loads(self._get(params))
        return list(answer.get("data", ())), bool(answer.get("has_more"))

    def _get(self, params: dict[str, Any]) -> str:
        import stripe

        try:
            return str(self._client.raw_request("get", "/v1/events", **params).body)
        except (stripe.APIConnectionError, stripe.RateLimitError) as error:
            raise Unavailable(f"Stripe does not answer: {error.user_message or type(error).__name__}") from error
        except (stripe.AuthenticationError, stripe.PermissionError) as error:
            raise Refused("Stripe refuses the API key. Check STRIPE_API_KEY; it needs to read events.") from error
        except stripe.StripeError as error:
            if error.http_status is None or error.http_status >= 500:
                raise Unavailable(f"Stripe answers {error.http_status}.") from error
            raise Refused(f"Stripe refuses to list events ({error.http_status}).") from error
