"""A slow evaluator of whole rules on whole histories, written from the definition of the language and not from the
code: it takes rule documents and events, looks at every pair of events, and keeps nothing between two questions.

`matches` is a function of the set of events. `Log` plays the recorded log: which runs there are, what each of them did
and when, what stopped it, and which late event contradicts it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rules.event import Event
from tests.rules.naive import NOTHING, holds, look, numeric, span

Document = Mapping[str, Any]
OPEN = ("acting", "waiting", "needs_person")


# ---- subjects -------------------------------------------------------------------------------------------------------
def subject(event: Event, same: str) -> Any:
    """The customer, subscription, invoice, charge or card that an event is about; the value at a declared path."""
    if same == "account":
        return event.tenant.split("/")[0]
    if same.startswith("data."):
        value = look(same, event.data, NOTHING)
        return None if type(value) in (dict, list) or value in (None, NOTHING) else f"{value}"
    thing = event.data["data"]["object"]
    if thing["object"] == same:
        return thing.get("id")
    paths = {
        "subscription": "data.object.parent.subscription_details.subscription",
        "card": "data.object.payment_method_details.card.fingerprint",
    }
    value = look(paths.get(same, f"data.object.{same}"), event.data, NOTHING)
    return value if type(value) is str and value else None


# ---- matches --------------------------------------------------------------------------------------------------------
def matches(rule: Document, events: Iterable[Event]) -> dict[tuple[Any, str], list[str]]:
    """{(key, trigger id): evidence ids} of every match in a set of events of one tenant."""
    unique = list({event.id: event for event in events}.values())
    found = {}
    for trigger in unique:
        key = subject(trigger, rule["when"]["same"])
        if key is None:
            continue
        evidence = _match(rule, trigger, [one for one in unique if subject(one, rule["when"]["same"]) == key])
        if evidence is not None:
            found[key, trigger.id] = evidence
    return found


def _match(rule: Document, trigger: Event, same: list[Event]) -> list[str] | None:
    """The evidence when the rule holds at this trigger. same: every event of its key."""
    when = rule["when"]
    if "then" in when:
        b, within = when["then"]["event"], span(when["then"]["within"])
        if trigger.type not in b or _own(when, trigger):
            return None
        before = [one for one in same if _counts(rule, one) and one.id != trigger.id and _near(one, trigger, within)]
        return [one.id for one in before] + [trigger.id] if before else None
    if not _counts(rule, trigger):
        return None
    if "and_not" in when:
        b, within = when["and_not"]["event"], span(when["and_not"]["within"])
        came = [one for one in same if one.type in b and one.id != trigger.id and _near(trigger, one, within)]
        return None if came else [trigger.id]
    if when.get("first"):
        mine = [one for one in same if one.type in when["event"] and not _own(when, one)]
        return [trigger.id] if min(mine, key=lambda one: (one.created, one.id)).id == trigger.id else None
    if "at_least" not in when and "aggregate" not in when:
        return [trigger.id]
    return _window(rule, trigger, same)


def _window(rule: Document, trigger: Event, same: list[Event]) -> list[str] | None:
    when = rule["when"]
    resets = [one.created for one in same if one.type in when.get("start_again_after", ())]
    counted = [
        one
        for one in same
        if _counts(rule, one)
        and _near(one, trigger, span(when["within"]))
        and not any(one.created <= reset <= trigger.created for reset in resets)
        and (not _is_money(when) or _currency(one) == _currency(trigger))
    ]
    if trigger.id not in [one.id for one in counted] or not _enough(when, counted):
        return None
    return [one.id for one in counted]


def _is_money(when: Document) -> bool:
    """Whether amounts of money are aggregated: different currencies are never added up or compared."""
    return "aggregate" in when and "amount" in when["aggregate"]["field"]


def _currency(event: Event) -> Any:
    return event.data["data"]["object"].get("currency")


def _near(first: Event, second: Event, within: int) -> bool:
    return 0 <= second.created - first.created <= within


def _own(when: Document, event: Event) -> bool:
    return bool(when.get("ignore_own", True) and event.causation)


def _counts(rule: Document, event: Event) -> bool:
    """Whether it is one of the rule's events, passes its conditions and has what is counted."""
    when = rule["when"]
    if event.type not in when["event"] or _own(when, event):
        return False
    if not holds(rule.get("only_if", {"all": []}), event.data):
        return False
    if "aggregate" in when:
        value = look(when["aggregate"]["field"], event.data, NOTHING)
        return _scalar(value) if when["aggregate"]["of"] == "distinct" else numeric(value)
    counting = when.get("counting", "events")
    return counting == "events" or _scalar(look(counting, event.data, NOTHING))


