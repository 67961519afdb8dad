"""Personal constants of a rule become tokens before it is kept."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest

from rules.catalogue import Catalogue
from rules.constants import personal_constants
from rules.personal import replace

TOKEN = "tok_0123456789abcdef0@acme.com"


def rule(only_if: Any, steps: Any = ()) -> dict[str, Any]:
    return {"when": {"event": ["invoice.paid", "customer.updated"]}, "only_if": only_if, "steps": list(steps)}


def compared(field: str, operator: str, value: Any) -> dict[str, Any]:
    return {"field": field, "is": operator, "value": value}


def tokens(values: Sequence[str]) -> list[str]:
    return [f"tok({value})" for value in values]


def tokenised(document: dict[str, Any]) -> dict[str, Any]:
    copied = copy.deepcopy(document)
    replace(personal_constants(copied, Catalogue.load()), tokens)
    return copied


def test_constants_compared_with_personal_fields_become_tokens_and_others_stay() -> None:
    email, status = "data.object.customer_email", "data.object.status"
    document = rule(
        {
            "all": [
                compared(email, "equal to", "a@b.c"),
                {"not": compared(email, "one of", ["x@y.z", TOKEN])},
                compared(status, "equal to", "paid"),
            ]
        },
        [{"name": "s", "if": compared("data.object.email", "equal to", "d@e.f"), "then": []}],
    )
    found = tokenised(document)
    assert [part.get("value") for part in found["only_if"]["all"]] == ["tok(a@b.c)", None, "paid"]
    assert found["only_if"]["all"][1]["not"]["value"] == ["tok(x@y.z)", TOKEN]
    assert found["steps"][0]["if"]["value"] == "tok(d@e.f)"


def test_the_end_of_an_address_is_no_address() -> None:
    document = rule(compared("data.object.customer_email", "ends with", "@acme.com"))
    assert tokenised(document) == document


@pytest.mark.parametrize(
    "junk", [None, [], {}, {"when": 5}, {"when": {"event": [1]}, "only_if": [{"field": 1, "is": []}]}]
)
def test_what_is_no_rule_has_no_personal_constants(junk: Any) -> None:
    assert personal_constants(junk, Catalogue.load()) == []
