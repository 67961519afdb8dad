"""A token of the API is somebody's: it takes nobody past the second person, and does nothing its maker may not."""

from __future__ import annotations

from typing import Any

import pytest

from app import approvals
from app.access import api_tokens, members
from app.services import office_of
from rules.steps import NotPossible
from tests.builders import NOON, TENANT
from tests.web.test_proposals import HTTPS, Town, ask


@pytest.fixture
def town() -> Town:
    return Town()


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def call(town: Town, method: str, path: str, headers: dict[str, str], **body: Any) -> Any:
    client = town.flask.test_client()
    return client.open(f"/api/v1{path}", method=method, base_url=HTTPS, headers=headers, json=body or None)


def chained(town: Town, maker: str, links: int) -> dict[str, str]:
    """A token that was made with a token, that was made with a token ..., the first of which a member made."""
    headers = town.token("link-0", ["admin"], maker)
    for number in range(1, links + 1):
        made = call(town, "POST", "/tokens", headers, name=f"link-{number}", rights=["admin"])
        headers = bearer(made.json["token"])
    return headers


@pytest.mark.parametrize("links", [0, 1, 3])
def test_who_stands_behind_a_row_of_tokens_is_not_the_second_person(town: Town, links: int) -> None:
    headers = chained(town, "cid@example.com", links)
    town.draft("ann@example.com")
    came = call(town, "POST", "/rules/two-failed-payments/publish", headers, note="in a hurry")
    assert came.status_code == 202
    id = came.json["proposal"]["id"]
    answer = town.cid.post(f"/proposals/{id}/approve", data={"note": "fine"}, base_url=HTTPS)
    assert answer.status_code == 409
    assert town.rule()["state"] == "off"


def test_nobody_gets_out_of_sight_behind_many_newer_tokens(town: Town) -> None:
    headers = town.token("old", ["author"], "cid@example.com")
    town.draft("ann@example.com")
    id = call(town, "POST", "/rules/two-failed-payments/publish", headers, note="soon").json["proposal"]["id"]
    store = town.services.store
    for number in range(api_tokens.MOST):
        api_tokens.make(store, {"name": f"n{number}", "rights": ["read"]}, "cid@example.com", NOON.replace(hour=13))
    name, office = "cid@example.com", office_of(town.services)
    with pytest.raises(NotPossible):
        approvals.approve(office, TENANT, id, name, name, "fine", NOON)


def test_a_token_ends_with_whoever_made_it(town: Town) -> None:
    own, further = town.token("own", ["admin"], "cid@example.com"), chained(town, "cid@example.com", 1)
    store, id = town.services.store, members.member_id("cid@example.com")
    for headers in (own, further):
        assert call(town, "GET", "/whoami", headers).status_code == 200
    members.change(store, id, {"state": "disabled"}, "ann@example.com", NOON)
    for headers in (own, further):
        assert call(town, "GET", "/whoami", headers).status_code == 401
    members.change(store, id, {"state": "active"}, "ann@example.com", NOON)
    assert call(town, "GET", "/whoami", own).status_code == 200


def test_a_token_may_no_more_than_whoever_made_it_may_by_now(town: Town) -> None:
    headers = town.token("own", ["admin"], "cid@example.com")
    members.change(town.services.store, members.member_id("cid@example.com"), {"roles": ["author"]}, "ann", NOON)
    assert call(town, "GET", "/whoami", headers).json["rights"] == ["read", "author"]
    assert call(town, "GET", "/members", headers).status_code == 403
    id = ask(town)
    assert call(town, "POST", f"/proposals/{id}/approve", headers, note="fine").status_code == 403
