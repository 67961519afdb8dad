"""A rule over its limit parks and asks (P13): no limit is passed, and nothing is lost."""

from __future__ import annotations

import threading
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app import operate
from app.adapters.sqlite_store import SqliteStore
from app.handle import handle
from app.perform.waking import wake
from app.rulesets import RuleSets
from rules.limits import counted, refusal, window_of
from rules.matcher import PythonMatcher
from rules.measure import proposed_limits
from rules.model import Limits
from tests.builders import DAY, NOON, TENANT
from tests.stories.world import ACTOR, NOTIFY, World, failed, twice_in_a_week

MINUTE = timedelta(minutes=1)
currencies = st.sampled_from(["usd", "eur", "jpy"])
amounts = st.integers(0, 9000)
matches = st.lists(st.tuples(st.integers(0, 3 * 24 * 60), currencies, amounts), min_size=1, max_size=14)
limits = st.fixed_dictionaries(
    {"per": st.sampled_from(["P1D", "PT6H", "P2D"])},
    optional={
        "runs": st.integers(1, 6),
        "money": st.dictionaries(currencies, st.integers(0, 20_000), min_size=1, max_size=3),
    },
).filter(lambda found: len(found) > 1)


def each_failure(**more: Any) -> dict[str, Any]:
    return {
        **twice_in_a_week([NOTIFY]),
        "when": {"event": ["invoice.payment_failed"], "same": "subscription"},
        "again": {"while_open": True, "after": "PT0S"},
        **more,
    }


@settings(max_examples=40, deadline=None)
@given(matches, limits, st.booleans())
def test_what_is_admitted_stays_within_every_limit_and_the_rest_waits_for_a_person(
    found: list[tuple[int, str, int]], limit: dict[str, Any], presses: bool
) -> None:
    world = World()
    world.publish(each_failure(limits=limit))
    script: list[Any] = []
    for number, (minute, currency, amount) in enumerate(found):
        at = NOON + minute * MINUTE
        script.append((at, failed(number, at, f"sub_{number}", amount_remaining=amount, currency=currency)))
    world.live(NOON + 4 * DAY, *script)
    runs = world.runs()
    assert len(runs) == len(found)  # nothing is dropped
    assert {run["state"] for run in runs} <= {"done", "parked"}
    meant = Limits(
        limit.get("runs"), limit.get("money", {}), {"P1D": 86400, "PT6H": 21600, "P2D": 172800}[limit["per"]]
    )
    runs_of: dict[str, int] = defaultdict(int)
    money_of: dict[tuple[str, str], int] = defaultdict(int)
    for run in runs:
        if run["state"] == "done":
            window = window_of(meant, datetime.fromisoformat(run["story"][0]["at"]))
            runs_of[window] += 1
            for currency, minor in run["money"].items():
                money_of[window, currency] += minor
    assert all(meant.runs is None or count <= meant.runs for count in runs_of.values())
    assert all(minor <= meant.money.get(currency, 0) for (_, currency), minor in money_of.items() if meant.money)
    parked = [run for run in runs if run["state"] == "parked"]
    assert all(run["reason"].startswith("Parked: ") for run in parked)
    sent = {one.id.partition("/")[0] for one in world.outside.requests}
    assert sent == {run["id"] for run in runs if run["state"] == "done"}
    if presses and parked:
        operate.act(world.durable, TENANT, parked[0]["id"], "release", ACTOR, "a good customer", NOON + 4 * DAY)
        world.live(NOON + 4 * DAY + MINUTE)
        after = {run["id"]: run["state"] for run in world.runs()}
        assert after[parked[0]["id"]] == "done"
        assert {after[run["id"]] for run in parked[1:]} <= {"parked"}


@given(st.lists(st.dictionaries(currencies, amounts, max_size=2), max_size=20), limits)
def test_the_count_is_the_sum_of_what_was_let_through_and_never_passes_the_limit(
    money: list[dict[str, int]], limit: dict[str, Any]
) -> None:
    meant = Limits(limit.get("runs"), limit.get("money", {}))
    used: dict[str, Any] = {}
    let: list[dict[str, int]] = []
    for one in money:
        if not refusal(meant, used, one):
            used, _ = counted(used, one), let.append(one)
    assert used.get("runs", 0) == len(let) <= (meant.runs if meant.runs is not None else len(let))
    for currency, most in meant.money.items():
        assert used.get("money", {}).get(currency, 0) == sum(one.get(currency, 0) for one in let) <= most
    if meant.money:
        assert all(currency in meant.money for one in let for currency in one)


@given(st.integers(0, 500), st.dictionaries(currencies, amounts))
def test_what_is_proposed_is_three_times_the_busiest_day_and_at_least_five(runs: int, amount: dict[str, int]) -> None:
    proposed = proposed_limits({"runs": runs, "amount": amount})
    assert proposed["runs"] == max(5, 3 * runs)
    assert proposed.get("money", {}) == {currency: 3 * minor for currency, minor in amount.items() if minor}
    assert proposed_limits(None) == {"runs": 5, "per": "P1D"}


def test_two_admitters_at_the_same_moment_never_both_take_the_last_place(tmp_path: Path) -> None:
    stores = [SqliteStore(tmp_path / "store.db") for _ in range(2)]
    waiting = World(opened=lambda: stores[0])
    waiting.publish(each_failure(limits={"runs": 7}))
    for number in range(20):
        waiting.bus.publish(failed(number, NOON, f"sub_{number}"))
    waiting.bus.drain(lambda batch: _handled(waiting, batch), NOON)
    assert {run["state"] for run in waiting.runs()} == {"pending"}
    threads = [threading.Thread(target=_admit, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    states = [run["state"] for run in waiting.runs()]
    assert (states.count("acting"), states.count("parked")) == (7, 13)


def _handled(world: World, batch: Any) -> Any:
    s = world.services
    return handle(batch, s.store, s.rulesets, s.tracer, NOON)


def _admit(store: SqliteStore) -> None:
    rulesets = RuleSets(PythonMatcher())
    for _ in range(40):
        wake(store, rulesets, NOON + MINUTE, limit=1)
