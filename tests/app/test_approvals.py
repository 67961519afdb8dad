"""The second person: nobody puts the own change in force in production, except in an emergency, of which all hear."""

from __future__ import annotations

import random
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app import approvals, author, tenant_settings
from app.access import api_tokens
from app.approvals import Change, Office, Outcome
from app.connections import live_actions
from app.services import Services
from rules.ports import Conflict, Put
from rules.rule import RuleError
from rules.steps import NotPossible
from tests.builders import NOON, TENANT, services_in_memory
from tests.web.test_rules_pages import ready

ID = "two-failed-payments"
MINUTE = timedelta(minutes=1)
PUBLISH = Change("publish", ID, {})


class Town:
    """People who change rules, a minute after each other."""

    def __init__(self, production: bool = True) -> None:
        self.services: Services = services_in_memory()
        s = self.services
        self.store = s.store
        self.office = Office(s.store, s.secrets, s.catalogue, s.connectors, production, development=True)
        self.now = NOON

    def later(self) -> datetime:
        self.now += MINUTE
        return self.now

    def edit(self, who: str, **changes: Any) -> dict[str, Any]:
        s = self.services
        document = {**ready(), **changes}
        return author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, document, who, self.later())

    def change(self, who: str, wanted: Change = PUBLISH, note: str = "because", **more: Any) -> Outcome:
        return approvals.change(self.office, TENANT, wanted, who, note, self.later(), **more)

    def ask(self, who: str, wanted: Change = PUBLISH) -> str:
        found = self.change(who, wanted).proposal
        assert found is not None
        return str(found["id"])

    def approve(self, who: str, id: str, person: str | None = None, note: str = "looks right") -> dict[str, Any]:
        return approvals.approve(self.office, TENANT, id, who, who if person is None else person, note, self.later())

    def rule(self) -> dict[str, Any]:
        return author.rule(self.store, TENANT, ID)

    def told(self) -> list[tuple[str, str, str]]:
        found = self.store.find(TENANT, "audit", order="at", limit=1000).items
        return [(one.body["actor"], one.body["verb"], one.body["about"]) for one in found]

    def live(self) -> Town:
        """A rule that ann wrote and ben approved."""
        self.edit("ann")
        self.approve("ben", self.ask("ann"))
        return self


@pytest.fixture
def town() -> Town:
    return Town()


# ---- rules ----------------------------------------------------------------------------------------------------------
def test_what_one_asks_for_goes_live_when_another_approves(town: Town) -> None:
    town.edit("ann")
    id = town.ask("ann")
    assert town.rule()["state"] == "off"
    assert town.approve("ben", id)["state"] == "approved"
    row = town.rule()
    assert (row["state"], row["number"], row["draft"]) == ("live", 1, None)
    version = author.version(town.store, TENANT, ID, 1)
    assert (version["published_by"], version["approved_by"], version["authors"]) == ("ann", "ben", ["ann"])
    assert town.told() == [
        ("ann", "save draft", ID),
        ("ann", "ask for approval", ID),
        *sorted([("ben", "approve", ID), ("ben", "publish", ID)], key=lambda one: town.told().index(one)),
    ]


def test_a_proposal_says_in_english_what_would_change(town: Town) -> None:
    town.live()
    town.edit("ann", when={**ready()["when"], "at_least": 3}, examples=[])
    found = approvals.proposal(town.store, TENANT, town.ask("ann"))
    assert any("at least 3 times" in line for line in found["says"]), found["says"]
    assert "given" not in found


@pytest.mark.parametrize("who", ["ann", "cid"])
def test_neither_who_wrote_it_nor_who_asked_approves_it(town: Town, who: str) -> None:
    town.edit("ann")
    id = town.ask("cid")
    with pytest.raises(NotPossible, match="somebody else has to look at it"):
        town.approve(who, id)
    assert town.rule()["state"] == "off"


def test_everybody_who_had_a_hand_in_the_draft_is_out(town: Town) -> None:
    town.edit("ben", name="Draft of ben")
    town.edit("ann")
    id = town.ask("ann")
    with pytest.raises(NotPossible):
        town.approve("ben", id)
    town.approve("cid", id)
    assert author.version(town.store, TENANT, ID, 1)["authors"] == ["ann", "ben"]


