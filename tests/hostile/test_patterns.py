"""No text, however it is made, holds a reader up; and no number or time that somebody wrote stops one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.author import parts as author_lists
from app.connections import checks
from app.connectors import mail, personal, stripe_answers
from app.connectors.oauth import _object
from app.connectors.signed import retry_after
from app.numbers import whole
from app.operate import dead_letters
from app.web import show
from app.web.forms import unfinished
from rules import example_reader, holes, paths
from rules import personal as classes
from rules.event import instant, iso, seconds, within
from rules.folds import _DECIMAL
from rules.texts import render
from tests.builders import NOON

LENGTH = 64 * 1024  # the largest rule, and the most that is read of an answer
SEEDS = [
    "{{", "{{ ", "}}", "{{ a", " ", "\n", "{{\n", "a", "a@", "@", "a.", "a@b", "a@b.", "tok_", "b-", "'", '"', "[",
    "](", "http://", "http://.", "x_", "1", "1.", '["', "\\", "P", "=", 'a="', "é", "“", "“Rule-1", "%40", ".",
]  # fmt: skip
READERS: dict[str, Callable[[str], object]] = {
    "holes": holes.split,
    "render": lambda text: _tried(lambda: render(text, {})),
    "masked": personal.masked,
    "tokens": personal.TOKEN.findall,
    "e-mail in Stripe's words": lambda text: stripe_answers.E_MAIL.sub("", text[:2000]),
    "links of a mail": mail.as_html,
    "causes of dead letters": lambda text: [p.sub("", text[:2000]) for p in (dead_letters._IDS, dead_letters._QUOTED)],
    "address of a sender": lambda text: checks.ADDRESS.fullmatch(text[:320]),
    "members": author_lists._MEMBER.fullmatch,
    "personal values": lambda text: classes.cleanse(_event_of(text), lambda texts, *_: list(texts), None),
    "Stripe's words": lambda text: show.plainly(text[:2000]),
    "unfinished": lambda text: unfinished.SAID.sub("", text[:2000]),
    "examples": lambda text: example_reader._TEXT.fullmatch(text[:1000]),
    "paths": lambda text: _tried(lambda: paths.split(text[:2000])),
}


def _event_of(text: str) -> dict[str, object]:
    thing = {"id": "in_1", "object": "invoice", "description": text, "metadata": {text[:500]: text}}
    return {"id": "evt_1", "object": "event", "type": "invoice.paid", "data": {"object": thing}}


def _tried(what: Callable[[], object]) -> object:
    try:
        return what()
    except ValueError:
        return None


@pytest.mark.parametrize("name", READERS)
def test_a_text_of_one_thing_over_and_over_is_read_in_a_moment(name: str) -> None:
    slow = []
    for seed in SEEDS:
        for end in ("", "!", "}}", "@"):
            text = (seed * LENGTH)[:LENGTH] + end
            began = time.process_time()
            READERS[name](text)
            if (took := time.process_time() - began) > 1.0:
                slow.append((seed, end, round(took, 2)))
    assert slow == []


PARTS = st.lists(st.sampled_from(["{{", "}}", "{", "}", " ", "a", "data.object.id", "\n", "{{ a }}", "é"]), max_size=30)


@given(PARTS.map("".join))
def test_what_stands_around_and_in_the_holes_is_the_text(text: str) -> None:
    parts = holes.split(text)
    assert len(parts) % 2 == 1
    joined = "".join(f"{{{{{part}}}}}" if number % 2 else part for number, part in enumerate(parts))
    assert joined == text
    for part in parts[1::2]:
        assert "\n" not in part
        assert "}}" not in part


@given(PARTS.map("".join))
def test_holes_are_those_that_a_pattern_without_blanks_finds(text: str) -> None:
    assert holes.split(text)[1::2] == re.findall(r"\{\{(.*?)\}\}", text)


# ---- numbers and times ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text", ["²", "٣", "1²", "9" * 5000, "-1", "1.0", "1e3", "", None, "NaN", "Infinity", "0x1", "1_0"]
)
def test_what_only_looks_like_a_number_is_none(text: str | None) -> None:
    assert whole(text) is None


def test_a_number_is_one_with_blanks_around_it_too() -> None:
    assert whole(" 42 ") == 42
    assert whole("9" * 16) is None


@pytest.mark.parametrize(
    "text", ["²", "9" * 5000, "Mon, 99 Xxx 99999 99:99:99", "Thu, 01 Jan 9999 00:00:00 -9999", "\x00", ","]
)
def test_a_receiver_cannot_stop_us_by_what_it_asks_to_wait(text: str) -> None:
    found = retry_after(text, NOON)
    assert found is None or timedelta(0) <= found <= timedelta(days=1)


@given(st.integers() | st.integers(min_value=-(2**70), max_value=2**70))
def test_every_number_is_some_instant_with_room_around_it(created: int) -> None:
    found = seconds(created)
    assert iso(found + timedelta(days=366_000)) > iso(found) > iso(found - timedelta(days=300_000))


@given(st.datetimes(timezones=st.timezones()))
def test_every_time_that_somebody_wrote_can_be_kept(given: object) -> None:
    kept = iso(within(instant(str(given))))
    assert len(kept) == len("2026-11-23T10:03:00.000000Z")


@pytest.mark.parametrize("text", ["--5", "²", "1.2.3", "", "-", ".", "1e5", "9" * 40])
def test_a_price_that_is_no_decimal_is_none(text: str) -> None:
    assert not _DECIMAL.fullmatch(text)


def test_an_answer_that_nests_without_end_is_no_answer() -> None:
    assert _object(b"[" * 8000) == {}
    assert _object(b'{"a":' * 1000) == {}
