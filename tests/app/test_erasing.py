"""Erasing a customer: every value goes and stays gone, the log and every decision stay what they were."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from app import jobs
from app.adapters.memory import ManualClock
from app.personal import erasing
from app.receive import history, quarantine
from app.services import Services, job_types, keeper_of
from app.worker import Work, tick
from rules.conforming import Fault
from rules.event import iso
from rules.ports import Put, Refused, Store, Unavailable, Write
from tests.builders import NOON, TENANT, body_of, envelope, invoice, services_in_memory

ADA = "ada@example.com"
WHY = "asked by letter of 1 November"


@pytest.fixture
def services() -> Services:
    return services_in_memory()


def heard(s: Services, number: int, customer: str | None = "cus_1", **more: Any) -> dict[str, Any]:
    """One event through the same way as from Stripe, handled; its document."""
    event = envelope(id=f"evt_{number}", object=invoice(id=f"in_{number}", customer=customer, **more))
    history.load([json.dumps(event).encode()], s.bus, s.vault, s.clock.now(), source="webhook")
    tick(Work(s), s.clock.now())
    found = s.store.get(TENANT, "event", f"evt_{number}")
    assert found is not None
    return dict(found.body["event"]["data"]["data"]["object"])


def erase(s: Services, customer: str = "cus_1") -> dict[str, Any]:
    """The whole erasure, with the time it takes; its summary."""
    id = erasing.start(s.store, s.vault, TENANT, customer, "kim", WHY, s.clock.now())
    return finished(s, id)


def finished(s: Services, id: str) -> dict[str, Any]:
    clock = s.clock
    assert isinstance(clock, ManualClock)
    for _ in range(50):
        if not jobs.run_one(s.store, job_types(s), clock.now()):
            clock.forward(timedelta(seconds=5))
        job = s.store.get(TENANT, "job", id)
        assert job is not None
        if job.body["state"] not in jobs.OPEN:
            break
    assert (job.body["state"], job.body["error"]) == ("done", None)
    return dict(job.body["summary"])


def nameless(s: Services, id: str, invoice: str, email: str) -> str:
    """An event of a transaction that names no customer; the token of its address."""
    object = {"id": f"pi_{id}", "object": "payment_intent", "invoice": invoice, "receipt_email": email}
    event = envelope(id=id, type="payment_intent.created", object=object)
    history.load([json.dumps(event).encode()], s.bus, s.vault, s.clock.now(), source="webhook")
    tick(Work(s), s.clock.now())
    found = s.store.get(TENANT, "event", id)
    assert found is not None
    return str(found.body["event"]["data"]["data"]["object"]["receipt_email"])


def done_for(number: int, correlation: str = "in_1") -> Put:
    """An action that a receiver refused with the customer's name."""
    attempt = {"outcome": "dead", "message": "refused: Ada", "response": {"status": 400, "body": "Ada"}}
    body = {
        "id": f"run_{number}/tell", "run_id": f"run_{number}", "state": "dead", "customer": "cus_1",
        "created_at": iso(NOON + timedelta(seconds=number)), "correlation": correlation, "rule_id": "r",
        "connection": "crm", "due_at": None, "attempts": [attempt], "outcome": {"kind": "dead", "message": "Ada"},
    }  # fmt: skip
    return Put("command", body["id"], body)


def notice(id: str, correlation: str) -> Put:
    told = {"data": {"customer": "cus_1", "message": "Call Ada Example"}}
    return Put("notice", id, {"id": id, "correlation": correlation, "notice": told, "received_at": iso(NOON)})


def value(s: Services, token: str, customer: str = "") -> str | None:
    return s.vault.reveal(TENANT, token, "kim", "looking", subject=customer)


def test_the_preview_counts_and_shows_no_value(services: Services) -> None:
    heard(services, 1)
    heard(services, 2, "cus_2")
    found = erasing.preview(services.store, services.vault, TENANT, "cus_1")
    assert (found["values"], found["shared"], found["events"], found["erased"]) == (2, 2, 1, False)
    assert ADA not in json.dumps(found)
    with pytest.raises(LookupError):
        erasing.preview(services.store, services.vault, TENANT, "cus_none")