@pytest.mark.parametrize("name", ["admin token", "command line", "token nightly"])
def test_a_name_that_several_may_use_is_no_second_person(town: Town, name: str) -> None:
    town.edit("ann")
    with pytest.raises(NotPossible, match="nobody can tell who"):
        town.approve(name, town.ask("ann"), person="")


def test_who_made_a_token_does_not_approve_what_was_written_with_it(town: Town) -> None:
    token, _ = api_tokens.make(town.store, {"name": "ci", "rights": ["author"]}, "ben", NOON)
    town.edit(token.actor)
    id = town.ask(token.actor)
    with pytest.raises(NotPossible):
        town.approve("ben", id)
    assert town.approve("cid", id)["state"] == "approved"


def test_a_token_approves_for_whoever_made_it_and_nothing_of_theirs(town: Town) -> None:
    town.edit("ann")
    id = town.ask("ann")
    with pytest.raises(NotPossible, match="ann wrote it"):
        town.approve("token mine", id, person="ann")
    assert town.approve("token bens", id, person="ben")["decided_by"] == "token bens"


def test_a_draft_that_was_changed_after_asking_is_not_what_was_read(town: Town) -> None:
    town.edit("ann")
    id = town.ask("ann")
    town.edit("dan", name="Changed")
    with pytest.raises(Conflict, match="was changed after this was asked for"):
        town.approve("ben", id)
    assert (approvals.proposal(town.store, TENANT, id)["state"], town.rule()["state"]) == ("stale", "off")
    assert town.approve("ben", town.ask("ann"))["state"] == "approved"


def test_one_that_is_edited_at_the_very_moment_of_approval_does_not_go_live(town: Town) -> None:
    town.edit("ann")
    id = town.ask("ann")
    store = town.store

    class Racing:
        """Somebody saves just before the commit."""

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def commit(self, tenant: str, event: Any, writes: Any) -> None:
            if any(write.kind == "ruleset" for write in writes):
                found = store.get(TENANT, "rule", ID)
                assert found
                store.commit(TENANT, None, [Put("rule", ID, {**found.body, "name": "Sneaked in"})])
            store.commit(tenant, event, writes)

    s = town.services
    racing = Office(Racing(), s.secrets, s.catalogue, s.connectors, True)  # type: ignore[arg-type]
    with pytest.raises(Conflict):
        approvals.approve(racing, TENANT, id, "ben", "ben", "fine", town.later())
    assert town.rule()["state"] == "off"
    assert approvals.proposal(store, TENANT, id)["state"] == "open"


def test_watching_rolling_back_and_starting_what_stood_in_line_are_asked_for_too(town: Town) -> None:
    town.live()
    town.edit("ann", name="Second")
    town.approve("ben", town.ask("ann"))
    town.approve("ben", town.ask("ann", Change("rollback", ID, {"number": 1})))
    assert town.rule()["number"] == 1
    town.approve("ben", town.ask("ann", Change("watch", ID, {})))
    assert town.rule()["state"] == "watch"
    author.pause(town.store, TENANT, ID, "ann", "stop", town.later())
    town.approve("ben", town.ask("ann", Change("resume", ID, {"queued": "start"})))
    assert town.rule()["state"] == "watch"


def test_stopping_and_going_on_as_approved_ask_nobody(town: Town) -> None:
    town.live()
    author.pause(town.store, TENANT, ID, "ann", "stop", town.later())
    assert town.change("ann", Change("resume", ID, {"queued": "keep"})).done
    author.archive(town.store, TENANT, ID, "ann", "over", town.later())


def test_an_earlier_version_is_not_rolled_back_to_by_its_author_alone(town: Town) -> None:
    town.live()
    town.edit("cid", name="Second")
    town.approve("ben", town.ask("cid"))
    id = town.ask("dan", Change("rollback", ID, {"number": 1}))
    with pytest.raises(NotPossible):
        town.approve("ann", id)


