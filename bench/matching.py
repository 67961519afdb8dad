"""M3's rules and events, and our own side as workers: the two matchers, and the whole `decide` with its trace."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import events
from bench.peers.matching import Match, serve
from bench.peers.matching import Rule as Plain
from rules.decide import DocumentOf, Members, Memory, NotRead, Question, Read, RuleSet, Window, decide, reads
from rules.event import Event
from rules.matcher import Matcher, PythonMatcher, choose_matcher
from rules.model import Rule, RuleVersion
from rules.ports import ABSENT
from rules.rule import parse
from rules.ruleset import build, documents, keyed
from rules.subjects import correlation_of, keys_of, partition_of

TENANT = "default/test"
CREATED = 1_800_000_000
NOW = datetime.fromtimestamp(CREATED + 86400, UTC)
HIGHEST = 1_000_000
TYPES = tuple(
    f"invoice.{name}"
    for name in (
        "created", "deleted", "finalization_failed", "finalized", "marked_uncollectible", "overdue", "overpaid", "paid",
        "payment_action_required", "payment_attempt_required", "payment_failed", "payment_succeeded", "sent",
        "upcoming", "updated", "voided", "will_be_due", "payment.failed", "payment.paid", "payment.overpaid",
    )
)  # fmt: skip
REASONS = ("subscription_cycle", "subscription_create", "subscription_update", "manual")
CURRENCIES = ("usd", "eur", "gbp", "jpy")
METHODS = ("charge_automatically", "send_invoice")
WORDS = {"equal": "equal to", "in": "one of", "between": "between", "least": "greater or equal to"}


# ---- the same for everybody -----------------------------------------------------------------------------------------
def plain_rules(count: int) -> list[Plain]:
    """`count` rules, evenly over the event types, each of 2 to 4 tests; about as few match an event at every count."""
    rng = random.Random(7)
    width = HIGHEST // max(2, count // len(TYPES))
    return [
        {"id": f"r{number}", "type": TYPES[number % len(TYPES)], "if": _tests(rng, width)} for number in range(count)
    ]


def _tests(rng: random.Random, width: int) -> list[Any]:
    low = rng.randrange(HIGHEST)
    pool = [
        rng.choice(
            (
                ["data.object.currency", "equal", rng.choice(CURRENCIES)],
                ["data.object.currency", "in", sorted(rng.sample(CURRENCIES, 2))],
            )
        ),
        ["data.object.billing_reason", "equal", rng.choice(REASONS)],
        ["data.object.collection_method", "equal", rng.choice(METHODS)],
        ["data.object.attempt_count", "least", rng.randrange(4)],
        ["data.object.status_transitions.finalized_at", "least", CREATED + rng.randrange(1000)],
        ["data.object.parent.subscription_details.metadata.seats", "least", rng.randrange(50)],
    ]
    tests = [["data.object.amount_remaining", "between", [low, low + width]], *rng.sample(pool, rng.randint(1, 3))]
    return rng.sample(tests, len(tests))


def plain_events(count: int) -> list[dict[str, Any]]:
    """The benchmark's failed renewal with other amounts, reasons, currencies; every type in turn."""
    rng = random.Random(11)
    made = []
    for number in range(count):
        event = json.loads(events.body(number, CREATED))
        invoice = event["data"]["object"]
        amount = rng.randrange(HIGHEST)
        event["type"] = TYPES[number % len(TYPES)]
        invoice.update(amount_due=amount, amount_remaining=amount, total=amount, currency=rng.choice(CURRENCIES),
                       billing_reason=rng.choice(REASONS), collection_method=rng.choice(METHODS),
                       attempt_count=rng.randrange(5), customer="cus_bench")  # fmt: skip
        invoice["status_transitions"]["finalized_at"] = CREATED + rng.randrange(1000)
        invoice["parent"]["subscription_details"]["metadata"] = {"seats": rng.randrange(60)}
        made.append(event)
    return made


def expected(rules: list[Plain], given: list[dict[str, Any]]) -> list[list[str]]:
    """The answers, by the plainest loop."""
    return [sorted(rule["id"] for rule in rules if _matches(rule, event)) for event in given]