def test_every_value_goes_also_of_transactions_that_name_nobody(services: Services) -> None:
    own = heard(services, 1)
    anonymous = {"id": "pi_1", "object": "payment_intent", "invoice": "in_1", "receipt_email": "ada@home.example"}
    event = envelope(id="evt_pi", type="payment_intent.created", object=anonymous)
    history.load([json.dumps(event).encode()], services.bus, services.vault, NOON, source="webhook")
    tick(Work(services), NOON)
    told = services.store.get(TENANT, "event", "evt_pi")
    assert told is not None
    token = told.body["event"]["data"]["data"]["object"]["receipt_email"]
    assert value(services, token) == "ada@home.example"
    summary = erase(services)
    assert summary["values"] >= 3
    assert [value(services, one) for one in (own["customer_email"], own["customer_name"], token)] == [None, None, None]


def test_what_another_customer_has_too_stays_theirs_and_is_never_shown_for_the_erased(services: Services) -> None:
    mine, theirs = heard(services, 1), heard(services, 2, "cus_2")
    assert mine["customer_email"] == theirs["customer_email"]
    erase(services)
    assert value(services, mine["customer_email"], "cus_1") is None
    assert value(services, theirs["customer_email"], "cus_2") == ADA


def test_what_comes_after_gets_the_same_tokens_and_is_not_kept(services: Services) -> None:
    before = heard(services, 1)
    erase(services)
    after = heard(services, 2, customer_phone="+1 555 0100")
    assert after["customer_email"] == before["customer_email"]
    assert after["customer_phone"].startswith("tok_")
    assert services.vault.kept(TENANT, "cus_1") == (0, 0)
    assert value(services, after["customer_phone"]) is None


def test_a_value_that_another_process_kept_in_between_goes_with_the_second_look(services: Services) -> None:
    own = heard(services, 1)
    s = services
    id = erasing.start(s.store, s.vault, TENANT, "cus_1", "kim", WHY, NOON)
    assert jobs.run_one(s.store, job_types(s), NOON)
    assert value(s, own["customer_name"]) is None  # at once, not only with the second look
    s.vault.bar(TENANT, ["cus_1"], barred=False)  # as a process that has not heard yet
    (late,) = s.vault.tokenise(TENANT, "cus_1", ["late value"])
    s.vault.bar(TENANT, ["cus_1"])
    finished(s, id)
    assert value(s, late) is None
    assert s.clock.now() - NOON >= erasing.SURE


def test_a_person_may_lift_it_and_nothing_comes_back(services: Services) -> None:
    before = heard(services, 1)
    s = services
    with pytest.raises(Refused, match="nothing to lift"):
        erasing.lift(s.store, s.vault, TENANT, "cus_1", "kim", "came back", NOON)
    erase(s)
    erasing.lift(s.store, s.vault, TENANT, "cus_1", "kim", "came back", s.clock.now())
    assert value(s, before["customer_name"]) is None
    assert value(s, heard(s, 2)["customer_name"]) == "Ada Example"


def test_payloads_in_quarantine_go_too(services: Services) -> None:
    heard(services, 1)
    s = services
    raw = envelope(id="evt_bad", object=invoice(id="in_9"))
    id = quarantine.keep(keeper_of(s), raw, "default", body_of(raw), [Fault("data", "odd")], NOON)
    assert erasing.preview(s.store, s.vault, TENANT, "cus_1")["quarantined"] == 1
    assert erase(s)["quarantined"] == 1
    assert quarantine.one(s.store, TENANT, id)["state"] == "erased"


def test_a_payload_that_is_quarantined_after_the_erasure_is_told_of_and_not_kept(services: Services) -> None:
    heard(services, 1)
    s = services
    erase(s)
    raw = envelope(id="evt_bad", object=invoice(id="in_9"))
    id = quarantine.keep(keeper_of(s), raw, "default", body_of(raw), [Fault("data", "odd")], s.clock.now())
    assert s.vault.kept(TENANT, quarantine.subject_of(id)) == (0, 0)
    assert quarantine.one(s.store, TENANT, id)["cause"]


