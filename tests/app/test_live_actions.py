"""A connection that is made in a live tenant acts only after a person has allowed it; what is due waits and asks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app import author, browse, tenants
from app.connections import live_actions
from app.handle import handle
from app.perform.due import perform
from app.services import Services
from rules.ports import ABSENT, Conflict, Delivery, Outcome, Put
from rules.run import Command
from tests.builders import NOON, TENANT, event, services_in_memory
from tests.stories.world import ACTOR, DOWNGRADE, NOTIFY, URL, Outside, Points, twice_in_a_week

LIVE = "default/live"
LATER = NOON + timedelta(minutes=5)
RULE = {**twice_in_a_week([NOTIFY, DOWNGRADE]), "when": {"event": ["invoice.payment_failed"], "same": "subscription"}}


class Installation:
    def __init__(self) -> None:
        self.services: Services = services_in_memory()
        clock: Any = self.services.clock
        self.outside = Outside(Points(), clock)
        self.actions = {name: self.outside.executes(one) for name, one in self.services.connectors.items()}
        self.store = self.services.store

    def connect(self, tenant: str, name: str = "crm") -> dict[str, Any]:
        body = {"name": name, "type": "webhook", "url": URL}
        return author.save_connection(self.store, self.services.secrets, tenant, body, ACTOR, NOON)

    def publish(self, tenant: str) -> None:
        s = self.services
        author.save_draft(self.store, s.vault, s.catalogue, s.connectors, tenant, RULE, ACTOR, NOON)
        author.publish(self.store, s.catalogue, s.connectors, tenant, str(RULE["id"]), ACTOR, "story", NOON)

    def happen(self, tenant: str, number: int = 1) -> None:
        one = event(f"evt_{number}", time=NOON, recorded=LATER, tenant=tenant)
        s = self.services
        handle([Delivery(one.id, one, 1)], self.store, s.rulesets, s.tracer, LATER)

    def look(self, minutes: int = 0) -> None:
        s = self.services
        for again in range(4):
            at = LATER + timedelta(minutes=minutes, seconds=again)
            perform(self.store, s.rulesets, self.actions, s.tracer, at)

    def sent(self) -> list[str]:
        return [one.action for one in self.outside.requests]

    def needs(self, tenant: str) -> dict[str, Any]:
        found = browse.needs_you(self.store, self.services.inbox, tenant, LATER)
        return {group["kind"]: group for group in found["groups"]}


def test_in_a_live_tenant_nothing_is_sent_before_a_person_allows_each_connection() -> None:
    here = Installation()
    tenants.ensure(here.store, LIVE, NOON)
    here.connect(LIVE)
    here.publish(LIVE)
    here.happen(LIVE)
    here.look()
    assert here.sent() == []
    (asks,) = here.needs(LIVE)["live"]["items"]
    assert (asks["name"], asks["waits"]) == ("crm", 1)
    assert browse.waiting(here.store, here.services.inbox, LIVE) == 1
    live_actions.switch(here.store, LIVE, "crm", True, ACTOR, "contract signed", LATER)
    here.look(1)
    assert here.sent() == ["crm.notify"]
    assert [one["name"] for one in here.needs(LIVE)["live"]["items"]] == ["stripe"]
    live_actions.switch(here.store, LIVE, "stripe", True, ACTOR, "contract signed", LATER)
    here.look(2)
    assert here.sent() == ["crm.notify", "stripe.change_plan"]
    assert "live" not in here.needs(LIVE)
    (run,) = here.store.find(LIVE, "run", order="created_at").items
    assert run.body["state"] == "done"


def test_a_live_tenant_that_is_heard_of_by_its_first_event_asks_for_stripe_too() -> None:
    here = Installation()
    here.happen(LIVE)
    found = here.store.get(LIVE, "connection", "stripe")
    assert found is not None
    assert not live_actions.may_act(found.body)


def test_test_mode_asks_for_nothing() -> None:
    here = Installation()
    assert "live_actions" not in here.connect(TENANT)
    here.publish(TENANT)
    here.happen(TENANT)
    here.look()
    assert here.sent() == ["crm.notify", "stripe.change_plan"]
    with pytest.raises(Conflict, match="test mode"):
        live_actions.switch(here.store, TENANT, "crm", True, ACTOR, "why", NOON)


def test_an_installation_from_before_goes_on_acting() -> None:
    here = Installation()
    here.store.commit("system", None, [Put("tenant", LIVE, {"id": LIVE, "created_at": "2026-01-01"}, ABSENT)])
    old = {key: value for key, value in here.connect(LIVE).items() if key not in ("live_actions", "secret", "version")}
    here.store.commit(LIVE, None, [Put("connection", "crm", {**old, "secret_name": f"connection/{LIVE}/crm"})])
    here.publish(LIVE)
    here.happen(LIVE)
    here.look()
    assert here.sent() == ["crm.notify", "stripe.change_plan"]
    body = {"name": "crm", "type": "webhook", "url": URL + "2"}
    author.save_connection(here.store, here.services.secrets, LIVE, body, ACTOR, LATER)
    assert live_actions.may_act(author.connection(here.store, LIVE, "crm"))


def test_a_change_of_the_connection_keeps_what_was_decided_about_it() -> None:
    here = Installation()
    here.connect(LIVE)
    live_actions.switch(here.store, LIVE, "crm", True, ACTOR, "reviewed", NOON)
    here.connect(LIVE)
    kept = author.connection(here.store, LIVE, "crm")
    assert (kept["live_actions"], kept["live_by"], kept["live_why"]) == (True, ACTOR, "reviewed")


def test_switched_off_again_it_holds_what_comes_and_the_audit_log_has_name_and_reason() -> None:
    here = Installation()
    here.connect(LIVE)
    here.publish(LIVE)
    live_actions.switch(here.store, LIVE, "crm", True, ACTOR, "reviewed", NOON)
    live_actions.switch(here.store, LIVE, "crm", False, "ben", "wrong endpoint", NOON)
    here.happen(LIVE)
    here.look()
    assert here.sent() == []
    (command,) = here.store.find(LIVE, "command", order="created_at").items
    assert "not switched on" in command.body["outcome"]["message"]
    assert command.body["attempts"] == []
    told = [(one["actor"], one["verb"], one["why"]) for one in browse.audit(here.store, LIVE, about="crm")["items"]]
    assert ("ben", "switch live actions off", "wrong endpoint") in told
    assert (ACTOR, "switch live actions on", "reviewed") in told
    with pytest.raises(Conflict, match="off already"):
        live_actions.switch(here.store, LIVE, "crm", False, "ben", "again", NOON)


def test_what_signalbox_itself_says_about_what_waits_is_not_held_back() -> None:
    here = Installation()
    here.connect(LIVE, "ops")
    alert = Command(
        id="alert_000001/alert", tenant=LIVE, run_id="", step="alert", rule_id="", version=0, action="crm.notify",
        connection="ops", params={"connection": "ops"}, state="due", customer=None, correlation="alert_000001",
        created_at="2026-11-23T12:00:00.000000Z", due_at="2026-11-23T12:00:00.000000Z",
    )  # fmt: skip
    here.store.commit(LIVE, None, [Put("command", alert.id, alert.body(), ABSENT)])
    here.outside.answers = lambda effect, times: Outcome.done("taken")
    here.look()
    assert here.sent() == ["crm.notify"]


def test_what_asks_to_be_allowed_is_counted_by_what_waits_and_not_by_what_was_done() -> None:
    here = Installation()
    here.connect(LIVE)
    for number, state in enumerate(("due", "due", "done", "dead")):
        one = {"id": f"run_{number}/tell", "connection": "crm", "state": state}
        here.store.commit(LIVE, None, [Put("command", one["id"], one)])
    (asking,) = live_actions.asking(here.store, LIVE)
    assert (asking["name"], asking["waits"]) == ("crm", 2)