def _matches(rule: Plain, event: dict[str, Any]) -> bool:
    return bool(rule["type"] == event["type"]) and all(_holds(event, *test) for test in rule["if"])


def _holds(event: Any, path: str, operator: str, value: Any) -> bool:
    for key in path.split("."):
        event = event[key]
    if operator == "between":
        return bool(value[0] <= event <= value[1])
    return bool(event in value if operator == "in" else event == value if operator == "equal" else event >= value)


# ---- ours -----------------------------------------------------------------------------------------------------------
def document(rule: Plain, when: dict[str, Any] | None = None) -> dict[str, Any]:
    tests = [{"field": path, "is": WORDS[operator], "value": value} for path, operator, value in rule["if"]]
    step = {"name": "tell", "do": "crm.notify", "with": {"connection": "crm"}}
    return {"id": rule["id"], "name": rule["id"], "when": {"event": [rule["type"]], **(when or {})},
            "only_if": {"all": tests}, "again": {"while_open": True, "after": "PT0S"}, "steps": [step]}  # fmt: skip


def matcher(engine: Callable[[], Matcher]) -> Callable[[list[Plain]], Match]:
    def made(rules: list[Plain]) -> Match:
        program = engine().compile([parse(document(rule)) for rule in rules])
        return lambda event: list(program.candidates(event["type"], event))

    return made


def whole(rules: list[Plain]) -> Match:
    """`reads` and `decide` of one event, from a memory that answers at once; what it writes is left unwritten."""
    return _deciding(built([parse(document(rule)) for rule in rules]), [])


def untold(rules: list[Plain]) -> Match:
    """The same without the trace of what did not fire."""
    return _deciding(built([parse(document(rule)) for rule in rules]), [], telling=False)


def windowed(rules: list[Plain]) -> Match:
    """The same for rules that count twice within 30 days, on a customer of whom 200 events are remembered."""
    when = {"at_least": 2, "within": "P30D", "same": "customer"}
    ruleset = built([parse(document(rule, when)) for rule in rules])
    past = [_event({**one, "id": f"evt_past{n}", "created": CREATED - n}) for n, one in enumerate(plain_events(200), 1)]
    return _deciding(ruleset, [keyed(one, ruleset) for one in past])


def built(rules: list[Rule], before: RuleSet | None = None) -> RuleSet:
    versions = [RuleVersion(TENANT, rule, 1, "live", "") for rule in rules]
    return build(TENANT, versions, choose_matcher("auto"), (), before)


def _deciding(ruleset: RuleSet, past: list[Event], telling: bool = True) -> Match:
    prepared: dict[str, Event] = {}

    def answer(question: Question) -> Any:
        if isinstance(question, Window):
            return past
        if isinstance(question, DocumentOf):
            return Read({}, ABSENT)
        return frozenset() if isinstance(question, Members) else None

    def match(envelope: dict[str, Any]) -> list[str]:
        event = prepared.get(envelope["id"])
        if event is None:
            event = prepared[envelope["id"]] = keyed(_event(envelope), ruleset)
        known = {id: Read({}, ABSENT) for id in documents(event, ruleset)}
        plan = reads(event, ruleset, known)
        memory = Memory(documents=known, candidates=plan.candidates)
        questions = plan.questions
        while True:
            if questions:
                memory = memory.answered({question: answer(question) for question in questions})
            try:
                return [run.rule_id for run in decide(event, ruleset, memory, NOW, telling).runs]
            except NotRead as missing:
                questions = missing.questions

    return match


def _event(data: dict[str, Any]) -> Event:
    keys = keys_of(data, "default")
    return Event(
        data["id"], data["type"], TENANT, data["created"], NOW, data, correlation_of(data), partition_of(keys), keys
    )


SYSTEMS: dict[str, Callable[[list[Plain]], Match]] = {
    "plain Python": matcher(PythonMatcher),
    "durable-rules": matcher(lambda: choose_matcher("durable")),
    "decide": whole,
    "decide, no trace": untold,
    "decide, windows": windowed,
}

if __name__ == "__main__":
    serve(sys.argv[1], SYSTEMS, Path(sys.argv[2]))
