"""The second person on pages and in the API: asked for by one member, answered by another, and loud when gone past."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import approvals, author, tenant_settings
from app.access import api_tokens, members, sessions
from app.operate import alerts
from app.services import Services, office_of
from app.web import create_app
from rules.event import iso
from rules.ports import Put
from tests.builders import ADMIN_TOKEN, NOON, TENANT, services_in_memory
from tests.web.html import form
from tests.web.test_rules_pages import ready

ID = "two-failed-payments"
HTTPS = "https://localhost"


class Town:
    """A production installation with ann, who writes, ben, who approves, and cid, who looks after it all."""

    def __init__(self, environment: str = "production") -> None:
        self.services: Services = services_in_memory(environment=environment)
        self.flask = create_app(self.services)
        self.ann = self._member("ann", ["author", "approver"])
        self.ben = self._member("ben", ["approver"])
        self.cid = self._member("cid", ["admin"])

    def _member(self, name: str, roles: list[str]) -> FlaskClient:
        s = self.services
        member = members.add(s.store, s.passwords, {"email": f"{name}@example.com", "roles": roles}, "x", NOON)
        client = self.flask.test_client()
        with client.session_transaction(base_url=HTTPS) as cookie:
            cookie["sid"] = sessions.begin(s.store, member, "password", NOON)
        return client

    def draft(self, who: str = "ann@example.com", **changes: Any) -> None:
        s = self.services
        document = {**ready(), **changes}
        author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, document, who, NOON)

    def rule(self) -> dict[str, Any]:
        return author.rule(self.services.store, TENANT, ID)

    def asked(self) -> dict[str, Any]:
        (found,) = approvals.proposals(self.services.store, TENANT, "open")["items"]
        return dict(found)

    def token(self, name: str, rights: list[str], maker: str) -> dict[str, str]:
        _, text = api_tokens.make(self.services.store, {"name": name, "rights": rights}, maker, NOON)
        return {"Authorization": f"Bearer {text}"}


@pytest.fixture
def town() -> Town:
    return Town()


def get(client: FlaskClient, address: str) -> str:
    answer = client.get(address, base_url=HTTPS)
    assert answer.status_code == 200, answer.text
    return answer.text


def post(client: FlaskClient, address: str, **data: str) -> Any:
    return client.post(address, data=data, base_url=HTTPS)


def ask(town: Town) -> str:
    """ann writes a rule and asks; the proposal's id."""
    town.draft()
    page = get(town.ann, f"/rules/{ID}/publish")
    assert "Ask for approval" in page
    sent = form(page, f"/rules/{ID}/publish").sent(reason="agreed with sales", limits="none")
    answer = town.ann.post(f"/rules/{ID}/publish", data=sent, base_url=HTTPS)
    assert answer.status_code == 303
    assert "Somebody else finds it under Needs you" in get(town.ann, answer.location)
    return str(town.asked()["id"])


# ---- pages ----------------------------------------------------------------------------------------------------------
def test_going_live_is_asked_for_shown_and_approved_by_somebody_else(town: Town) -> None:
    id = ask(town)
    assert town.rule()["state"] == "off"
    for address in ("/needs-you", f"/rules/{ID}", "/proposals"):
        assert f"/proposals/{id}" in get(town.ben, address)
    page = get(town.ben, f"/proposals/{id}")
    assert "agreed with sales" in page
    assert "When an invoice payment fails" in page  # what it would do, in English
    assert post(town.ben, f"/proposals/{id}/approve", note="fits").status_code == 303
    assert town.rule()["state"] == "live"
    assert "approved by ben@example.com" in get(town.ben, f"/rules/{ID}")
    assert "Nothing needs you" in get(town.ben, "/needs-you")


