"""The schemas and the quarantine as people and machines see them."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import doctor, jobs
from app.handle import handle
from app.receive import quarantine
from app.services import Services, job_types
from app.web import create_app
from app.web.webhooks import in_front_of
from rules import registry
from rules.ports import Delivery, Disposition
from tests import records
from tests.builders import TENANT, body_of, envelope, invoice, services_in_memory, signed
from tests.web.api import Api, api  # noqa: F401  a fixture

OLD, NEW = registry.versions()[0], registry.versions()[-1]
SECRET_TEXT = "much-S3CRET"
RULE: dict[str, Any] = {
    "id": "old-path",
    "name": "Reads an old path",
    "when": {"event": ["invoice.payment_failed"]},
    "only_if": {
        "all": [
            {"field": "data.object.subscription", "is": "is present"},
            {"field": "data.object.paid", "is": "is false"},
        ]
    },
    "steps": [
        {"name": "note", "do": "crm.notify", "with": {"connection": "crm", "message": "{{ data.object.charge }}"}}
    ],
}


@pytest.fixture
def services() -> Services:
    return services_in_memory()


@pytest.fixture
def client(services: Services) -> FlaskClient:
    flask = create_app(services)
    flask.wsgi_app = in_front_of(flask.wsgi_app, services)  # type: ignore[assignment,method-assign]
    return flask.test_client()


def deliver(client: FlaskClient, body: dict[str, Any]) -> Any:
    raw = body_of(body)
    return client.post("/webhooks/stripe", data=raw, headers=signed(raw))


def drain(services: Services) -> None:
    """What the worker does with what is on the bus."""
    now = services.clock.now()

    def take(batch: list[Delivery]) -> list[Disposition]:
        return handle(batch, services.store, services.rulesets, services.tracer, now)

    services.inbox.drain(take, now)


def text_of(answer: Any) -> str:
    """What a person reads: without marks, and with single spaces."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


def bad(id: str = "evt_1") -> dict[str, Any]:
    return envelope(id, object=invoice(amount_due=SECRET_TEXT))


def keep_rule(services: Services) -> None:
    records.keep_rule(services.store, document=RULE)


# ---- schemas --------------------------------------------------------------------------------------------------------
def test_the_types_are_listed_with_what_is_seen_and_read(client: FlaskClient, services: Services) -> None:
    keep_rule(services)
    deliver(client, envelope("evt_1"))
    drain(services)
    page = text_of(client.get("/schemas"))
    assert "invoice.payment_failed" in page
    assert NEW in page
    rows = text_of(client.get("/schemas?show=rules"))
    assert "invoice.payment_failed" in rows
    assert "payout.paid" not in rows
    assert "No type fits" in text_of(client.get("/schemas?q=nonsense"))


def test_a_types_fields_tell_type_meaning_example_and_readers(client: FlaskClient, services: Services) -> None:
    keep_rule(services)
    page = text_of(client.get(f"/schemas/invoice.payment_failed?version={OLD}&q=subscription"))
    assert "data.object.subscription" in page
    assert "Reads an old path" in page
    newest = text_of(client.get("/schemas/invoice.payment_failed?q=customer_email"))
    assert "Personal" in newest
    assert client.get("/schemas/invoice.nonsense").status_code == 404
    assert client.get("/schemas/invoice.paid?version=2019-01-01").status_code == 404


def test_every_type_of_every_version_has_its_page(client: FlaskClient) -> None:
    for version in (OLD, NEW):
        for type in registry.of(version).event_types()[::25]:
            assert client.get(f"/schemas/{type}?version={version}").status_code == 200
    assert client.get("/schemas/v1.customer.subscription.past_due").status_code == 200


def test_comparing_versions_names_the_rules_and_the_name_that_is_read_instead(
    client: FlaskClient, services: Services
) -> None:
    keep_rule(services)
    page = text_of(client.get(f"/schemas/compare?from={OLD}&to={NEW}"))
    assert "Reads an old path" in page
    assert "data.object.parent.subscription_details.subscription" in page
    assert "Missing" in page  # data.object.paid
    assert client.get("/schemas/compare?from=nonsense").status_code == 404


def test_an_unknown_type_is_kept_flagged_and_counted(client: FlaskClient, services: Services) -> None:
    for n in range(2):
        answer = deliver(client, envelope(f"evt_{n}", type="invoice.sent_to_the_moon"))
        assert answer.status_code == 200
    drain(services)
    page = text_of(client.get("/schemas"))
    assert "Not in the registry" in page
    assert "invoice.sent_to_the_moon" in page
    assert services.store.count(TENANT, "event", [("type", "==", "invoice.sent_to_the_moon")]) == 2
    assert "Not in the registry" in text_of(client.get("/events/evt_0"))


def test_webhooks_of_another_version_are_named_with_the_rules_they_concern(
    client: FlaskClient, services: Services
) -> None:
    keep_rule(services)
    deliver(client, envelope("evt_1", api_version=OLD))
    drain(services)
    page = text_of(client.get("/schemas"))
    assert f"Your webhooks come as {OLD}" in page


def test_the_doctor_names_another_version_and_what_is_quarantined(client: FlaskClient, services: Services) -> None:
    keep_rule(services)
    assert list(doctor.schemas_agree(services)) == []
    deliver(client, envelope("evt_1", api_version="2027-01-01.zoo"))
    deliver(client, bad("evt_2"))
    drain(services)
    version, held = doctor.schemas_agree(services)
    assert (version.name, version.state) == ("schemas", "wrong")
    assert "2027-01-01.zoo" in version.text
    assert "up to date" in version.mend
    assert held.mend == f"python main.py quarantine list --tenant {TENANT}"


