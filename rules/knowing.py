"""Knowing: the values of facts and scores as of a second, read through the questions that decisions ask.

known = read(wanted_by(rule.only_if), about_event(event), memory)      # NotRead: answer it, and call it again
advance = woken(run, rule, memory, now)                                # the same, for a run whose time has come
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, TypeVar

from rules import gates
from rules.catalogue import Catalogue
from rules.event import Event, iso, seconds
from rules.facts import CHARGE, FACTS, FAILED, INTENT, LINKS, LISTS, Fact
from rules.folds import NOTHING, About, Said, id_of, newest, value
from rules.memory import Members, Memory, NotRead, Question, Window
from rules.model import Approve, If, Rule
from rules.money import currency_of
from rules.payment_folds import NEAR, belongs
from rules.run import Run
from rules.steps import Advance, current_step, look, recorded, subjects_of, told
from rules.subjects import PREFIX
from rules.texts import ADDRESSES, known_text
from rules.wanted import Path, Wanted, looks_up, wanted_by
from rules.words import Words
from rules.workflow import woke

JSON = Mapping[str, Any]
Answer = TypeVar("Answer")
_ROUNDS: Final = 12
_AMOUNTS: Final = ("amount_remaining", "amount_due", "amount")


# ---- whom it is asked about -----------------------------------------------------------------------------------------
def about_event(event: Event, beside: Iterable[Event] = (), heard: datetime | None = None) -> About:
    """Facts as of an event. beside: events that are known and perhaps not recorded, such as itself. heard: what was
    heard later is left out."""
    found = [value(event, name) for name in _AMOUNTS]
    return About(
        subjects=subjects_of(event),
        at=event.created,
        began=event.created,
        currency=currency_of(event),
        amounts=frozenset(one for one in found if type(one) is int),
        names=frozenset(gates.subjects_named(event)),
        events=(event, *beside),
        heard=heard,
    )


def about_run(run: Run, now: datetime) -> About:
    """Facts as of now about what a run is about."""
    known = {prefix: str(id) for prefix, id in run.subjects.items()}
    thing = run.facts.get("data", {}).get("object", {})
    currency = thing.get("currency") if isinstance(thing, dict) else None
    mail = [thing.get(path[-1]) for path in ADDRESSES if isinstance(thing, dict) and len(path) == 3]
    keys = [f"{prefix}:{id}" for prefix, id in known.items() if prefix in PREFIX.values()]
    return About(
        subjects=known,
        at=max(int(now.timestamp()), run.triggered),  # our clock may be behind Stripe's
        began=run.triggered,
        currency=currency if isinstance(currency, str) else next(iter(run.money), None),
        amounts=frozenset(run.money.values()),
        names=frozenset([*known.values(), *keys, *(one for one in mail if isinstance(one, str))]),
    )


def woken(run: Run, rule: Rule, memory: Memory, now: datetime) -> Advance:
    """The run's time has come (rules.workflow.woke); a condition on what is known is decided as of now. The one way
    for the worker and for every simulation. Raises NotRead."""
    step = current_step(run, rule) if run.state == "waiting" else None
    if step is None or not isinstance(step, If | Approve) or not looks_up(step):
        return woke(run, rule, now)
    assert step.condition is not None
    known = read(wanted_by(step.condition), about_run(run, now), memory)
    told_of = told(run, now, f"{step.name}: {known.sentence()}")
    run = recorded(told_of, step.name, now, data={"facts": known.journal()})
    return look(replace(run, facts=known.beside(run.facts)), rule, step, now)


# ---- what is known --------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Known:
    """Values by path, each with what said so."""

    values: Mapping[Path, Said] = field(default_factory=dict)

    def beside(self, envelope: JSON) -> dict[str, Any]:
        """The envelope as conditions and texts read it: `fact`, `score`, and the currencies of money facts."""
        known = dict(envelope)
        for path, said in self.values.items():
            if said.value is not None:
                _put(known, path, said.value)
            if said.currency:
                _put(known, ("fact_currency", ".".join(path)), said.currency)
        return known

    def with_event(self, event: Event) -> Event:
        """The event as the texts of a run read it."""
        return replace(event, data=self.beside(event.data))

    def sentence(self) -> str:
        """What was read, as a run's story tells it."""
        return "; ".join(f"{named(path)} {said_text(path, said)}" for path, said in sorted(self.values.items())) + "."

    def journal(self) -> dict[str, Any]:
        """What was read, for the trace: `{"fact.customer.mrr": {"value", "event", "path", ...}}`."""
        return {".".join(path): journalled(said) for path, said in sorted(self.values.items())}


def journalled(said: Said) -> dict[str, Any]:
    """What the run's journal keeps of a value: the value, and the event and path that it came from."""
    body: dict[str, Any] = {"value": said.value, "event": said.event, "path": said.path}
    if said.currency:
        body["currency"] = said.currency
    if said.at is not None:
        body |= {"at": iso(seconds(said.at)), "source": said.source}
    return body


def named(path: Path) -> str:
    """What people call it: `the customer’s monthly revenue`."""
    return Words(Catalogue.load()).field(path)


def said_text(path: Path, said: Said) -> str:
    """`is $49.00 (from evt_1)`; money, times and words as people write them."""
    if said.value is None:
        return "is not known"
    fact = FACTS.get(".".join(path))
    text = known_text(said.value, fact.type if fact else "number", said.currency)
    return f"is {text or 'empty'}" + (f" (from {said.event})" if said.event else "")


def read(wanted: Wanted, about: About, memory: Memory) -> Known:
    """What is wanted, as of then. Raises NotRead with every question that can be asked by now."""
    return _Reader(wanted, about, memory).known()


