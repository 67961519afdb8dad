"""A whole story with personal values everywhere, then a search for them: bus, store, files, logs, spans, error pages,
all pages, API answers and a backup, in every encoding they could hide in. They are in the vault, sealed, and nowhere
else; an e-mail address's domain is kept in its token, and is not looked for."""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import logging
import os
import re
import urllib.parse
import uuid
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app import author, jobs, logs, moving
from app.adapters.memory import MemoryTracer
from app.personal import erasing
from app.receive import history, quarantine
from app.receive.webhook import receive
from app.services import Services, build, job_types, keeper_of
from app.settings import Settings
from app.web import create_app
from app.worker import Work, tick
from rules.event import iso
from rules.kinds import KINDS, SYSTEM
from tests.builders import ADMIN_TOKEN, DAY, TENANT, WEBHOOK_SECRET, body_of, envelope, invoice, signed
from tests.fakes.mail_server import MailServer
from tests.fakes.receiver import Receiver, Say

LOCAL = "zorgblatt.quux"
VALUES = {
    "email": LOCAL,  # of the address; the domain stays
    "name": "Zörgblatt Quüxington",
    "phone": "+49 30 5550199 77",
    "line1": "Quuxenallee 7713",
    "city": "Blattenstädt",
    "postal": "97531-Q",
    "ip": "198.51.100.177",
    "tax": "DE9876543217",
    "iban": "DE89370400440532013000",
    "secret": "pi_77_secret_QuuxSesame77",
    "comment": "Quux says he is moving to Blattenstädt",
    "unknown": "Unheard-of Quuxling",
}
ADDRESS = f"{LOCAL}@example.com"
MOST_PAGES = 70
VOLATILE = ("until", "took", "seconds", "read_at")  # of a backtest: when it was made, not what it found


def needles() -> dict[str, re.Pattern[bytes]]:
    """Every way a value may be written: plain, in another case, in a URL, in HTML, in JSON, in hex, in base64."""
    found = {}
    for name, value in VALUES.items():
        forms = {value, value.lower(), value.upper(), value.replace(" ", "_")}
        forms |= {urllib.parse.quote(one, safe="") for one in (value, value.lower())}
        forms |= {urllib.parse.quote_plus(value), html.escape(value), json.dumps(value)[1:-1]}
        forms |= {json.dumps(json.dumps(value))[3:-3], value.encode("unicode_escape").decode()}
        raw = value.encode()
        texts = {one.encode() for one in forms} | {raw.hex().encode(), raw.hex().upper().encode()}
        for shift in range(3):  # the same bytes look different at each place of three
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                texts.add(encode(b"\0" * shift + raw)[4 if shift else 0 : -4])
        texts |= {one.encode("latin-1", "ignore") for one in (value,)}
        found[name] = re.compile(b"|".join(re.escape(one) for one in sorted(texts, key=len) if len(one) > 5), re.I)
    return found


NEEDLES = needles()


def hits(where: str, content: bytes) -> list[str]:
    return [
        f"{where}: {name}: ...{content[max(0, found.start() - 60) : found.end() + 20]!r}"
        for name, pattern in NEEDLES.items()
        if (found := pattern.search(content))
    ]


# ---- what Stripe sends ----------------------------------------------------------------------------------------------
PERSON: dict[str, Any] = {
    "name": VALUES["name"],
    "email": ADDRESS,
    "phone": VALUES["phone"],
    "address": {"line1": VALUES["line1"], "city": VALUES["city"], "postal_code": VALUES["postal"], "country": "DE"},
    "tax_id": VALUES["tax"],
}


def bill(number: int, **more: Any) -> dict[str, Any]:
    return invoice(
        id=f"in_{number}",
        customer="cus_quux",
        customer_email=ADDRESS,
        customer_name=VALUES["name"],
        customer_phone=VALUES["phone"],
        customer_address=PERSON["address"],
        customer_tax_ids=[{"type": "eu_vat", "value": VALUES["tax"]}],
        description=f"as {ADDRESS} asked, see https://shop.example/u?mail={urllib.parse.quote(ADDRESS)}",
        metadata={"customer_name": VALUES["name"], "note": f"ask {ADDRESS.upper()}"},
        **more,
    )


