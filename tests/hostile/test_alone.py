"""What one alone cannot do in production, by whatever detour: forge Stripe's events, or name who answers approvals."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from app import approvals, author
from app.receive import signing
from tests.builders import NOON, TENANT
from tests.web.test_proposals import HTTPS, Town

STRIPES, SECRET = "whsec_stripes_own", "whsec_known_to_cid_alone"


@pytest.fixture
def town() -> Town:
    return Town()


def post(client: FlaskClient, address: str, **data: str) -> Any:
    return client.post(address, data=data, base_url=HTTPS)


def begun(town: Town) -> None:
    town.services.secrets.put(signing.STORED, STRIPES)


# ---- who signs ------------------------------------------------------------------------------------------------------
def test_no_administrator_alone_adds_a_secret_that_signs_events(town: Town) -> None:
    begun(town)
    answer = post(town.cid, "/settings/stripe", secret=SECRET, reason="rolled")
    assert answer.status_code == 303
    secrets = town.services.secrets
    assert signing.stored(secrets) == [STRIPES]
    asked = town.asked()
    assert SECRET not in str(asked)
    found = town.services.store.find(TENANT, "proposal", order="-created_at").items
    assert SECRET not in str([one.body for one in found])
    assert post(town.cid, f"/proposals/{asked['id']}/approve", note="mine").status_code == 409
    assert post(town.ben, f"/proposals/{asked['id']}/approve", note="checked at Stripe").status_code == 303
    assert signing.stored(secrets) == [STRIPES, SECRET]


def test_a_secret_is_asked_for_with_a_reason(town: Town) -> None:
    begun(town)
    answer = post(town.cid, "/settings/stripe", secret=SECRET)
    assert answer.status_code == 422
    assert "say why" in answer.text
    assert not approvals.proposals(town.services.store, TENANT)["items"]


def test_the_very_first_secret_is_set_by_whoever_sets_up(town: Town) -> None:
    assert post(town.cid, "/settings/stripe", secret=SECRET).status_code == 303
    assert signing.stored(town.services.secrets) == [SECRET]
    post(town.cid, "/settings/stripe", secret=SECRET + "2", reason="one more")
    assert signing.stored(town.services.secrets) == [SECRET]


# ---- who answers ----------------------------------------------------------------------------------------------------
def test_a_list_of_who_answers_is_not_deleted_by_one_who_makes_it_anew(town: Town) -> None:
    store = town.services.store
    author.save_list(store, TENANT, "role-cfo", ["fay@example.com"], "x", NOON)
    assert post(town.cid, "/settings/lists/role-cfo/delete", reason="tidy").status_code == 303
    assert town.asked()["change"] == "delete list"
    assert store.get(TENANT, "list", "role-cfo") is not None