def test_what_has_errors_cannot_be_asked_for(town: Town) -> None:
    town.edit("ann", steps=[])
    with pytest.raises(RuleError):
        town.change("ann")
    assert approvals.waiting(town.store, TENANT) == 0


def test_asking_twice_for_the_same_is_refused(town: Town) -> None:
    town.edit("ann")
    town.ask("ann")
    with pytest.raises(Conflict, match="ann has asked already"):
        town.change("dan")


@pytest.mark.parametrize("note", ["", "  "])
def test_asking_approving_and_declining_take_a_reason(town: Town, note: str) -> None:
    town.edit("ann")
    with pytest.raises(RuleError, match="say why"):
        town.change("ann", note=note)
    id = town.ask("ann")
    with pytest.raises(RuleError, match="say why"):
        town.approve("ben", id, note=note)
    with pytest.raises(RuleError, match="say why"):
        approvals.decline(town.office, TENANT, id, "ben", note, town.later())


def test_what_was_declined_or_withdrawn_is_over(town: Town) -> None:
    town.edit("ann")
    declined = town.ask("ann")
    assert approvals.decline(town.office, TENANT, declined, "ben", "not now", town.later())["decision"] == "not now"
    withdrawn = town.ask("ann")
    with pytest.raises(NotPossible, match="only ann, who asked"):
        approvals.withdraw(town.office, TENANT, withdrawn, "ben", "", town.later())
    approvals.withdraw(town.office, TENANT, withdrawn, "ann", "", town.later())
    for id in (declined, withdrawn):
        with pytest.raises(Conflict, match="already"):
            town.approve("ben", id)
    assert town.rule()["state"] == "off"


# ---- where ----------------------------------------------------------------------------------------------------------
def test_in_development_nobody_is_asked_unless_the_tenant_wants_it() -> None:
    town = Town(production=False)
    town.edit("ann")
    assert town.change("ann").done
    tenant_settings.save(town.store, TENANT, {"second_person": True}, "ann", town.later())
    town.edit("ann", name="Second")
    assert town.change("ann").proposal


def test_doing_without_the_second_person_again_takes_one() -> None:
    town = Town(production=False)
    assert town.change("ann", Change("settings", "settings", {"second_person": True})).done
    id = town.ask("ann", Change("settings", "settings", {"second_person": False}))
    assert approvals.needed(town.office, TENANT)
    town.approve("ben", id)
    assert not approvals.needed(town.office, TENANT)


# ---- connections and lists ------------------------------------------------------------------------------------------
CRM = {"name": "crm", "type": "webhook", "url": "https://crm.example.com/hook", "secret": "whsec_" + "a" * 32}


def connect(town: Town, **changes: Any) -> Outcome:
    return town.change("ann", Change("connection", "crm", {**CRM, **changes}))


def test_a_new_connection_asks_nobody_and_sending_elsewhere_does(town: Town) -> None:
    made = connect(town).done
    assert made
    found = connect(town, url="https://other.example.com/hook").proposal
    assert found
    assert any("other.example.com" in line for line in found["says"])
    kept = town.store.get(TENANT, "connection", "crm")
    assert kept
    assert "crm.example.com" in kept.body["url"]
    town.approve("ben", found["id"])
    kept = town.store.get(TENANT, "connection", "crm")
    assert kept
    assert "other.example.com" in kept.body["url"]


def test_slowing_a_connection_down_asks_nobody_and_faster_does(town: Town) -> None:
    connect(town, rate=50)
    quiet = {key: value for key, value in CRM.items() if key != "secret"}
    assert town.change("ann", Change("connection", "crm", {**quiet, "rate": 10})).done
    assert town.change("ann", Change("connection", "crm", {**quiet, "rate": 20})).proposal


def test_a_secret_that_waits_stands_in_no_document_and_is_forgotten_after(town: Town) -> None:
    connect(town)
    secret = "whsec_" + "b" * 32
    found = connect(town, secret=secret).proposal
    assert found
    for kind in ("proposal", "audit", "connection"):
        assert secret not in str(town.store.find(TENANT, kind).items)
    approvals.decline(town.office, TENANT, found["id"], "ben", "no", town.later())
    assert town.services.secrets.get(f"proposal/{TENANT}/{found['id']}") == ""
    assert town.services.secrets.get(f"connection/{TENANT}/crm") == CRM["secret"]