# ---- quarantine -----------------------------------------------------------------------------------------------------
def test_a_damaged_webhook_is_answered_200_and_waits_without_its_values(
    client: FlaskClient, services: Services
) -> None:
    assert deliver(client, bad()).status_code == 200
    for path in ("/deliveries/quarantine", "/deliveries/quarantine/one/evt_1", "/needs-you"):
        page = client.get(path)
        assert "invoice.payment_failed" in text_of(page)
        assert "text stands where a whole number belongs" in text_of(page)
        assert "S3CRET" not in page.text
    drain(services)
    assert services.store.get(TENANT, "event", "evt_1") is None


def test_one_is_taken_as_it_is_and_becomes_an_event(client: FlaskClient, services: Services) -> None:
    deliver(client, bad())
    assert "Say why" in text_of(client.post("/deliveries/quarantine/take/evt_1", data={"reason": " "}))
    answer = client.post("/deliveries/quarantine/replay/evt_1", data={"reason": "try"})
    assert answer.status_code == 303
    assert "still does not conform" in text_of(client.get(answer.location))
    client.post("/deliveries/quarantine/take/evt_1", data={"reason": "the registry is wrong"})
    drain(services)
    assert services.store.get(TENANT, "event", "evt_1") is not None
    assert "Open the event" in text_of(client.get("/deliveries/quarantine/one/evt_1"))
    assert client.post("/deliveries/quarantine/take/evt_1", data={"reason": "again"}).status_code == 409


def test_many_are_discarded_by_cause_after_the_count_is_shown(client: FlaskClient, services: Services) -> None:
    for n in range(3):
        deliver(client, bad(f"evt_{n}"))
    deliver(client, envelope("evt_x", object=invoice(attempted="no")))
    cause = quarantine.causes(services.store, TENANT)[0]["cause"]
    asked = text_of(client.get("/deliveries/quarantine/all/discard", query_string={"cause": cause}))
    assert "3 payloads" in asked
    begun = client.post("/deliveries/quarantine/all/discard", data={"cause": cause, "reason": "nonsense"})
    assert begun.status_code == 303
    while jobs.run_one(services.store, job_types(services), services.clock.now()):
        pass
    assert "3 given up" in text_of(client.get(begun.location))
    assert quarantine.count(services.store, TENANT) == 1


# ---- the API --------------------------------------------------------------------------------------------------------
def test_the_api_tells_types_fields_versions_and_changes(api: Api) -> None:  # noqa: F811
    keep_rule(api.services)
    (row,) = [row for row in api.get("/schemas").json["items"] if row["name"] == "invoice.payment_failed"]
    assert (row["rules"], row["versions"][0]) == (1, OLD)
    found = {row["path"]: row for row in api.get(f"/schema-fields/invoice.payment_failed?version={OLD}").json["items"]}
    assert found["data.object.paid"]["rules"] == ["old-path"]
    assert found["data.object.customer_email"]["personal"]
    assert [row["version"] for row in api.get("/schema-versions").json["items"]] == list(reversed(registry.versions()))
    changes = api.get(f"/schema-changes?from={OLD}&to={NEW}").json
    lost = {(loss["path"], loss["standing"]): loss for loss in changes["rules"]}
    assert lost["data.object.subscription", "by another name"]["name"].endswith("subscription_details.subscription")
    assert ("data.object.paid", "missing") in lost
    assert ("data.object.charge", "missing") in lost
    assert api.get("/schema-changes?from=nonsense").status_code == 404
    assert api.get("/schemas/invoice.paid?version=nonsense").status_code == 404


def test_the_api_lists_replays_and_discards_what_is_quarantined(api: Api) -> None:  # noqa: F811
    front = in_front_of(create_app(api.services).wsgi_app, api.services)
    from werkzeug.test import Client

    for n in range(3):
        raw = body_of(bad(f"evt_{n}"))
        assert Client(front).post("/webhooks/stripe", data=raw, headers=signed(raw)).status_code == 200
    items = api.get("/quarantine").json["items"]
    assert [item["id"] for item in items] == ["evt_2", "evt_1", "evt_0"]
    assert "S3CRET" not in json.dumps(items)
    assert api.get("/quarantine/evt_1").json["state"] == "waiting"
    assert api.get("/quarantine-causes").json["items"][0]["count"] == 3
    stays = api.post("/quarantine/replay", {"ids": ["evt_0"], "note": "try"}).json
    assert stays["done"] == 0
    assert stays["refused"][0]["id"] == "evt_0"
    assert api.post("/quarantine/replay", {"ids": ["evt_0"], "note": "so it is", "as_it_is": True}).json["done"] == 1
    assert api.post("/quarantine/discard", {"note": "all"}).status_code == 400
    begun = api.post("/quarantine/discard", {"filter": {}, "note": "nonsense"})
    assert (begun.status_code, begun.json["count"]) == (202, 2)
    while jobs.run_one(api.services.store, job_types(api.services), api.services.clock.now()):
        pass
    assert api.get(f"/quarantine-jobs/{begun.json['job']}").json["summary"]["done"] == 2
    assert api.get("/quarantine").json["items"] == []
