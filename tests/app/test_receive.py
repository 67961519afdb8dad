"""Receive: what is taken, what is refused and how, and what never leaves it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest

from app import logs
from app.receive.webhook import LIMIT, Receipt, receive
from app.services import Services
from rules.event import Event, span_id
from rules.ports import Delivery, Disposition, Unavailable
from tests.builders import NOON, TENANT, body_of, envelope, invoice, services_in_memory, signed, thin

RUN = "run_" + "a1" * 12


@pytest.fixture
def services() -> Services:
    return services_in_memory()


@pytest.fixture
def printed() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("debug", stream)
    yield stream
    root.handlers[:], root.level = before[0], before[1]


def send(services: Services, body: bytes | dict[str, Any], headers: dict[str, str] | None = None) -> Receipt:
    raw = body if isinstance(body, bytes) else body_of(body)
    now = services.clock.now()
    return receive(headers or signed(raw, now), raw, services.bus, services.vault, services.verifier, now)


def published(services: Services) -> list[Event]:
    taken: list[Event] = []

    def take(batch: list[Delivery]) -> list[Disposition]:
        taken.extend(delivery.event for delivery in batch)
        return [Disposition("done")] * len(batch)

    services.inbox.drain(take, services.clock.now())
    return taken


# ---- personal values ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("written", ["ada@example.com", "ada\\u0040example.com", "ada%40example.com"])
@pytest.mark.parametrize(
    "before", ["", "\\n" * 40, "100 % " * 40, "\\u0041 " * 17, "@ " * 40], ids=lambda text: text[:4]
)
def test_an_address_in_free_text_is_found_however_it_is_written_and_whatever_stands_before_it(
    services: Services, written: str, before: str
) -> None:
    sent = envelope("evt_1", object=invoice(customer_email="grace@example.com", footer="MARK"))
    raw = body_of(sent).replace(b"MARK", f"{before}see {written}".encode())
    assert send(services, raw).status == 200
    (event,) = published(services)
    thing = event.data["data"]["object"]
    assert thing["customer_email"].startswith("tok_")
    assert "ada" not in thing["footer"]
    assert "tok_" in thing["footer"]


# ---- taken ----------------------------------------------------------------------------------------------------------
def test_a_signed_event_is_on_the_bus_when_the_answer_is_200(services: Services) -> None:
    assert send(services, envelope("evt_1")) == Receipt(200, event_id="evt_1")
    (event,) = published(services)
    assert (event.id, event.type, event.tenant, event.source) == ("evt_1", "invoice.payment_failed", TENANT, "webhook")
    assert (event.created, event.recorded) == (int(NOON.timestamp()), NOON)
    assert {"cus:cus_1", "sub:sub_1", "in:in_1"} <= set(event.keys)
    assert (event.correlation, event.partition) == ("in_1", "cus:cus_1")


def test_a_duplicate_is_a_200_and_one_event(services: Services) -> None:
    assert [send(services, envelope("evt_1")).status for _ in range(3)] == [200, 200, 200]
    assert [event.id for event in published(services)] == ["evt_1"]


def test_a_thin_event_is_stored_and_not_fetched(services: Services) -> None:
    assert send(services, thin("evt_thin_1")).status == 200
    (event,) = published(services)
    assert (event.type, event.created) == ("v1.customer.subscription.past_due", int(NOON.timestamp()))
    assert "sub:sub_1" in event.keys


def test_a_type_with_brackets_is_taken(services: Services) -> None:
    body = thin("evt_2", type="v2.core.account[configuration.customer].updated")
    assert send(services, body).status == 200


def test_test_and_live_are_different_tenants(services: Services) -> None:
    send(services, envelope("evt_1", livemode=False))
    send(services, envelope("evt_1", livemode=True))
    assert {event.tenant for event in published(services)} == {"default/test", "default/live"}


@pytest.mark.parametrize("body", [envelope(account="acct_1"), thin(context="acct_1"), thin(context="org_1/acct_1")])
def test_an_event_of_a_connected_account_is_that_accounts(services: Services, body: dict[str, Any]) -> None:
    send(services, body)
    assert [event.tenant for event in published(services)] == ["acct_1/test"]


@pytest.mark.parametrize(
    ("key", "causation"),
    [(f"{RUN}/downgrade/0", f"{RUN}/downgrade"), ("signup-138", None), (f"{RUN}/downgrade", None), (None, None)],
)
def test_what_our_own_command_caused_carries_its_id(services: Services, key: str | None, causation: str | None) -> None:
    send(services, envelope(idempotency_key=key))
    assert [event.causation for event in published(services)] == [causation]


def test_a_thin_event_tells_of_our_command_too(services: Services) -> None:
    send(services, thin(reason={"type": "request", "request": {"id": "req_1", "idempotency_key": f"{RUN}/pause/2"}}))
    assert [event.causation for event in published(services)] == [f"{RUN}/pause"]


def test_the_reception_is_a_span_with_the_digest_of_what_came(services: Services) -> None:
    send(services, envelope("evt_1"))
    received = published(services)[0].received or {}
    assert received["span_id"] == span_id(TENANT, "evt_1", "receive")
    assert received["end"] >= received["start"] == int(NOON.timestamp()) * 10**9
    assert len(received["digest"]) == 64


# ---- refused --------------------------------------------------------------------------------------------------------
NO_EVENTS = [
    (b"[1, 2]", "no event"),
    (b'"text"', "no event"),
    (b"null", "no event"),
    (b"not json", "not JSON"),
    (b"", "not JSON"),
    (b'{"a": NaN}', "not JSON"),
    (b'{"id": "evt_1"}', "no Stripe event"),
    ({**envelope(), "object": "invoice"}, "no Stripe event"),
    ({**envelope(), "id": None}, '"id"'),
    ({**envelope(), "id": "evt 1"}, '"id"'),
    ({**envelope(), "id": "e" * 256}, '"id"'),
    ({**envelope(), "type": 7}, '"type"'),
    ({**envelope(), "livemode": None}, "livemode"),
    ({**envelope(), "created": "2026-11-23"}, "created"),
    ({**envelope(), "created": True}, "created"),
    ({**envelope(), "created": -1}, "created"),
    ({**envelope(), "created": 10**15}, "created"),
    ({**envelope(), "data": []}, "data.object"),
    ({**envelope(), "data": {"object": []}}, "data.object"),
    ({**thin(), "created": "yesterday"}, "created"),
    ({**thin(), "created": "2026-11-23T12:00:00"}, "created"),
]


@pytest.mark.parametrize(("body", "said"), NO_EVENTS)
def test_what_is_no_event_is_a_400_that_says_why(services: Services, body: bytes | dict[str, Any], said: str) -> None:
    receipt = send(services, body)
    assert receipt.status == 400
    assert said in (receipt.problem or "")
    assert published(services) == []


@pytest.mark.parametrize("name", [{}, [], {"a": "customer"}, 7, None])
def test_objects_whose_class_is_no_name_are_taken_and_hold_nothing_personal(services: Services, name: Any) -> None:
    person = {"object": name, "email": "ann@example.com"}
    body = envelope(object={"object": name, "id": "x_1", "customer_email": "ann@example.com", "source": person})
    assert send(services, body).status == 200
    assert b"ann@" not in orjson.dumps(published(services)[0].data)


def test_a_body_over_the_limit_is_a_413_before_anything_is_computed(services: Services) -> None:
    assert send(services, b" " * (LIMIT + 1)).status == 413


class Writing:
    """A bus that writes events as JSON, as every real one does."""

    def publish(self, event: Event) -> None:
        orjson.dumps(event.to_cloudevent())


@pytest.mark.parametrize("depth", [300, 900, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_a_body_that_nests_without_end_is_a_400(services: Services, opening: bytes, closing: bytes, depth: int) -> None:
    middle = opening * depth + b"1" + closing * depth
    body = body_of(envelope()).replace(b'"subscription_cycle"', middle)
    assert send(replace(services, bus=Writing()), body).status == 400  # type: ignore[arg-type]


def test_a_fault_of_ours_is_not_called_the_senders(services: Services) -> None:
    class Faulty:
        def publish(self, event: Event) -> None:
            raise TypeError("ours")

    with pytest.raises(TypeError, match="ours"):
        send(replace(services, bus=Faulty()), envelope())  # type: ignore[arg-type]


@pytest.mark.parametrize("late", [-301, 301])
def test_a_signature_of_another_hour_is_a_400(services: Services, late: int) -> None:
    body = body_of(envelope())
    assert send(services, body, signed(body, NOON + timedelta(seconds=late))).status == 400


def test_without_a_secret_the_answer_is_a_503_that_names_the_setting() -> None:
    receipt = send(services_in_memory(stripe_webhook_secrets=()), envelope())
    assert receipt.status == 503
    assert "STRIPE_WEBHOOK_SECRET" in (receipt.problem or "")


class Down:
    """A bus or vault that cannot make anything durable."""

    def publish(self, event: Event) -> None:
        raise Unavailable("disk full")

    def tokenise(self, tenant: str, subject: str, values: list[str], sorts: list[str]) -> list[str]:
        raise Unavailable("disk full")


@pytest.mark.parametrize("port", ["bus", "vault"])
def test_what_could_not_be_made_durable_is_a_503_and_stripe_sends_it_again(services: Services, port: str) -> None:
    receipt = send(replace(services, **{port: Down()}), envelope())
    assert (receipt.status, receipt.event_id) == (503, None)
    assert receipt.retry_after
    assert send(services, envelope()).status == 200


# ---- personal values ------------------------------------------------------------------------------------------------
def test_no_personal_value_reaches_the_bus_and_an_email_keeps_its_domain(services: Services) -> None:
    send(services, envelope(object=invoice(customer_email="ada@acme.com", customer_name="Ada Lovelace")))
    (event,) = published(services)
    text = json.dumps(event.to_cloudevent())
    assert "ada@" not in text
    assert "Lovelace" not in text
    assert event.data["data"]["object"]["customer_email"].endswith("@acme.com")
    token = event.data["data"]["object"]["customer_name"]
    assert services.vault.reveal(TENANT, token, "auditor", "test") == "Ada Lovelace"


def test_the_customers_values_belong_to_the_customer_in_the_vault(services: Services) -> None:
    send(services, envelope(object=invoice(customer="cus_7", customer_name="Ada Lovelace")))
    assert services.vault.erase(TENANT, "cus_7") > 0


def test_an_address_in_a_place_that_nobody_declared_is_found_too(services: Services) -> None:
    object = invoice(
        description="for bob@example.org, urgently",
        metadata={"owner": "carol@example.net", "dan@example.net": "as a key", "escaped": "eve@example.net"},
        link="https://buy.example/x?prefilled_email=fay%40example.net&utm=1",
        customer_email=None,
    )
    body = body_of(envelope(object=object)).replace(b"eve@", b"eve\\u0040")
    assert send(services, body).status == 200
    text = json.dumps(published(services)[0].data)
    assert not any(name in text for name in ("bob@", "carol@", "dan@", "eve@", "fay%40"))
    assert "urgently" in text
    assert "&utm=1" in text


def test_an_address_in_a_link_is_found_when_it_is_the_only_one(services: Services) -> None:
    object = invoice(description="https://buy.example/?email=fay%40example.net", customer_email=None)
    assert send(services, body_of(envelope(object=object))).status == 200
    assert "fay%40" not in json.dumps(published(services)[0].data)


def test_previous_attributes_are_cleansed_like_the_object(services: Services) -> None:
    customer = {"id": "cus_1", "object": "customer", "email": "new@example.com", "name": "New Name"}
    previous = {"email": "old@example.com", "name": "Old Name", "address": {"line1": "1 Old Street", "country": "DE"}}
    send(services, envelope(type="customer.updated", object=customer, previous=previous))
    data = published(services)[0].data["data"]
    assert "Old" not in json.dumps(data)
    assert data["previous_attributes"]["address"]["country"] == "DE"
    assert "old@" not in json.dumps(data)


def test_nothing_personal_or_secret_is_logged(services: Services, printed: io.StringIO) -> None:
    body = envelope(object=invoice(customer_email="ada@acme.com", customer_name="Ada Lovelace"))
    send(services, body)
    send(services, b'{"object": "event", "email": "ada@acme.com"}')
    lines = [json.loads(line) for line in printed.getvalue().splitlines()]
    assert [line["message"] for line in lines] == ["event.received", "event.refused"]
    assert (lines[0]["correlationid"], lines[0]["event"]) == ("in_1", "evt_1")
    assert not any(word in printed.getvalue() for word in ("ada@", "Lovelace", "whsec_", "v1=bad"))
