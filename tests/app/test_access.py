"""`access.suspend`, `access.resume` and the CRM's tasks and stages over signed webhooks, and what takes them back."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from app.adapters.memory import MemorySecrets, MemoryVault
from app.connectors import actions
from app.connectors.delivery import Courier
from rules.event import iso
from rules.ports import ActionExecutor, Inverse, Outcome, Reversible, Unconfigured
from tests.builders import TENANT, task
from tests.fakes.receiver import Receiver, Say

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OLD = "whsec_" + base64.b64encode(b"o" * 32).decode()
NOW = datetime.now(UTC).replace(microsecond=0)  # the judge compares the time stamp with the true time


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def base(receiver: Receiver) -> Iterator[str]:
    with receiver.running() as address:
        yield address


def action(name: str, secret: str = SECRET, vault: MemoryVault | None = None) -> ActionExecutor:
    secrets = MemorySecrets({f"connection/{TENANT}/gate": secret})
    courier = Courier(development=True, timeout=2)
    return actions("", "", secrets, vault or MemoryVault(), True, "https://s.example", courier)[name]


def asked(name: str, base: str, params: dict[str, Any], **more: Any) -> dict[str, Any]:
    type = "access" if name.startswith("access.") else "webhook"
    document = {"name": "gate", "type": type, "url": base + "/hook", "secret_name": f"connection/{TENANT}/gate"}
    made = task(name, {"connection": "gate", **params}, document | more.pop("document", {}))
    return {**made, "connection": "gate", **more}


def sent(name: str, base: str, /, **params: Any) -> Outcome:
    return action(name).execute(asked(name, base, params), NOW)


def told(receiver: Receiver) -> dict[str, Any]:
    """The latest event, as the standard's own library accepts it."""
    got = receiver.got[-1]
    return Webhook(SECRET).verify(got.body, dict(got.headers))  # type: ignore[no-any-return]


def inverse(name: str, outcome: Outcome, params: dict[str, Any] | None = None) -> Inverse | None:
    found = action(name)
    assert isinstance(found, Reversible)
    body = asked(name, "", params or {})
    return found.inverse({**body, "outcome": {"data": dict(outcome.data)}})


# ---- access ---------------------------------------------------------------------------------------------------------
def test_a_suspension_says_who_until_when_and_why_under_an_id_that_stays(receiver: Receiver, base: str) -> None:
    until = int((NOW + timedelta(days=3)).timestamp())
    outcome = sent("access.suspend", base, until=str(until), reason="Invoice in_1 is unpaid")
    event = told(receiver)
    assert (outcome.kind, event["type"], event["id"]) == ("done", "signalbox.access.suspended", "run_1/step")
    data = event["data"]
    assert (data["customer"], data["suspension"], data["until"], data["reason"]) == (
        "cus_1", "run_1/step", iso(NOW + timedelta(days=3)), "Invoice in_1 is unpaid",
    )  # fmt: skip


def test_each_takes_the_other_back_and_names_the_suspension(receiver: Receiver, base: str) -> None:
    outcome = sent("access.suspend", base)
    back = inverse("access.suspend", outcome)
    assert back is not None
    assert back.action == "access.resume"
    sent(back.action, base, **{name: value for name, value in back.params.items() if name != "connection"})
    event = told(receiver)
    assert (event["type"], event["data"]["suspension"]) == ("signalbox.access.resumed", "run_1/step")
    again = inverse("access.resume", outcome)
    assert again is not None
    assert again.action == "access.suspend"


def test_a_suspension_that_is_over_is_not_sent_and_one_until_no_time_asks_a_person(
    receiver: Receiver, base: str
) -> None:
    over = sent("access.suspend", base, until=iso(NOW - timedelta(seconds=1)))
    odd = sent("access.suspend", base, until="soon")
    assert (over.kind, over.data["result"], odd.kind) == ("branch", "over", "person")
    assert inverse("access.suspend", over) is None
    assert receiver.got == []


def test_an_event_without_a_customer_suspends_nobody(base: str) -> None:
    outcome = action("access.suspend").execute(asked("access.suspend", base, {}, customer=None), NOW)
    assert outcome.kind == "dead"