def events(at: datetime) -> Iterator[dict[str, Any]]:
    customer = {"id": "cus_quux", "object": "customer", "description": VALUES["comment"], **PERSON, "shipping": PERSON}
    yield envelope(
        "evt_customer", "customer.created", customer, at, previous={"email": ADDRESS, "name": VALUES["name"]}
    )
    charge = {
        "id": "ch_1", "object": "charge", "customer": "cus_quux", "billing_details": PERSON, "receipt_email": ADDRESS,
        "payment_method_details": {"type": "sepa_debit", "sepa_debit": {"iban": VALUES["iban"], "last4": "3000"}},
    }  # fmt: skip
    yield envelope("evt_charge", "charge.failed", charge, at)
    intent = {
        "id": "pi_77", "object": "payment_intent", "customer": "cus_quux", "client_secret": VALUES["secret"],
        "shipping": PERSON, "last_payment_error": {"payment_method": {"object": "payment_method",
                                                                      "billing_details": PERSON}},
    }  # fmt: skip
    yield envelope("evt_intent", "payment_intent.payment_failed", intent, at)
    review = {"id": "prv_1", "object": "review", "ip_address": VALUES["ip"], "charge": "ch_1", "open": True}
    yield envelope("evt_review", "review.opened", review, at)
    subscription = {
        "id": "sub_1", "object": "subscription", "customer": "cus_quux", "status": "canceled",
        "cancellation_details": {"comment": VALUES["comment"], "feedback": "other"}, "items": {"data": []},
    }  # fmt: skip
    yield envelope("evt_ended", "customer.subscription.deleted", subscription, at)
    stranger = {"id": "x_1", "object": "x.quux", "name": VALUES["unknown"], "at": {"owner": {"phone": VALUES["phone"]}}}
    yield envelope("evt_unknown", "x.quux.created", stranger, at)
    for number in (1, 2):
        yield envelope(f"evt_failed_{number}", object=bill(1), time=at + timedelta(minutes=number))


RULE: dict[str, Any] = {
    "id": "quux",
    "name": "Two failures",
    "when": {"event": ["invoice.payment_failed"], "at_least": 2, "within": "P7D", "same": "customer"},
    "steps": [
        {"name": "tell", "do": "crm.notify", "with": {
            "connection": "crm", "stage": "At risk", "message": "Call {{ data.object.customer_name }}"}},
        {"name": "post", "do": "slack.post", "with": {
            "connection": "team", "text": "{{ data.object.customer_email }} of {{ data.object.customer_phone }}"}},
        {"name": "write", "do": "mail.send", "with": {
            "connection": "mail", "subject": "Dear {{ data.object.customer_name }}", "text": "Your payment failed."}},
    ],
}  # fmt: skip


