"""Random rules and random histories for property tests, and a world in which a history is played to its end.

A history is in small numbers on purpose: two customers, a handful of events within a dozen seconds, many of them in the
same second, late, twice, ours or imported. What goes wrong, goes wrong there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from hypothesis import strategies as st

from app.adapters.memory import MemoryStore, MemoryTracer
from app.handle import handle
from app.perform.waking import wake
from rules.event import Event, instant, seconds
from rules.matcher import Matcher
from rules.model import Rule, RuleVersion
from rules.ports import Delivery, Outcome, Put
from rules.rule import parse
from rules.ruleset import RuleSet, build
from rules.run import OPEN, Command, Run
from rules.subjects import keys_of, partition_of
from rules.workflow import settled
from tests.rules.world import START, TENANT

OTHER = "acct_2/test"
TEAM = "data.object.metadata.team"
LISTS = {"contract": {"cus_2", "in_1"}, "excluded": {"sub_2"}}
FAILS = frozenset({"fails"})
SUBJECTS = ("customer", "subscription", "subscription", "invoice", "card", TEAM)
TYPES = ("t.a", "t.b", "t.c")
Document = dict[str, Any]


# ---- rules ----------------------------------------------------------------------------------------------------------
def _types(most: int = 2) -> st.SearchStrategy[list[str]]:
    return st.sampled_from([["t.a"], ["t.b"], ["t.c"], ["t.a", "t.b"], ["t.b", "t.c"]][: 3 + most - 1])


spans = st.sampled_from(("PT1S", "PT2S", "PT4S", "PT8S"))
stops = st.builds(lambda e, s: {"event": e, "same": s}, _types(), st.sampled_from(SUBJECTS))
AMOUNT = "data.object.amount"
CONDITIONS: tuple[Document, ...] = (
    {"all": []},
    {"all": []},
    {"field": AMOUNT, "is": "greater than", "value": 0},
    {"any": [{"field": AMOUNT, "is": "is absent"}, {"field": AMOUNT, "is": "less than", "value": 2}]},
    {"not": {"field": AMOUNT, "is": "equal to", "value": 1}},
)
FORMS = ("each", "at_least", "at_least", "distinct", "aggregate", "then", "and_not", "first")


@st.composite
def whens(draw: st.DrawFn) -> Document:
    form = draw(st.sampled_from(FORMS))
    when: Document = {
        "event": draw(st.sampled_from((["t.a"], ["t.a", "t.b"]))),
        "same": draw(st.sampled_from(SUBJECTS)),
    }
    if form in ("at_least", "distinct"):
        when |= {"at_least": draw(st.integers(1, 3)), "within": draw(spans)}
    if form == "distinct":
        when["counting"] = AMOUNT
    if form == "aggregate":
        of, sign = draw(st.sampled_from(("sum", "average", "min", "max", "distinct"))), draw(st.sampled_from(SIGNS))
        value = draw(st.integers(0, 4))
        when |= {"aggregate": {"of": of, "field": AMOUNT, "is": sign, "value": value}, "within": draw(spans)}
    if form in ("at_least", "distinct", "aggregate") and draw(st.booleans()):
        when["start_again_after"] = draw(_types())
    if form in ("then", "and_not"):
        when[form] = {"event": draw(_types()), "within": draw(spans)}
    if form == "first":
        when["first"] = True
    if draw(st.booleans()):
        when["ignore_own"] = draw(st.booleans())
    return when


SIGNS = ("greater or equal to", "greater than", "less than", "less or equal to", "equal to", "not equal to")
AGAIN: tuple[Document, ...] = (
    {},
    {"while_open": True, "after": "PT0S"},
    {"while_open": False, "after": "PT0S"},
    {"while_open": True, "after": "PT3S"},
    {"while_open": False, "after": "PT5S"},
    {"while_open": True, "after": None},
)
DO: Document = {"name": "act", "do": "crm.notify", "with": {"connection": "crm"}}


@st.composite
def steps(draw: st.DrawFn) -> list[Document]:
    """An action, something in between, an action that may fail."""
    second = {**DO, "name": draw(st.sampled_from(("second", "fails")))}
    second |= draw(st.sampled_from(({}, {"on_failure": "stop"}, {"on_failure": "continue"})))
    last = {**DO, "name": "last"}
    kind = draw(st.sampled_from(("nothing", "for", "for_event", "for_event", "approve", "stop", "if")))
    between: list[Document] = []
    if kind == "for":
        between = [{"name": "wait", "wait": {"for": draw(spans)}}]
    if kind == "for_event":
        wait = {"for_event": draw(st.lists(stops, min_size=1, max_size=2)), "at_most": draw(spans)}
        holds = {"field": "step.wait.ended_by", "is": "equal to", "value": draw(st.sampled_from(("timeout", "t.b")))}
        between = [{"name": "wait", "wait": wait}, {"name": "if", "if": holds, "then": [second], "else": []}]
        again = {"name": "wait-again", "wait": wait}
        return [*draw(st.sampled_from(([DO], []))), *between, *draw(st.sampled_from(([], [again]))), last]
    if kind == "approve":
        ask: Document = {"role": "approver", **draw(st.sampled_from(({}, {"on_timeout": "continue"})))}
        ask |= draw(st.sampled_from(({}, {"at_most": "PT3S"})))
        between = [{"name": "ask", "approve": ask, **draw(st.sampled_from(({}, {"if": CONDITIONS[2]})))}]
    if kind == "stop":
        between = [{"name": "if", "if": CONDITIONS[2], "then": [{"name": "enough", "stop": "enough"}]}]
    if kind == "if":
        between = [
            {"name": "if", "if": CONDITIONS[4], "then": [second], "else": [{"name": "w", "wait": {"for": "PT2S"}}]}
        ]
        return [*draw(st.sampled_from(([DO], []))), *between, last]
    return [*draw(st.sampled_from(([DO], []))), *between, second, last]


@st.composite
def rules(draw: st.DrawFn) -> list[Document]:
    found = []
    for name in ("one", "two")[: draw(st.integers(1, 2))]:
        rule: Document = {"id": name, "name": name, "when": draw(whens()), "steps": draw(steps())}
        rule["only_if"] = draw(st.sampled_from(CONDITIONS))
        rule["again"] = draw(st.sampled_from(AGAIN))
        if draw(st.booleans()):
            rule["stop_when"] = draw(st.lists(stops, min_size=1, max_size=2))
        rule |= draw(st.sampled_from(({}, {}, {}, {"never_for": {"lists": ["contract"]}}, {"holdout": 0.4})))
        rule["priority"] = draw(st.integers(-1, 1))
        found.append(rule)
    return found


# ---- histories ------------------------------------------------------------------------------------------------------
def event(
    id: str,
    type: str,
    at: int,
    heard: int,
    thing: Document,
    tenant: str = TENANT,
    own: bool = False,
    imported: bool = False,
) -> Event:
    """at, heard: seconds after START. thing: fields of its invoice."""
    data = {"id": id, "type": type, "created": START + at, "data": {"object": {"object": "invoice", **thing}}}
    keys = keys_of(data, tenant.split("/")[0])
    return Event(
        id=id,
        type=type,
        tenant=tenant,
        created=START + at,
        recorded=seconds(START + heard),
        data=data,
        correlation="in_1",
        partition=partition_of(keys),
        keys=keys,
        causation="run_0/act" if own else None,
        source="import" if imported else "webhook",
    )


# customer, subscription, invoice: a subscription is one customer's, an invoice one subscription's; cards are shared
ABOUT = (
    ("cus_1", "sub_1", "in_1"),
    ("cus_1", "sub_1", "in_2"),
    ("cus_1", "sub_2", "in_3"),
    ("cus_2", "sub_3", "in_4"),
    ("cus_2", None, "in_5"),
    (None, None, "in_6"),
)
_PLACES = st.tuples(
    st.sampled_from(("t.a", "t.a", "t.a", "t.b", "t.c")),
    st.integers(0, 12),  # created
    st.sampled_from((0, 0, 0, 1, 3, 9)),  # late by
    st.sampled_from(ABOUT),
    st.sampled_from(("card_1", "card_2", None)),
    st.sampled_from((0, 1, 1, 2, 3, 1.0, "1", True, None, ...)),  # the amount
    st.sampled_from(("blue", "red", None)),
    st.sampled_from(("usd", "usd", "usd", "eur", None)),
    st.integers(0, 15),  # ours, imported, twice
)


def histories(tenant: str = TENANT, imports: bool = False) -> st.SearchStrategy[list[Event]]:
    """Deliveries in the order in which they are heard."""
    return st.lists(_PLACES, min_size=1, max_size=8).map(lambda rows: _deliveries(rows, tenant, imports))


def _deliveries(rows: Sequence[tuple[Any, ...]], tenant: str, imports: bool) -> list[Event]:
    found = []
    for index, (type, at, late, about, card, amount, team, currency, odd) in enumerate(rows):
        customer, subscription, invoice = about
        fields: Document = {"id": invoice, "metadata": {"team": team} if team else {}}
        fields |= {"payment_method_details": {"card": {"fingerprint": card}}} if card else {}
        fields |= {"currency": currency} if currency else {}
        fields |= {"customer": customer} if customer else {}
        fields |= {"amount": amount} if amount is not ... else {}
        fields |= {"parent": {"subscription_details": {"subscription": subscription}}} if subscription else {}
        imported = imports and odd in (3, 4, 5)
        one = event(f"evt_{index}", type, at, at + late, fields, tenant, odd in (1, 2), imported)
        found.append(one)
        if odd in (5, 6, 7):
            found.append(replace(one, recorded=seconds(one.created + late + odd)))
    return sorted(found, key=lambda one: one.recorded)


# ---- the world that plays them --------------------------------------------------------------------------------------
class Fixed:
    """What RuleSets answers: the same rules in force for two tenants."""

    def __init__(self, matcher: Matcher, rules: Iterable[Rule]) -> None:
        self.rules = {rule.id: rule for rule in rules}
        self.sets = {tenant: self._build(tenant, matcher) for tenant in (TENANT, OTHER)}

    def _build(self, tenant: str, matcher: Matcher) -> RuleSet:
        return build(tenant, [RuleVersion(tenant, rule, 1, "live", "") for rule in self.rules.values()], matcher)

    def current(self, store: Any, tenant: str, now: datetime | None = None) -> RuleSet:
        return self.sets[tenant]

    def knows(self, tenant: str) -> bool:
        return True

    def rule(self, store: Any, tenant: str, rule_id: str, number: int) -> Rule:
        return self.rules[rule_id]

    def close(self) -> None:
        for found in self.sets.values():
            found.close()


class Played:
    """A history handled as production does: each delivery when it is heard, waits at their time, actions at once."""

    def __init__(self, documents: Sequence[Document], matcher: Matcher) -> None:
        self.store: Any = MemoryStore()
        self.tracer = MemoryTracer()
        self.rules: Any = Fixed(matcher, [parse(document, declared=(TEAM,)) for document in documents])
        for tenant in (TENANT, OTHER):
            puts = [Put("list", name, {"name": name, "members": sorted(members)}) for name, members in LISTS.items()]
            self.store.commit(tenant, None, puts)

    def play(self, deliveries: Iterable[Event]) -> None:
        for one in deliveries:
            self.pass_time(one.recorded)
            (done,) = handle([Delivery(one.id, one, 1)], self.store, self.rules, self.tracer, one.recorded)
            assert done.kind == "done", done
            self.act(one.recorded)
        self.pass_time(seconds(START + 10**8))
        self.rules.close()

    def pass_time(self, until: datetime) -> None:
        while due := [at for run in self.open() if (at := run.due_at) and instant(at) <= until]:
            now = instant(min(due))
            wake(self.store, self.rules, now)
            self.act(now)

    def act(self, now: datetime) -> None:
        """Settle every action that is due, as its receiver answers at once."""
        for tenant in (TENANT, OTHER):
            while due := [d for d in self.find(tenant, "command") if d.body["state"] == "due"]:
                for document in due:
                    self.settle(tenant, document, now)

    def settle(self, tenant: str, document: Any, now: datetime) -> None:
        command = Command.from_body(document.body)
        found = self.store.get(tenant, "run", command.run_id)
        run = Run.from_body(found.body)
        failed = command.step in FAILS
        outcome = Outcome.dead("refused") if failed else Outcome.done("ok")
        advance = settled(run, self.rules.rules[run.rule_id], command.step, outcome, now)
        writes = [Put("run", run.id, advance.run.body()), *(Put("command", c.id, c.body()) for c in advance.commands)]
        self.store.commit(tenant, None, [*writes, Put("command", command.id, {**document.body, "state": "done"})])

    def open(self) -> list[Run]:
        runs = [Run.from_body(found.body) for tenant in (TENANT, OTHER) for found in self.find(tenant, "run")]
        return [run for run in runs if run.state in OPEN]

    def find(self, tenant: str, kind: str) -> list[Any]:
        return list(self.store.find(tenant, kind, limit=1000).items)

    # ---- what came of it --------------------------------------------------------------------------------------------
    def matches(self, tenant: str, order: Iterable[str]) -> set[tuple[str, str, str]]:
        """(rule, key, trigger) as the traces tell it, contradicted ones taken out."""
        found: set[tuple[str, str, str]] = set()
        for id in dict.fromkeys(order):
            for entry in self.store.get(tenant, "event", id).body["decision"]["rules"]:
                match = (entry["rule"], entry.get("key", ""), entry.get("trigger", id))
                if entry["outcome"] in ("fired", "waiting", "matched"):
                    found.add(match)
                if entry["gate"] == "contradicted":
                    found.discard(match)
        return found

    def runs(self, tenant: str) -> dict[tuple[str, str, str], tuple[Any, ...]]:
        """{(rule, key, trigger): (state, what it did and when, evidence, contradicted by)}."""
        commands: dict[str, list[tuple[str, int]]] = {}
        for document in self.find(tenant, "command"):
            at = int(instant(document.body["created_at"]).timestamp())
            commands.setdefault(document.body["run_id"], []).append((document.body["step"], at))
        found = [Run.from_body(document.body) for document in self.find(tenant, "run")]
        return {
            (run.rule_id, run.key, run.trigger): (
                run.state,
                sorted(commands.get(run.id, [])),
                sorted(run.events),
                run.contradicted_by,
            )
            for run in found
        }

    def documents(self) -> list[tuple[str, str, Mapping[str, Any]]]:
        kinds = ("event", "run", "command", "memory")
        return [(kind, one.id, one.body) for kind in kinds for one in self.find(TENANT, kind)]


def now_of(one: Event) -> int:
    return int(one.recorded.timestamp())
