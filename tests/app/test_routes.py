"""The event mesh: what a route takes is forwarded once under one id, as durable as the event, and visible."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from app import author, crm_inbox, operate, routes
from app.connectors.delivery import Courier
from app.connectors.route import Forward
from app.connectors.signed import Signer
from app.handle import handle
from app.perform.due import perform
from app.services import Services
from rules.event import Event, iso
from rules.ports import ABSENT, Delivery, Put, Refused, Unavailable
from rules.rule import RuleError
from tests.builders import DAY, NOON, TENANT, event, invoice, services_in_memory, task
from tests.fakes.receiver import Receiver, Say

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
TOPIC = "projects/acme-billing/topics/provisioning"
LARGE = {"field": "data.object.amount_remaining", "is": "greater than", "value": 1000}


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def base(receiver: Receiver) -> Iterator[str]:
    with receiver.running() as address:
        yield address


@pytest.fixture
def services() -> Services:
    return services_in_memory()


def made(services: Services, url: str, name: str = "mesh", **more: Any) -> None:
    body = {"name": name, "type": "route", "url": url, "types": ["invoice.payment_failed"], "secret": SECRET, **more}
    author.save_connection(services.store, services.secrets, TENANT, body, "ada", NOON, development=True)


def handled(services: Services, *events: Event, now: Any = NOON) -> None:
    deliveries = [Delivery(one.id, one, 1) for one in events]
    assert {one.kind for one in handle(deliveries, services.store, services.rulesets, services.tracer, now)} == {"done"}


def performed(services: Services, now: Any = NOON) -> int:
    s = services
    return perform(s.store, s.rulesets, s.connectors, s.tracer, now + timedelta(seconds=1))


def commands(services: Services) -> dict[str, str]:
    found = services.store.find(TENANT, "command", order="created_at").items
    return {one.id: one.body["state"] for one in found}


# ---- what is forwarded ----------------------------------------------------------------------------------------------
def test_an_event_that_a_route_takes_is_forwarded_signed_as_it_is_kept(
    services: Services, receiver: Receiver, base: str
) -> None:
    made(services, base)
    (token,) = services.vault.tokenise(TENANT, "cus:cus_1", ["ada@example.com"])
    told = event(object=invoice(customer_email=token))
    handled(services, told)
    assert performed(services) == 1
    (got,) = receiver.got
    assert got.id == "route/mesh/evt_1"
    assert got.headers["content-type"].startswith("application/cloudevents+json")
    crm_inbox.verify(SECRET, got.headers, got.body, NOON + timedelta(seconds=1))
    body = json.loads(got.body)
    assert (body["id"], body["type"], body["data"]["data"]["object"]["customer_email"]) == (
        "evt_1", "invoice.payment_failed", token,
    )  # fmt: skip
    assert "received" not in body
    kept = services.store.get(TENANT, "command", "route/mesh/evt_1")
    assert kept is not None
    assert (kept.body["state"], kept.body["customer"], kept.body["correlation"]) == ("done", "cus_1", told.correlation)
    assert token not in str(kept.body["attempts"])


def test_only_what_the_filter_takes_makes_a_command_in_the_event_s_own_commit(services: Services) -> None:
    made(services, "https://mesh.example.com", only_if=LARGE)
    small, other = event("evt_2", object=invoice(amount_remaining=5)), event("evt_3", "invoice.paid")
    handled(services, event(), small, other)
    assert list(commands(services)) == ["route/mesh/evt_1"]
    assert services.store.get(TENANT, "event", "evt_2") is not None


def test_a_second_delivery_of_an_event_forwards_nothing_more(services: Services) -> None:
    made(services, "https://mesh.example.com")
    handled(services, event())
    handled(services, event())
    assert len(commands(services)) == 1


def test_a_route_of_every_event_takes_every_event_but_imported_history(services: Services) -> None:
    made(services, "https://mesh.example.com", types=["*"])
    handled(services, event(), event("evt_2", "price.created"), event("evt_3", source="import"))
    assert list(commands(services)) == ["route/mesh/evt_1", "route/mesh/evt_2"]


def test_a_test_event_never_leaves_for_another_tenant(services: Services) -> None:
    made(services, "https://mesh.example.com")
    other = event(tenant="default/live", livemode=True)
    handled(services, other)
    assert commands(services) == {}
    assert services.store.find("default/live", "command", order="created_at").items == ()


def test_a_route_is_in_force_within_a_second_and_gone_with_what_waited(services: Services) -> None:
    handled(services, event())
    made(services, "https://mesh.example.com")
    handled(services, event("evt_2"), now=NOON + timedelta(seconds=1))
    assert list(commands(services)) == ["route/mesh/evt_2"]
    assert routes.delete(services.store, TENANT, "mesh", "ada", "replaced", NOON) == 1
    assert commands(services) == {"route/mesh/evt_2": "cancelled"}
    handled(services, event("evt_3"), now=NOON + timedelta(seconds=2))
    assert len(commands(services)) == 1
    with pytest.raises(LookupError):
        routes.delete(services.store, TENANT, "mesh", "ada", "again", NOON)


# ---- durable, retried, dead-lettered, in order ----------------------------------------------------------------------
def test_a_receiver_that_is_down_gets_it_later_under_the_same_id(
    services: Services, receiver: Receiver, base: str
) -> None:
    made(services, base)
    receiver.answers = [Say(503)]
    handled(services, event())
    performed(services)
    performed(services, NOON + timedelta(hours=2))
    assert receiver.ids == ["route/mesh/evt_1"] * 2
    assert commands(services) == {"route/mesh/evt_1": "done"}


def test_what_is_refused_is_a_dead_letter_that_can_be_replayed(
    services: Services, receiver: Receiver, base: str
) -> None:
    made(services, base)
    receiver.answers = [Say(422)]
    handled(services, event())
    performed(services)
    assert commands(services) == {"route/mesh/evt_1": "dead"}
    done = operate.replay(services.store, services.inbox, TENANT, None, "ada", "mended", NOON)
    assert done["actions"] == 1
    performed(services)
    assert commands(services) == {"route/mesh/evt_1": "done"}


def test_a_receiver_that_keeps_order_gets_a_customer_s_events_one_after_the_other(
    services: Services, receiver: Receiver, base: str
) -> None:
    made(services, base, in_order=True)
    receiver.answers = [Say(503)]
    names = ["evt_9", "evt_5", "evt_7"]
    handled(services, *[event(name) for name in names])
    performed(services)
    assert receiver.ids == ["route/mesh/evt_9"]
    for hours in range(1, 6):
        performed(services, NOON + timedelta(hours=hours))
    assert receiver.ids == [f"route/mesh/{name}" for name in ("evt_9", *names)]


def test_a_paused_route_gathers_what_it_takes(services: Services, receiver: Receiver, base: str) -> None:
    made(services, base)
    author.pause_connection(services.store, TENANT, "mesh", "ada", "their weekend", NOON)
    handled(services, event())
    performed(services)
    assert receiver.got == []
    operate.resume_connection(services.store, TENANT, "mesh", "ada", "back", NOON + DAY)
    performed(services, NOON + DAY)
    assert receiver.ids == ["route/mesh/evt_1"]


# ---- another topic --------------------------------------------------------------------------------------------------
class Topics:
    """Buses by topic that remember; error: what they raise."""

    def __init__(self, error: Exception | None = None) -> None:
        self.got: list[tuple[str, Event]] = []
        self.error = error

    def __call__(self, name: str) -> Topics:
        self.name = name
        return self

    def publish(self, told: Event) -> None:
        if self.error:
            raise self.error
        self.got.append((self.name, told))


def forward(services: Services, topics: Topics | None) -> Any:
    signer = Signer(Courier(), services.secrets, services.vault)
    found = Forward(signer, lambda tenant, id: event(id).to_cloudevent() if id == "evt_2" else None, topics)
    connection = {"name": "mesh", "type": "route", "url": TOPIC, "secret_name": "none"}
    return lambda **more: found.execute({**task("route.forward", {}, connection), "connection": "mesh", **more}, NOON)


def test_a_topic_gets_the_event_through_the_bus(services: Services) -> None:
    topics = Topics()
    outcome = forward(services, topics)()
    assert outcome.kind == "done"
    ((name, told),) = topics.got
    assert (name, told.id, told.data) == (TOPIC, "evt_2", event("evt_2").data)
    assert "amount" not in str(outcome.request)


def _cause(name: str) -> Exception:
    error = Unavailable("Pub/Sub: no")
    error.__cause__ = type(name, (Exception,), {})()
    return error


@pytest.mark.parametrize(
    ("error", "pauses"),
    [(_cause("DeadlineExceeded"), False), (_cause("NotFound"), True), (_cause("PermissionDenied"), True),
     (Refused("too large"), True)],
)  # fmt: skip
def test_a_topic_that_is_away_is_tried_again_and_one_that_is_closed_to_us_waits_for_a_person(
    services: Services, error: Exception, pauses: bool
) -> None:
    outcome = forward(services, Topics(error))()
    assert (outcome.kind, outcome.pause_connection) == ("retry", pauses)


def test_without_pub_sub_a_topic_waits_for_a_project_and_an_event_that_is_gone_is_dead(services: Services) -> None:
    with pytest.raises(Refused, match="GOOGLE_CLOUD_PROJECT"):
        forward(services, None)()
    assert forward(services, Topics())(trigger="evt_gone").kind == "dead"
    assert forward(services, Topics())(trial=True).kind == "done"


# ---- the filter -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"types": []}, "types"),
        ({"types": ["invoice.payed"]}, "types[0]"),
        ({"only_if": {"field": "data.object.amont", "is": "greater than", "value": 1}}, "only_if.field"),
        ({"only_if": {"field": "fact.customer.mrr", "is": "greater than", "value": 1}}, "only_if"),
        ({"url": "projects/acme-billing/topics/signalbox-events"}, "url"),
        ({"url": "projects/x"}, "url"),
        ({"url": "https://10.0.0.8/hook"}, "url"),
    ],
)
def test_what_is_wrong_with_a_route_is_said(services: Services, more: dict[str, Any], path: str) -> None:
    with pytest.raises(RuleError) as error:
        made(services, **{"url": "https://mesh.example.com", **more})
    assert path in [problem.path for problem in error.value.problems]


def test_a_topic_needs_no_secret_and_there_are_at_most_twenty_routes(services: Services) -> None:
    made(services, TOPIC, secret="")
    assert services.secrets.get(f"connection/{TENANT}/mesh") is None
    for number in range(19):
        made(services, TOPIC, f"mesh{number}")
    with pytest.raises(RuleError, match="20"):
        made(services, TOPIC, "one-more")


def test_the_live_count_is_of_the_last_day(services: Services) -> None:
    for number, hours in enumerate((1, 5, 23, 25)):
        at = NOON - timedelta(hours=hours)
        told = event(f"evt_{number}", time=at, recorded=at, object=invoice(amount_remaining=500 * number))
        body = {"event": told.to_cloudevent(), "type": told.type, "created": told.created, "recorded": iso(at),
                "keys": [], "correlation": "", "trace": "", "customer": None, "fired": False, "origin": ""}  # fmt: skip
        services.store.commit(TENANT, None, [Put("event", told.id, body, ABSENT)])
    types = ["invoice.payment_failed", "invoice.paid"]
    everything = routes.count(services.store, TENANT, types, None, NOON)
    assert (everything["matched"], everything["looked"], everything["more"]) == (3, 3, False)
    limit = {**LARGE, "value": 100}
    assert routes.count(services.store, TENANT, types, limit, NOON)["matched"] == 2
    assert routes.count(services.store, TENANT, ["*"], limit, NOON)["latest"][0]["id"] == "evt_1"