class Story:
    """An installation, what it logged and traced, and the world outside, which echoes what it was sent."""

    def __init__(self, services: Services, stack: ExitStack) -> None:
        self.log = io.StringIO()
        logs.configure("debug", self.log)
        self.tracer = MemoryTracer()
        self.s = replace(services, tracer=self.tracer)
        self.crm, self.slack, self.mail = Receiver(), Receiver(), MailServer(rcpt=f"550 5.1.1 <{ADDRESS}> is unknown")
        crm, slack = stack.enter_context(self.crm.running()), stack.enter_context(self.slack.running())
        self.crm.answers = [Say(500, f"cannot reach {VALUES['name']} <{ADDRESS}>".encode())]
        self.slack.usual = Say(400, f"{ADDRESS} is no user".encode())
        port = stack.enter_context(self.mail.running())
        self.connect({"name": "crm", "type": "webhook", "url": crm + "/hook"})
        self.connect({"name": "team", "type": "slack", "secret": "https://hooks.slack.com/services/T0/B0/x"})
        self.s.secrets.put(f"connection/{TENANT}/team", slack + "/services/T0/B0/x")
        mail = {"name": "mail", "type": "smtp", "host": "127.0.0.1", "port": str(port), "tls": "none"}
        self.connect({**mail, "from": "billing@shop.example"})
        s, now = self.s, datetime.now(UTC)
        author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, RULE, "kim", now - DAY)
        author.publish(s.store, s.catalogue, s.connectors, TENANT, "quux", "kim", "story", now - DAY)
        self.browser = create_app(self.s).test_client()
        self.until = iso(now)  # of every backtest, so that two can be compared

    def connect(self, body: Mapping[str, Any]) -> None:
        s = self.s
        author.save_connection(s.store, s.secrets, TENANT, dict(body), "kim", datetime.now(UTC) - DAY, True)

    def webhook(self, event: Mapping[str, Any]) -> int:
        raw, now = body_of(event), datetime.now(UTC)
        s = self.s
        return receive(signed(raw, now), raw, s.bus, s.vault, s.verifier, now, s.clock, self.keep).status

    @property
    def keep(self) -> Any:
        keeper = keeper_of(self.s)
        return lambda *given: quarantine.keep(keeper, *given)

    def work(self, days: float = 0) -> None:
        for minutes in (0, 10, 60, 600):
            tick(Work(self.s, job_types(self.s)), datetime.now(UTC) + timedelta(days=days, minutes=minutes))

    def told(self) -> None:
        """The story: what Stripe sends, once badly and once broken, what is done about it, what goes wrong."""
        now = datetime.now(UTC)
        for event in events(now - timedelta(hours=1)):
            assert self.webhook(event) == 200
        assert self.webhook(envelope("evt_odd", object={**bill(9), "amount_due": VALUES["name"]})) == 200  # quarantined
        broken = envelope("evt_broken", object=bill(3)) | {"livemode": VALUES["name"]}
        assert self.webhook(broken) in (200, 400)
        forged = body_of(envelope("evt_forged", object=bill(4)))
        assert (
            receive({"Stripe-Signature": "t=1,v1=00"}, forged, self.s.bus, self.s.vault, self.s.verifier, now).status
            == 400
        )
        history.load([body_of(envelope("evt_old", object=bill(5))).replace(b"\n", b"")], self.s.bus, self.s.vault, now)
        self.work()
        self.work()

    # ---- looking ----------------------------------------------------------------------------------------------------
    def store(self) -> list[str]:
        found = []
        for tenant in (SYSTEM, TENANT):
            for kind in KINDS:
                after = None
                while True:
                    page = self.s.store.find(tenant, kind, after=after)
                    for one in page.items:
                        text = json.dumps([one.id, one.body], ensure_ascii=False, default=dict)
                        found += hits(f"{kind} {one.id}", text.encode())
                    after = page.next
                    if after is None:
                        break
        return found

    def pages(self) -> tuple[set[str], list[str]]:
        """Every page that a link leads to, from the first on; and the API's lists and things."""
        seen, todo, found = set[str](), ["/", "/crm-inbox", "/settings/personal", "/deliveries/quarantine"], list[str]()
        while todo and len(seen) < MOST_PAGES:
            address = todo.pop(0)
            if address in seen:
                continue
            seen.add(address)
            answer = self.browser.get(address)
            assert answer.status_code < 500, (address, answer.text)
            found += hits(f"GET {address}", answer.data)
            links = re.findall(r'href="(/[^"#]*)', answer.text)
            todo += [html.unescape(one) for one in links if not one.startswith("/static/")]
        return seen, found

    def api(self) -> list[str]:
        header = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        names = "events runs commands audit dead-letters connections rules quarantine needs-you retention vault/keys"
        places = [*names.split(), "events/evt_failed_2", "traces/in_1", "personal/customer/cus_quux",
                  "customers/cus_quux/erasure", "customers/cus_quux/facts", "openapi.json"]  # fmt: skip
        found = []
        for place in places:
            answer = self.browser.get(f"/api/v1/{place}", headers=header)
            assert answer.status_code in (200, 404), (place, answer.text)
            found += hits(f"GET /api/v1/{place}", answer.data)
        return found

    def errors(self) -> list[str]:
        """Answers to what is wrong, which say what is wrong and quote nothing of it."""
        raw = body_of(envelope("evt_wrong", object=bill(6)))
        said = [
            self.browser.post("/webhooks/stripe", data=raw, headers={"Stripe-Signature": "t=1,v1=00"}),
            self.browser.get("/events/evt_none"),
            self.browser.get("/runs/run_none"),
            self.browser.post("/customers/cus_quux/erase", data={"confirm": "x"}),
            self.browser.post("/api/v1/explain", data=raw, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}),
        ]
        return [hit for one in said for hit in hits(f"error {one.status_code}", one.data)]

    def spans(self) -> list[str]:
        return [
            hit
            for span in self.tracer.spans
            for hit in hits(span.name, json.dumps(asdict(span), default=dict).encode())
        ]


