"""Thousands of hostile inputs through every door: each is answered, none is a fault, none stops the worker.

`python -m tests.hostile.test_inputs DOOR SEED` repeats one.
"""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from app import scores
from app.receive import history
from app.receive.webhook import LIMIT
from app.services import Services, job_types
from app.web import create_app
from app.web.webhooks import in_front_of
from app.worker import Work, tick
from rules.model import RuleError
from rules.rule import check, parse
from rules.texts import render
from tests.builders import (
    ADMIN_TOKEN,
    API_VERSION,
    NOON,
    TENANT,
    WEBHOOK_SECRET,
    body_of,
    envelope,
    invoice,
    services_in_memory,
    signature,
)
from tests.hostile.nasty import Nasty, resident
from tests.rules import corpus
from tests.web.test_webhooks import Answer, environ_of, flask

BEARER = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
EACH = 400  # inputs that one installation hears
Door = Callable[["Room", Nasty], object]


TELL = {
    "name": "tell",
    "do": "crm.notify",
    "with": {"connection": "crm", "message": "{{ data.object.metadata }} {{ type }}"},
}
DUE = {"name": "due", "wait": {"until": "data.object.due_date", "minus": "P3D"}}
MRR = {"field": "fact.customer.mrr", "is": "greater than", "value": 0}
DOCUMENTS = [
    *corpus.DOCUMENTS,
    corpus.rule("until", {"event": ["invoice.payment_failed"], "same": "invoice"}, steps=[DUE, TELL]),
    corpus.rule("known", {"event": ["invoice.paid"], "same": "customer"}, only_if={"any": [MRR, {"not": MRR}]}),
    corpus.rule("every", {"event": ["customer.updated", "charge.refunded"], "same": "customer"}, steps=[TELL]),
]


class Room:
    """An installation with rules of every kind in force."""

    def __init__(self) -> None:
        self.services: Services = services_in_memory()
        self.client: FlaskClient = create_app(self.services).test_client()
        self.front = in_front_of(flask, self.services)
        self._furnish()

    def _furnish(self) -> None:
        self._called("/connections", {"name": "crm", "type": "webhook", "url": "http://127.0.0.1:9/hook"})
        good = [document for document in DOCUMENTS if self._called("/rules", document)]
        assert len(good) >= 10
        for document in good:
            assert self._called(f"/rules/{document['id']}/publish", {"note": "for the test"})

    def _called(self, path: str, body: Any) -> bool:
        return self.client.post("/api/v1" + path, json=body, headers=BEARER).status_code < 300

    def post(self, body: bytes, **environ: Any) -> Answer:
        answer = Answer()
        answer.body = b"".join(self.front(environ_of(body, **environ), answer.start))
        return answer

    def work(self) -> None:
        tick(Work(self.services, job_types(self.services)), self.services.clock.now())
        dead = self.services.inbox.dead()
        assert not dead, (dead[0].event.id, dead[0].reason)
        assert self.services.inbox.oldest() is None, "an event could not be handled and is tried again"


# ---- doors ----------------------------------------------------------------------------------------------------------
TYPES = ("invoice.payment_failed", "invoice.paid", "invoice.voided", "invoice.updated", "customer.updated",
         "charge.refunded", "customer.subscription.deleted", "x.y")  # fmt: skip


def event_of(nasty: Nasty) -> dict[str, Any]:
    pick = nasty.random.choice
    previous = pick((None, {"status": "draft"}, {"status": nasty.value(), "lines": nasty.value()}))
    version = pick((API_VERSION, API_VERSION, "2020-08-27", "2099-01-01.later", None))  # shapes of some are not known
    thing = pick(THINGS)(nasty.random.randint(1, 5))
    return envelope(f"evt_{nasty.random.getrandbits(60)}", pick(TYPES), thing, previous=previous, api_version=version)


PRICE = {"id": "price_1", "object": "price", "unit_amount": 4900, "currency": "usd", "recurring": {"interval": "month"}}
LINES = {"object": "list", "data": [{"id": "il_1", "object": "line_item", "amount": 4900, "price": PRICE}]}
ITEMS = {"object": "list", "data": [{"id": "si_1", "object": "subscription_item", "price": PRICE, "quantity": 2}]}
THINGS: list[Callable[[int], dict[str, Any]]] = [
    lambda n: invoice(f"in_{n}", lines=LINES, percent_off=0.2, due_date=1_800_000_000, description="x"),
    lambda n: invoice(f"in_{n}", lines=LINES, due_date=1_700_000_000),
    lambda n: {
        "id": "cus_1",
        "object": "customer",
        "name": "A",
        "email": "a@example.com",
        "balance": 5,
        "currency": "usd",
    },
    lambda n: {
        "id": f"ch_{n}",
        "object": "charge",
        "customer": "cus_1",
        "amount": 1,
        "currency": "usd",
        "refunded": True,
    },
    lambda n: {"id": f"sub_{n}", "object": "subscription", "customer": "cus_1", "status": "active", "items": ITEMS},
]


