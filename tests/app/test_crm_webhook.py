"""`crm.notify` sends a signed CloudEvent that others' libraries accept, and reads every answer rightly."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from app.adapters.memory import MemorySecrets, MemoryVault
from app.connectors.crm_webhook import Notify
from app.connectors.delivery import Courier
from app.connectors.signed import retry_after
from rules.event import iso
from rules.ports import Outcome, Unconfigured
from tests.builders import NOON, TENANT, task
from tests.fakes.receiver import Receiver, Say

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
NEW_SECRET = "whsec_" + base64.b64encode(b"n" * 32).decode()
NOW = datetime.now(UTC).replace(microsecond=0)  # the judge compares the time stamp with the true time


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def base(receiver: Receiver) -> Iterator[str]:
    with receiver.running() as address:
        yield address


def notify(secret: str | None = SECRET, vault: MemoryVault | None = None) -> Notify:
    secrets = MemorySecrets({f"connection/{TENANT}/crm": secret} if secret else {})
    return Notify(
        Courier(development=True, timeout=2), secrets, vault or MemoryVault(), "https://signalbox.example.com"
    )


def connection(url: str, **more: Any) -> dict[str, Any]:
    return {
        "name": "crm",
        "type": "webhook",
        "url": url,
        "state": "on",
        "secret_name": f"connection/{TENANT}/crm",
    } | more


def sent(base: str, action: Notify | None = None, now: datetime = NOW, **params: Any) -> Outcome:
    return (action or notify()).execute(task(params=params, connection=connection(base + "/hook")), now)


def test_a_notice_is_accepted_by_the_standard_library_and_names_its_cause(receiver: Receiver, base: str) -> None:
    outcome = sent(base, stage="At risk - payment")
    assert (outcome.kind, outcome.message) == ("done", "crm took the notice (200).")
    got = receiver.got[0]
    body = Webhook(SECRET).verify(got.body, dict(got.headers))
    assert got.id == body["id"] == "run_1/step"
    assert (body["specversion"], body["type"], body["causationid"]) == ("1.0", "signalbox.crm.notify", "evt_2")
    data = body["data"]
    assert (data["stage"], data["customer"], data["subscription"], data["invoice"]) == (
        "At risk - payment", "cus_1", "sub_1", "in_1",
    )  # fmt: skip
    assert data["amounts"] == {"usd": 4900}
    assert data["because"] == "Second failed payment within 7 days."
    assert data["links"]["run"] == "https://signalbox.example.com/runs/run_1"
    assert got.headers["traceparent"] == f"00-{'a' * 32}-{'b' * 16}-01"
    assert got.headers["content-type"].startswith("application/cloudevents+json")


def test_while_a_secret_is_replaced_both_signatures_are_sent(receiver: Receiver, base: str) -> None:
    sent(base, notify(f"{NEW_SECRET} {SECRET}"))
    for secret in (SECRET, NEW_SECRET):
        Webhook(secret).verify(receiver.got[0].body, dict(receiver.got[0].headers))


def test_every_try_sends_the_same_bytes_under_the_same_id(receiver: Receiver, base: str) -> None:
    later = task(connection=connection(base))
    later["run"]["story"] = [*later["run"]["story"], {"at": iso(NOON + timedelta(hours=1)), "text": "Something else."}]
    notify().execute(task(connection=connection(base)), NOW)
    notify().execute(later, NOW + timedelta(hours=2))
    first, second = receiver.got
    assert (first.id, first.body) == (second.id, second.body)


def test_personal_values_reach_the_receiver_and_nothing_that_we_keep(receiver: Receiver, base: str) -> None:
    vault = MemoryVault()
    (token,) = vault.tokenise(TENANT, "cus:cus_1", ["ada@example.com"])
    outcome = sent(base, notify(vault=vault), message=f"Write to {token}")
    assert json.loads(receiver.got[0].body)["data"]["message"] == "Write to ada@example.com"
    assert "ada@example.com" not in json.dumps([outcome.request, outcome.response])
    assert token in outcome.request["body"]["data"]["message"]
    assert vault.looks == [(token, "crm.notify", "notice run_1/step to crm")]


def test_secrets_and_echoed_addresses_are_not_kept(receiver: Receiver, base: str) -> None:
    receiver.usual = Say(500, b"no such user ada@example.com " + b"x" * 5000)
    hooked = connection(base + "/hook?key=sesame", headers={"Authorization": "Bearer sesame"})
    outcome = notify().execute(task(connection=hooked), NOW)
    assert receiver.got[0].headers["authorization"] == "Bearer sesame"
    kept = json.dumps([outcome.request, outcome.response])
    assert "sesame" not in kept
    assert "ada@" not in kept
    assert "v1," not in kept
    assert len(kept) < 4000


@pytest.mark.parametrize(
    ("say", "kind", "after", "pauses"),
    [
        (Say(204, b""), "done", None, False),
        (Say(302, headers={"Location": "http://127.0.0.1:1/"}), "retry", None, False),
        (Say(400), "dead", None, False),
        (Say(422), "dead", None, False),
        (Say(401), "retry", None, True),
        (Say(403), "retry", None, True),
        (Say(404), "retry", None, False),
        (Say(408), "retry", None, False),
        (Say(410), "retry", None, True),
        (Say(429, headers={"Retry-After": "7"}), "retry", 7, False),
        (Say(500), "retry", None, False),
        (Say(503, headers={"Retry-After": "120"}), "retry", 120, False),
        (Say(how="reset"), "retry", None, False),
        (Say(how="half", body=b"x" * 50), "retry", None, False),
    ],
)
def test_answers_are_classified(
    receiver: Receiver, base: str, say: Say, kind: str, after: int | None, pauses: bool
) -> None:
    receiver.usual = say
    outcome = sent(base)
    assert (outcome.kind, outcome.pause_connection) == (kind, pauses)
    assert outcome.after == (timedelta(seconds=after) if after is not None else None)


def test_an_address_inside_the_network_holds_the_connection() -> None:
    outcome = notify().execute(task(connection=connection("https://169.254.169.254/hook")), NOW)
    assert (outcome.kind, outcome.pause_connection) == ("retry", True)
    assert "inside a private or reserved network" in outcome.message


def test_a_connection_without_its_secret_waits_for_one(receiver: Receiver, base: str) -> None:
    with pytest.raises(Unconfigured, match="signing secret"):
        sent(base, notify(secret=None))
    with pytest.raises(Unconfigured, match="base64"):
        sent(base, notify(secret="whsec_not base64!"))
    assert receiver.got == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5), (" 90 ", 90), ("99999999", 86400), ("Mon, 23 Nov 2026 12:01:00 GMT", 60), ("soon", None), ("", None),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0), ("-5", None),
    ],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_a_date(text: str, seconds: int | None) -> None:
    assert retry_after(text, NOON) == (None if seconds is None else timedelta(seconds=seconds))


def test_the_preview_shows_the_call_and_sends_nothing() -> None:
    shown = notify().preview({"connection": "crm", "stage": "Lost"})
    assert (shown["method"], shown["to"], shown["body"]["data"]["stage"]) == ("POST", "connection crm", "Lost")