def files(folder: Path) -> list[str]:
    """Of every file the raw bytes, and what is compressed in it."""
    found = []
    for path in (one for one in folder.rglob("*") if one.is_file()):
        raw = path.read_bytes()
        found += hits(path.name, raw)
        if path.suffix == ".gz":
            found += hits(f"{path.name}, unzipped", gzip.decompress(raw))
        for at in (one.start() for one in re.finditer(rb"x[\x01\x5e\x9c\xda]", raw)):
            try:
                found += hits(f"{path.name} at {at}, inflated", zlib.decompressobj().decompress(raw[at:], 200_000))
            except zlib.error:
                continue
    return found


@pytest.fixture
def quiet() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before[0], before[1]


def settings(folder: Path, **more: Any) -> Settings:
    given = {
        "data": folder, "matcher": "python", "stripe_webhook_secrets": (WEBHOOK_SECRET,), "admin_token": ADMIN_TOKEN,
        "stripe_api_key": "", "public_url": "http://127.0.0.1:8080", **more,
    }  # fmt: skip
    return Settings(**given)


def check_happened(story: Story) -> None:
    """The story is only worth searching when it was told: values went out, failed, and lie in the vault."""
    assert any(VALUES["name"].encode() in got.body or b"Z\\u00f6rgblatt" in got.body for got in story.crm.got)
    assert any(ADDRESS.encode() in got.body for got in story.slack.got)
    states = {one.body["step"]: one.body["state"] for one in story.s.store.find(TENANT, "command").items}
    assert states["tell"] == "done"
    assert states["post"] == "dead"
    assert quarantine.count(story.s.store, TENANT, quarantine.Which()) >= 1
    assert story.s.vault.kept(TENANT, "cus_quux")[0] >= 8
    assert '"DEBUG"' in story.log.getvalue() or "event.received" in story.log.getvalue()
    assert len(story.tracer.spans) > 5


def test_on_one_machine_no_personal_value_is_anywhere_but_in_the_vault(tmp_path: Path, quiet: None) -> None:
    with ExitStack() as stack:
        services = build(settings(tmp_path / "data", backend="sqlite", log="debug"))
        stack.callback(services.close)
        story = Story(services, stack)
        assert story.webhook(envelope("evt_waits", object=bill(8))) == 200
        assert files(tmp_path) == []  # the queue, before anything was handled
        story.told()
        check_happened(story)
        seen, shown = story.pages()
        assert {"/customers/cus_quux", "/events/evt_failed_2"} <= seen
        assert len(seen) > 40
        assert shown == []
        assert [*story.store(), *story.api(), *story.errors(), *story.spans()] == []
        assert hits("log", story.log.getvalue().encode()) == []
        assert files(tmp_path) == []
        kept = moving.Kept(services.store, services.vault, services.secrets, load(tmp_path / "data"))  # type: ignore[arg-type]
        moving.export(kept, tmp_path / "backup")
        assert len(list((tmp_path / "backup").iterdir())) > 10
        assert files(tmp_path / "backup") == []
        after_erasure(story)