def test_a_trial_is_an_event_of_its_own(receiver: Receiver, base: str) -> None:
    trial = asked("access.resume", base, {"reason": "a test"}, customer=None, trial=True)
    assert action("access.resume").execute(trial, NOW).kind == "done"
    assert told(receiver)["type"] == "signalbox.access.test"


def test_a_reason_reaches_the_gateway_in_the_clear_and_is_kept_as_a_token(receiver: Receiver, base: str) -> None:
    vault = MemoryVault()
    (token,) = vault.tokenise(TENANT, "cus:cus_1", ["ada@example.com"])
    command = asked("access.suspend", base, {"reason": f"Ask {token}"})
    outcome = action("access.suspend", vault=vault).execute(command, NOW)
    assert json.loads(receiver.got[0].body)["data"]["reason"] == "Ask ada@example.com"
    assert "ada@" not in json.dumps([outcome.request, outcome.response])


@pytest.mark.parametrize(
    ("say", "kind", "pauses"),
    [
        (Say(204, b""), "done", False),
        (Say(401), "retry", True),
        (Say(422), "dead", False),
        (Say(429, headers={"Retry-After": "9"}), "retry", False),
        (Say(503), "retry", False),
        (Say(how="reset"), "retry", False),
    ],
)
def test_answers_are_classified(receiver: Receiver, base: str, say: Say, kind: str, pauses: bool) -> None:
    receiver.usual = say
    outcome = sent("access.suspend", base)
    assert (outcome.kind, outcome.pause_connection) == (kind, pauses)


def test_a_connection_of_another_type_waits_for_the_right_one(base: str) -> None:
    with pytest.raises(Unconfigured, match="type access"):
        action("access.suspend").execute(asked("access.suspend", base, {}, document={"type": "webhook"}), NOW)


# ---- the secret that is replaced ------------------------------------------------------------------------------------
def test_both_secrets_sign_until_the_time_is_over(receiver: Receiver, base: str) -> None:
    both = action("access.suspend", f"{SECRET} {OLD}")
    for until in (NOW + timedelta(seconds=1), NOW):
        both.execute(asked("access.suspend", base, {}, document={"both_until": iso(until)}), NOW)
    within, after = receiver.got
    for secret in (SECRET, OLD):
        Webhook(secret).verify(within.body, dict(within.headers))
    assert len(after.headers["webhook-signature"].split()) == 1
    Webhook(SECRET).verify(after.body, dict(after.headers))


# ---- the CRM's tasks and stages -------------------------------------------------------------------------------------
def test_a_task_is_opened_under_its_own_id_and_undoing_closes_that_one(receiver: Receiver, base: str) -> None:
    outcome = sent("crm.task", base, title="Call", due="2026-12-01", priority="high")
    event = told(receiver)
    assert (event["type"], event["data"]["task"]) == ("signalbox.crm.task.opened", "run_1/step")
    assert (event["data"]["title"], event["data"]["priority"]) == ("Call", "high")
    assert outcome.data == {"task": "run_1/step"}
    back = inverse("crm.task", outcome)
    assert back is not None
    sent(back.action, base, task=back.params["task"])
    assert told(receiver)["type"] == "signalbox.crm.task.closed"
    assert told(receiver)["data"]["task"] == "run_1/step"


def test_a_stage_goes_back_to_the_one_that_the_crm_answered(receiver: Receiver, base: str) -> None:
    receiver.usual = Say(200, b'{"before": "Customer"}')
    outcome = sent("crm.stage", base, stage="At risk")
    back = inverse("crm.stage", outcome)
    assert back is not None
    assert dict(back.params) == {"connection": "gate", "stage": "Customer", "only_from": "At risk"}


@pytest.mark.parametrize("answer", [b"ok", b"[]", b'{"before": 7}', b'{"before": "At risk"}'])
def test_a_stage_before_that_nobody_answered_is_not_made_up(receiver: Receiver, base: str, answer: bytes) -> None:
    receiver.usual = Say(200, answer)
    assert inverse("crm.stage", sent("crm.stage", base, stage="At risk")) is None


def test_a_stage_that_somebody_moved_meanwhile_is_left_to_a_person(receiver: Receiver, base: str) -> None:
    receiver.usual = Say(409)
    assert sent("crm.stage", base, stage="Customer", only_from="At risk").kind == "person"
    assert sent("crm.stage", base, stage="Customer").kind == "retry"