def settled(ask: Callable[[Memory], Answer], answer: Callable[[Question], Any]) -> Answer:
    """Ask until nothing more has to be read."""
    memory = Memory()
    for _ in range(_ROUNDS):
        try:
            return ask(memory)
        except NotRead as missing:
            memory = memory.answered({question: answer(question) for question in missing.questions})
    raise RuntimeError(f"still asking after {_ROUNDS} rounds")


class _Reader:
    """One reading: the keys of the subjects, one window for each, then the folds."""

    def __init__(self, wanted: Wanted, about: About, memory: Memory) -> None:
        self.wanted = wanted
        self.about = about
        self.memory = memory
        self.missing: list[Question] = []
        self.facts = [fact for path in wanted.paths if (fact := FACTS.get(".".join(path)))]

    def known(self) -> Known:
        subjects = {path[1] if path[0] == "fact" else "customer" for path in self.wanted.paths}
        keys = {subject: self.key(subject) for subject in sorted(subjects)}
        windows = self.windows(keys)
        events = {key: self.events(window) for key, window in windows.items()}
        values = {path: self.value(path, keys, events) for path in self.wanted.paths}
        if self.missing:
            raise NotRead(*dict.fromkeys(self.missing))
        return Known(values)

    def windows(self, keys: Mapping[str, str | None]) -> dict[str, Window]:
        """One window for each key, as wide as its facts need."""
        found: dict[str, Window] = {}
        for fact in self.facts:
            key = keys[fact.path[1]]
            if key is None or not fact.sources:
                continue
            since = 0 if fact.span is None else max(0, self.about.at - fact.span)
            window = Window(key, frozenset(fact.sources), since, self.about.at)
            found[key] = found[key].merged(window) if key in found else window
        return found

    def events(self, window: Window) -> list[Event]:
        """The events of a window, those that are known beside the recorded ones too; none while it is not read."""
        heard = self.about.heard
        try:
            recorded = self.memory.window(window)
        except NotRead as asked:
            self.missing.extend(asked.questions)
            return []
        more = [one for one in self.about.events if window.key in one.keys and one.type in window.types]
        more = [one for one in more if window.since <= one.created <= window.until]
        unique = {one.id: one for one in (*recorded, *more) if heard is None or one.recorded <= heard}
        return sorted(unique.values(), key=lambda one: (one.created, one.id))

    def value(self, path: Path, keys: Mapping[str, str | None], events: Mapping[str, list[Event]]) -> Said:
        if path[0] == "score":
            return self.score(path, keys["customer"])
        fact = FACTS.get(".".join(path))
        key = keys[path[1]] if fact else None
        if fact is None or key is None:
            return NOTHING
        if path == LISTS:
            return self.lists(key)
        mine = [event for event in events[key] if event.type in fact.sources and self.in_span(fact, event)]
        return fact.fold(self.about, mine)

    def in_span(self, fact: Fact, event: Event) -> bool:
        return fact.span is None or event.created >= self.about.at - fact.span

    # ---- scores and lists -------------------------------------------------------------------------------------------
    def score(self, path: Path, key: str | None) -> Said:
        """The score as it stood then: the newest value that had been set."""
        if key is None or len(path) != 2:
            return NOTHING
        try:
            found = self.memory.score(path[1], key.partition(":")[2])
        except NotRead as asked:
            self.missing.extend(asked.questions)
            return NOTHING
        past = [row for row in (found or {}).get("history", ()) if row["at"] <= self.about.at]
        if not past:
            return NOTHING
        last = past[-1]
        return Said(last["value"], path=".".join(path), at=last["at"], source=last["source"])

    def lists(self, key: str) -> Said:
        names = {*self.about.names, key, key.partition(":")[2]}
        held = []
        for name in self.wanted.lists:
            if name not in self.memory.lists:
                self.missing.append(Members(name))
            elif names & self.memory.members(name):
                held.append(name)
        return Said(sorted(held), path="lists")

    # ---- keys -------------------------------------------------------------------------------------------------------
    def key(self, subject: str) -> str | None:
        """The key that the subject's events carry; None when the event has no such subject."""
        if subject == "customer":
            return self.own("cus") or self.through(("ch", CHARGE), ("pi", INTENT))
        if subject == "payment":
            return self.own("pi") or self.own("ch") or self.payment()
        return self.own({"subscription": "sub", "invoice": "in", "charge": "ch"}.get(subject, ""))

    def own(self, prefix: str) -> str | None:
        id = self.about.subjects.get(prefix)
        return f"{prefix}:{id}" if id else None

    def through(self, *links: tuple[str, tuple[str, ...]]) -> str | None:
        """The customer of the charge or payment that the event is about."""
        for prefix, types in links:
            if key := self.own(prefix):
                found = self.events(Window(key, frozenset(types), 0, self.about.at))
                customers = [id for event in found if (id := id_of(value(event, "customer")))]
                if customers:
                    return f"cus:{customers[-1]}"
        return None

    def payment(self) -> str | None:
        """The payment of the event's invoice: through the invoice, else the customer's failed one of the moment."""
        invoice, customer = self.own("in"), self.own("cus")
        if invoice is None:
            return None
        linked = self.events(Window(invoice, frozenset(LINKS), 0, self.about.at))
        around = self.about.began - NEAR, min(self.about.at, self.about.began + NEAR)
        near = self.events(Window(customer, frozenset(FAILED), max(0, around[0]), around[1])) if customer else []
        found = newest(event for event in linked if event.key("pi")) or belongs(self.about, near)
        return (found.key("pi") or found.key("ch")) if found else None


def _put(into: dict[str, Any], path: Path, value: Any) -> None:
    for key in path[:-1]:
        inner = into.get(key)
        into[key] = into = dict(inner) if isinstance(inner, dict) else {}
    into[path[-1]] = value
