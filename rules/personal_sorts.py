"""Sorts of personal values, by the field they stood in: what a retention period is set for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

SORTS: Final[Mapping[str, str]] = {
    "email": "E-mail addresses",
    "name": "Names",
    "phone": "Phone numbers",
    "address": "Postal addresses",
    "ip": "IP addresses and devices",
    "identity": "Dates of birth, tax and identity numbers",
    "bank": "Bank account numbers",
    "secret": "Client secrets and sign-in links",
    "text": "Free text",
    "payload": "Payloads in quarantine",
    "other": "Everything else",
}
OTHER: Final = "other"
PAYLOAD: Final = "payload"
# the first that fits, so that `ip_address` is no address and `account_holder_name` no bank account
_TELLING = (
    ("email", r"e_?mail|payer_id|cashtag|pay_id|vpa"),
    ("phone", r"phone|fax"),
    ("ip", r"(?:^|_)ip(?:_|$)|user_agent|device|latitude|longitude|location"),
    ("secret", r"secret|url|password|token|payload|cvc|pin|sign$"),
    ("identity", r"dob|^day$|^month$|^year$|birth|tax|vat|id_number|ssn|gender|sex|nationality|^value$|registration"),
    ("bank", r"iban|account_number|clabe|sort_code|bic|^number$"),
    ("address", r"address|line_?\d|city|town|postal|zip|tracking"),
    ("name", r"name|holder|individual|payer|buyer"),
    ("text", r"text|description|comment|explanation|rebuttal|log|data|body"),
)
_PATTERNS = tuple((sort, re.compile(pattern)) for sort, pattern in _TELLING)


@lru_cache(4096)
def sort_of(key: str | int) -> str:
    """The sort of what stands under this key; of an item of a list nothing is known.

    >>> [sort_of(key) for key in ("customer_email", "ip_address", "line1", "account_holder_name", "dob", 0)]
    ['email', 'ip', 'address', 'name', 'identity', 'other']
    """
    return next((sort for sort, pattern in _PATTERNS if isinstance(key, str) and pattern.search(key.lower())), OTHER)


def sort_of_value(subject: str, value: str) -> str:
    """The sort of a value of which only itself is known."""
    if subject.startswith("quarantine:"):
        return PAYLOAD
    return "email" if "@" in value and len(value) < 320 and " " not in value else OTHER