def test_what_receivers_answered_and_foreign_notices_lose_their_words(services: Services) -> None:
    heard(services, 1)
    s = services
    attempt = {"outcome": "dead", "message": "refused: Ada Example unknown", "response": {"status": 400, "body": "Ada"}}
    command = {
        "id": "run_1/tell", "run_id": "run_1", "state": "dead", "customer": "cus_1", "created_at": iso(NOON),
        "correlation": "in_1", "rule_id": "r", "connection": "crm", "due_at": None, "attempts": [attempt],
        "outcome": {"kind": "dead", "message": "refused: Ada Example unknown"},
    }  # fmt: skip
    notice = {"notice": {"data": {"customer": "cus_1", "message": "Call Ada Example"}}, "received_at": iso(NOON)}
    s.store.commit(TENANT, None, [Put("command", "run_1/tell", command)])
    s.store.commit(TENANT, None, [Put("notice", "n_1", {"id": "n_1", "correlation": "in_1", **notice})])
    summary = erase(s)
    assert (summary["actions"], summary["notices"]) == (1, 1)
    stored = json.dumps([dict(one.body) for kind in ("command", "notice") for one in s.store.find(TENANT, kind).items])
    assert "Ada" not in stored
    assert '"status": 400' in stored
    assert '"customer": "cus_1"' in stored


def test_the_audit_log_says_who_what_and_why_without_a_value(services: Services) -> None:
    heard(services, 1)
    s = services
    id = erasing.start(s.store, s.vault, TENANT, "cus_1", "kim", f"asked by {ADA}", NOON)
    finished(s, id)
    entries = [one.body for one in s.store.find(TENANT, "audit", order="at").items]
    mine = [one for one in entries if one["about"] == "cus_1"]
    assert [one["verb"] for one in mine] == ["erase customer", "erased customer"]
    assert mine[0]["actor"] == "kim"
    assert mine[0]["to"]["values"] == 2
    assert ADA not in json.dumps(entries)
    with pytest.raises(Refused, match="Say why"):
        erasing.start(s.store, s.vault, TENANT, "cus_1", "kim", " ", NOON)


def test_asked_twice_it_is_one_job(services: Services) -> None:
    heard(services, 1)
    s = services
    first = erasing.start(s.store, s.vault, TENANT, "cus_1", "kim", WHY, NOON)
    assert erasing.start(s.store, s.vault, TENANT, "cus_1", "lee", WHY, NOON) == first


def test_wherever_it_stops_it_goes_on(services: Services) -> None:
    """Each step is done twice, as after a crash before its cursor was written."""
    s = services
    own = [heard(s, number) for number in range(3)]
    id = erasing.start(s.store, s.vault, TENANT, "cus_1", "kim", WHY, NOON)
    step = erasing.job(s.store, s.vault)
    types = job_types(s)

    def twice(job: Any, now: Any) -> jobs.Step:
        if job.body["cursor"] and job.body["cursor"]["phase"] == "again":
            return step(job, now)
        step(job, now)
        return step(job, now)

    for _ in range(20):
        jobs.run_one(s.store, {**types, erasing.JOB: twice}, s.clock.now())
        s.clock.forward(timedelta(seconds=5))  # type: ignore[attr-defined]
    job = s.store.get(TENANT, "job", id)
    assert job is not None
    assert job.body["state"] == "done"
    assert [value(s, one["customer_name"]) for one in own] == [None] * 3


def test_what_is_said_later_of_a_transaction_in_which_nobody_is_named_is_not_kept_until_it_is_lifted(
    services: Services,
) -> None:
    s = services
    heard(s, 1)
    erase(s)
    assert value(s, nameless(s, "evt_late", "in_1", "ada@home.example")) is None
    erasing.lift(s.store, s.vault, TENANT, "cus_1", "kim", "came back", s.clock.now())
    assert value(s, nameless(s, "evt_anew", "in_1", "ada@work.example")) == "ada@work.example"


def test_a_transaction_that_begins_while_the_erasure_is_under_way_is_erased_and_stays_so(services: Services) -> None:
    s = services
    heard(s, 1)
    id = erasing.start(s.store, s.vault, TENANT, "cus_1", "kim", WHY, NOON)
    while jobs.run_one(s.store, job_types(s), NOON):  # up to its rest
        pass
    assert value(s, nameless(s, "evt_old", "in_1", "ada@old.example")) is None  # a transaction that is known
    early = nameless(s, "evt_pi", "in_2", "ada@home.example")
    heard(s, 2)  # says whose transaction it is
    finished(s, id)
    assert value(s, early) is None
    assert value(s, nameless(s, "evt_late", "in_2", "ada@work.example")) is None


