"""How near a rule came to firing, and the smallest edit of it that would have made it fire.

Every edit is decided again before it is named: one that does not work is never suggested.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rules import edits, paths, trace
from rules.case import Case
from rules.edits import LONGEST, duration_text
from rules.event import Event
from rules.failing import parts_of
from rules.gates import subjects_named
from rules.model import JSON, Again, Rule, duration
from rules.window import Ledger, Number, aggregated, value_of
from rules.words import Words, event_text, listed, roughly, span_text

Fires = Callable[[Case, str, Event], bool]
_LOOKED_AT = 200  # events before a trigger that an edit of a span tries


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of the document: the value at a path, None to take it out. size: how much of a change it is."""

    size: float
    path: str
    value: Any
    rule: Rule
    sentence: str

    def body(self) -> dict[str, Any]:
        return {"path": self.path, "value": self.value, "sentence": self.sentence}


def nearest(case: Case, key: str, trigger: Event, gate: str | None, fires: Fires) -> JSON | None:
    """{"sentence", "edit": {"path", "value", "sentence"} | None}; None when nothing was near.
    fires: whether the rule of a case fires at the trigger."""
    said = _said(case, key, trigger, gate)
    found = sorted(candidates(case, key, trigger, gate), key=lambda edit: edit.size)
    works = next((edit for edit in found if fires(case.edited(edit.rule), key, trigger)), None)
    if not said and works is None:
        return None
    return {"sentence": said or "It matched.", "edit": works.body() if works else None}


def _said(case: Case, key: str, trigger: Event, gate: str | None) -> str:
    if gate == "condition":
        parts, wrong = parts_of(case.rule.only_if), edits.failing(case.rule.only_if, case.doc(trigger))
        return f"{len(parts) - len(wrong)} of {len(parts)} conditions are true."
    if gate != "window" or not case.is_trigger(key, trigger):
        return ""
    return nearness(case, key, trigger) or trace.missed(case.rule, case.ledger(key).at(trigger))


def candidates(case: Case, key: str, trigger: Event, gate: str | None) -> Iterator[Edit]:
    """Edits that may make the rule fire at the trigger; not tried yet."""
    when = case.rule.when
    if gate == "condition":
        yield from _other_values(case, trigger)
    elif gate == "window" and case.is_trigger(key, trigger):
        if when.then:
            yield from _further_apart(case, case.ledger(key), trigger)
        elif when.and_not:
            yield from _shorter_silence(case, case.ledger(key), trigger)
        elif when.first:
            yield from _not_first(case)
        else:
            yield from _wider(case, case.ledger(key), trigger)
            yield from _lower(case, case.ledger(key), trigger)
            yield from _no_reset(case, case.ledger(key), trigger)
    elif gate in ("re-entry", "never_for", "holdout"):
        yield from _gate_open(case, key, trigger, gate)


# ---- conditions -----------------------------------------------------------------------------------------------------
def _other_values(case: Case, trigger: Event) -> Iterator[Edit]:
    rule = case.rule
    words = Words.of(trigger.type, trigger.data)
    for size, (path, value, condition, said) in enumerate(edits.conditions(rule.only_if, case.doc(trigger), words)):
        yield Edit(size, path, value, replace(rule, only_if=condition), f"{said} it would have fired.")
    both = edits.pairs(rule.only_if, rule.document.get("only_if"), case.doc(trigger), words)
    for size, (path, value, condition, said) in enumerate(both):
        yield Edit(size, path, value, replace(rule, only_if=condition), f"{said} it would have fired.")


# ---- windows --------------------------------------------------------------------------------------------------------
def nearness(case: Case, key: str, trigger: Event) -> str:
    """What was nearest to filling the window, in a sentence; nothing where there is nothing to say."""
    when, ledger = case.rule.when, case.ledger(key)
    if not case.is_trigger(key, trigger) or when.first or when.and_not:
        return ""
    if when.then:
        before = _before(ledger, trigger)
        return (
            f"That came {span_text(trigger.created - before[-1].created)} before it." if before else "That never came."
        )
    if when.at_least is None or when.counting != "events":
        return ""
    return _count_said(when.at_least, ledger, trigger)