def _scalar(value: Any) -> bool:
    return value is not NOTHING and type(value) in (str, int, float, bool)


def _enough(when: Document, counted: list[Event]) -> bool:
    if "at_least" in when:
        counting = when.get("counting", "events")
        if counting == "events":
            return len(counted) >= int(when["at_least"])
        return _different([look(counting, one.data, NOTHING) for one in counted]) >= when["at_least"]
    wanted = when["aggregate"]
    values = [look(wanted["field"], one.data, NOTHING) for one in counted]
    number = {
        "sum": lambda: sum(values),
        "average": lambda: sum(values) / len(values),
        "min": lambda: min(values),
        "max": lambda: max(values),
        "distinct": lambda: _different(values),
    }[wanted["of"]]()
    return {
        "greater than": number > wanted["value"],
        "greater or equal to": number >= wanted["value"],
        "less than": number < wanted["value"],
        "less or equal to": number <= wanted["value"],
        "equal to": number == wanted["value"],
        "not equal to": number != wanted["value"],
    }[wanted["is"]]


def _different(values: list[Any]) -> int:
    """How many different values: 1 and 1.0 are the same, 1 and true and "1" are not."""
    return len({("number" if numeric(value) else type(value).__name__, value) for value in values})


# ---- runs -----------------------------------------------------------------------------------------------------------
@dataclass
class Run:
    """What we did about one match. did: (step, second) of every action, in order."""

    rule: str
    key: Any
    trigger: Event
    evidence: list[str]
    state: str = "acting"
    reason: str = ""
    did: list[tuple[str, int]] = field(default_factory=list)
    contradicted_by: str | None = None
    heard: list[Event] = field(default_factory=list)
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    todo: list[Document] = field(default_factory=list)
    due: int | None = None
    forgotten: bool = False