def test_a_payload_that_comes_into_quarantine_while_the_erasure_is_under_way_goes_with_the_second_look(
    services: Services,
) -> None:
    s = services
    heard(s, 1)
    id = erasing.start(s.store, s.vault, TENANT, "cus_1", "kim", WHY, NOON)
    while jobs.run_one(s.store, job_types(s), NOON):
        pass
    s.vault.bar(TENANT, ["cus_1"], barred=False)  # as a process that has not heard yet
    raw = envelope(id="evt_bad", object=invoice(id="in_9"))
    kept = quarantine.keep(keeper_of(s), raw, "default", body_of(raw), [Fault("data", "odd")], NOON)
    s.vault.bar(TENANT, ["cus_1"])
    assert finished(s, id)["quarantined"] == 1
    assert s.vault.kept(TENANT, quarantine.subject_of(kept)) == (0, 0)


def test_of_more_events_and_actions_than_a_step_looks_at_none_is_left_out(services: Services) -> None:
    s = services
    count = erasing.PAGE + 1
    for number in range(count):
        heard(s, number)
    s.store.commit(TENANT, None, [done_for(number) for number in range(count)])
    s.store.commit(TENANT, None, [notice(f"n_{number}", f"in_{number}") for number in range(count)])
    summary = erase(s)
    assert (summary["actions"], summary["notices"]) == (count, count)


def test_a_notice_that_we_sent_ourselves_holds_tokens_and_stays_as_it_is(services: Services) -> None:
    s = services
    heard(s, 1)
    ours = notice("run_1/tell", "in_1")
    s.store.commit(TENANT, None, [done_for(1), ours])
    assert erase(s)["notices"] == 0
    found = s.store.get(TENANT, "notice", "run_1/tell")
    assert found is not None
    assert found.body == ours.body


class Beside:
    """The store, with what happens just before each of its commits."""

    def __init__(self, store: Store, meanwhile: Callable[[Sequence[Write]], None]) -> None:
        self._store, self._meanwhile = store, meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, tenant: str, event: Put | None, writes: Sequence[Write]) -> None:
        self._meanwhile(writes)
        self._store.commit(tenant, event, writes)


def test_nobody_is_barred_while_it_cannot_be_written_down_who_asked(services: Services) -> None:
    s = services
    heard(s, 1)

    def down(writes: Sequence[Write]) -> None:
        raise Unavailable("the store does not answer")

    with pytest.raises(Unavailable):
        erasing.start(Beside(s.store, down), s.vault, TENANT, "cus_1", "kim", WHY, NOON)  # type: ignore[arg-type]
    assert not s.vault.is_barred(TENANT, "cus_1")


def test_the_outcome_of_an_action_that_ends_at_the_same_moment_is_kept_and_loses_its_words_later(
    services: Services,
) -> None:
    s = services
    heard(s, 1)
    s.store.commit(TENANT, None, [done_for(1)])
    id = erasing.start(s.store, s.vault, TENANT, "cus_1", "kim", WHY, NOON)

    def ends(writes: Sequence[Write]) -> None:
        found = s.store.get(TENANT, "command", "run_1/tell")
        assert found is not None
        if found.body["state"] == "dead" and any(write.kind == "command" for write in writes):
            s.store.commit(TENANT, None, [Put("command", found.id, {**found.body, "state": "done"}, found.version)])

    types = {**job_types(s), erasing.JOB: erasing.job(Beside(s.store, ends), s.vault)}  # type: ignore[arg-type]
    while jobs.run_one(s.store, types, s.clock.now()):
        pass
    finished(s, id)
    found = s.store.get(TENANT, "command", "run_1/tell")
    assert found is not None
    assert found.body["state"] == "done"
    assert "Ada" not in json.dumps(dict(found.body))


def test_one_of_whom_only_an_action_or_the_bar_is_left_can_be_looked_up(services: Services) -> None:
    s = services
    s.store.commit(TENANT, None, [done_for(1)])
    assert erasing.preview(s.store, s.vault, TENANT, "cus_1")["actions"] == 1
    s.vault.bar(TENANT, ["cus_gone"])
    assert erasing.preview(s.store, s.vault, TENANT, "cus_gone")["erased"]