def test_whom_a_list_protects_is_let_go_by_two_only(town: Town) -> None:
    both = Change("list", "contracts", {"members": ["cus_1", "cus_2"]})
    assert town.change("ann", both).done
    found = town.change("ann", Change("list", "contracts", {"members": ["cus_1", "cus_3"]})).proposal
    assert found
    assert found["says"] == ["1 off the list: cus_2", "1 on it: cus_3"]
    town.approve("ben", found["id"])
    kept = town.store.get(TENANT, "list", "contracts")
    assert kept
    assert kept.body["members"] == ["cus_1", "cus_3"]
    town.approve("ben", town.ask("ann", Change("delete list", "contracts", {})))
    assert town.store.get(TENANT, "list", "contracts") is None


def test_live_actions_are_allowed_by_two() -> None:
    town, tenant = Town(), "default/live"
    live_actions.begin(town.store, tenant, NOON)
    wanted = Change("live actions", "stripe", {"on": True})
    found = approvals.change(town.office, tenant, wanted, "ann", "we begin", town.later()).proposal
    assert found
    approvals.approve(town.office, tenant, found["id"], "ben", "ben", "yes", town.later())
    kept = town.store.get(tenant, "connection", "stripe")
    assert kept
    assert live_actions.may_act(kept.body)


# ---- emergencies ----------------------------------------------------------------------------------------------------
def test_an_emergency_goes_live_at_once_and_is_loud_until_a_second_person_has_seen_it(town: Town) -> None:
    town.edit("ann")
    assert town.change("ann", emergency=True, note="customers are charged twice").done
    assert town.rule()["state"] == "live"
    assert ("ann", "emergency publish", ID) in town.told()
    (found,) = approvals.proposals(town.store, TENANT, "emergency")["items"]
    with pytest.raises(NotPossible):
        approvals.acknowledge(town.office, TENANT, found["id"], "ann", "ann", "I know", town.later())
    approvals.acknowledge(town.office, TENANT, found["id"], "ben", "ben", "was right", town.later())
    assert approvals.waiting(town.store, TENANT, "emergency") == 0
    assert ("ben", "acknowledge emergency", ID) in town.told()


def test_an_emergency_without_a_reason_is_none(town: Town) -> None:
    town.edit("ann")
    with pytest.raises(RuleError):
        town.change("ann", emergency=True, note="")
    assert town.rule()["state"] == "off"


# ---- there is no way past it ----------------------------------------------------------------------------------------
FREER = re.compile(
    r"\b(author\.(publish|rollback|resume|save_connection|save_list|delete_list)|bulk\.resume_rule"
    r"|author_lists\.(save_connection|save_list|delete_list)|live_actions\.switch|tenant_settings\.save)\("
)
KNOWN = {
    "app/approvals/changes.py": "the one place that does what was approved, or takes no approval",
    "app/operate/bulk.py": "adds a customer to a list that rules leave alone; and is what changes.py calls to resume",
    "app/sample.py": "the sample's own rules and connection, in the sample's tenant",
    "app/web/routes.py": "routes carry events and move no money",
}


def test_pages_api_and_commands_change_what_is_in_force_through_approvals_only() -> None:
    root = Path(__file__).parents[2]
    found = {str(path.relative_to(root)) for path in (root / "app").rglob("*.py") if FREER.search(path.read_text())}
    assert found - set(KNOWN) == set()


# ---- the promise ----------------------------------------------------------------------------------------------------
PEOPLE = ("ann", "ben", "cid")
MEDDLINGS = ("edit", "edit", "discard", "ask", "ask", "ask watch", "rollback", "pause", "resume", "approve", "approve",
             "approve", "decline", "withdraw", "emergency")  # fmt: skip


