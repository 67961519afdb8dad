"""HubSpot and Salesforce: what is written, once, what every answer means, tokens, and what takes it back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters.memory import MemorySecrets, MemoryVault
from app.connections.types import HIDDEN
from app.connectors import actions
from app.connectors.delivery import Courier
from app.connectors.rest import Settled, settings
from rules.event import iso
from rules.ports import ActionExecutor, Outcome, Reversible, Unconfigured
from tests.builders import NOON, TENANT, task
from tests.fakes.crm import FakeHubSpot, FakeSalesforce, Service, said
from tests.fakes.receiver import Say

NAME = f"connection/{TENANT}/crm"
ADA = "ada@example.com"


class Desk:
    """Actions over one connection to a fake."""

    def __init__(self, fake: Service, base: str, type: str) -> None:
        self.fake, self.vault = fake, MemoryVault()
        self.secrets = MemorySecrets({NAME: "private"})
        self.connection = {"name": "crm", "type": type, "base": base, "url": base, "secret_name": NAME}
        self.actions = actions("", "", self.secrets, self.vault, True, "", Courier(True, timeout=2))

    def with_oauth(self, refresh: str = "refresh-0") -> Desk:
        self.connection |= {"client_id": "client", "client_secret": HIDDEN, "updated_at": iso(NOON)}
        self.secrets.put(f"{NAME}/private", json.dumps({"client_secret": "sesame"}))
        self.secrets.put(NAME, refresh)
        self.fake.expire()
        return self

    def action(self, name: str) -> ActionExecutor:
        return self.actions[f"{self.connection['type']}.{name}"]

    def asked(self, name: str, params: dict[str, Any], **more: Any) -> dict[str, Any]:
        made = task(self.action(name).name, {"connection": "crm", **params}, self.connection)
        return {**made, "connection": "crm", **more}

    def run(self, name: str, /, after: timedelta = timedelta(0), **params: Any) -> Outcome:
        return self.action(name).execute(self.asked(name, params), NOON + after)

    def again(self, name: str, lost: Outcome, /, **params: Any) -> Outcome:
        """The next try, with what the first left in the command."""
        return self.action(name).execute(self.asked(name, params, outcome={"data": dict(lost.data)}), NOON)

    def undone(self, name: str, outcome: Outcome, /, **params: Any) -> Outcome | None:
        action = self.action(name)
        assert isinstance(action, Reversible)
        inverse = action.inverse({**self.asked(name, params), "outcome": {"data": dict(outcome.data)}})
        if inverse is None:
            return None
        made = task(inverse.action, inverse.params, self.connection)
        return self.actions[inverse.action].execute({**made, "connection": "crm", "id": "run_1/undo/step"}, NOON)


@pytest.fixture
def hubspot() -> Iterator[Desk]:
    fake = FakeHubSpot()
    with fake.running() as base:
        yield Desk(fake, base, "hubspot")


@pytest.fixture
def salesforce() -> Iterator[Desk]:
    fake = FakeSalesforce()
    with fake.running() as base:
        fake.address = base
        yield Desk(fake, base, "salesforce").with_oauth()


def records(desk: Desk, kind: str = "contacts") -> list[dict[str, Any]]:
    assert isinstance(desk.fake, FakeHubSpot)
    return [dict(one["properties"]) for one in desk.fake.records[kind].values()]


# ---- HubSpot records ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "kind"), [("upsert_contact", "contacts"), ("upsert_company", "companies")])
def test_a_record_is_made_by_its_unique_property_and_changed_afterwards(hubspot: Desk, name: str, kind: str) -> None:
    made = hubspot.run(name, properties="billing_stage = At risk\n\nnote=x")
    changed = hubspot.run(name, properties="billing_stage = Lost")
    assert (made.kind, changed.kind) == ("done", "done")
    assert records(hubspot, kind) == [{"stripe_customer_id": "cus_1", "billing_stage": "Lost", "note": "x"}]
    assert changed.data["before"] == {"billing_stage": "At risk"}
    assert hubspot.fake.sent("POST")[0]["inputs"][0]["objectWriteTraceId"] == "run_1/step"
    assert hubspot.run(name, properties="billing_stage = Lost").data["already"] is True


def test_undoing_writes_the_values_before_unless_somebody_changed_them(hubspot: Desk) -> None:
    asked = {"properties": "billing_stage = Lost"}
    hubspot.run("upsert_contact", properties="billing_stage = At risk")
    changed = hubspot.run("upsert_contact", **asked)
    undone = hubspot.undone("upsert_contact", changed, **asked)
    assert undone is not None
    assert (undone.kind, records(hubspot)[0]["billing_stage"]) == ("done", "At risk")
    twice = hubspot.undone("upsert_contact", changed, **asked)
    assert twice is not None
    assert (twice.kind, records(hubspot)[0]["billing_stage"]) == ("person", "At risk")


def test_a_record_that_was_made_stays(hubspot: Desk) -> None:
    assert hubspot.undone("upsert_contact", hubspot.run("upsert_contact", properties="a = b")) is None


def test_the_values_before_survive_a_lost_answer(hubspot: Desk) -> None:
    hubspot.run("upsert_contact", properties="stage = At risk")
    hubspot.fake.lost = 2  # a kept connection that drops is tried once more at once
    lost = hubspot.run("upsert_contact", properties="stage = Lost")
    assert (lost.kind, records(hubspot)[0]["stage"]) == ("retry", "Lost")
    again = hubspot.again("upsert_contact", lost, properties="stage = Lost")
    assert (again.data["already"], again.data["before"]) == (True, {"stage": "At risk"})
    undone = hubspot.undone("upsert_contact", again, properties="stage = Lost")
    assert undone is not None
    assert records(hubspot)[0]["stage"] == "At risk"


@pytest.mark.parametrize("name", ["hubspot", "salesforce"])
def test_the_values_before_are_handed_over_before_they_are_changed(request: pytest.FixtureRequest, name: str) -> None:
    desk: Desk = request.getfixturevalue(name)
    verb, field = ("upsert_contact", "properties") if name == "hubspot" else ("upsert", "fields")
    desk.run(verb, **{field: "A = old"})
    seen: list[tuple[dict[str, Any], int]] = []
    asked = desk.asked(verb, {field: "A = new"}, remember=lambda data: seen.append((data, len(desk.fake.got))))
    desk.action(verb).execute(asked, NOON)
    ((data, requests),) = seen
    assert data["before"] == {"A": "old"}
    assert requests < len(desk.fake.got)


@pytest.mark.parametrize("name", ["hubspot", "salesforce"])
def test_a_task_whose_answer_was_lost_is_not_opened_twice(request: pytest.FixtureRequest, name: str) -> None:
    desk: Desk = request.getfixturevalue(name)
    desk.fake.lost = 2
    lost = desk.run("create_task", subject="Call")
    again = desk.again("create_task", lost, subject="Call")
    assert (lost.kind, again.kind, again.data["already"]) == ("retry", "done", True)


def test_personal_values_reach_hubspot_and_nothing_that_is_kept(hubspot: Desk) -> None:
    (token,) = hubspot.vault.tokenise(TENANT, "cus_1", [ADA])
    hubspot.run("upsert_contact", properties="email = bob@example.com\nphone = 030 123")
    asked = {"by": "email", "key": token, "properties": f"email = {ADA}"}
    outcome = hubspot.run("upsert_contact", properties=f"email = {token}\nphone = 030 999")
    assert records(hubspot)[0]["email"] == ADA
    found = hubspot.run("upsert_contact", **asked)
    assert found.data["already"] is True
    assert "/ada%40example.com?idProperty=email" in hubspot.fake.got[-1].path
    kept = json.dumps([[one.request, one.response, one.message, dict(one.data)] for one in (outcome, found)])
    for value in (ADA, "bob@", "030 123"):
        assert value not in kept
    undone = hubspot.undone("upsert_contact", outcome)
    assert undone is not None
    assert (undone.kind, records(hubspot)[0]["email"]) == ("done", "bob@example.com")
    assert records(hubspot)[0]["phone"] == "030 123"


def test_what_an_error_repeats_of_a_person_is_not_kept(hubspot: Desk) -> None:
    (token,) = hubspot.vault.tokenise(TENANT, "cus_1", ["Ada Example"])
    hubspot.fake.answers = [said(404, {}), said(400, {"category": "VALIDATION_ERROR", "message": "Ada Example is odd"})]
    outcome = hubspot.run("upsert_contact", properties=f"fullname = {token}")
    assert outcome.kind == "dead"
    assert "Ada" not in json.dumps([outcome.request, outcome.response, outcome.message])


@pytest.mark.parametrize("lines", ["lifecyclestage customer", "= x", "two words = x", "a/b = c"])
def test_what_is_no_line_of_a_step_asks_a_person(hubspot: Desk, lines: str) -> None:
    assert hubspot.run("upsert_contact", properties=lines).kind == "person"


def test_a_unique_property_is_a_name_and_no_way_into_another_address(hubspot: Desk) -> None:
    assert hubspot.run("upsert_contact", by="a&b=c", properties="a = b").kind == "person"
    assert hubspot.fake.got == []


# ---- HubSpot stages -------------------------------------------------------------------------------------------------
def test_a_stage_moves_forward_backward_and_back(hubspot: Desk) -> None:
    assert isinstance(hubspot.fake, FakeHubSpot)
    hubspot.fake.make("contacts", stripe_customer_id="cus_1", lifecyclestage="customer")
    moved = hubspot.run("set_stage", stage="lead")
    assert (moved.kind, records(hubspot)[0]["lifecyclestage"]) == ("done", "lead")
    undone = hubspot.undone("set_stage", moved, stage="lead")
    assert undone is not None
    assert (undone.kind, records(hubspot)[0]["lifecyclestage"]) == ("done", "customer")
    assert hubspot.run("set_stage", stage="customer").data["already"] is True


def test_the_stage_of_a_record_that_is_not_there_is_a_result_the_rule_can_ask_about(hubspot: Desk) -> None:
    assert hubspot.run("set_stage", stage="lead").data == {"result": "absent"}


# ---- HubSpot tasks --------------------------------------------------------------------------------------------------
def test_a_task_is_opened_once_beside_its_contact_and_completed_by_undoing(hubspot: Desk) -> None:
    assert isinstance(hubspot.fake, FakeHubSpot)
    contact = hubspot.fake.make("contacts", stripe_customer_id="cus_1")
    opened = hubspot.run("create_task", subject="Call", due="2026-12-01", priority="high")
    assert hubspot.run("create_task", subject="Call").data == {"already": True, "task": opened.data["task"]}
    (made,) = hubspot.fake.records["tasks"].values()
    assert made["associations"][0]["to"] == {"id": contact}
    assert made["properties"]["hs_timestamp"] == "2026-12-01T00:00:00Z"
    assert made["properties"]["signalbox_id"] == "run_1/step"
    assert hubspot.undone("create_task", opened) is not None
    assert made["properties"]["hs_task_status"] == "COMPLETED"


def test_a_task_of_a_contact_that_is_not_there_is_opened_all_the_same(hubspot: Desk) -> None:
    assert "no contact has this key" in hubspot.run("create_task", subject="Call").message


def test_an_account_without_our_property_asks_a_person_to_make_it(hubspot: Desk) -> None:
    assert isinstance(hubspot.fake, FakeHubSpot)
    hubspot.fake.properties.clear()
    outcome = hubspot.run("create_task", subject="Call")
    assert (outcome.kind, "Make the property" in outcome.message) == ("person", True)


def test_a_task_that_is_gone_is_a_result(hubspot: Desk) -> None:
    assert hubspot.run("close_task", task="999").data == {"result": "gone"}


# ---- HubSpot's answers ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("say", "kind", "seconds", "pauses"),
    [
        (said(429, {"policyName": "SECONDLY", "category": "RATE_LIMITS"}, Retry_After="10"), "retry", 10, False),
        (said(429, {"policyName": "DAILY", "category": "RATE_LIMITS"}), "retry", 3600, False),
        (said(423, {"category": "LOCKED"}), "retry", None, False),
        (said(477, {}, Retry_After="86400"), "retry", 86400, False),
        (said(502), "retry", None, False),
        (Say(524, b"<html>"), "retry", None, False),
        (said(403, {"category": "MISSING_SCOPES"}), "retry", None, True),
        (said(401, {"category": "INVALID_AUTHENTICATION"}), "retry", None, True),
        (said(400, {"category": "VALIDATION_ERROR"}), "dead", None, False),
        (said(302, None, Location="http://127.0.0.1:1/"), "dead", None, False),
        (Say(how="reset"), "retry", None, False),
    ],
)
def test_hubspots_answers_are_classified(hubspot: Desk, say: Say, kind: str, seconds: int | None, pauses: bool) -> None:
    hubspot.fake.answers = [say]
    outcome = hubspot.run("upsert_contact", properties="a = b")
    assert (outcome.kind, outcome.pause_connection) == (kind, pauses)
    assert outcome.after == (timedelta(seconds=seconds) if seconds else None)


def test_a_batch_of_which_an_input_was_refused_is_a_failure(hubspot: Desk) -> None:
    outcome = hubspot.run("upsert_contact", properties="a = invalid")
    assert (outcome.kind, outcome.response["status"]) == ("dead", 207)


def test_the_limit_of_the_account_is_waited_out(hubspot: Desk) -> None:
    hubspot.fake.room = 1
    assert hubspot.run("upsert_contact", properties="a = b").after == timedelta(seconds=10)


def test_a_connection_without_a_token_waits_for_one(hubspot: Desk) -> None:
    hubspot.secrets.put(NAME, "")
    with pytest.raises(Unconfigured, match="no access token"):
        hubspot.run("upsert_contact", properties="a = b")


# ---- tokens ---------------------------------------------------------------------------------------------------------
def test_a_token_is_fetched_kept_and_refreshed_when_it_ends(hubspot: Desk) -> None:
    hubspot.with_oauth()
    for after in (0, 10, 29):
        assert hubspot.run("upsert_contact", timedelta(minutes=after), properties="a = b").kind == "done"
    assert len(hubspot.fake.refreshes) == 2  # at the start, and in the last minute of the half hour
    assert hubspot.fake.refreshes[0] == {
        "grant_type": "refresh_token", "refresh_token": "refresh-0", "client_id": "client", "client_secret": "sesame",
    }  # fmt: skip


def test_a_token_that_the_service_takes_no_more_is_refreshed_within_the_try(hubspot: Desk) -> None:
    hubspot.with_oauth()
    hubspot.run("upsert_contact", properties="a = b")
    hubspot.fake.expire()
    assert hubspot.run("upsert_contact", properties="a = c").kind == "done"
    assert len(hubspot.fake.refreshes) == 2


def test_many_threads_refresh_once(hubspot: Desk) -> None:
    hubspot.with_oauth()
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(target=lambda n=n: outcomes.append(hubspot.run("upsert_contact", properties=f"a = {n}")))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {outcome.kind for outcome in outcomes} == {"done"}
    assert len(hubspot.fake.refreshes) == 1


def test_a_refresh_token_that_is_handed_out_is_kept_for_the_next_time(hubspot: Desk) -> None:
    hubspot.with_oauth().fake.rotates = True
    hubspot.run("upsert_contact", properties="a = b")
    assert hubspot.secrets.get(NAME) == "refresh-1"


@pytest.mark.parametrize(
    ("refusal", "pauses"),
    [
        (said(400, {"error": "invalid_grant", "error_description": "expired access/refresh token refresh-0"}), True),
        (said(401, {"error": "invalid_client"}), True),
        (said(503), False),
        (said(200, {"nothing": 1}), False),
    ],
)
def test_a_refused_refresh_holds_the_connection_and_one_that_failed_is_tried_again(
    hubspot: Desk, refusal: Say, pauses: bool
) -> None:
    hubspot.with_oauth().fake.refusal = refusal
    outcome = hubspot.run("upsert_contact", properties="a = b")
    assert (outcome.kind, outcome.pause_connection) == ("retry", pauses)
    assert "refresh-0" not in json.dumps([outcome.message, outcome.request, outcome.response])


def test_a_refresh_that_another_process_was_quicker_with_uses_its_token(hubspot: Desk) -> None:
    hubspot.with_oauth().fake.tokens.add("theirs")
    theirs = {"token": "theirs", "until": iso(NOON + timedelta(hours=1)), "base": "", "of": iso(NOON)}

    class Quicker(Courier):
        def post(self, url: str, headers: Any, body: bytes) -> Any:
            hubspot.secrets.put(f"{NAME}/access", json.dumps(theirs))
            return super().post(url, headers, body)

    hubspot.fake.refusal = said(400, {"error": "invalid_grant"})
    hubspot.actions = actions("", "", hubspot.secrets, hubspot.vault, True, "", Quicker(True, timeout=2))
    assert hubspot.run("upsert_contact", properties="a = b").kind == "done"


def test_a_token_of_before_a_change_of_the_connection_is_not_used(hubspot: Desk) -> None:
    hubspot.with_oauth()
    hubspot.run("upsert_contact", properties="a = b")
    hubspot.connection["updated_at"] = iso(NOON + timedelta(minutes=1))
    hubspot.run("upsert_contact", properties="a = c")
    assert len(hubspot.fake.refreshes) == 2


def test_no_token_is_kept_in_what_pages_show(hubspot: Desk) -> None:
    outcome = hubspot.with_oauth().run("upsert_contact", properties="a = b")
    kept = json.dumps([outcome.request, outcome.response, outcome.message, dict(outcome.data)])
    assert not any(secret in kept for secret in ("access-1", "refresh-0", "sesame"))


# ---- Salesforce -----------------------------------------------------------------------------------------------------
def test_a_record_is_upserted_by_its_external_id_where_the_organisation_lives(salesforce: Desk) -> None:
    made = salesforce.run("upsert", object="Account", fields="Stage__c = At risk")
    changed = salesforce.run("upsert", object="Account", fields="Stage__c = Lost")
    assert (made.kind, changed.kind, changed.data["before"]) == ("done", "done", {"Stage__c": "At risk"})
    assert isinstance(salesforce.fake, FakeSalesforce)
    assert salesforce.fake.records["Account", "Stripe_Customer__c", "cus_1"]["Stage__c"] == "Lost"
    undone = salesforce.undone("upsert", changed, object="Account")
    assert undone is not None
    assert salesforce.fake.records["Account", "Stripe_Customer__c", "cus_1"]["Stage__c"] == "At risk"


def test_a_key_is_one_value_whatever_stands_in_it(salesforce: Desk) -> None:
    assert salesforce.run("upsert", key="a/b?c#d %", fields="X = y").kind == "done"
    assert isinstance(salesforce.fake, FakeSalesforce)
    assert list(salesforce.fake.records) == [("Contact", "Stripe_Customer__c", "a/b?c#d %")]


@pytest.mark.parametrize("odd", [{"object": "Contact/x"}, {"by": "a b"}, {"fields": "a.b = c"}])
def test_names_are_names(salesforce: Desk, odd: dict[str, str]) -> None:
    assert salesforce.run("upsert", **{"fields": "X = y", **odd}).kind == "person"
    assert salesforce.fake.got == []


def test_a_salesforce_task_is_opened_once_beside_its_contact_and_completed_by_undoing(salesforce: Desk) -> None:
    assert isinstance(salesforce.fake, FakeSalesforce)
    contact = salesforce.run("upsert", fields="X = y").data["record"]
    opened = salesforce.run("create_task", subject="Call", due="2026-12-01")
    assert salesforce.run("create_task", subject="Call").data["already"] is True
    made = salesforce.fake.records["Task", "Signalbox_Id__c", "run_1/step"]
    assert (made["WhoId"], made["ActivityDate"], made["Status"]) == (contact, "2026-12-01", "Not Started")
    assert salesforce.undone("create_task", opened) is not None
    assert made["Status"] == "Completed"
    assert salesforce.run("close_task", task="another").data == {"result": "gone"}
    assert len(salesforce.fake.records) == 2


@pytest.mark.parametrize(
    ("status", "code", "kind", "pauses"),
    [
        (300, "", "person", False),
        (400, "UNABLE_TO_LOCK_ROW", "retry", False),
        (400, "DUPLICATE_VALUE", "retry", False),
        (400, "DUPLICATES_DETECTED", "person", False),
        (400, "INVALID_FIELD", "person", False),
        (400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "dead", False),
        (403, "REQUEST_LIMIT_EXCEEDED", "retry", False),
        (403, "INSUFFICIENT_ACCESS", "retry", True),
        (404, "NOT_FOUND", "person", False),
        (500, "UNKNOWN_EXCEPTION", "retry", False),
        (503, "SERVER_UNAVAILABLE", "retry", False),
    ],
)
def test_salesforces_answers_are_classified(salesforce: Desk, status: int, code: str, kind: str, pauses: bool) -> None:
    salesforce.run("upsert", fields="A = b")
    refusal = said(status, [{"errorCode": code, "message": "told"}])
    salesforce.fake.answers = [said(404, []), refusal]
    outcome = salesforce.run("upsert", fields="A = c")
    assert (outcome.kind, outcome.pause_connection) == (kind, pauses)


def test_a_session_that_is_over_is_begun_again_and_the_daily_limit_is_waited_out(salesforce: Desk) -> None:
    salesforce.run("upsert", fields="A = b")
    salesforce.fake.expire()
    assert salesforce.run("upsert", fields="A = c").kind == "done"
    salesforce.fake.room = 0
    assert salesforce.run("upsert", fields="A = d").after == timedelta(minutes=15)


def test_without_a_refresh_token_the_client_credentials_are_used(salesforce: Desk) -> None:
    salesforce.with_oauth("").run("upsert", fields="A = b")
    assert salesforce.fake.refreshes[0]["grant_type"] == "client_credentials"


def test_an_organisation_that_claims_to_live_inside_the_network_is_not_called(salesforce: Desk) -> None:
    assert isinstance(salesforce.fake, FakeSalesforce)
    salesforce.fake.address = "https://169.254.169.254"
    outcome = salesforce.run("upsert", fields="A = b")
    assert (outcome.kind, outcome.pause_connection) == ("retry", True)


@pytest.mark.parametrize("desk", ["hubspot", "salesforce"])
def test_a_test_of_the_connection_reads_and_changes_nothing(request: pytest.FixtureRequest, desk: str) -> None:
    found: Desk = request.getfixturevalue(desk)
    name = "upsert_contact" if desk == "hubspot" else "upsert"
    outcome = found.action(name).execute(found.asked(name, {}, trial=True, customer=None), NOON)
    assert outcome.kind == "done"
    assert [got.method for got in found.fake.got if "token" not in got.path] == ["GET"]


def test_previews_are_the_calls(hubspot: Desk, salesforce: Desk) -> None:
    contact = hubspot.action("upsert_contact").preview({"connection": "crm", "properties": "a = b"})
    record = salesforce.action("upsert").preview({"connection": "crm", "fields": "a = b"})
    assert contact["body"]["inputs"][0]["properties"] == {"a": "b"}
    assert (record["url"], record["body"]) == (
        "/services/data/v62.0/sobjects/Contact/Stripe_Customer__c/{key}", {"a": "b"},
    )  # fmt: skip


NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,20}", fullmatch=True)
VALUES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp", "Cs"]), max_size=20).map(str.strip)


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_lines_say_what_was_written(values: dict[str, str]) -> None:
    assert settings("\n".join(f"{name} = {value}" for name, value in values.items())) == values


@given(st.text(max_size=60))
def test_any_text_is_lines_or_needs_a_person(text: str) -> None:
    kinds = {"person"}
    try:
        assert all(name.replace("_", "").isalnum() for name in settings(text))
    except Settled as settled:
        kinds.add(settled.outcome.kind)
    assert kinds == {"person"}
