"""The second person at the edges: who had a hand in what came back, what was stopped meanwhile, bounds that go away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app import author
from app.approvals import Change, decline, proposal, withdraw
from rules.ports import Conflict
from rules.steps import NotPossible
from tests.app.test_approvals import CRM, ID, Town, connect
from tests.builders import TENANT
from tests.contracts.access import Meddling


@pytest.fixture
def town() -> Town:
    return Town()


def test_who_wrote_what_was_asked_for_keeps_a_hand_in_it_when_another_writes_the_same_anew(town: Town) -> None:
    town.live()
    town.edit("dan", name="Another name")
    id = town.ask("ann")
    author.discard_draft(town.store, TENANT, ID, "ann", "anew", town.later())
    town.edit("cid", name="Another name")
    with pytest.raises((NotPossible, Conflict)):
        town.approve("dan", id)
    assert town.rule()["number"] == 1


def test_a_rule_that_was_stopped_after_asking_is_not_started_by_the_answer(town: Town) -> None:
    town.live()
    town.edit("ann", name="Another name")
    id = town.ask("ann")
    author.pause(town.store, TENANT, ID, "oli", "it does harm", town.later())
    with pytest.raises(Conflict, match="was changed after this was asked for"):
        town.approve("ben", id)
    assert town.rule()["state"] == "paused"


def test_taking_the_bound_of_a_connection_away_asks(town: Town) -> None:
    connect(town, rate=50)
    quiet = {key: value for key, value in CRM.items() if key != "secret"}
    assert town.change("ann", Change("connection", "crm", {**quiet, "rate": None})).proposal


def test_on_a_list_that_says_who_answers_to_come_asks_and_to_go_does_not(town: Town) -> None:
    name = "role-approver"
    assert town.change("ann", Change("list", name, {"members": ["ben", "cid"]})).done
    assert town.change("ann", Change("list", name, {"members": ["ben"]})).done
    assert town.change("ann", Change("list", name, {"members": ["ben", "dan"]})).proposal


def test_nobody_but_who_asked_withdraws(town: Town) -> None:
    town.edit("ann")
    id = town.ask("ann")
    with pytest.raises(NotPossible, match="only ann"):
        withdraw(town.office, TENANT, id, "ben", "not now", town.later())


def test_a_no_at_the_moment_of_a_yes_does_not_write_over_it(town: Town) -> None:
    town.edit("ann")
    id = town.ask("ann")
    office = replace(town.office, store=Meddling(town.store, lambda: town.approve("ben", id)))  # type: ignore[arg-type]
    with pytest.raises(Conflict):
        decline(office, TENANT, id, "cid", "not now", town.later())
    assert (proposal(town.store, TENANT, id)["state"], town.rule()["state"]) == ("approved", "live")


def test_what_somebody_changed_after_the_page_was_opened_cannot_be_asked_for(town: Town) -> None:
    town.edit("ann")
    opened = town.rule()["version"]
    town.edit("dan", name="Another name")
    with pytest.raises(Conflict, match="after you opened it"):
        town.change("ann", expect=opened)
    assert town.change("ann", expect=town.rule()["version"]).proposal