def test_who_asked_sees_who_decides_and_cannot_approve(town: Town) -> None:
    id = ask(town)
    page = get(town.ann, f"/proposals/{id}")
    assert "so somebody else decides" in page
    refused = post(town.ann, f"/proposals/{id}/approve", note="me too")
    assert refused.status_code == 409
    assert "somebody else has to look at it" in refused.text
    assert town.rule()["state"] == "off"
    assert post(town.ann, f"/proposals/{id}/withdraw", note="").status_code == 303
    assert approvals.proposal(town.services.store, TENANT, id)["state"] == "withdrawn"


def test_an_answer_takes_a_reason(town: Town) -> None:
    id = ask(town)
    answer = post(town.ben, f"/proposals/{id}/approve", note=" ")
    assert answer.status_code == 422
    assert "say why" in answer.text


def test_what_was_changed_since_is_refused_with_a_sentence(town: Town) -> None:
    id = ask(town)
    town.draft("dan@example.com", name="Changed")
    answer = post(town.ben, f"/proposals/{id}/approve", note="fits")
    assert answer.status_code == 409
    assert "was changed after this was asked for" in answer.text
    assert "Changed after it was asked for" in get(town.ben, f"/proposals/{id}")


def test_declining_says_why_to_whoever_asked(town: Town) -> None:
    id = ask(town)
    post(town.ben, f"/proposals/{id}/decline", note="not before the holidays")
    assert "not before the holidays" in get(town.ann, f"/proposals/{id}")
    assert town.rule()["state"] == "off"


def test_an_emergency_is_the_administrators_and_stands_on_every_page_until_seen(town: Town) -> None:
    town.draft()
    assert "emergency" not in get(town.ann, f"/rules/{ID}/publish")
    refused = post(town.ann, f"/rules/{ID}/publish", reason="now!", limits="none", emergency="on")
    assert refused.status_code == 403
    assert town.rule()["state"] == "off"
    sent = form(get(town.cid, f"/rules/{ID}/publish"), f"/rules/{ID}/publish")
    sent_fields = sent.sent(reason="customers are charged twice", limits="none", emergency="on")
    assert town.cid.post(f"/rules/{ID}/publish", data=sent_fields, base_url=HTTPS).status_code == 303
    assert town.rule()["state"] == "live"
    (found,) = approvals.proposals(town.services.store, TENANT, "emergency")["items"]
    for address in ("/", "/rules", "/settings", "/events"):
        assert "<b>Emergency.</b> cid@example.com" in get(town.ben, address)
    assert post(town.cid, f"/proposals/{found['id']}/acknowledge", note="I know").status_code == 409
    assert post(town.ben, f"/proposals/{found['id']}/acknowledge", note="it was right").status_code == 303
    assert "<b>Emergency.</b>" not in get(town.ben, "/")
    audit = get(town.ben, f"/settings/audit?about={ID}")
    assert "Emergency publish" in audit
    assert "Acknowledge emergency" in audit


def test_an_emergency_is_told_by_alert(town: Town) -> None:
    town.draft()
    s = town.services
    wanted = approvals.Change("publish", ID, {})
    approvals.change(office_of(s), TENANT, wanted, "cid@example.com", "burning", NOON, emergency=True)
    told = [one.text for one in alerts.findings(s.store, s.inbox, TENANT, NOON)]
    assert any("1 emergency change went past the second person" in text for text in told), told
    slack = {"name": "ops", "type": "slack", "url": "", "state": "on", "created_at": iso(NOON)}
    s.store.commit(TENANT, None, [Put("connection", "ops", slack)])
    tenant_settings.save(s.store, TENANT, {"alert_connection": "ops"}, "cid@example.com", NOON)
    assert alerts.announce(s.store, s.inbox, NOON + timedelta(minutes=1)) == 1