def after_erasure(story: Story) -> None:
    """Not even the vault has them then, and what was decided is what it was."""
    s = story.s
    before = decisions(story)
    token = s.store.get(TENANT, "event", "evt_failed_1").body["event"]["data"]["data"]["object"]["customer_name"]  # type: ignore[union-attr]
    assert s.vault.reveal(TENANT, token, "kim", "before") == VALUES["name"]
    id = erasing.start(s.store, s.vault, TENANT, "cus_quux", "kim", "by letter", datetime.now(UTC))
    at = datetime.now(UTC)
    for _ in range(60):
        at += timedelta(seconds=20)
        jobs.run_one(s.store, job_types(s), at)
    job = s.store.get(TENANT, "job", id)
    assert job is not None
    assert job.body["state"] == "done", job.body
    assert s.vault.reveal(TENANT, token, "kim", "after") is None
    assert s.vault.kept(TENANT, "cus_quux") == (0, 0)
    after = decisions(story)
    assert {name: after[2][name] for name in after[2] if before[2][name] != after[2][name]} == {}
    assert after == before


def decisions(story: Story) -> list[Any]:
    """What was decided, what explaining says today, and what a backtest over the log comes to."""
    s = story.s
    stored = [one.body.get("decision") for one in s.store.find(TENANT, "event", order="created").items]
    answer = story.browser.post(
        "/api/v1/explain",
        headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
        json={"rule": "quux", "event": "evt_failed_2"},
    )
    assert answer.status_code == 200, answer.text
    backtest = story.browser.post(
        "/api/v1/backtests",
        headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
        json={"rule": "quux", "until": story.until},
    )
    for _ in range(40):
        jobs.run_one(s.store, job_types(s), datetime.now(UTC))
        found = story.browser.get(
            f"/api/v1/backtests/{backtest.json['id']}", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}
        )
        if found.json["status"] in ("done", "failed"):
            break
    assert found.json["status"] == "done"
    summary = {name: value for name, value in found.json["summary"].items() if name not in VOLATILE}
    return [stored, answer.json, summary, found.json["runs"]]


def load(folder: Path) -> Any:
    from app.adapters.keys import load_keys

    return load_keys(folder / "keys.json")


@pytest.mark.emulator
def test_on_google_no_personal_value_is_in_the_store_or_on_the_bus(
    tmp_path: Path, quiet: None, firestore_emulator: None, pubsub_emulator: None
) -> None:
    given = settings(
        tmp_path / "data",
        backend="google",
        google_project=f"test-{uuid.uuid4().hex[:12]}",
        firestore_emulator=os.environ["FIRESTORE_EMULATOR_HOST"],
        pubsub_emulator=os.environ["PUBSUB_EMULATOR_HOST"],
    )
    with ExitStack() as stack:
        services = build(given)
        stack.callback(services.close)
        published: list[bytes] = []
        story = Story(services, stack)
        bus = story.s.bus
        inner = bus._publisher  # type: ignore[attr-defined]
        bus._publisher = Listening(inner, published)  # type: ignore[attr-defined]
        story.told()
        assert published
        assert [hit for data in published for hit in hits("message", data)] == []
        assert story.store() == []
        client = services.store._client  # type: ignore[attr-defined]
        raw = [repr(one.to_dict()).encode() for one in client.collection_group("values").stream()]
        assert len(raw) >= 8
        assert [hit for one in raw for hit in hits("vault", one)] == []


class Listening:
    """A publisher that keeps what it sends."""

    def __init__(self, inner: Any, heard: list[bytes]) -> None:
        self._inner, self._heard = inner, heard

    def publish(self, topic: str, data: bytes = b"", **more: Any) -> Any:
        self._heard.append(data + repr(more).encode())
        return self._inner.publish(topic, data, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
