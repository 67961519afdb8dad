"""Every field of every object class of the installed Stripe SDK, and whether its name or description looks personal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.adapters.stripe_sdk import _Classes, _Sdk

GENERIC = ("list", "search_result")  # pages of other objects
TYPED = ("enum", "boolean", "amount", "time")  # can name nobody
# wider than what is taken for personal in an unknown class: a false alarm costs one reviewed line
NAME = re.compile(
    r"(?:^|_)(?:e?mail|phone|fax|names?|surname|line_?\d|address|city|town|street|postal|postcode|zip|ip|dob|birth\w*|day"
    r"|month|year|ssn|itin|iban|bic|clabe|account_number|routing|sort_code|number|tax|vat|passport|licen[cs]e|signature"
    r"|sign|user_agent|fingerprint|device|latitude|longitude|location|gender|sex|nationality|secret|token|password|url"
    r"|uri|link|description|explanation|text|notes?|comment|message|memo|statement|value|owner|holder|payer|buyer"
    r"|recipient|sender|customer|person|individual|maiden|alias|aliases|identity|document|selfie|image|photo|file"
    r"|filename|evidence|vpa|cashtag|username|login|cvc|pin|client|raw|data|reference|payload|body|content)(?:_|$)"
)
DOC = re.compile(
    r"\b(e-?mail address|phone number|postal code|date of birth|ip address|full name|first name|last name|social"
    r" security|tax id(?:entification)?|passport|driver'?s licen|street|signature|account holder"
    r"|cardholder'?s|customer'?s name)\b",
    re.IGNORECASE,
)


def looks(path: str, doc: str) -> bool:
    return bool(NAME.search(path.rsplit(".", 1)[-1]) or DOC.search(doc))


@cache
def sdk_classes() -> tuple[str, ...]:
    return tuple(sorted(_sdk()[0].classes))


@cache
def scalar_fields() -> tuple[tuple[str, str, str], ...]:
    """(object class, dotted path, description) of every field that holds a text, a number or a list of them; an
    embedded object of a class of its own is looked at there."""
    classes = _sdk()[1]
    return tuple(
        (name, ".".join(path), doc)
        for name in sdk_classes()
        if name not in GENERIC
        for path, doc in _walk(classes, classes.index(name))
    )


@cache
def _sdk() -> tuple[_Sdk, _Classes]:
    spec = find_spec("stripe")
    assert spec is not None
    assert spec.submodule_search_locations
    sdk = _Sdk(Path(spec.submodule_search_locations[0]))
    classes = _Classes(sdk)
    for name in sdk.classes:
        if name not in GENERIC:
            classes.index(name)
    return sdk, classes


def _walk(
    classes: _Classes, number: int, path: tuple[str, ...] = (), seen: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, type, _, reference, text in classes.rows[number] or ():
        below = _below(type, reference)
        for inner in below:
            if inner not in seen and str(inner) not in classes.names:
                yield from _walk(classes, inner, (*path, name), (*seen, inner))
        if not below and type not in TYPED:
            yield (*path, name), classes.texts[text]


def _below(type: str, reference: Any) -> list[int]:
    if type == "object":
        return list(reference)
    if type == "list" and reference[0] == "object":
        return list(reference[1])
    return list(reference or ()) if type == "page" else []
