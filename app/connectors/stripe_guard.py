"""Read again at Stripe, just before a run acts, whether what it is about still stands (rules.standing)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import stripe

from app.connectors.stripe_answers import StripeAccess
from rules.ports import Ask, Standing, Unavailable, Unconfigured
from rules.standing import judged


@dataclass(frozen=True, slots=True)
class StripeGuard:
    """See rules.ports.Guard. Without a key for the tenant's mode there is nothing to ask, and nothing is said."""

    access: StripeAccess

    def look(self, tenant: str, asked: Sequence[Ask]) -> Standing:
        try:
            client = self.access.client(tenant)
        except Unconfigured:
            return Standing()
        return judged(asked, [_status(client, ask) for ask in asked])


def _status(client: stripe.StripeClient, ask: Ask) -> str:
    """Its status; "" for what Stripe does not know or does not let this key see. Raises Unavailable."""
    try:
        found = getattr(client.v1, f"{ask.kind}s").retrieve(ask.id).to_dict(for_json=True)
    except stripe.StripeError as error:
        status = error.http_status or 0
        if status in (401, 403, 404):
            return ""
        raise Unavailable(f"Stripe does not say how the {ask.kind.replace('_', ' ')} {ask.id} stands") from error
    if found.get("deleted"):
        return "deleted"
    return str(found.get("status") or "there")
