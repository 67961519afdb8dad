"""Dead letters of Pub/Sub are filed in the store, whole: nothing is lost when a topic forgets or a process dies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from app import tenants
from app.adapters.memory import MemoryStore
from app.adapters.pubsub import PubSubInbox, attributes_of, event_of
from app.adapters.pubsub_calls import Taken
from app.adapters.pubsub_dead import KIND, DeadEvents, Tenants, data_of
from app.adapters.pubsub_topics import names
from app.worker import Work, tick
from rules.event import Event
from rules.kinds import SYSTEM
from rules.ports import Put, Unavailable, Write
from tests.builders import NOON, TENANT, event, services_in_memory


class Queue:
    """A dead letter subscription in a list: what is not done comes again."""

    def __init__(self) -> None:
        self.messages: list[Taken] = []

    def take(self, limit: int) -> list[Taken]:
        return self.messages[:limit]

    def done(self, messages: Sequence[Taken]) -> None:
        self.messages = [taken for taken in self.messages if taken not in messages]

    def again(self, messages: Sequence[Taken]) -> None:
        assert all(taken in self.messages for taken in messages)

    def died(self, found: Event, **more: str) -> None:
        self.message(orjson.dumps(found.data), {**attributes_of(found), "reason": "no", "attempts": "6", **more})

    def message(self, data: bytes, attributes: dict[str, str]) -> None:
        number = str(len(self.messages) + 100)
        at = NOON + timedelta(seconds=len(self.messages))
        found = SimpleNamespace(message_id=number, data=data, attributes=attributes, ordering_key="", publish_time=at)
        self.messages.append(Taken(found, number, 1))


class Sometimes(MemoryStore):
    """A store that is away when the test says so."""

    away = False

    def commit(self, tenant: str, event: Put | None, writes: Sequence[Write]) -> None:
        if self.away:
            raise Unavailable("away")
        super().commit(tenant, event, writes)


def dead_events(store: MemoryStore, queue: Queue) -> DeadEvents:
    known = Tenants(partial(tenants.every, store), partial(tenants.ensure, store))
    return DeadEvents(queue, store, known)  # type: ignore[arg-type]


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def store() -> Sometimes:
    return Sometimes()


@pytest.fixture
def dead(store: Sometimes, queue: Queue) -> DeadEvents:
    return dead_events(store, queue)


def test_a_dead_message_is_kept_whole_and_pubsub_may_forget_it(dead: DeadEvents, queue: Queue) -> None:
    found = event()
    queue.died(found, reason="schema 9 is unknown")
    assert dead.file(NOON) == 1
    assert queue.messages == []
    (letter,) = dead.listed(10)
    assert (letter.id, letter.tenant, letter.event_type) == (f"evt_1@{TENANT}", TENANT, found.type)
    assert (letter.reason, letter.attempts, letter.at) == ("schema 9 is unknown", 6, NOON)
    (document,) = dead.found([letter.id])
    assert event_of(document.body["attributes"], data_of(document)) == found


def test_what_the_store_cannot_take_stays_with_pubsub(dead: DeadEvents, store: Sometimes, queue: Queue) -> None:
    queue.died(event())
    store.away = True
    with pytest.raises(Unavailable):
        dead.file(NOON)
    assert len(queue.messages) == 1
    store.away = False
    assert dead.file(NOON) == 1
    assert len(dead.listed(10)) == 1


def test_an_event_that_died_twice_is_one_dead_letter(dead: DeadEvents, queue: Queue) -> None:
    queue.died(event(), reason="first")
    queue.died(event(), reason="second")
    dead.file(NOON)
    assert [letter.reason for letter in dead.listed(10)] == ["second"]


def test_an_event_that_was_handled_after_all_is_no_dead_letter(
    dead: DeadEvents, store: Sometimes, queue: Queue
) -> None:
    from tests.records import keep_event

    keep_event(store, event())
    queue.died(event())
    assert dead.file(NOON) == 1
    assert dead.listed(10) == []


def test_a_death_after_the_replay_was_published_is_not_removed_with_the_one_before(
    dead: DeadEvents, queue: Queue
) -> None:
    queue.died(event(), reason="first")
    dead.file(NOON)
    (read,) = dead.found([f"evt_1@{TENANT}"])
    queue.died(event(), reason="second")  # it was published anew, and died, before the first letter was removed
    dead.file(NOON)
    assert not dead.remove(read)
    assert [letter.reason for letter in dead.listed(10)] == ["second"]


def test_two_tenants_with_the_same_event_have_a_dead_letter_each(dead: DeadEvents, queue: Queue) -> None:
    for tenant in ("default/live", TENANT):
        queue.died(event(tenant=tenant))
    dead.file(NOON)
    assert sorted(letter.id for letter in dead.listed(10)) == ["evt_1@default/live", "evt_1@default/test"]
    (one,) = dead.found(["evt_1@default/live"])
    assert dead.remove(one)
    assert [letter.tenant for letter in dead.listed(10)] == [TENANT]


def test_what_names_no_event_is_listed_too(dead: DeadEvents, queue: Queue, store: Sometimes) -> None:
    queue.message(b"\xff no event", {"CloudPubSubDeadLetterSourceDeliveryCount": "24"})
    dead.file(NOON)
    (letter,) = dead.listed(10)
    assert (letter.id, letter.tenant, letter.attempts) == ("message-100@", "", 24)
    (document,) = dead.found([letter.id])
    assert document.tenant == SYSTEM
    assert data_of(document) == b"\xff no event"


def test_one_look_takes_some_and_the_next_the_rest(dead: DeadEvents, queue: Queue) -> None:
    for number in range(250):
        queue.died(event(f"evt_{number}"))
    assert [dead.file(NOON) for _ in range(4)] == [100, 100, 50, 0]
    assert len(dead.listed(1000)) == 250
    assert len(dead.listed(7)) == 7


class Publisher:
    def __init__(self) -> None:
        self.sent: list[tuple[str, str, dict[str, str]]] = []

    def publish(self, topic: str, data: bytes, ordering_key: str = "", **attributes: str) -> Any:
        self.sent.append((topic, ordering_key, attributes))
        return SimpleNamespace(result=lambda timeout: "1")


class Subscriber:
    """A subscriber that hands over one message of the dead letter subscription, and nothing else."""

    def __init__(self, message: Any) -> None:
        self.waiting = [SimpleNamespace(message=message, ack_id="a", delivery_attempt=1)]

    def pull(self, request: Any, timeout: float, retry: Any) -> Any:
        is_dead = request["subscription"].endswith("signalbox-dead-events")
        return SimpleNamespace(received_messages=self.waiting if is_dead else [])

    def acknowledge(self, request: Any, timeout: float, retry: Any) -> None:
        assert request["ack_ids"] == ["a"]
        self.waiting = []


def test_a_tick_files_the_page_shows_and_the_api_replays_it(queue: Queue) -> None:
    from dataclasses import replace

    from app.web import create_app
    from tests.builders import ADMIN_TOKEN

    queue.died(event(), reason="schema 9 is unknown")
    publisher, subscriber = Publisher(), Subscriber(queue.messages[0].message)
    services = services_in_memory()
    known = Tenants(partial(tenants.every, services.store), partial(tenants.ensure, services.store))
    inbox = PubSubInbox(subscriber, publisher, names("p"), services.store, known)
    services = replace(services, inbox=inbox)
    tick(Work(services), NOON)
    assert subscriber.waiting == []
    browser = create_app(services).test_client()
    assert "schema 9 is unknown" in browser.get("/needs-you").text
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    body = {"ids": [f"evt_1@{TENANT}"], "note": "mended"}
    answer = browser.post("/api/v1/dead-letters/replay", json=body, headers=headers)
    assert answer.get_json()["events"] == 1, answer.text
    ((topic, key, attributes),) = publisher.sent
    assert (topic, key) == (names("p").topic, event().partition)
    assert attributes == attributes_of(event())
    assert services.store.find(TENANT, KIND).items == ()
