"""A rule in plain English, generated: two rules that differ (their ids and reasons aside) never read the same.

Every sentence says one part of the rule and says all of it; what is at its default and would only be noise is left
out, which reads differently from every other value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from difflib import SequenceMatcher
from typing import Any, Final

from rules import paths
from rules.caps import MAIL, USUAL, caps_of
from rules.catalogue import Catalogue
from rules.model import (
    TRUE,
    All,
    Approve,
    Do,
    If,
    Rule,
    Step,
    Stop,
    StopStep,
    Test,
    Wait,
)
from rules.reading import is_time
from rules.texts import walk
from rules.words import Words, amount, counted, listed, moment, only_currency, plain_value, quoted, span_text

__all__ = ["amount", "diff", "moment", "read_back", "sentences", "span_text"]

Sentence = dict[str, str]
_SAME: Final = {
    "customer": "customer",
    "subscription": "subscription",
    "invoice": "invoice",
    "payment_intent": "payment",
    "charge": "charge",
    "card": "card",
    "account": "account",
}
_ACTIONS: Final = {
    "stripe.change_plan": "change the subscription’s price",
    "stripe.cancel_subscription": "cancel the subscription",
    "stripe.pause_collection": "pause collecting payments",
    "stripe.resume_collection": "resume collecting payments",
    "stripe.pay_invoice": "try the payment again",
    "stripe.void_invoice": "void the invoice",
    "stripe.mark_uncollectible": "write the invoice off",
    "stripe.send_invoice": "send the invoice by e-mail",
    "stripe.update_customer_metadata": "set a metadata value on the customer",
    "stripe.pause_subscription": "pause the subscription",
    "stripe.resume_subscription": "resume the paused subscription",
    "stripe.keep_subscription": "take back a cancellation that is still to come",
    "stripe.refund": "refund the payment",
    "stripe.credit_note": "issue a credit note for the invoice",
    "stripe.void_credit_note": "void a credit note",
    "stripe.add_invoice_item": "add an item to the next invoice",
    "stripe.remove_invoice_item": "remove an item from the next invoice",
    "crm.notify": "tell the CRM",
    "crm.task": "open a task in the CRM",
    "crm.close_task": "close a task in the CRM",
    "crm.stage": "move the customer’s stage in the CRM",
    "hubspot.upsert_contact": "make or change the contact in HubSpot",
    "hubspot.upsert_company": "make or change the company in HubSpot",
    "hubspot.set_stage": "move the stage in HubSpot",
    "hubspot.create_task": "open a task in HubSpot",
    "hubspot.close_task": "complete a task in HubSpot",
    "salesforce.upsert": "make or change the record in Salesforce",
    "salesforce.create_task": "open a task in Salesforce",
    "salesforce.close_task": "complete a task in Salesforce",
    "route.forward": "forward the event",
    "access.suspend": "suspend access to the API",
    "access.resume": "resume access to the API",
    "mail.send": "send the customer an e-mail",
    "slack.post": "write to Slack",
    "runs.stop": "stop other runs",
    "runs.undo": "take back what other runs did",
    "review.flag": "flag it for a person to review",
    "review.close": "close a review",
}
# how an action is said with its main parameter, and the words for some values of others
_TOLD: Final = {
    "stripe.change_plan": ("price", "move the subscription to {}"),
    "crm.notify": ("connection", "tell {}"),
    "crm.task": ("title", "open the task {} in the CRM"),
    "crm.stage": ("stage", "move the customer to the stage {} in the CRM"),
    "hubspot.set_stage": ("stage", "move the stage in HubSpot to {}"),
    "hubspot.create_task": ("subject", "open the task {} in HubSpot"),
    "salesforce.create_task": ("subject", "open the task {} in Salesforce"),
    "mail.send": ("subject", "send the customer the e-mail {}"),
    "slack.post": ("text", "write {} to Slack"),
    "review.flag": ("text", "flag for a person to review: {}"),
    "runs.stop": ("tag", "stop the other runs of rules tagged {}"),
    "runs.undo": ("tag", "take back what other runs of rules tagged {} did"),
}
_MANNERS: Final = {
    ("stripe.change_plan", "proration", "none"): "without proration",
    ("stripe.change_plan", "proration", "create_prorations"): "with proration on the next invoice",
    ("stripe.change_plan", "proration", "always_invoice"): "settling the difference at once",
    ("runs.stop", "same", "subscription"): "for the same subscription",
    ("runs.stop", "same", "customer"): "for the same customer",
    ("runs.undo", "same", "subscription"): "for the same subscription",
    ("runs.undo", "same", "customer"): "for the same customer",
    ("stripe.change_plan", "when", "now"): "right away",
    ("stripe.change_plan", "when", "period_end"): "at the end of the paid period",
}
_AGGREGATES: Final = {
    "sum": "the sum of {}",
    "average": "the average of {}",
    "min": "the smallest of {}",
    "max": "the largest of {}",
    "distinct": "the number of different values of {}",
}
_DAYS: Final = {"mon": "Mon", "tue": "Tue", "wed": "Wed", "thu": "Thu", "fri": "Fri", "sat": "Sat", "sun": "Sun"}


def read_back(rule: Rule, catalogue: Catalogue | None = None) -> str:
    """The whole rule in sentences."""
    return " ".join(sentence["text"] for sentence in sentences(rule, catalogue))


def sentences(rule: Rule, catalogue: Catalogue | None = None) -> list[Sentence]:
    """The rule's sentences, in order, each {"part", "text"}; part is the key of the document that it says."""
    return [{"part": part, "text": text} for part, text in _Speaker(rule, catalogue or Catalogue.load()).all()]