class Life:
    """What random people do to a rule, and, kept beside, who wrote each document."""

    def __init__(self, seed: int) -> None:
        self.rng, self.town = random.Random(seed), Town()
        self.wrote: dict[int, set[str]] = {}  # by number of the version: who had a hand in its draft
        self.hands: set[str] = set()  # in the draft there is now

    def go(self, steps: int) -> None:
        for number in range(steps):
            who = self.rng.choice(PEOPLE)
            before = self.in_force()
            try:
                self._meddle(self.rng.choice(MEDDLINGS), who, number)
            except (Conflict, NotPossible, RuleError, LookupError):
                assert self.in_force() == before  # what was refused did nothing
                continue
            if self.in_force() not in (before, None):
                self._published()
                self._must_be_approved(who)

    def in_force(self) -> tuple[str, int] | None:
        found = self.town.store.get(TENANT, "rule", ID)
        return (found.body["state"], found.body["number"]) if found and found.body["number"] else None

    def _published(self) -> None:
        """A number that was not there before is a draft that became a version."""
        _, number = self.in_force() or ("", 0)
        if number not in self.wrote:
            self.wrote[number], self.hands = self.hands, set()

    def _meddle(self, what: str, who: str, number: int) -> None:
        town, store, now = self.town, self.town.store, self.town.later()
        self.last = what
        if what == "edit":
            name = f"By {self.rng.choice(('x', 'y', number))}"
            before = store.get(TENANT, "rule", ID)
            draft = town.edit(who, name=name)["draft"]
            if not draft:  # what is in force, typed anew
                self.hands = set()
            elif draft != (before.body["draft"] if before else None):  # the same once more is no edit
                self.hands = {*self.hands, who}
        elif what == "discard":
            author.discard_draft(store, TENANT, ID, who, "no", now)
            self.hands = set()
        elif what in ("ask", "ask watch"):
            town.change(who, Change("watch" if what == "ask watch" else "publish", ID, {}))
        elif what == "rollback":
            town.change(who, Change("rollback", ID, {"number": self.rng.randint(1, 4)}))
        elif what == "pause":
            author.pause(store, TENANT, ID, who, "stop", now)
        elif what == "resume":
            town.change(who, Change("resume", ID, {"queued": self.rng.choice(("start", "keep"))}))
        elif what == "emergency":
            if self.rng.random() < 0.3:
                town.change(who, PUBLISH, "burning", emergency=True)
        else:
            self._decide(what, who, now)

    def _decide(self, what: str, who: str, now: datetime) -> None:
        state = self.rng.choice(("open", "open", "open", "open", None))
        found = approvals.proposals(self.town.store, TENANT, state)["items"]
        if not found:
            return
        id = self.rng.choice(found)["id"]
        if what == "approve":
            self.town.approve(who, id)
            self.approved = approvals.proposal(self.town.store, TENANT, id)
        elif what == "decline":
            approvals.decline(self.town.office, TENANT, id, who, "no", now)
        else:
            approvals.withdraw(self.town.office, TENANT, id, who, "", now)

    def _must_be_approved(self, who: str) -> None:
        """Of what is in force now: nobody who wrote it let it go live, or all have been told."""
        if self.last in ("pause", "resume") or self.in_force() is None:
            return
        row = author.rule(self.town.store, TENANT, ID)
        if self.last == "emergency":
            assert (who, "emergency publish", ID) in self.town.told()
            assert approvals.waiting(self.town.store, TENANT, "emergency")
            return
        assert self.last == "approve", self.last
        assert who != self.approved["asked_by"]
        assert who not in self.wrote[row["number"]], (who, self.wrote)
        assert (who, "approve", ID) in self.town.told()


def test_no_version_goes_live_that_its_last_editor_approved_alone() -> None:
    numbers = []
    for seed in range(12):
        life = Life(seed)
        life.go(70)
        numbers.append((life.in_force() or ("", 0))[1])
    assert sum(numbers) > 15, numbers  # else the promise would be kept by nothing happening


@pytest.mark.nightly
def test_a_night_of_people_at_a_rule() -> None:
    for seed in range(1000, 1150):
        Life(seed).go(200)
