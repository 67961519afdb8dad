"""What an action is to those whom it reaches: the names by which `hours` and `caps` speak of it.

They are the connector's own name (`stripe`, `crm`), what that connector is (`hubspot` is a `crm`), the action's whole
name, and `email` for what makes Stripe write to the customer.
"""

from __future__ import annotations

from collections.abc import Iterable

_IS_A = {"hubspot": "crm", "salesforce": "crm", "smtp": "email", "mail": "email"}
_SENDS_MAIL = ("stripe.send_invoice",)


def channels_of(action: str) -> frozenset[str]:
    """
    >>> sorted(channels_of("hubspot.create_task")), sorted(channels_of("stripe.send_invoice"))
    (['crm', 'hubspot', 'hubspot.create_task'], ['email', 'stripe', 'stripe.send_invoice'])
    """
    connector = action.partition(".")[0]
    found = {action, connector, _IS_A.get(connector, connector)}
    return frozenset({*found, "email"} if action in _SENDS_MAIL else found)


def known_channels(actions: Iterable[str]) -> list[str]:
    """Every name that at least one of the actions goes by, and the usual ones that may be installed later."""
    return sorted({"crm", "email", "stripe"}.union(*(channels_of(action) for action in actions)))