def webhooks(room: Room, nasty: Nasty) -> None:
    """A signed event, damaged in places; whatever is taken is handled too."""
    event = event_of(nasty)
    if nasty.random.random() < 0.8:  # where a customer of Stripe's could put it; else anywhere
        event["data"]["object"] = nasty.damaged(event["data"]["object"])
        body = json.dumps(event).encode()
    else:
        body = nasty.written(nasty.damaged(event))
    answer = room.post(body, HTTP_STRIPE_SIGNATURE=signature(body))
    assert answer.status in (200, 400, 413), answer.body
    if answer.status == 200 and nasty.random.random() < 0.2:
        room.work()


def looks(room: Room, nasty: Nasty) -> None:
    """A damaged event, and then every page that shows something of it."""
    event = event_of(nasty)
    event["data"]["object"] = nasty.damaged(event["data"]["object"])
    body = json.dumps(event).encode()
    if room.post(body, HTTP_STRIPE_SIGNATURE=signature(body)).status != 200:
        return
    room.work()
    id, thing = event["id"], event["data"]["object"]
    customer = thing.get("customer") if isinstance(thing, dict) else None
    whom = escaped(customer) if isinstance(customer, str) and customer else "cus_1"
    for address in (
        f"/events/{id}", f"/api/v1/events/{id}", f"/find?q={id}", "/events", "/customers", "/runs", "/traces", "/deliveries",
        f"/customers/{whom}", f"/customers/{whom}/known", f"/api/v1/customers/{whom}/facts", f"/traces/{id}",
        f"/why?rule=each&event={id}", f"/why?rule=total&event={id}", f"/fields?event={event['type']}&sample={id}",
    ):  # fmt: skip
        answered(room.client.get(address, headers=BEARER))
    for run in room.client.get("/api/v1/runs?limit=3", headers=BEARER).json["items"]:
        answered(room.client.get(f"/runs/{run['id']}", headers=BEARER))
        answered(room.client.get(f"/rules/{run['rule_id']}", headers=BEARER))


def signatures(room: Room, nasty: Nasty) -> None:
    body = body_of(envelope("evt_signed"))
    good = signature(body)
    pick, odd = nasty.random.choice, nasty.text()
    header = pick((
        odd, good + odd, odd + good, good.replace("v1", pick(("v0", "V1", "v2", "v1 ", odd))), good.replace("=", odd), good[:-1],
        f"t={odd},{good.split(',')[1]}", f"t={nasty.value()},v1={odd}", ",".join([good] * pick((2, 200))), good.upper(),
        good.split(",")[1], good.split(",")[0], "t=" + "9" * 5000 + ",v1=x", good.replace(",", pick((";", " ,", ", ", ",,"))),
        nasty.flipped(good.encode()).decode("latin-1"),
    ))  # fmt: skip
    answer = room.post(body, HTTP_STRIPE_SIGNATURE=header, CONTENT_LENGTH=str(len(body)))
    assert answer.status in ((200,) if header == good else (200, 400, 429)), (header, answer.body)
    if answer.status == 200:  # it holds the very signature, and the very time
        stamp, mac = good.split(",")
        assert mac in header
        assert stamp.removeprefix("t=") in header


def documents(room: Room, nasty: Nasty) -> None:
    """A rule, damaged: refused with its problems, or read."""
    s = room.services
    document = nasty.damaged(nasty.random.choice(DOCUMENTS))
    for problem in check(document, s.catalogue, s.connectors):
        assert problem.message
    with suppress(RuleError):
        parse(document, s.catalogue, s.connectors)


def rule_calls(room: Room, nasty: Nasty) -> None:
    document = nasty.damaged(nasty.random.choice(DOCUMENTS))
    path = nasty.random.choice(("rules:check", "rules", "backtests", "explain"))
    body = (
        document
        if path.startswith("rules")
        else nasty.damaged({"rule": document, "subject": "in_1", "event": "evt_1", "at": None})
    )
    answer = room.client.post(
        f"/api/v1/{path}", data=nasty.written(body), headers=BEARER, content_type="application/json"
    )
    assert answer.status_code < 500, answer.text[:500]