def diff(old: Rule, new: Rule, catalogue: Catalogue | None = None) -> list[str]:
    """What changed from one version to the next, sentence by sentence; nothing when they say the same."""
    before, after = _by_part(old, catalogue), _by_part(new, catalogue)
    changes: list[str] = []
    for part in dict.fromkeys([*before, *after]):
        changes += _changes(before.get(part, []), after.get(part, []))
    return changes


def _by_part(rule: Rule, catalogue: Catalogue | None) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    speaker = _Speaker(rule, catalogue or Catalogue.load())
    for part, text in speaker.all():
        texts = speaker.only_if_each() if part == "only_if" else [text]
        found.setdefault(part, []).extend(texts)
    return found


def _changes(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    for tag, i, j, k, m in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        pairs = min(j - i, m - k) if tag == "replace" else 0
        for index in range(pairs):
            yield f"Was: {before[i + index]} Now: {after[k + index]}"
        yield from (f"No longer: {text}" for text in before[i + pairs : j])
        yield from (f"New: {text}" for text in after[k + pairs : m])


class _Speaker:
    """Says the parts of one rule."""

    def __init__(self, rule: Rule, catalogue: Catalogue) -> None:
        self.rule = rule
        self.words = Words(catalogue, rule.when.types, only_currency(rule.only_if))

    def all(self) -> Iterator[tuple[str, str]]:
        parts: dict[str, Callable[[], Iterator[str]]] = {
            "when": self.when,
            "only_if": self.only_if,
            "never_for": self.never_for,
            "steps": self.steps,
            "stop_when": self.stop_when,
            "undo": self.undo,
            "again": self.again,
            "limits": self.limits,
            "money": self.money,
            "caps": self.caps,
            "hours": self.hours,
            "holdout": self.holdout,
            "priority": self.priority,
            "tags": self.tags,
            "examples": self.examples,
            "name": self.name,
        }
        for part, say in parts.items():
            for text in say():
                yield part, text

    # ---- when -------------------------------------------------------------------------------------------------------
    def when(self) -> Iterator[str]:
        when = self.rule.when
        events = self.words.events(when.types)
        same = self.same(when.same)
        windowed = when.at_least is not None or when.aggregate is not None
        if when.at_least is not None:
            counting = "" if when.counting == "events" else f", counting {self.field(when.counting)} once each"
            within = span_text(when.within or 0)
            text = f"When {events} at least {_times(when.at_least)} within {within}{same}{counting}"
        elif when.aggregate is not None:
            text = f"When {events}, and within {span_text(when.within or 0)}{same} {self.aggregate()}"
        elif when.then is not None:
            later = self.words.events(when.then.types)
            text = f"When {events}, and within {span_text(when.then.within)} afterwards {later}{same}"
        elif when.and_not is not None:
            later = self.words.events(when.and_not.types)
            span = span_text(when.and_not.within)
            text = f"When {events}, and for {span} afterwards it does not happen that {later}{same}"
        elif when.first:
            text = f"The first time ever that {events}{same}"
        else:
            text = f"Each time {events}" + (f", per {self.subject(when.same)}" if when.same else "")
        if when.start_again_after:
            text += f", counting afresh after {self.words.events(when.start_again_after)}"
        if when.ignore_own and windowed:
            text += ", not counting what we caused ourselves"
        elif not when.ignore_own and not windowed:
            text += ", even when we caused it ourselves"
        yield text + "."

    def same(self, same: str | None) -> str:
        return f" for the same {self.subject(same)}" if same else ""

    def subject(self, same: str) -> str:
        return _SAME.get(same) or f"value of {self.field(same)}"

    def field(self, text: str) -> str:
        return self.words.field(paths.split(text))

    def aggregate(self) -> str:
        found = self.rule.when.aggregate
        assert found is not None
        test = Test(found.field, found.path, found.operator, found.value)
        said = _AGGREGATES[found.of].format(self.words.field(found.path))
        info = None if found.of == "distinct" else self.words.info(found.path)
        operator = self.words.test(replace(test, value=0), "").removeprefix(self.words.field(found.path))
        return said + operator.removesuffix("0") + self.words.value(found.value, info)

    # ---- conditions -------------------------------------------------------------------------------------------------
    def only_if(self) -> Iterator[str]:
        if self.rule.only_if != TRUE:
            yield f"Only if {self.words.condition(self.rule.only_if)}."

    def only_if_each(self) -> list[str]:
        """One sentence per condition that must hold, for comparing versions."""
        condition = self.rule.only_if
        parts = condition.parts if isinstance(condition, All) else (condition,)
        return [f"Only if {self.words.part(part, '')}." for part in parts]

    def never_for(self) -> Iterator[str]:
        if self.rule.never_for:
            yield f"Never for who is in the list {listed([quoted(name) for name in self.rule.never_for], 'or')}."

    # ---- steps ------------------------------------------------------------------------------------------------------
    def steps(self) -> Iterator[str]:
        for number, step in enumerate(self.rule.steps, 1):
            start = "Then" if number == 1 else "After that"
            yield f"{start} ({quoted(step.name)}) {self.step(step)}."

    def step(self, step: Step) -> str:
        match step:
            case Do():
                return self.do(step)
            case Wait():
                return "wait " + self.wait(step)
            case If():
                return self.branch(step)
            case Approve():
                return self.approve(step)
            case StopStep():
                return f"stop, because {quoted(step.reason)}"

    def do(self, step: Do) -> str:
        params = dict(step.params)
        text = _ACTIONS.get(step.action) or f"do {quoted(step.action)}"
        main, told = _TOLD.get(step.action, ("", ""))
        if isinstance(params.get(main), str):
            text = told.format(quoted(params.pop(main)))
        said = [_param(step.action, key, value) for key, value in sorted(params.items())]
        failure = {"stop": "; if it fails, stop", "continue": "; if it fails, go on", "person": ""}
        return ", ".join([text, *said]) + failure[step.on_failure]

    def wait(self, step: Wait) -> str:
        open = ", and then until the hours open" if step.in_hours else ""
        if step.seconds is not None:
            return span_text(step.seconds) + open
        if step.until is not None:
            until = step.until if is_time(step.until) else self.field(step.until)
            return (f"until {span_text(step.minus)} before {until}" if step.minus else f"until {until}") + open
        most = f", for {span_text(step.at_most)} at most" if step.at_most is not None else ""
        return f"until {self.stops(step.for_event)}{most}"

    def branch(self, step: If) -> str:
        text = f"if {self.words.condition(step.condition)}: {self.nested(step.then)}"
        return text + (f"; otherwise: {self.nested(step.otherwise)}" if step.otherwise else "")

    def nested(self, steps: Sequence[Step]) -> str:
        """Steps of a branch; a branch within one says where it ends, so that nothing behind it seems to be in it."""
        return "; then ".join(f"({quoted(step.name)}) {self.step(step)}{_end(step)}" for step in steps)

    def approve(self, step: Approve) -> str:
        text = f"ask {quoted(step.role)} for approval"
        if step.condition is not None:
            text += f" if ({self.words.condition(step.condition)})"
        if step.at_most is None:
            return text
        after = "go on" if step.on_timeout == "continue" else "stop"
        return f"{text}, and {after} after {span_text(step.at_most)} without an answer"

    # ---- ends -------------------------------------------------------------------------------------------------------
    def stops(self, stops: Sequence[Stop]) -> str:
        return "; or ".join(f"{self.words.events(stop.types)}{self.same(stop.same)}" for stop in stops)

    def stop_when(self) -> Iterator[str]:
        if self.rule.stop_when:
            yield f"Stop early when {self.stops(self.rule.stop_when)}."

    def undo(self) -> Iterator[str]:
        undo = self.rule.undo
        if undo is not None:
            events = self.words.events(undo.on)
            yield f"Undo what was done when {events}{self.same(undo.same)} within {span_text(undo.within)}."

    def again(self) -> Iterator[str]:
        again = self.rule.again
        who = self.subject(self.rule.when.same) if self.rule.when.same else "event"
        if again.after is None:
            yield f"Only once per {who}, ever."
        elif again.while_open:
            span = f"at most once in {span_text(again.after)}" if again.after else "every time"
            yield f"Per {who}, {span}, even while an earlier run is open."
        elif again.after:
            yield f"At most once per {who} in {span_text(again.after)}, and never two runs at a time."
        else:
            yield f"Per {who}, never two runs at a time."

    def limits(self) -> Iterator[str]:
        limits = self.rule.limits
        if limits is None:
            return
        money = [amount(minor, currency) for currency, minor in sorted(limits.money.items())]
        runs = [counted(limits.runs, "run")] if limits.runs is not None else []
        yield f"Pause and ask after {listed([*runs, *money], 'or')} in {span_text(limits.per)}."

    def money(self) -> Iterator[str]:
        if self.rule.money is not None:
            yield f"What counts as money is {self.field(self.rule.money)}."

    def caps(self) -> Iterator[str]:
        for cap in self.rule.caps:
            most = f"At most {counted(cap.at_most, 'action')} tagged {quoted(cap.tag)}"
            yield f"{most} per customer in {span_text(cap.per)}, over all rules."
        mails = any(isinstance(step, Do) and step.action == MAIL for step in walk(self.rule.steps))
        if mails and USUAL in caps_of(self.rule, MAIL) and USUAL not in self.rule.caps:
            yield "A customer gets one e-mail a day, over all rules, as usual."

    def hours(self) -> Iterator[str]:
        hours = self.rule.hours
        if hours is None:
            return
        zone = "the account’s time" if hours.zone == "account" else f"the time of {quoted(hours.zone)}"
        days = listed([_DAYS[day] for day in hours.days], "or")
        what = listed([quoted(name) for name in hours.applies_to], "or")
        pause = f", and not on {listed(list(hours.not_on), 'or')}" if hours.not_on else ""
        yield f"Use {what} only on {days} from {hours.start} to {hours.end} in {zone}{pause}."

    # ---- the rest ---------------------------------------------------------------------------------------------------
    def holdout(self) -> Iterator[str]:
        if self.rule.holdout:
            percent = (Decimal(repr(self.rule.holdout)) * 100).normalize()
            yield f"Leave {percent:f}% untouched, to measure the effect."

    def priority(self) -> Iterator[str]:
        if self.rule.priority:
            yield f"Priority {self.rule.priority}."

    def tags(self) -> Iterator[str]:
        if self.rule.tags:
            yield f"Tagged {listed([quoted(tag) for tag in self.rule.tags], 'and')}."

    def examples(self) -> Iterator[str]:
        for number, example in enumerate(self.rule.examples, 1):
            given = listed([plain_value(event) for event in example["given"]], "and")
            said = {key: part for key, part in example.items() if key not in ("given", "then", "because")}
            because = f", because {plain_value(example['because'])}" if "because" in example else ""
            more = f" ({plain_value(said)})" if said else ""
            yield f"Example {number}: given {given}, it {example['then']}{because}{more}."

    def name(self) -> Iterator[str]:
        yield f"This rule is called {quoted(self.rule.name)}."


def _end(step: Step) -> str:
    return f"; so much for {quoted(step.name)}" if isinstance(step, If) else ""


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"


def _param(action: str, key: str, value: Any) -> str:
    manner = _MANNERS.get((action, key, value)) if isinstance(value, str) else None
    return manner or f"{_key(key)} {plain_value(value)}"


def _key(key: str) -> str:
    return key.replace("_", " ") if key.isidentifier() and key.islower() and "__" not in key else quoted(key)
