"""A request has its time and its turn: slow ones end with an answer that says what to do, and others are served."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import author
from app.access import api_tokens
from app.adapters.sqlite_store import SqliteStore
from app.inquire.columns import History
from app.services import Services
from app.web import create_app
from app.web.gate.deadlines import Underway
from rules import patience
from rules.columns import Reads
from rules.ports import ABSENT, Put, Unavailable
from tests.builders import ADMIN_TOKEN, NOON, TENANT, event, services_in_memory
from tests.records import keep_event
from tests.web.test_rules_pages import ready

BEARER = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
RULE = "two-failed-payments"
MINUTE = timedelta(minutes=1)


class Slow:
    """A store each of whose reads takes some seconds of a clock that only the test moves."""

    def __init__(self, services: Services, seconds: float = 0.0) -> None:
        self.store, self.seconds, self.time, self.committed = services.store, seconds, 0.0, 0

    def monotonic(self) -> float:
        return self.time

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)

        def slowly(*given: Any, **named: Any) -> Any:
            self.time += self.seconds
            if name == "commit":
                self.committed += 1
            return found(*given, **named)

        return slowly if name in ("get", "find", "count", "window", "commit") else found


@pytest.fixture
def services() -> Services:
    s = services_in_memory()
    author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, ready(), "ann", NOON)
    return s


@pytest.fixture
def slow(services: Services) -> Slow:
    return Slow(services)


@pytest.fixture
def client(services: Services, slow: Slow) -> FlaskClient:
    return create_app(replace(services, store=slow), slow.monotonic).test_client()  # type: ignore[arg-type]


# ---- time -----------------------------------------------------------------------------------------------------------
PAGES = ("/", "/rules", f"/rules/{RULE}", "/events", "/runs", "/customers", "/deliveries", "/needs-you", "/settings",
         "/settings/audit", "/find?q=in_1", "/proposals")  # fmt: skip
CALLS = ("rules", f"rules/{RULE}", "events", "runs", "commands", "dead-letters", "audit", "audit:verify", "connections")


def test_a_page_that_takes_too_long_ends_and_says_what_to_do(client: FlaskClient, slow: Slow) -> None:
    for path in PAGES:
        slow.seconds = 0
        assert client.get(path).status_code in (200, 303), path
        slow.seconds = 31
        answer = client.get(path)
        assert answer.status_code == 503, path
        assert "This took longer than 30 seconds" in answer.text
        assert "Nothing was changed. Ask for less" in answer.text
        assert int(answer.headers["Retry-After"]) >= 30


def test_a_call_of_the_api_that_takes_too_long_is_a_problem(client: FlaskClient, slow: Slow) -> None:
    slow.seconds = 31
    for path in CALLS:
        answer = client.get(f"/api/v1/{path}", headers=BEARER)
        assert (answer.status_code, answer.mimetype) == (503, "application/problem+json"), path
        assert answer.json
        assert answer.json["status"] == 503
        assert "ended. Nothing was changed" in answer.json["detail"]


def test_it_is_logged_by_the_name_of_the_page_and_by_nothing_that_was_asked(
    client: FlaskClient, slow: Slow, caplog: pytest.LogCaptureFixture
) -> None:
    slow.seconds = 31
    with caplog.at_level(logging.WARNING):
        client.get("/find?q=ada@example.com")
    (record,) = [one for one in caplog.records if one.message == "page.overdue"]
    assert record.facts == {"endpoint": "find.find", "method": "GET", "seconds": 30}  # type: ignore[attr-defined]


def test_each_request_has_its_own_time(client: FlaskClient, slow: Slow) -> None:
    slow.seconds = 0.5
    for _ in range(20):
        assert client.get("/rules").status_code == 200
    assert slow.time > 60


def test_how_long_is_a_setting(services: Services, slow: Slow) -> None:
    patient = replace(services, store=slow, settings=replace(services.settings, request_seconds=600))  # type: ignore[arg-type]
    slow.seconds = 31
    assert create_app(patient, slow.monotonic).test_client().get("/rules").status_code == 200


@pytest.mark.parametrize("reads", [0, 1, 2, 3, 5, 8, 13, 21, 34])
def test_wherever_a_change_runs_out_of_its_time_it_is_made_whole_or_not_at_all(
    services: Services, slow: Slow, client: FlaskClient, reads: int
) -> None:
    """The time is over after so many reads of a publication."""
    slow.seconds = 30.5 / reads if reads else 31
    published = client.post(f"/api/v1/rules/{RULE}/publish", json={"note": "why"}, headers=BEARER)
    row = author.rule(services.store, TENANT, RULE)
    revision = services.store.get(TENANT, "ruleset", "current")
    told = services.store.find(TENANT, "audit", [("verb", "==", "publish")], order="at").items
    if published.status_code == 503:
        assert (row["state"], revision, len(told), slow.committed) == ("off", None, 0, 0)
    else:
        assert published.status_code == 200
        assert (row["state"], bool(revision), len(told)) == ("live", True, 1)


def test_some_of_those_publications_were_made_and_some_ended(services: Services, slow: Slow) -> None:
    found = set()
    for reads in (1, 2, 40):
        s = services_in_memory()
        author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, ready(), "ann", NOON)
        one = Slow(s, 30.5 / reads)
        client = create_app(replace(s, store=one), one.monotonic).test_client()  # type: ignore[arg-type]
        found.add(client.post(f"/api/v1/rules/{RULE}/publish", json={"note": "x"}, headers=BEARER).status_code)
    assert found == {200, 503}


def test_what_has_begun_to_change_something_is_carried_to_its_end() -> None:
    time = [0]
    with patience.waited(lambda: time[0] > 30):
        patience.begin()
        time[0] = 31
        patience.ask()
    with pytest.raises(patience.Overdue), patience.waited(lambda: True):
        patience.begin()


def test_after_a_request_nobody_waits_for_its_thread(client: FlaskClient, slow: Slow) -> None:
    slow.seconds = 31
    client.get("/rules")
    patience.ask()


def test_a_walk_over_the_history_ends_in_the_middle_of_a_page_of_it(services: Services) -> None:
    for number in range(50):
        keep_event(services.store, event(f"evt_{number}", time=NOON + number * MINUTE))
    reads, looks = Reads(frozenset({"invoice.payment_failed"}), {}, ""), iter(range(1_000))
    walked = History(services.store, TENANT).slims(reads, None, None, quick=False)
    with patience.waited(lambda: next(looks) >= 20):
        assert len(list(islice(walked, 20))) == 20
        with pytest.raises(patience.Overdue):
            next(walked)


def test_one_long_query_of_sqlite_is_ended_too(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    looks = iter(range(1_000_000))
    with patience.waited(lambda: next(looks) > 5), pytest.raises(patience.Overdue):
        store._read(endless, ())
    assert store.get(TENANT, "rule", "none") is None  # the connection is as good as before
    with pytest.raises(Unavailable, match="no such table"):
        store._read("SELECT * FROM nowhere", ())
    store.close()


# ---- turns ----------------------------------------------------------------------------------------------------------
class Hanging:
    """A store whose reads of rules hang until the test lets them go."""

    def __init__(self, services: Services) -> None:
        self.store, self.go, self.hung = services.store, threading.Event(), threading.Semaphore(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def find(self, tenant: str, kind: str, *given: Any, **named: Any) -> Any:
        if kind == "rule":
            self.hung.release()
            assert self.go.wait(20)
        return self.store.find(tenant, kind, *given, **named)


@pytest.fixture
def hanging(services: Services) -> Iterator[Hanging]:
    found = Hanging(services)
    yield found
    found.go.set()


def bearer(services: Services, name: str) -> dict[str, str]:
    _, secret = api_tokens.make(services.store, {"name": name, "rights": ["read"]}, "x", NOON)
    return {"Authorization": f"Bearer {secret}"}


def test_one_who_asks_for_slow_pages_gets_no_more_of_them_and_others_are_served(
    services: Services, hanging: Hanging
) -> None:
    underway = Underway(most=6, each=3, patience=0)
    flask = create_app(replace(services, store=hanging), underway=underway)  # type: ignore[arg-type]
    ann, ben = bearer(services, "ann"), bearer(services, "ben")

    def get(path: str, who: dict[str, str]) -> Any:
        return flask.test_client().get(f"/api/v1/{path}", headers=who)

    with ThreadPoolExecutor(6) as pool:
        slow = [pool.submit(get, "rules", ann) for _ in range(3)]
        for _ in slow:
            assert hanging.hung.acquire(timeout=20)
        refused = get("events", ann)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "2")
        assert "3 of your requests are under way already" in refused.json["detail"]
        assert get("events", ben).status_code == 200
        slow += [pool.submit(get, "rules", ben) for _ in range(3)]
        for _ in slow[3:]:
            assert hanging.hung.acquire(timeout=20)
        busy = get("events", bearer(services, "cid"))
        assert (busy.status_code, "Too much is under way" in busy.json["detail"]) == (503, True)
        hanging.go.set()
        assert [one.result().status_code for one in slow] == [200] * 6
    assert get("events", ann).status_code == 200
    assert underway == Underway(most=6, each=3, patience=0, _free=underway._free)  # nobody is remembered


def test_who_has_many_under_way_waits_for_a_turn(services: Services, hanging: Hanging) -> None:
    flask = create_app(replace(services, store=hanging), underway=Underway(each=1, patience=20))  # type: ignore[arg-type]
    ann = bearer(services, "ann")

    def get(path: str) -> int:
        return flask.test_client().get(f"/api/v1/{path}", headers=ann).status_code

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(get, "rules")
        assert hanging.hung.acquire(timeout=20)
        second = pool.submit(get, "events")
        hanging.go.set()
        assert (first.result(), second.result()) == (200, 200)


def entered(underway: Underway, caller: str, times: int) -> list[str]:
    return [underway.enter(caller) for _ in range(times)]


def test_turns_are_counted_by_caller_and_together() -> None:
    underway = Underway(most=5, each=3, patience=0)
    assert entered(underway, "ann", 4) == ["", "", "", "many"]
    assert entered(underway, "ben", 3) == ["", "", "busy"]
    underway.leave("ann")
    assert underway.enter("ben") == ""
    assert underway.enter("ann") == "busy"


LEFT: dict[str, Callable[[FlaskClient], Any]] = {
    "good": lambda client: client.get("/rules"),
    "missing": lambda client: client.get("/rules/nothing"),
    "no such page": lambda client: client.get("/nothing"),
    "refused": lambda client: client.post("/rules", headers={"Sec-Fetch-Site": "cross-site"}),
    "a fault": lambda client: client.get("/events"),
    "a stranger": lambda client: client.get("/sign-in", base_url="https://elsewhere.example"),
    "overdue": lambda client: client.get("/runs"),
}


@pytest.mark.parametrize("how", LEFT)
def test_however_a_request_ends_its_turn_ends(services: Services, how: str) -> None:
    slow, underway = Slow(services, 31 if how == "overdue" else 0), Underway()
    flask = create_app(replace(services, store=slow), slow.monotonic, underway)  # type: ignore[arg-type]
    if how == "a fault":
        slow.store = None  # type: ignore[assignment]
        slow.__dict__["find"] = lambda *_, **__: 1 / 0
        slow.__dict__["get"] = lambda *_, **__: None
    LEFT[how](flask.test_client())
    assert not underway._running
    assert not underway._waiting


def test_machines_and_what_is_in_front_take_no_turn(services: Services) -> None:
    flask = create_app(services, underway=Underway(most=0))
    client = flask.test_client()
    assert client.get("/rules").status_code == 503
    assert client.post("/tasks/tick").status_code == 403
    assert client.get("/static/signalbox.css").status_code == 200


def test_a_put_by_itself_is_a_change(services: Services) -> None:
    with patience.waited(lambda: False) as wait:
        create_app(services).extensions["services"].store.commit(TENANT, None, [Put("list", "x", {}, ABSENT)])
    assert wait.has_begun
