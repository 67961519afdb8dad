"""What must stay as it is for days: the memory of a million decisions, and rule sets that are swapped under load.

`python -m bench.steady decisions 1000000` and `python -m bench.steady swaps 10000` print what they found as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

from bench import matching
from bench.peers.matching import resident
from rules.expr import compile_condition
from rules.matcher import Matcher, Program, choose_matcher
from rules.model import Rule
from rules.rule import parse

RULES = 200
WARM = 0.1  # of the work, before memory is looked at


def decisions(count: int) -> dict[str, Any]:
    """So many whole decisions with their traces: megabytes after the first tenth and at the end."""
    match = matching.whole(matching.plain_rules(RULES))
    events = matching.plain_events(100)
    began = time.process_time()
    _repeat(match, events, int(count * WARM))
    warm = resident()
    _repeat(match, events, count - int(count * WARM))
    spent = time.process_time() - began
    return {"count": count, "warm": warm, "end": resident(), "micros": spent / count * 1e6}


def _repeat(match: Any, events: list[Any], count: int) -> None:
    for number in range(count):
        match(events[number % len(events)])


def swaps(count: int, asking: int = 2, setting: str = "durable") -> dict[str, Any]:
    """So many changes of one rule of 60, while threads ask without a pause: wrong answers, megabytes, the longest
    change in milliseconds. Every answer must be that of the set before a change, or of the one after it."""
    engine = choose_matcher(setting)
    events = matching.plain_events(20)
    rules = [parse(matching.document(rule)) for rule in matching.plain_rules(60)]
    load = _Load(engine, rules, events)
    threads = [threading.Thread(target=load.ask, args=(at,)) for at in range(asking)]
    for thread in threads:
        thread.start()
    warm = 0.0
    try:
        for number in range(count):
            load.change(number)
            warm = resident() if number == int(count * WARM) else warm
    finally:
        load.done.set()
        for thread in threads:
            thread.join()
    load.program.close()
    found = {"count": count, "asked": load.asked, "wrong": load.wrong, "warm": warm, "end": resident()}
    return {**found, "longest": load.longest * 1000}


class _Load:
    def __init__(self, engine: Matcher, rules: list[Rule], events: list[dict[str, Any]]) -> None:
        self.engine = engine
        self.rules = rules
        self.events = events
        self.program: Program = engine.compile(rules)
        self.done = threading.Event()
        self.asked = self.wrong = 0
        self.longest = 0.0
        self.fixed = [self._fixed(event) for event in events]

    def _fixed(self, event: dict[str, Any]) -> frozenset[str]:
        """What holds of the rules that never change."""
        mine = [rule for rule in self.rules[1:] if event["type"] in rule.when.types]
        return frozenset(rule.id for rule in mine if compile_condition(rule.only_if)(event))

    def change(self, number: int) -> None:
        """The first rule is renamed, and holds for every event of its type or for none."""
        condition = {"field": "data.object.amount_due", "is": "is present" if number % 2 else "is absent"}
        document = {**self.rules[0].document, "name": f"change {number}", "only_if": condition}
        began = time.perf_counter()
        old, self.program = self.program, self.engine.compile([parse(document), *self.rules[1:]], self.program)
        old.close()
        self.longest = max(self.longest, time.perf_counter() - began)

    def ask(self, at: int) -> None:
        changing = self.rules[0].id
        while not self.done.is_set():
            at = (at + 1) % len(self.events)
            found = self.program.candidates(self.events[at]["type"], self.events[at])
            self.asked += 1
            self.wrong += found - {changing} != self.fixed[at]


def main() -> None:
    what, count = sys.argv[1], int(sys.argv[2])
    sys.stdout.write(json.dumps(decisions(count) if what == "decisions" else swaps(count)) + "\n")


if __name__ == "__main__":
    main()
