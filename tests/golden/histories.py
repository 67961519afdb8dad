"""Golden histories: what a rule makes of events, told in hours.

`python -m tests.golden.histories > tests/golden/histories.json` records matches, runs and what each event's trace says,
when a change of meaning or wording is wanted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rules.event import Event
from rules.matcher import PythonMatcher
from tests.rules.histories import DO, TEAM, Document, Played, event
from tests.rules.world import START, TENANT

NAMES = {"F": "invoice.payment_failed", "P": "invoice.paid", "V": "invoice.voided"}
F, P, V = ([name] for name in NAMES.values())
HOUR = 3600
ABOUT = {
    1: ("cus_1", "sub_1", "in_1"),
    2: ("cus_1", "sub_1", "in_2"),
    3: ("cus_1", "sub_2", "in_3"),
    4: ("cus_2", "sub_3", "in_4"),
    5: (None, None, "in_5"),
}
SUB: Document = {"event": F, "same": "subscription"}
TWICE: Document = {**SUB, "at_least": 2, "within": "PT24H"}
DEAR = {"field": "data.object.amount_due", "is": "greater than", "value": 100}
EVERY = {"while_open": True, "after": "PT0S"}
WAIT: Document = {"name": "wait", "wait": {"for_event": [{"event": P, "same": "invoice"}], "at_most": "PT6H"}}
STOP = [{"event": P, "same": "subscription"}]


def total(of: str, sign: str, value: float) -> Document:
    aggregate = {"of": of, "field": "data.object.amount_due", "is": sign, "value": value}
    return {**SUB, "aggregate": aggregate, "within": "PT24H"}


def rule(when: Document, **more: Any) -> Document:
    return {"id": "r", "name": "r", "when": when, "steps": [DO], "again": EVERY, **more}


def _event(index: int, name: str, at: float, heard: float | None = None, whose: int = 1, **more: Any) -> Event:
    customer, subscription, invoice = ABOUT[whose]
    flags = {name: more.pop(name) for name in ("own", "imported") if name in more}
    thing = {"id": invoice, "amount_due": 500, "currency": "usd", **more.pop("thing", {})}
    thing |= {"customer": customer} if customer else {}
    thing |= {"parent": {"subscription_details": {"subscription": subscription}}} if subscription else {}
    id = more.pop("id", f"evt_{index}")
    times = int(at * HOUR), int((at if heard is None else heard) * HOUR)
    return event(id, NAMES[name], *times, thing, **flags)


def d(name: str, at: float, heard: float | None = None, whose: int = 1, **more: Any) -> tuple[Any, ...]:
    return name, at, heard, whose, more


def of(about: str, given: Document, *rows: tuple[Any, ...]) -> tuple[str, Document, list[Event]]:
    return about, given, [_event(index, *row[:4], **row[4]) for index, row in enumerate(rows, 1)]


CASES = (
    of("each time is every event", rule(SUB), d("F", 0), d("F", 1), d("P", 2)),
    of("an event without the key takes no part", rule(SUB), d("F", 0, whose=5)),
    of("only if: an event that fails it is no match", rule(SUB, only_if=DEAR), d("F", 0, thing={"amount_due": 100})),
    of("only if: a missing field fails it", rule(SUB, only_if=DEAR), d("F", 0, thing={"amount_due": None})),
    of("only if: a text is no number", rule(SUB, only_if=DEAR), d("F", 0, thing={"amount_due": "500"})),
    of("two within a day, both ends inclusive", rule(TWICE), d("F", 0), d("F", 24)),
    of("two that are a second too far apart", rule(TWICE), d("F", 0), d("F", 24 + 1 / HOUR)),
    of("two in the same second", rule(TWICE), d("F", 0), d("F", 0)),
    of("a duplicate delivery counts once", rule(TWICE), d("F", 0, id="evt_1"), d("F", 0, 1, id="evt_1")),
    of("of another subscription", rule(TWICE), d("F", 0), d("F", 1, whose=3)),
    of("a late event completes a later window", rule(TWICE), d("F", 5, 5), d("F", 1, 9)),
    of("every event at which the window holds is a match", rule(TWICE), d("F", 0), d("F", 1), d("F", 2)),
    of("those that fail only_if do not count", rule(TWICE, only_if=DEAR),
       d("F", 0, thing={"amount_due": 1}), d("F", 1)),
    of("a reset starts counting again", rule({**TWICE, "start_again_after": P}), d("F", 0), d("P", 1), d("F", 2)),
    of("a reset wins its second", rule({**TWICE, "start_again_after": P}), d("F", 0), d("P", 0), d("F", 1)),
    of("a late reset contradicts a run that has acted", rule({**TWICE, "start_again_after": P}),
       d("F", 0), d("F", 2), d("P", 1, 3)),
    of("a late reset stops a run that has not", rule({**TWICE, "start_again_after": P}, steps=[WAIT, DO]),
       d("F", 0), d("F", 2), d("P", 1, 3, whose=2)),
    of("our own retries are no evidence", rule(TWICE), d("F", 0), d("F", 1, own=True)),
    of("our own retries count where the rule says so", rule({**TWICE, "ignore_own": False}),
       d("F", 0), d("F", 1, own=True)),
    of("different values count, not events", rule({**TWICE, "counting": "data.object.amount_due"}),
       d("F", 0), d("F", 1), d("F", 2, thing={"amount_due": 7})),
    of("a sum reaches its bound", rule(total("sum", "greater or equal to", 1000)), d("F", 0), d("F", 1)),
    of("currencies are never added up", rule(total("sum", "greater or equal to", 1000)),
       d("F", 0), d("F", 1, thing={"currency": "eur"})),
    of("an average may be contradicted", rule(total("average", "greater than", 400)),
       d("F", 2), d("F", 1, 3, thing={"amount_due": 1})),
    of("the largest", rule(total("max", "greater than", 600)), d("F", 0, thing={"amount_due": 700}), d("F", 1)),
    of("the smallest", rule(total("min", "less than", 10)), d("F", 0), d("F", 1, thing={"amount_due": 9})),
    of("different values aggregated", rule(total("distinct", "greater or equal to", 2)),
       d("F", 0), d("F", 1), d("F", 2, thing={"amount_due": 501})),
    of("A and then B: the trigger is B", rule({**SUB, "then": {"event": P, "within": "PT2H"}}), d("F", 0), d("P", 2)),
    of("B too late", rule({**SUB, "then": {"event": P, "within": "PT2H"}}), d("F", 0), d("P", 2.5)),
    of("B before A", rule({**SUB, "then": {"event": P, "within": "PT2H"}}), d("P", 0), d("F", 1)),
    of("A heard after its B", rule({**SUB, "then": {"event": P, "within": "PT2H"}}), d("P", 1), d("F", 0, 3)),
    of("absence: nothing came until the span was over", rule({**SUB, "and_not": {"event": P, "within": "PT2H"}}),
       d("F", 0)),
    of("absence: it came at the last second", rule({**SUB, "and_not": {"event": P, "within": "PT2H"}}),
       d("F", 0), d("P", 2)),
    of("absence: it was heard too late", rule({**SUB, "and_not": {"event": P, "within": "PT2H"}}),
       d("F", 0), d("P", 1, 9)),
    of("absence: it was heard before its A", rule({**SUB, "and_not": {"event": P, "within": "PT2H"}}),
       d("P", 1), d("F", 0, 1.5)),
    of("the first ever", rule({**SUB, "first": True}), d("F", 0), d("F", 1)),
    of("the first ever, contradicted by one that came late", rule({**SUB, "first": True}), d("F", 1), d("F", 0, 2)),
    of("not again while a run is open", rule(SUB, again={"after": "PT0S"}, steps=[WAIT, DO]), d("F", 0), d("F", 1)),
    of("not again within the span, whichever came first", rule(SUB, again={"while_open": True, "after": "PT10H"}),
       d("F", 10), d("F", 20), d("F", 1, 21)),
    of("never again", rule(SUB, again={"while_open": True, "after": None}), d("F", 0), d("F", 9999)),
    of("a stop ends the open run", rule(SUB, steps=[WAIT, DO], stop_when=STOP), d("F", 0), d("P", 1, whose=2)),
    of("a stop in the trigger's second wins", rule(SUB, stop_when=STOP), d("P", 0), d("F", 0)),
    of("a stop from before the trigger stops nothing", rule(SUB, stop_when=STOP), d("P", 0), d("F", 1)),
    of("an event ends the wait", rule(SUB, steps=[WAIT, DO]), d("F", 0), d("P", 2)),
    of("nothing ends the wait but time", rule(SUB, steps=[WAIT, DO]), d("F", 0)),
    of("what came before the wait began ends it", rule(SUB, steps=[WAIT, DO]), d("P", 1, 1), d("F", 0, 2)),
    of("who is on a list is left out", rule({**SUB, "same": "customer"}, never_for={"lists": ["contract"]}),
       d("F", 0, whose=4)),
    of("imported history counts and starts nothing", rule(TWICE), d("F", 0, imported=True), d("F", 1)),
    of("a declared path is counted by its value", rule({**TWICE, "same": TEAM}),
       d("F", 0, thing={"metadata": {"team": "blue"}}), d("F", 1, whose=4, thing={"metadata": {"team": "blue"}})),
)  # fmt: skip


def played(given: Document, deliveries: Sequence[Event]) -> Document:
    """What came of it. matches: (key, trigger). runs: by trigger the state, (step, hour) of what was done, and what
    contradicts it. said: by event what its trace says of the rule."""
    world = Played([given], PythonMatcher())
    world.play(sorted(deliveries, key=lambda one: one.recorded))
    runs = {
        trigger: [state, [[step, round((at - START) / HOUR, 4)] for step, at in did], contradicted]
        for (_, _, trigger), (state, did, _, contradicted) in world.runs(TENANT).items()
    }
    ids = [one.id for one in deliveries if one.source != "import"]
    matches = sorted([key, trigger] for _, key, trigger in world.matches(TENANT, ids))
    said = {id: [entry["sentence"] for entry in _entries(world, id)] for id in dict.fromkeys(ids)}
    return {"matches": matches, "runs": dict(sorted(runs.items())), "said": said}


def _entries(world: Played, id: str) -> list[Document]:
    body = world.store.get(TENANT, "event", id).body
    entries: list[Document] = (body["decision"] or {}).get("rules", [])
    return entries


if __name__ == "__main__":
    found = {about: played(given, deliveries) for about, given, deliveries in CASES}
    sys.stdout.write(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
