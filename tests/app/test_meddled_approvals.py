"""What somebody changes while an approval waits, or at the very moment it is given, is never swept away by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app import approvals, author
from app.adapters.memory import MemoryStore
from app.adapters.sqlite_store import SqliteStore
from app.approvals import Change, Office
from app.author import planned
from app.connections import live_actions
from rules.ports import Conflict, Store, Unavailable
from tests.builders import DAY, NOON, services_in_memory
from tests.web.test_rules_pages import ready

TENANT = "default/live"
CRM = {"name": "crm", "type": "webhook", "url": "https://crm.example.com/hook", "secret": "whsec_" + "a" * 32}
RULE = "two-failed-payments"
PLAN = {"steps": [{"at": "2026-12-01T09:00:00Z", "share": 100}], "mode": "live"}


@pytest.fixture(params=["memory", "sqlite"])
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    """A list, a connection that may not act live yet, and a draft."""
    store: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "store.db")
    s = services_in_memory()
    author.save_list(store, TENANT, "contracts", ["cus_1", "cus_2"], "ann", NOON)
    author.save_connection(store, s.secrets, TENANT, CRM, "ann", NOON)
    live_actions.begin(store, TENANT, NOON)
    author.save_draft(store, s.vault, s.catalogue, s.connectors, TENANT, ready(), "ann", NOON)
    yield Office(store, s.secrets, s.catalogue, s.connectors, production=True)
    if isinstance(store, SqliteStore):
        store.close()


def add_a_member(office: Office) -> None:
    found = office.store.get(TENANT, "list", "contracts")
    assert found
    author.save_list(office.store, TENANT, "contracts", [*found.body["members"], "cus_3"], "dan", NOON + DAY)


def send_it_elsewhere(office: Office) -> None:
    body = {"name": "crm", "type": "webhook", "url": "https://elsewhere.example.com/"}
    author.save_connection(office.store, office.secrets, TENANT, body, "dan", NOON + DAY)


def edit_the_draft(office: Office) -> None:
    s = services_in_memory()
    document = {**ready(), "name": "Dan's"}
    author.save_draft(office.store, s.vault, office.catalogue, office.actions, TENANT, document, "dan", NOON + DAY)


Meddle = Callable[[Office], None]
MEDDLINGS: dict[str, tuple[Change, Meddle, str]] = {
    "list": (Change("list", "contracts", {"members": ["cus_2"]}), add_a_member, "dan, change list: .*cus_3"),
    "delete list": (Change("delete list", "contracts", {}), add_a_member, "dan, change list: .*cus_3"),
    "connection": (
        Change("connection", "crm", {**CRM, "url": "https://third.example.com/"}),
        send_it_elsewhere,
        r"url: https://crm\.example\.com/hook → https://elsewhere\.example\.com/",
    ),
    "live actions": (
        Change("live actions", "crm", {"on": True}),
        send_it_elsewhere,
        r"url: https://crm\.example\.com/hook → https://elsewhere\.example\.com/",
    ),
    "publish": (Change("publish", RULE, {}), edit_the_draft, "dan, save draft: name: .* → Dan's"),
    "plan": (Change("plan", RULE, PLAN), edit_the_draft, "dan, save draft: name: .* → Dan's"),
}
EVERY = pytest.mark.parametrize("name", MEDDLINGS)


class Counted:
    """A store in which somebody meddles just before the call of this number."""

    def __init__(self, store: Store, at: int, meddle: Callable[[], None]) -> None:
        self.store, self.at, self.meddle, self.calls = store, at, meddle, 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        if name not in ("get", "find", "count", "commit"):
            return found

        def called(*given: Any, **named: Any) -> Any:
            number, self.calls = self.calls, self.calls + 1
            if number == self.at:
                self.meddle()
            return found(*given, **named)

        return called


def ask(office: Office, wanted: Change) -> str:
    found = approvals.change(office, TENANT, wanted, "ann", "please", NOON).proposal
    assert found
    return str(found["id"])


def approve(office: Office, id: str) -> None:
    approvals.approve(office, TENANT, id, "ben", "ben", "fine", NOON + 2 * DAY)


@EVERY
def test_the_refusal_says_what_was_changed_since_it_was_asked_for(office: Office, name: str) -> None:
    wanted, meddle, says = MEDDLINGS[name]
    id = ask(office, wanted)
    meddle(office)
    with pytest.raises(Conflict, match=says):
        approve(office, id)
    assert approvals.proposal(office.store, TENANT, id)["state"] == "stale"


@EVERY
def test_meddling_at_any_moment_of_the_approval_is_refused_and_nothing_is_done(office: Office, name: str) -> None:
    wanted, meddle, _ = MEDDLINGS[name]
    trial = Counted(office.store, -1, lambda: None)
    with pytest.raises(Unavailable):  # how many calls an approval takes up to its commit
        approve(replace(office, store=Stopping(trial)), id := ask(office, wanted))  # type: ignore[arg-type]
    assert trial.calls > 3
    for moment in range(trial.calls + 1):
        racing = Counted(office.store, moment, lambda: meddle(office))
        if approvals.proposal(office.store, TENANT, id)["state"] != "open":
            id = ask(office, wanted)
        before = touched(office, wanted)
        with pytest.raises(Conflict):
            approve(replace(office, store=racing), id)  # type: ignore[arg-type]
        assert approvals.proposal(office.store, TENANT, id)["state"] in ("open", "stale"), moment
        assert touched(office, wanted) != before, moment
        assert not is_done(office, wanted), moment
        undo(office, wanted)


class Stopping:
    """Nothing is committed through it."""

    def __init__(self, counted: Counted) -> None:
        self.counted = counted

    def __getattr__(self, name: str) -> Any:
        return getattr(self.counted, name)

    def commit(self, *_: Any) -> None:
        raise Unavailable("stopped here")


def touched(office: Office, wanted: Change) -> Any:
    kind = {"list": "list", "delete list": "list", "publish": "rule", "plan": "rule"}.get(wanted.verb, "connection")
    found = office.store.get(TENANT, kind, wanted.about)
    return found and {name: value for name, value in found.body.items() if name != "updated_at"}


def is_done(office: Office, wanted: Change) -> bool:
    body = touched(office, wanted)
    done = {
        "list": lambda: body["members"] == ["cus_2"],
        "delete list": lambda: body is None,
        "connection": lambda: body["url"] == "https://third.example.com/",
        "live actions": lambda: body["live_actions"],
        "publish": lambda: body["state"] == "live",
        "plan": lambda: planned.row(office.store, TENANT, wanted.about),
    }
    return bool(done[wanted.verb]())


def undo(office: Office, wanted: Change) -> None:
    """As it was before somebody meddled."""
    if wanted.about == "contracts":
        author.save_list(office.store, TENANT, "contracts", ["cus_1", "cus_2"], "dan", NOON + DAY)
    elif wanted.about == "crm":
        author.save_connection(office.store, office.secrets, TENANT, CRM, "dan", NOON + DAY)
    else:
        s = services_in_memory()
        author.save_draft(office.store, s.vault, s.catalogue, s.connectors, TENANT, ready(), "dan", NOON + DAY)


def test_a_list_that_was_changed_after_its_page_was_opened_is_not_deleted(office: Office) -> None:
    found = office.store.get(TENANT, "list", "contracts")
    assert found
    add_a_member(office)
    with pytest.raises(Conflict, match="has 3 members now"):
        author.delete_list(office.store, TENANT, "contracts", "ann", "ended", NOON, expect=found.version)
    assert office.store.get(TENANT, "list", "contracts")


def test_a_connection_that_was_changed_meanwhile_is_not_allowed_to_act(office: Office) -> None:
    found = office.store.get(TENANT, "connection", "crm")
    assert found
    send_it_elsewhere(office)
    with pytest.raises(Conflict, match=r"goes to https://elsewhere\.example\.com/ now"):
        live_actions.switch(office.store, TENANT, "crm", True, "ben", "yes", NOON, expect=found.version)
