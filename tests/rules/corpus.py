"""A corpus of decisions, recorded as digests: the same input gives the same bytes on every machine and Python version.

`python -m tests.rules.corpus [python|durable]` prints the digests of what this interpreter decides; it needs nothing
but Python's own library. `> tests/golden/decisions.json` records them, when a change of meaning or wording is wanted.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rules.catalogue import Catalogue
from rules.decide import DocumentOf, Members, Memory, NotRead, Question, Read, RuleOf, RunOf, Window, decide, reads
from rules.decision import Decision
from rules.english import read_back
from rules.event import Event, instant, iso, seconds
from rules.matcher import choose_matcher
from rules.model import Rule, RuleVersion
from rules.ports import ABSENT, Outcome, Put
from rules.rule import parse
from rules.ruleset import build, documents, keyed
from rules.run import Command, Run
from rules.steps import Advance
from rules.subjects import correlation_of, keys_of, partition_of
from rules.workflow import settled, woke

TENANT = "default/live"
START = 1_800_000_000
EVENTS = 400
SLEEPING = ("waiting", "needs_person")
CRM = {"connection": "crm", "stage": "At risk", "message": "{{ data.object.number }}: {{ data.object.amount_due }}"}
FAILED = ["invoice.payment_failed"]
PAID = ["invoice.paid"]


# ---- what is decided ------------------------------------------------------------------------------------------------
def rule(id: str, when: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": id, "name": id, "when": when, "steps": [{"name": "tell", "do": "crm.notify", "with": CRM}], **more}


def asked(field: str, operator: str, value: Any = None) -> dict[str, Any]:
    found = {"field": f"data.object.{field}", "is": operator}
    return found if value is None else {**found, "value": value}


LADDER = [
    {"name": "tell", "do": "crm.notify", "with": CRM},
    {"name": "paid", "wait": {"for_event": [{"event": PAID, "same": "invoice"}], "at_most": "PT6H"}},
    {
        "name": "unpaid",
        "if": {"field": "step.paid.ended_by", "is": "equal to", "value": "timeout"},
        "then": [{"name": "again", "do": "crm.notify", "with": CRM}, {"name": "rest", "wait": {"for": "P1D"}}],
        "else": [{"name": "enough", "stop": "it was paid"}],
    },
    {"name": "last", "do": "crm.notify", "with": CRM},
]
TOTAL = {"of": "sum", "field": "data.object.amount_due", "is": "greater or equal to", "value": 20000}
SHARES = {"of": "sum", "field": "data.object.percent_off", "is": "equal to", "value": 0.6}
HALF = {"field": "amount", "is": "greater than", "value": {"field": "data.object.total", "times": 0.5}}
DOCUMENTS = (
    rule("each", {"event": PAID, "same": "customer"}, only_if=asked("amount_paid", "greater than", 5000)),
    rule("twice", {"event": FAILED, "at_least": 2, "within": "P1D", "same": "subscription"}, steps=LADDER,
         stop_when=[{"event": ["invoice.voided"], "same": "invoice"}], again={"after": "P2D"}),
    rule("total", {"event": FAILED, "aggregate": TOTAL, "within": "PT12H", "same": "customer",
                   "start_again_after": PAID},
         only_if={"any": [asked("currency", "one of", ["usd", "jpy"]),
                          {"not": asked("attempt_count", "less than", 3)}]}),
    rule("mean", {"event": FAILED, "aggregate": {**TOTAL, "of": "average", "value": 3333.25}, "within": "P1D",
                  "same": "customer"}, again={"while_open": True, "after": "PT0S"}),
    rule("shares", {"event": FAILED, "aggregate": SHARES, "within": "P3D", "same": "customer"},
         again={"while_open": True, "after": "PT0S"}),
    rule("then", {"event": FAILED, "then": {"event": PAID, "within": "PT8H"}, "same": "invoice"}, holdout=0.3),
    rule("absent", {"event": FAILED, "and_not": {"event": PAID, "within": "PT4H"}, "same": "invoice"},
         never_for={"lists": ["contract"]}, priority=3),
    rule("first", {"event": PAID, "first": True, "same": "invoice"}, limits={"runs": 3, "per": "P1D"},
         only_if=asked("amount_paid", "greater than", 3000)),
    rule("items", {"event": FAILED, "same": "subscription"}, again={"after": None},
         only_if={"field": "data.object.lines.data", "is": "any item", "where": HALF}),
    rule("texts", {"event": [*FAILED, *PAID], "same": "customer"}, again={"while_open": True, "after": "PT1H"},
         only_if={"all": [asked("number", "starts with", "Ä-"), asked("number", "contains", "日本"),
                          asked("due_date", "in the next", "P3D")]}),
)  # fmt: skip
TYPES = ("invoice.payment_failed", "invoice.payment_failed", "invoice.paid", "invoice.voided", "invoice.updated")


def chosen(*of: object) -> Iterator[int]:
    """Numbers that depend on nothing but this text: Python's own random numbers may change between versions."""
    digest = hashlib.sha512(repr(of).encode()).digest()
    yield from (int.from_bytes(digest[at : at + 4], "big") for at in range(0, 64, 4))