class Log:
    """The recorded log, played. fails: names of steps whose action is refused for good by its receiver."""

    def __init__(self, rules: Sequence[Document], lists: Mapping[str, set[str]], fails: frozenset[str]) -> None:
        self.rules = sorted(rules, key=lambda rule: (-rule.get("priority", 0), rule["id"]))
        self.lists = lists
        self.fails = fails
        self.events: list[Event] = []
        self.runs: list[Run] = []

    def hear(self, event: Event, now: int) -> None:
        """The next delivery."""
        self.pass_time(now)
        if event.id in [one.id for one in self.events]:
            return
        before = list(self.events)
        self.events.append(event)
        for run in [one for one in self.runs if one.state in OPEN]:
            self.stop_or_tell(run, event, now)
        for rule in self.rules:
            was, is_now = matches(rule, before), matches(rule, self.events)
            for key, trigger in [match for match in was if match not in is_now]:
                self.contradict(rule["id"], key, trigger, event)
            new = [(self.event(trigger), key) for key, trigger in is_now if (key, trigger) not in was]
            for found, key in sorted(new, key=lambda one: (one[0].created, one[0].id)):
                self.match(rule, key, found, is_now[key, found.id], event, now)
        self.settle(now)

    def event(self, id: str) -> Event:
        return next(one for one in self.events if one.id == id)

    # ---- what an event does to open runs ----------------------------------------------------------------------------
    def stop_or_tell(self, run: Run, event: Event, now: int) -> None:
        rule = self.rule(run.rule)
        if event.created < run.trigger.created or event.id in run.evidence:
            return
        if any(self.about(run, stop, event) for stop in rule.get("stop_when", ())):
            self.end(run, "stopped", event.type)
        elif any(self.about(run, stop, event) for step in _every(rule["steps"]) for stop in _awaited(step)):
            run.heard.append(event)
            self.wake_by_event(run, now)

    def about(self, run: Run, stop: Document, event: Event) -> bool:
        key = subject(run.trigger, stop["same"])
        return event.type in stop["event"] and key is not None and subject(event, stop["same"]) == key

    def contradict(self, rule: str, key: Any, trigger: str, event: Event) -> None:
        for run in self.runs:
            if (run.rule, run.key, run.trigger.id) == (rule, key, trigger) and not run.contradicted_by:
                run.contradicted_by = event.id
                if not run.did:
                    if run.state in OPEN:
                        self.end(run, "stopped", "contradicted")
                    run.forgotten = run.state == "stopped"

    # ---- which matches become runs ----------------------------------------------------------------------------------
    def match(self, rule: Document, key: Any, trigger: Event, evidence: list[str], event: Event, now: int) -> None:
        if "import" in (trigger.source, event.source) or self.withheld(rule, key, trigger, evidence):
            return
        run = Run(rule["id"], key, trigger, evidence, todo=list(rule["steps"]))
        stops = [stop for step in _every(rule["steps"]) for stop in _awaited(step)]
        heard = [one for one in self.since(trigger, evidence) if any(self.about(run, stop, one) for stop in stops)]
        run.heard = [one for one in heard if one.id != event.id]
        self.runs.append(run)
        if "and_not" in rule["when"]:
            run.todo.insert(0, {"name": "", "until": trigger.created + span(rule["when"]["and_not"]["within"]) + 1})
        self.go(run, now)

    def withheld(self, rule: Document, key: Any, trigger: Event, evidence: list[str]) -> bool:
        mine = [run for run in self.runs if run.rule == rule["id"] and run.key == key]
        again = rule.get("again", {})
        if any(run.trigger.id == trigger.id for run in mine):
            return True
        if not again.get("while_open", False) and any(run.state in OPEN for run in mine):
            return True
        past = [abs(run.trigger.created - trigger.created) for run in mine if not run.forgotten]
        after = again.get("after", "P30D")
        if past and (after is None or min(past) < span(after)):
            return True
        for stop in rule.get("stop_when", ()):
            about = subject(trigger, stop["same"])
            for one in self.since(trigger, evidence):
                if about is not None and one.type in stop["event"] and subject(one, stop["same"]) == about:
                    return True
        return self.suppressed(rule, trigger) or self.held_out(rule, key)

    def since(self, trigger: Event, evidence: list[str]) -> list[Event]:
        """What was recorded from the trigger's second on, beside the evidence; the newest delivery is no news to it."""
        later = [one for one in self.events[:-1] if one.created >= trigger.created and one.id not in evidence]
        return sorted(later, key=lambda one: (one.created, one.id))

    def suppressed(self, rule: Document, trigger: Event) -> bool:
        names = {subject(trigger, same) for same in ("customer", "subscription", "invoice", "charge", "card")}
        lists = (*rule.get("never_for", {}).get("lists", ()), "excluded")  # every rule leaves alone who is on the last
        return any(names & self.lists.get(name, set()) for name in lists)

    def held_out(self, rule: Document, key: Any) -> bool:
        prefix = {"customer": "cus", "subscription": "sub", "invoice": "in", "charge": "ch", "account": "acct"}
        same = rule["when"]["same"]
        name = f"path:{same}={key}" if same.startswith("data.") else f"{prefix.get(same, same)}:{key}"
        share = int(hashlib.sha256(f"{rule['id']}\n{name}".encode()).hexdigest()[:13], 16) / 16**13
        return share < float(rule.get("holdout", 0))

    def rule(self, id: str) -> Document:
        return next(rule for rule in self.rules if rule["id"] == id)

    # ---- steps ------------------------------------------------------------------------------------------------------
    def pass_time(self, now: int) -> None:
        """Wake what is due, in the order of time."""
        while due := [run for run in self.runs if run.state in OPEN and run.due is not None and run.due <= now]:
            run = min(due, key=lambda one: one.due or 0)
            at, run.due = run.due or 0, None
            step = run.todo.pop(0)
            if step["name"]:
                run.outcomes[step["name"]] = {"ended_by": "time" if "for" in step.get("wait", {}) else "timeout"}
            if "approve" in step and step["approve"].get("on_timeout", "stop") == "stop":
                self.end(run, "stopped", "nobody answered")
            else:
                self.go(run, at)
            self.settle(at)

    def settle(self, now: int) -> None:
        """Actions are done when what asked for them is decided: until then their runs are open."""
        while acting := [run for run in self.runs if run.state == "acting"]:
            step = acting[0].todo.pop(0)
            self.take(acting[0], step, now)
            if acting[0].state == "acting":
                self.go(acting[0], now)

    def wake_by_event(self, run: Run, now: int) -> None:
        if run.state == "waiting" and run.todo and "for_event" in run.todo[0].get("wait", {}):
            run.state, run.due = "acting", None
            self.go(run, now)

    def go(self, run: Run, now: int) -> None:
        """Step after step until one has to wait, or reaches outside."""
        run.state = "acting"
        while run.state == "acting":
            if not run.todo:
                self.end(run, "done", "")
                return
            if "do" in run.todo[0] or self.waits(run, run.todo[0], now):
                return
            self.take(run, run.todo.pop(0), now)

    def waits(self, run: Run, step: Document, now: int) -> bool:
        """Whether the run stands still at this step."""
        due = None
        if "until" in step:
            due = step["until"]
            if due <= now:
                return False
        elif "for" in step.get("wait", {}):
            due = now + span(step["wait"]["for"])
        elif "for_event" in step.get("wait", {}):
            for one in run.heard:
                if any(self.about(run, stop, one) for stop in step["wait"]["for_event"]):
                    return False
            due = now + span(step["wait"]["at_most"]) if "at_most" in step["wait"] else None
        elif "approve" in step:
            if "if" in step and not holds(step["if"], self.readable(run)):
                return False
            due = now + span(step["approve"]["at_most"]) if "at_most" in step["approve"] else None
            run.state, run.due = "needs_person", due
            return True
        else:
            return False
        run.state, run.due = "waiting", due
        return True

    def take(self, run: Run, step: Document, now: int) -> None:
        name = step["name"]
        if "do" in step:
            run.did.append((name, now))
            failed = name in self.fails
            run.outcomes[name] = {"state": "failed" if failed else "done"}
            choice = step.get("on_failure", "person")
            if failed and choice == "stop":
                self.end(run, "failed", name)
            elif failed and choice == "person":
                run.state = "needs_person"
        elif "for_event" in step.get("wait", {}):
            stops = step["wait"]["for_event"]
            ended_by = next(one for one in run.heard if any(self.about(run, stop, one) for stop in stops))
            run.heard.remove(ended_by)  # one event ends one wait
            run.outcomes[name] = {"ended_by": ended_by.type}
        elif "if" in step and "approve" not in step:
            run.todo[:0] = step["then"] if holds(step["if"], self.readable(run)) else step.get("else", [])
        elif "stop" in step:
            self.end(run, "stopped", step["stop"])

    def readable(self, run: Run) -> dict[str, Any]:
        return {**run.trigger.data, "step": run.outcomes}

    def end(self, run: Run, state: str, reason: str) -> None:
        run.state, run.reason, run.due, run.heard = state, reason, None, []


def _every(steps: Sequence[Document]) -> list[Document]:
    found = []
    for step in steps:
        found += [step, *_every(step.get("then", [])), *_every(step.get("else", []))]
    return found


def _awaited(step: Document) -> list[Document]:
    return list(step.get("wait", {}).get("for_event", []))
