"""Nobody from outside sits at this machine, and nothing that nobody approved is mailed to anybody outside."""

from __future__ import annotations

from typing import Any

import pytest

from app import author
from app.access import members
from app.services import Services
from app.web import create_app
from rules.ports import Put
from tests.builders import NOON, TENANT, services_in_memory
from tests.fakes.mail_server import MailServer
from tests.web.test_proposals import HTTPS, Town
from tests.web.test_sends import MAIL, connection

TUNNELS = (
    {"X-Forwarded-For": "203.0.113.9"},
    {"X-Forwarded-Host": "quick-fox.ngrok.app"},
    {"X-Forwarded-Proto": "https"},
    {"Forwarded": "for=203.0.113.9"},
    {"Cf-Connecting-Ip": "203.0.113.9"},
    {"X-Real-Ip": "203.0.113.9"},
    {"Via": "1.1 tunnel"},
)


@pytest.mark.parametrize("headers", TUNNELS, ids=lambda headers: next(iter(headers)))
def test_who_comes_through_a_tunnel_to_this_machine_is_a_stranger(headers: dict[str, str]) -> None:
    client = create_app(services_in_memory()).test_client()
    assert client.get("/rules").status_code == 200
    answer = client.get("/rules", headers={"Host": "localhost:8080", **headers})
    assert answer.status_code == 303
    assert answer.location.startswith("/sign-in")


def written(services: Services, port: int) -> None:
    services.store.commit(TENANT, None, [Put("connection", "mail", connection(port))])
    document = {
        "id": "dunning",
        "name": "Dunning",
        "when": {"event": ["invoice.payment_failed"]},
        "steps": [{"name": "write", "do": "mail.send", "with": {**MAIL, "text": "Pay to another account: ..."}}],
    }
    s = services
    author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, document, "ann@example.com", NOON)


@pytest.mark.parametrize(
    ("to", "goes"),
    [("victim@example.org", False), ("dora@example.com", False), ("Ben@example.com", True), ("ann@example.com", True)],
)
def test_a_test_of_what_nobody_approved_reaches_members_alone(to: str, goes: bool) -> None:
    town, server = Town(), MailServer()
    s = town.services
    gone = members.add(s.store, s.passwords, {"email": "dora@example.com", "roles": ["viewer"]}, "x", NOON)
    members.change(s.store, gone.id, {"state": "disabled"}, "x", NOON)
    with server.running() as port:
        written(s, port)
        answer: Any = town.ann.post("/rules/dunning/sends/write/test", data={"to": to}, base_url=HTTPS)
    assert answer.status_code == (303 if goes else 422)
    assert goes or "a member" in answer.text
    tried = [one for one in s.store.find(TENANT, "audit", order="at").items if one.body["verb"] == "send test e-mail"]
    assert bool(tried) == goes