def events() -> list[Event]:
    """Heard in this order: some late, some twice, some ours, some imported."""
    found = []
    for number in range(EVENTS):
        draw = chosen("event", number)
        customer = next(draw) % 7
        made = START + number * 900 - (next(draw) % 40) ** 2 * 10
        amount = next(draw) % 12000
        thing = {
            "id": f"in_{customer}_{next(draw) % 6}",
            "object": "invoice",
            "customer": f"cus_{customer}",
            "parent": {"subscription_details": {"subscription": f"sub_{customer}_{next(draw) % 2}"}},
            "number": ("Ä-日本-", "B-", "Ä-日-本")[next(draw) % 3] + str(number),
            "currency": ("usd", "eur", "jpy")[next(draw) % 3],
            "amount_due": amount,
            "amount_paid": amount if number % 3 else None,
            "amount_remaining": amount,
            "attempt_count": next(draw) % 5,
            "total": amount,
            "percent_off": (0.1, 0.2, 0.3)[next(draw) % 3],
            "due_date": made + next(draw) % 400_000,
            "lines": {"data": [{"amount": amount * (next(draw) % 10) / 10}, {"amount": amount % 97}]},
        }
        id = f"evt_{number - 1 if number % 17 == 16 else number}"
        data = {"id": id, "type": TYPES[next(draw) % 5], "created": made, "data": {"object": thing}}
        odd = next(draw) % 12
        found.append(_event(data, START + number * 900 + 60, odd == 0, odd == 1))
    return found


def _event(data: dict[str, Any], heard: int, own: bool, imported: bool) -> Event:
    keys = keys_of(data, "default")
    return Event(
        id=data["id"],
        type=data["type"],
        tenant=TENANT,
        created=data["created"],
        recorded=seconds(heard),
        data=data,
        correlation=correlation_of(data),
        partition=partition_of(keys),
        keys=keys,
        causation="run_0/tell" if own else None,
        source="import" if imported else "webhook",
    )