def _count_said(needed: int, ledger: Ledger, trigger: Event) -> str:
    back = _so_far(ledger, trigger)[-needed:]
    if len(back) == needed:
        distance = roughly(trigger.created - back[0].created)
        return f"The {trace.nth(needed)} came {distance} {'later' if needed == 2 else 'after the first'}."
    since = ledger.last_reset(trigger.created)
    if since >= 0 and len([one for one in ledger.counted if one.created <= trigger.created]) >= needed:
        return "Counting had started again in between."
    return f"There were only {len(back)} in all." if len(back) > 1 else "There was no other."


def _so_far(ledger: Ledger, trigger: Event) -> list[Event]:
    """The counted events up to the trigger, since counting last started again, the trigger last."""
    first = bisect_right(ledger.counted, ledger.last_reset(trigger.created), key=_created)
    mine = ledger.counted[first : bisect_right(ledger.counted, trigger.created, key=_created)]
    for place in reversed(range(len(mine))):  # it is the last, or of the last second
        if mine[place].id == trigger.id:
            del mine[place]
            break
    return [*mine, trigger]


def _created(event: Event) -> int:
    return event.created


def _before(ledger: Ledger, trigger: Event) -> list[Event]:
    return _so_far(ledger, trigger)[:-1]


def stretch_end(rule: Rule, ledger: Ledger) -> Event | None:
    """The last event of the narrowest stretch that holds as many as the rule counts to, with no reset inside."""
    needed, counted = rule.when.at_least, ledger.counted
    if needed is None or rule.when.counting != "events" or len(counted) < needed:
        return None
    ends = [
        (last.created - first.created, -last.created, last.id, last)
        for first, last in zip(counted, counted[needed - 1 :], strict=False)
        if not ledger.resets or ledger.last_reset(last.created) < first.created
    ]
    return min(ends, default=(0, 0, "", None))[3]


def _wider(case: Case, ledger: Ledger, trigger: Event) -> Iterator[Edit]:
    """The next round span back to the event with which the number is reached."""
    rule, when = case.rule, case.rule.when
    assert when.within is not None
    back = _so_far(ledger, trigger)[-_LOOKED_AT:] if when.at_least is None else _so_far(ledger, trigger)
    for start in range(len(back) - 1, -1, -1):
        if trigger.created - back[start].created <= when.within or (when.at_least or 0) > len(back) - start:
            continue
        if case.reached(_number(rule, ledger, back[start:], trigger)):
            value = duration_text(trigger.created - back[start].created)
            length = int(duration(value).total_seconds())
            wider = replace(rule, when=replace(when, within=length))
            if length <= LONGEST:
                said = f"Within {span_text(length)} it would have fired."
                yield Edit(length / max(when.within, 1), "when.within", value, wider, said)
            return


def _number(rule: Rule, ledger: Ledger, events: Sequence[Event], trigger: Event) -> Number | None:
    when = rule.when
    if when.aggregate:
        alike = ledger.alike(list(events), trigger)
        return aggregated(when.aggregate.of, [value_of(one, when.aggregate.path) for one in alike])
    if when.counting == "events":
        return len(events)
    return len({repr(value_of(one, paths.split(when.counting))) for one in events})


def _lower(case: Case, ledger: Ledger, trigger: Event) -> Iterator[Edit]:
    """The number that there was."""
    rule, when, number = case.rule, case.rule.when, ledger.number(trigger)
    if number is None:
        return
    if when.at_least is not None and number >= 1:
        fewer = replace(rule, when=replace(when, at_least=int(number)))
        said = f"With at least {number} it would have fired."
        size = when.at_least / number if number > 1 else 50  # once is no window any more
        yield Edit(size, "when.at_least", int(number), fewer, said)
    if when.aggregate and (value := _bound(when.aggregate.operator, number)) is not None:
        other = replace(rule, when=replace(when, aggregate=replace(when.aggregate, value=value)))
        shown = trace.bound_text(when.aggregate, value, ledger.at(trigger))
        said = f"With {trace.bound_word(when.aggregate.operator)} {shown} it would have fired."
        yield Edit(1, "when.aggregate.value", value, other, said)