def templates(room: Room, nasty: Nasty) -> None:
    facts = nasty.damaged(event_of(nasty))
    text = (
        nasty.text(30)
        + nasty.random.choice(("{{ data.object.id }}", "{{ data.object.lines }}", "{{", "}}", ""))
        + nasty.text()
    )
    with suppress(ValueError):  # a hole that names no path is refused when the rule is read
        render({"a": [text, {"b": text}]}, facts if isinstance(facts, dict) else {})


def uploads(room: Room, nasty: Nasty) -> None:
    """Files of events, scores and rules."""
    s, pick = room.services, nasty.random.choice
    kind = pick(("events", "csv", "file", "values"))
    if kind == "events":
        lines = b"\n".join(nasty.written(nasty.damaged(event_of(nasty))) for _ in range(3))
        assert room.client.post("/api/v1/events:import", data=lines, headers=BEARER).status_code < 500
        history.load(io.BytesIO(lines), s.bus, s.vault, NOON)
    elif kind == "csv":
        rows = "\n".join(",".join((nasty.text(4), str(nasty.value()), nasty.text(4))) for _ in range(3))
        try:
            for name, values in scores.read_csv(
                io.StringIO(f"customer,churn_risk,{nasty.text(3)}\n{rows}", newline="")
            ).items():
                scores.set_values(s.store, TENANT, name, values, "file", "ada", NOON)
        except (RuleError, LookupError):
            pass
    elif kind == "file":
        raw = nasty.written(nasty.damaged(pick(DOCUMENTS)))
        name, text = (clean(nasty.text(4)) for _ in range(2))
        given = {"file": (io.BytesIO(raw), name or "x.json"), "text": text}
        answer = room.client.post("/rules/new/import", data=given, content_type="multipart/form-data")
        assert answer.status_code < 500
    else:
        body = nasty.damaged({"title": "Risk", "values": [{"customer": "cus_1", "value": 0.5, "at": None}]})
        answer = room.client.put(
            "/api/v1/scores/churn", data=nasty.written(body), headers=BEARER, content_type="application/json"
        )
        assert answer.status_code < 500


def clean(text: str) -> str:
    """Without what no client could send at all."""
    return text.encode(errors="replace").decode()


GETS = ["/events", "/runs", "/customers", "/traces", "/deliveries", "/dead-letters", "/needs-you", "/find", "/why", "/rules",
        "/backtests", "/settings/audit", "/fields", "/lint", "/crm-inbox", "/api/v1/events", "/api/v1/runs", "/api/v1/commands",
        "/api/v1/audit", "/api/v1/schemas", "/api/v1/rules", "/api/v1/dead-letters", "/schemas"]  # fmt: skip
NAMES = ["q", "after", "limit", "type", "day", "rule", "state", "customer", "tenant", "fired", "key", "before", "version", "subject",
         "event", "at", "number", "next", "cause", "connection", "from", "about", "text", "only", "since", "zone"]  # fmt: skip
VALUES = [
    "evt_1",
    "in_1",
    "cus_1",
    "run_1",
    "2026-11-23",
    "failed",
    "yes",
    "live",
    "50",
    "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
]


def queries(room: Room, nasty: Nasty) -> None:
    pick = nasty.random.choice
    chosen = [
        (pick(NAMES), nasty.text() if nasty.random.random() < 0.6 else pick(VALUES))
        for _ in range(nasty.random.randint(1, 4))
    ]
    query = "&".join(f"{name}={escaped(value)}" for name, value in chosen)
    answered(room.client.get(f"{pick(GETS)}?{query}", headers=BEARER))


def escaped(text: str) -> str:
    return quote(text[:3000].encode(errors="surrogatepass"), safe="")


PLACES = [
    "/rules/{}", "/rules/{}/edit", "/rules/{}/export", "/rules/{}/publish", "/rules/{}/sends", "/runs/{}", "/runs/{}/news",
    "/runs/x/{}", "/events/{}", "/customers/{}", "/customers/{}/known", "/customers/{}/exclude", "/traces/{}", "/backtests/{}",
    "/backtests/{}.csv", "/crm-inbox/{}", "/settings/connections/{}", "/settings/lists/{}", "/settings/routes/{}",
    "/settings/scores/{}", "/settings/subjects/{}", "/settings/no-email/{}/lift", "/unsubscribe/{}", "/dead-letters/jobs/{}",
    "/needs-you/{}", "/schemas/{}", "/static/{}", "/{}", "/api/v1/{}", "/api/v1/rules/{}", "/api/v1/rules/{}/versions",
    "/api/v1/runs/{}", "/api/v1/commands/{}", "/api/v1/events/{}", "/api/v1/traces/{}", "/api/v1/scores/{}",
    "/api/v1/schemas/{}", "/api/v1/subjects/{}", "/api/v1/customers/{}/facts", "/api/v1/backtests/{}",
]  # fmt: skip


