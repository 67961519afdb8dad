"""A flood of bad signatures is refused in few words and few lines; a good signature is let in whoever sends it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from app.services import Services
from app.web.gate.floods import ADDRESSES, BURST, Floods, address
from app.web.webhooks import in_front_of
from tests.builders import body_of, envelope, services_in_memory
from tests.web.test_webhooks import Answer, environ_of, flask

STRANGER, STRIPE = "203.0.113.9", "198.51.100.7"


class Watch:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def posted(application: Any, body: bytes, remote: str, **more: str) -> Answer:
    answer = Answer()
    answer.body = b"".join(application(environ_of(body, REMOTE_ADDR=remote, **more), answer.start))
    return answer


BAD = {"HTTP_STRIPE_SIGNATURE": "t=1,v1=" + "0" * 64}


def flooded(services: Services, remote: str = STRANGER) -> Any:
    application = in_front_of(flask, services)
    for _ in range(BURST):
        assert posted(application, b"{}", remote, **BAD).status == 400
    assert posted(application, b"{}", remote, **BAD).status == 429
    return application


def test_after_some_bad_signatures_an_address_is_told_only_to_stop() -> None:
    answer = posted(flooded(services_in_memory()), b"{}", STRANGER, **BAD)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "60")
    assert len(answer.body) < 200


def test_a_good_signature_from_an_address_that_floods_is_let_in() -> None:
    application = flooded(services_in_memory())
    assert posted(application, body_of(envelope("evt_good")), STRANGER).status == 200


def test_what_is_signed_and_no_event_is_told_so_however_often() -> None:
    application = in_front_of(flask, services_in_memory())
    assert {posted(application, b"[]", STRIPE).status for _ in range(BURST * 3)} == {400}


def test_one_address_does_not_use_up_anothers_patience() -> None:
    assert posted(flooded(services_in_memory()), b"{}", STRIPE, **BAD).status == 400


def test_behind_proxies_of_ours_each_sender_counts_for_itself() -> None:
    application = flooded(services_in_memory(proxies=1), "10.0.0.1")
    through = {"HTTP_X_FORWARDED_FOR": f"127.0.0.1, {STRANGER}"}
    assert posted(application, b"{}", "10.0.0.1", **BAD, **through).status == 400


def test_a_flood_leaves_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch()
    floods = Floods(watch)
    with caplog.at_level(logging.WARNING, logger="signalbox"):
        for second in range(120):
            watch.now = float(second)
            for _ in range(100):
                floods.refuse(STRANGER, "No signature matches.")
    told = [record.facts["refused"] for record in caplog.records if record.message == "webhooks.flooded"]
    assert len(told) == 2
    assert len([record for record in caplog.records if record.message == "event.refused"]) <= BURST + 120
    assert STRANGER not in caplog.text


def test_who_has_stopped_is_told_again_what_is_wrong() -> None:
    watch = Watch()
    floods = Floods(watch)
    assert [floods.refuse(STRANGER, "") for _ in range(BURST + 1)] == [False] * BURST + [True]
    watch.now = 60.0
    assert [floods.refuse(STRANGER, "") for _ in range(BURST + 1)] == [False] * BURST + [True]


def test_as_many_addresses_as_a_network_has_take_a_bounded_memory() -> None:
    floods = Floods(Watch())
    for number in range(ADDRESSES + 1000):
        floods.refuse(str(number), "")
    assert len(floods._senders) == ADDRESSES


def test_after_as_many_addresses_a_new_one_is_still_counted_and_who_goes_on_is_not_forgotten() -> None:
    floods = Floods(Watch())
    for _ in range(BURST + 1):
        floods.refuse("one that goes on", "")
    for number in range(ADDRESSES + 1000):
        floods.refuse(str(number), "")
        if number % 1000 == 0:
            assert floods.refuse("one that goes on", "")
    assert [floods.refuse("a new one", "") for _ in range(BURST + 1)][-1]


@pytest.mark.parametrize(
    ("remote", "forwarded", "proxies", "found"),
    [
        ("203.0.113.9", "", 0, "203.0.113.9"),
        ("203.0.113.9", "1.2.3.4", 0, "203.0.113.9"),  # nobody is trusted who was not named
        ("10.0.0.1", "1.2.3.4, 203.0.113.9", 1, "203.0.113.9"),
        ("10.0.0.1", "1.2.3.4, 203.0.113.9, 10.0.0.2", 2, "203.0.113.9"),
        ("10.0.0.1", "", 1, "10.0.0.1"),
        ("2001:db8:1:2:3::4", "", 0, "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", "", 0, "203.0.113.9"),
        ("", "", 0, ""),
        ("10.0.0.1", "x" * 1000, 1, "x" * 60),
    ],
)
def test_where_a_request_comes_from(remote: str, forwarded: str, proxies: int, found: str) -> None:
    assert address(remote, forwarded, proxies) == found
