"""The ready rules survive a crash at every place: what they do, and what they take back, happens once and in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.perform import desk, waking
from tests.stories.test_starters import DAY, FAILED, HOUR, NOW, PAID, Play, Sent, sent

LATEST = desk.LEASE + waking.LEASE + timedelta(seconds=5)  # a crash costs at most the leases that it left behind
ADVISED = {"last_payment_error.advice_code": "do_not_try_again"}
Started = Callable[..., Play]


def story(ids: tuple[str, ...], until: timedelta, *script: Sent, **answers: str) -> Started:
    said = {name.replace("__", "."): kind for name, kind in answers.items()}
    return lambda **more: Play(*ids, answers=said, **more).play(until, *script)


STORIES: dict[str, Started] = {
    "two failed payments": story(("two-failed-payments",), 4 * DAY, sent(NOW, FAILED), sent(3 * DAY, FAILED)),
    "the ladder, and the payment that takes it back": story(
        ("dunning-ladder",), 6 * DAY, sent(NOW, FAILED), sent(5 * DAY, PAID), stripe__pay_invoice="branch"
    ),
    "a hard decline stops the ladder": story(
        ("dunning-ladder", "hard-decline"),
        4 * DAY,
        sent(NOW, FAILED),
        sent(DAY, "payment_intent.payment_failed", ADVISED),
        sent(2 * DAY, "payment_intent.succeeded"),
    ),
    "who must confirm is reminded": story(
        ("bank-wants-authentication",), 4 * DAY, sent(NOW, "invoice.payment_action_required")
    ),
    "a new card pays what is open": story(
        ("new-card-collect",), HOUR, sent(-DAY, FAILED), sent(NOW, "customer.updated")
    ),
    "paid again, in two rules": story(
        ("two-failed-payments", "paid-again"), 9 * DAY, sent(NOW, FAILED), sent(DAY, FAILED), sent(8 * DAY, PAID)
    ),
}


def check(calm: Play, crashed: Play) -> None:
    """The same effects under the same ids, of each run in the same order, late by the leases at most; the same ends."""
    where = f"crashed {crashed.crashes}"
    when = {one.id: one.at for one in calm.outside.effects()}
    seen = {one.id: one.at for one in crashed.outside.effects()}
    assert seen.keys() == when.keys(), where
    late = {id: at - when[id] for id, at in seen.items()}
    assert all(timedelta(0) <= span <= LATEST for span in late.values()), f"{where}: {late}"
    assert _by_run(seen) == _by_run(when), where
    assert _ends(crashed) == _ends(calm), where
    requests = Counter(one.id for one in crashed.outside.requests)
    recorded = sum(len(command["attempts"]) for command in crashed.commands())
    assert sum(requests.values()) - recorded <= len(crashed.crashes), where
    assert [command for command in crashed.commands() if command["due_at"]] == [], where


def _by_run(seen: dict[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for id in seen:
        run, _, step = id.partition("/")
        found.setdefault(run, []).append(step)
    return found


def _ends(world: Play) -> dict[str, tuple[str, str]]:
    return {run["id"]: (run["state"], run["undo"].get("state", "")) for run in world.runs()}


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.nightly)])
def test_a_ready_rule_crashed_anywhere_does_the_same_a_little_later(name: str, every: int) -> None:
    calm = STORIES[name]()
    assert calm.outside.effects(), "a story in which nothing is done shows nothing"
    for number in range(1 + sum(name.encode()) % every, calm.points.seen + 1, every):
        crashed = STORIES[name](crash_at=number)
        assert len(crashed.crashes) == 1
        check(calm, crashed)


@pytest.mark.parametrize("name", STORIES)
def test_a_ready_rule_crashed_at_every_tenth_place_on_sqlite(name: str, tmp_path: Path) -> None:
    from app.adapters.sqlite_store import SqliteStore

    calm = STORIES[name]()
    for number in range(1 + sum(name.encode()) % 10, calm.points.seen + 1, 10):
        opened: list[SqliteStore] = []

        def reopen(file: str = f"{number}.db", opened: list[SqliteStore] = opened) -> SqliteStore:
            for store in opened:
                store.close()
            opened[:] = [SqliteStore(tmp_path / file)]
            return opened[0]

        check(calm, STORIES[name](crash_at=number, opened=reopen))
        opened[0].close()