def places(room: Room, nasty: Nasty) -> None:
    address = nasty.random.choice(PLACES).format(escaped(nasty.text()) or "x")
    answered(room.client.get(address, headers=BEARER))


def forms(room: Room, nasty: Nasty) -> None:
    """Any fields at any address that takes a form; what a person can reach, and what only a program would send."""
    pick = nasty.random.choice
    rules = [rule for rule in room.client.application.url_map.iter_rules()
             if "POST" in rule.methods and not rule.rule.startswith(("/api/", "/pubsub", "/tasks", "/webhooks"))]  # fmt: skip
    address = pick(rules).rule
    while "<" in address:
        start, end = address.index("<"), address.index(">")
        address = (
            address[:start]
            + (pick(("crm", "ladder", "x")) if nasty.random.random() < 0.7 else escaped(nasty.text(3)) or "x")
            + address[end + 1 :]
        )
    fields = {pick((*FIELDS, nasty.text(3))): nasty.text() for _ in range(nasty.random.randint(0, 8))}
    data = "&".join(f"{escaped(name)}={escaped(value)}" for name, value in fields.items())
    answered(room.client.post(address, data=data, content_type="application/x-www-form-urlencoded"))


FIELDS = ["do", "name", "reason", "note", "expect", "json", "text", "token", "next", "number", "hours", "members", "value", "values",
          "customer", "what", "stopped", "who", "due", "url", "type", "secret", "only_if-0-0.field", "only_if-0-0.value", "tenant",
          "when.event-0", "when.at_least", "when.within", "steps-0.do", "steps-0.with.text", "steps-0.wait", "limits.runs", "since",
          "until", "zone", "about", "ids", "file", "path", "title", "steps-99999999999999999999.do", "id", "state", "rule"]  # fmt: skip


def answered(answer: Any) -> None:
    assert answer.status_code < 500, answer.text[-1500:]
    for name, value in answer.headers.items():
        assert (name + value).isprintable(), (name, value)
        (name + value).encode("latin-1")


DOORS: dict[str, Door] = {
    "looks": looks,    "webhooks": webhooks, "signatures": signatures, "documents": documents, "rule calls": rule_calls, "templates": templates,
    "uploads": uploads, "queries": queries, "places": places, "forms": forms,
}  # fmt: skip
IN_CI = {
    "looks": 15,
    "webhooks": 1400,
    "signatures": 1900,
    "documents": 500,
    "rule calls": 120,
    "templates": 1200,
    "uploads": 150,
    "queries": 200,
    "places": 200,
    "forms": 100,
}  # fmt: skip
AT_NIGHT = 20  # times as many


def hear(door: str, seeds: range) -> None:
    """Each seed through the door; memory stays as it was."""
    room, before = Room(), resident()
    for count, seed in enumerate(seeds, 1):
        try:
            DOORS[door](room, Nasty(seed))
        except Exception as error:
            raise AssertionError(f"python -m tests.hostile.test_inputs '{door}' {seed}") from error
        if count % EACH == 0:
            room.work()
            room = Room()
    room.work()
    assert resident() - before < 150


@pytest.mark.parametrize("door", DOORS)
def test_hostile_inputs_are_answered(door: str) -> None:
    hear(door, range(IN_CI[door]))


@pytest.mark.nightly
@pytest.mark.parametrize("door", DOORS)
def test_a_night_of_hostile_inputs_is_answered(door: str) -> None:
    hear(door, range(1_000_000, 1_000_000 + IN_CI[door] * AT_NIGHT))


def test_a_night_has_a_hundred_thousand_inputs_and_every_run_five_thousand() -> None:
    assert sum(IN_CI.values()) >= 5_000
    assert sum(IN_CI.values()) * AT_NIGHT >= 100_000
    assert set(IN_CI) == set(DOORS)
    assert len(Counter(json.dumps(event_of(Nasty(seed))) for seed in range(100))) == 100
    assert len(body_of(envelope())) < LIMIT
    assert WEBHOOK_SECRET


if __name__ == "__main__":
    DOORS[sys.argv[1]](Room(), Nasty(int(sys.argv[2])))