def _bound(operator: str, number: Number) -> Number | None:
    """The bound that this number just reaches."""
    if operator in ("greater or equal to", "less or equal to", "equal to"):
        return number
    step = {"greater than": -1, "less than": 1}.get(operator)
    return None if step is None else number + step


def _no_reset(case: Case, ledger: Ledger, trigger: Event) -> Iterator[Edit]:
    rule, when = case.rule, case.rule.when
    between = {one.type for one in ledger.everything if one.created <= trigger.created} & {*when.start_again_after}
    if between:
        kept = tuple(one for one in when.start_again_after if one not in between)
        on = replace(rule, when=replace(when, start_again_after=kept))
        said = f"If counting did not start again after {event_text(sorted(between))}, it would have fired."
        yield Edit(100, "when.start_again_after", list(kept) or None, on, said)


def _further_apart(case: Case, ledger: Ledger, trigger: Event) -> Iterator[Edit]:
    rule, before = case.rule, _before(ledger, trigger)
    assert rule.when.then is not None
    if not before:
        return
    value = duration_text(trigger.created - before[-1].created)
    length = int(duration(value).total_seconds())
    if length <= LONGEST:
        wider = replace(rule, when=replace(rule.when, then=replace(rule.when.then, within=length)))
        yield Edit(1, "when.then.within", value, wider, f"Within {span_text(length)} it would have fired.")


def _shorter_silence(case: Case, ledger: Ledger, trigger: Event) -> Iterator[Edit]:
    """A deadline before the first of what must not come."""
    rule, absence = case.rule, case.rule.when.and_not
    assert absence is not None
    after = [one.created - trigger.created for one in ledger.against if one.created > trigger.created]
    if not after or min(after) < 2:
        return
    value = duration_text(min(after) - 1, down=True)
    length = int(duration(value).total_seconds())
    shorter = replace(rule, when=replace(rule.when, and_not=replace(absence, within=length)))
    yield Edit(1, "when.and_not.within", value, shorter, f"With a deadline of {span_text(length)} it would have fired.")


def _not_first(case: Case) -> Iterator[Edit]:
    each = replace(case.rule, when=replace(case.rule.when, first=False))
    yield Edit(1, "when.first", None, each, "If it were for each time, it would have fired.")


# ---- gates ----------------------------------------------------------------------------------------------------------
def _gate_open(case: Case, key: str, trigger: Event, gate: str) -> Iterator[Edit]:
    rule = case.rule
    if gate == "holdout":
        yield Edit(1, "holdout", None, replace(rule, holdout=0.0), "Without the holdout it would have fired.")
    elif gate == "never_for":
        yield from _off_the_lists(case, trigger)
    else:
        yield from _sooner_again(case, key, trigger)


def _off_the_lists(case: Case, trigger: Event) -> Iterator[Edit]:
    named = subjects_named(trigger)
    on = [name for name in case.rule.never_for if named & case.memory().members(name)]
    if not on:
        return  # on the list that every rule leaves alone: no edit of this rule changes that
    kept = tuple(name for name in case.rule.never_for if name not in on)
    said = f"Without the list {listed([repr(name) for name in on], 'and')} it would have fired."
    value, path = (list(kept), "never_for.lists") if kept else (None, "never_for")
    yield Edit(1, path, value, replace(case.rule, never_for=kept), said)


def _sooner_again(case: Case, key: str, trigger: Event) -> Iterator[Edit]:
    """The longest pause after which it may run again that would have been over, or runs beside open ones."""
    rule, again = case.rule, case.rule.again
    apart = min((abs(run.triggered - trigger.created) for run in case.runs if run.key == key), default=0)
    value = duration_text(apart, down=True)
    length = int(duration(value).total_seconds())
    sooner = replace(rule, again=Again(again.while_open, length))
    said = f"With a pause of {span_text(length)} it would have fired."
    yield Edit(1, "again.after", value, sooner, said)
    beside = replace(rule, again=Again(True, again.after))
    yield Edit(2, "again.while_open", True, beside, "If it may run while another run is open, it would have fired.")
    both = {"while_open": True, "after": value}
    free = replace(rule, again=Again(True, length))
    yield Edit(
        3, "again", both, free, f"With a pause of {span_text(length)}, and beside an open run, it would have fired."
    )