# ---- deciding it ----------------------------------------------------------------------------------------------------
class Corpus:
    """The log, the documents and the runs of one play, kept in dictionaries."""

    def __init__(self, matcher: str, telling: bool = True) -> None:
        self.telling = telling
        versions = [RuleVersion(TENANT, parse(document), 1, "live", "") for document in DOCUMENTS]
        self.rules: dict[str, Rule] = {version.rule.id: version.rule for version in versions}
        self.ruleset = build(TENANT, versions, choose_matcher(matcher))
        self.log: dict[str, Event] = {}
        self.bodies: dict[str, Any] = {}
        self.runs: dict[str, Run] = {}
        self.commands: dict[str, Command] = {}
        self.said: list[Any] = []
        self.decided: list[Any] = []

    def play(self) -> None:
        for one in events():
            if one.id not in self.log:
                self.hear(keyed(one, self.ruleset))
        self.wake(START + 10**7)
        self.ruleset.close()

    def hear(self, event: Event) -> None:
        self.wake(int(event.recorded.timestamp()))
        decision = self.decide(event)
        self.log[event.id] = event
        for write in decision.writes:
            assert isinstance(write, Put)
            if write.kind == "memory":
                self.bodies[write.id] = write.body
        self.runs |= {run.id: run for run in decision.runs}
        commands = [write.body for write in decision.writes if isinstance(write, Put) and write.kind == "command"]
        self.commands |= {body["id"]: Command.from_body(body) for body in commands}
        self.note(decision)
        self.settle(event.recorded)

    def decide(self, event: Event) -> Decision:
        known = {id: self.read(id) for id in documents(event, self.ruleset)}
        plan = reads(event, self.ruleset, known)
        memory, questions = Memory(documents=known, candidates=plan.candidates), plan.questions
        while True:
            memory = memory.answered({question: self.answer(question) for question in questions})
            try:
                return decide(event, self.ruleset, memory, event.recorded, self.telling)
            except NotRead as missing:
                questions = missing.questions

    def answer(self, question: Question) -> Any:
        match question:
            case Window(key, types, since, until):
                found = [one for one in self.log.values() if key in one.keys and one.type in types]
                found.sort(key=lambda one: (one.created, one.id))
                return [one for one in found if since <= one.created <= until]
            case RunOf(id):
                return (self.runs[id], "1") if id in self.runs else None
            case Members(name):
                return {"cus_3", "in_5_1"} if name == "contract" else ()
            case RuleOf(id):
                return self.rules[id]
            case DocumentOf(id):
                return self.read(id)

    def read(self, id: str) -> Read:
        return Read(self.bodies[id], "1") if id in self.bodies else Read({}, ABSENT)

    def settle(self, now: datetime) -> None:
        """Every action that was asked for is done at once."""
        while self.commands:
            id, command = next(iter(self.commands.items()))
            del self.commands[id]
            self.decided.append(["did", id, iso(now)])
            run = self.runs[command.run_id]
            self.move(settled(run, self.rules[run.rule_id], command.step, Outcome.done("ok"), now))

    def wake(self, until: int) -> None:
        """Waits end at their time; who stands in line is never admitted here."""
        while due := [(run.due_at, id) for id, run in self.runs.items() if run.state in SLEEPING and run.due_at]:
            at, id = min(due)
            if instant(at).timestamp() > until:
                return
            self.move(woke(self.runs[id], self.rules[self.runs[id].rule_id], instant(at)))
            self.settle(instant(at))

    def move(self, advance: Advance) -> None:
        self.runs[advance.run.id] = advance.run
        self.commands |= {command.id: command for command in advance.commands}

    def note(self, decision: Decision) -> None:
        told = {key: value for key, value in decision.trace.items() if key != "ruleset"}  # it names the matcher
        self.said.append(told)
        self.decided.append([[m.rule_id, m.key, m.trigger, m.evidence, m.run, m.pending] for m in decision.matches])

    def digests(self) -> dict[str, Any]:
        catalogue = Catalogue.load()
        ended = [[run.id, run.state, run.position, run.events, run.contradicted_by] for run in self.runs.values()]
        stories = [run.body() for run in self.runs.values()]
        english = [read_back(rule, catalogue) for rule in self.rules.values()]
        return {
            "runs": len(self.runs),
            "decided": digest([self.decided, ended]),
            "remembered": digest(self.bodies),
            "said": digest([self.said, stories, english]),
        }


def digest(value: Any) -> str:
    """Of the canonical JSON: keys sorted, no spaces, ASCII."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def main() -> None:
    corpus = Corpus(sys.argv[1] if len(sys.argv) > 1 else "python")
    corpus.play()
    sys.stdout.write(json.dumps(corpus.digests(), indent=2) + "\n")


if __name__ == "__main__":
    main()