def test_sending_elsewhere_is_asked_for_on_the_connections_page(town: Town) -> None:
    s = town.services
    given = {"name": "crm", "type": "webhook", "url": "https://crm.example.com/hook"}
    author.save_connection(s.store, s.secrets, TENANT, given, "cid@example.com", NOON)
    page = get(town.cid, "/settings/connections/crm")
    fields = form(page, "/settings/connections/crm").sent(url="https://other.example.com/hook")
    unsaid = town.cid.post("/settings/connections/crm", data=fields, base_url=HTTPS)
    assert unsaid.status_code == 422
    assert "say why" in unsaid.text
    fields["reason"] = ["the CRM moves"]
    assert town.cid.post("/settings/connections/crm", data=fields, base_url=HTTPS).status_code == 303
    kept = author.connection(s.store, TENANT, "crm")
    assert "crm.example.com" in kept["url"]
    assert post(town.ben, f"/proposals/{town.asked()['id']}/approve", note="yes").status_code == 303
    assert "other.example.com" in author.connection(s.store, TENANT, "crm")["url"]


# ---- the API --------------------------------------------------------------------------------------------------------
def test_the_api_answers_202_with_the_proposal_and_tokens_approve_for_their_makers(town: Town) -> None:
    town.draft()
    client = town.flask.test_client()
    anns = town.token("anns", ["author", "approve"], "ann@example.com")
    bens = town.token("bens", ["approve"], "ben@example.com")
    asked = client.post(f"/api/v1/rules/{ID}/publish", json={"note": "agreed"}, headers=anns)
    assert asked.status_code == 202
    id = asked.json["proposal"]["id"]
    assert asked.headers["Location"] == f"/api/v1/proposals/{id}"
    assert (asked.json["state"], asked.json["proposal"]["state"]) == ("off", "open")
    assert client.get("/api/v1/proposals?state=open", headers=bens).json["items"][0]["id"] == id
    own = client.post(f"/api/v1/proposals/{id}/approve", json={"note": "me"}, headers=anns)
    admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    nobody = client.post(f"/api/v1/proposals/{id}/approve", json={"note": "me"}, headers=admin)
    assert (own.status_code, nobody.status_code) == (409, 409)
    assert client.post(f"/api/v1/proposals/{id}/approve", json={}, headers=bens).status_code == 400
    done = client.post(f"/api/v1/proposals/{id}/approve", json={"note": "fits"}, headers=bens)
    assert (done.status_code, done.json["state"]) == (200, "approved")
    assert client.get(f"/api/v1/rules/{ID}", headers=bens).json["state"] == "live"


def test_an_emergency_over_the_api_takes_an_administrator_and_a_reason(town: Town) -> None:
    town.draft()
    client = town.flask.test_client()
    headers = town.token("anns", ["approve"], "ann@example.com")
    address, given = f"/api/v1/rules/{ID}/publish", {"note": "burning", "emergency": True}
    assert client.post(address, json=given, headers=headers).status_code == 403
    admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    assert client.post(address, json={"emergency": True}, headers=admin).status_code == 422
    assert client.post(address, json=given, headers=admin).status_code == 200
    assert client.get("/api/v1/proposals?state=emergency", headers=admin).json["items"][0]["note"] == "burning"


def test_in_development_the_admin_token_publishes_alone() -> None:
    town = Town("development")
    town.draft()
    admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    answer = town.flask.test_client().post(f"/api/v1/rules/{ID}/publish", json={"note": "go"}, headers=admin)
    assert (answer.status_code, answer.json["state"]) == (200, "live")


def test_who_may_only_write_asks_and_does_not_publish() -> None:
    town = Town("development")
    town.draft()
    client = town.flask.test_client()
    writer = town.token("writer", ["author"], "ann@example.com")
    assert client.post(f"/api/v1/rules/{ID}/publish", json={"note": "go"}, headers=writer).status_code == 403
    tenant_settings.save(town.services.store, TENANT, {"second_person": True}, "cid@example.com", NOON)
    assert client.post(f"/api/v1/rules/{ID}/publish", json={"note": "go"}, headers=writer).status_code == 202
