"""The built-in CRM inbox takes what is genuinely signed, once by its id, and refuses everything else."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from app import crm_inbox
from app.adapters.memory import MemorySecrets, MemoryStore
from app.connectors.crm_webhook import Notify
from app.connectors.delivery import Courier
from app.connectors.signed import signed_headers
from rules.ports import ABSENT, Put, Refused
from tests.builders import NOON, TENANT, task
from tests.fakes.receiver import Receiver

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
BODY: dict[str, Any] = {
    "specversion": "1.0",
    "id": "run_1/tell",
    "type": "signalbox.crm.notify",
    "correlationid": "in_1",
    "causationid": "evt_2",
    "data": {"stage": "At risk", "customer": "cus_1", "rule": {"name": "Two failed"}, "amounts": {"usd": 4900}},
}
PAYLOAD = json.dumps(BODY).encode()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def secrets() -> MemorySecrets:
    return MemorySecrets({f"connection/{TENANT}/crm": SECRET})


def headers(id: str = "run_1/tell", body: bytes = PAYLOAD, secret: str = SECRET) -> dict[str, str]:
    return {**signed_headers(secret, id, NOON, body), "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}


def test_a_notice_is_kept_once_and_its_deliveries_are_counted(store: MemoryStore, secrets: MemorySecrets) -> None:
    first = crm_inbox.receive(store, secrets, TENANT, headers(), PAYLOAD, NOON)
    second = crm_inbox.receive(store, secrets, TENANT, headers(), PAYLOAD, NOON + timedelta(minutes=2))
    assert (first.new, first.deliveries, second.new, second.deliveries) == (True, 1, False, 2)
    (row,) = crm_inbox.notices(store, TENANT)["items"]
    assert (row["id"], row["stage"], row["rule"], row["deliveries"]) == ("run_1/tell", "At risk", "Two failed", 2)
    assert (row["correlation"], row["event"], row["trace"]) == ("in_1", "evt_2", "a" * 32)
    assert crm_inbox.notice(store, TENANT, "run_1/tell")["notice"] == BODY


def test_personal_values_that_a_notice_carries_are_not_kept(store: MemoryStore, secrets: MemorySecrets) -> None:
    told = "Call tok_0123456789abcdef01234567 at tok_89abcdef0123456789abcdef@example.com"
    command = {**task(), "id": "run_1/tell", "state": "sent", "params": {"message": told}}
    store.commit(TENANT, None, [Put("command", "run_1/tell", command, ABSENT)])
    for id, kept in (("run_1/tell", told), ("msg_of_another", "Call Ann at [e-mail]")):
        data = {**BODY["data"], "message": "Call Ann at ann@example.com"}
        sent = json.dumps({**BODY, "data": data}).encode()
        crm_inbox.receive(store, secrets, TENANT, headers(id, sent), sent, NOON)
        assert crm_inbox.notice(store, TENANT, id)["notice"]["data"]["message"] == kept


def test_what_another_library_signed_is_taken(store: MemoryStore, secrets: MemorySecrets) -> None:
    stamp = str(int(NOON.timestamp()))
    signature = Webhook(SECRET).sign("msg_1", NOON, PAYLOAD.decode())
    given = {"Webhook-Id": "msg_1", "Webhook-Timestamp": stamp, "Webhook-Signature": signature}
    assert crm_inbox.receive(store, secrets, TENANT, given, PAYLOAD, NOON).new


def test_what_our_connector_sends_is_taken(store: MemoryStore, secrets: MemorySecrets) -> None:
    receiver = Receiver()
    with receiver.running() as base:
        connection = {"name": "crm", "url": base, "secret_name": f"connection/{TENANT}/crm"}
        Notify(Courier(development=True), secrets, None).execute(task(connection=connection), NOON)  # type: ignore[arg-type]
    got = receiver.got[0]
    kept = crm_inbox.receive(store, secrets, TENANT, got.headers, got.body, NOON)
    assert (kept.id, kept.new) == ("run_1/step", True)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_stale_or_early_notice_is_refused(store: MemoryStore, secrets: MemorySecrets, minutes: int) -> None:
    with pytest.raises(Refused, match="minutes off"):
        crm_inbox.receive(store, secrets, TENANT, headers(), PAYLOAD, NOON + timedelta(minutes=minutes))


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "v1,not base64!"},
        {"webhook-signature": "v2," + "A" * 44},
        {"webhook-signature": "v1a,\u00e9\u00ff"},
        {"webhook-signature": " " * 50},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "\u0661\u0662"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-timestamp": "-1"},
        {"webhook-id": ""},
        {"webhook-id": "other"},
        {"webhook-id": "\udcff"},
    ],
)
def test_malformed_headers_are_refused(store: MemoryStore, secrets: MemorySecrets, change: dict[str, str]) -> None:
    with pytest.raises(Refused):
        crm_inbox.receive(store, secrets, TENANT, headers() | change, PAYLOAD, NOON)
    assert crm_inbox.notices(store, TENANT)["items"] == []


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"[]", b"{}", b"null", b'{"specversion": "1.0"}', b"[" * 60_000, b"x" * 70_000]
)
def test_bodies_that_are_no_notice_are_refused_even_when_signed(
    store: MemoryStore, secrets: MemorySecrets, body: bytes
) -> None:
    with pytest.raises(Refused):
        crm_inbox.receive(store, secrets, TENANT, headers(body=body), body, NOON)


def test_a_changed_body_and_another_secret_are_refused(store: MemoryStore, secrets: MemorySecrets) -> None:
    with pytest.raises(Refused, match="No signature matches"):
        crm_inbox.receive(store, secrets, TENANT, headers(), PAYLOAD + b" ", NOON)
    other = "whsec_" + base64.b64encode(b"o" * 32).decode()
    with pytest.raises(Refused, match="No signature matches"):
        crm_inbox.receive(store, secrets, TENANT, headers(secret=other), PAYLOAD, NOON)
    assert crm_inbox.receive(store, secrets, TENANT, headers(secret=f"{other} {SECRET}"), PAYLOAD, NOON).new


def test_a_tenant_without_a_connection_refuses(store: MemoryStore, secrets: MemorySecrets) -> None:
    with pytest.raises(Refused, match="no connection"):
        crm_inbox.receive(store, secrets, "default/live", headers(), PAYLOAD, NOON)


def test_the_sample_connection_is_made_once_and_points_here(store: MemoryStore) -> None:
    secrets = MemorySecrets()
    for _ in range(2):
        crm_inbox.ensure_sample_connection(store, secrets, TENANT, "http://127.0.0.1:8080/", NOON)
    connection = store.get(TENANT, "connection", "crm")
    assert connection is not None
    assert connection.body["url"] == "http://127.0.0.1:8080/crm-inbox?tenant=default/test"
    assert (secrets.get(connection.body["secret_name"]) or "").startswith("whsec_")
    assert len(store.find(TENANT, "audit", order="at").items) == 1


def test_a_notice_that_says_little_is_shown_with_what_it_has(store: MemoryStore, secrets: MemorySecrets) -> None:
    bare = json.dumps({"specversion": "1.0", "data": {}}).encode()
    crm_inbox.receive(store, secrets, TENANT, headers(body=bare), bare, NOON)
    (row,) = crm_inbox.notices(store, TENANT)["items"]
    assert (row["stage"], row["amounts"], row["correlation"]) == (None, {}, "")
    with pytest.raises(LookupError):
        crm_inbox.notice(store, TENANT, "nothing")


def test_two_deliveries_at_the_same_moment_are_both_counted(store: MemoryStore, secrets: MemorySecrets) -> None:
    class Interrupted(MemoryStore):
        """The other delivery comes between our read and our write."""

        def get(self, tenant: str, kind: str, id: str) -> Any:
            found = store.get(tenant, kind, id)
            if kind == "notice" and found is None:
                crm_inbox.receive(store, secrets, TENANT, headers(), PAYLOAD, NOON)
            return found

        def commit(self, *args: Any) -> None:
            store.commit(*args)

    kept = crm_inbox.receive(Interrupted(), secrets, TENANT, headers(), PAYLOAD, NOON)
    assert (kept.new, kept.deliveries) == (False, 2)
