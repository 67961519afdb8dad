"""The normal form of a rule: what it says, id and reason aside, to tell two documents of one rule."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from typing import Any

from rules import paths
from rules.model import Again, All, Any_, Approve, Condition, If, Not, Other, Rule, Step, Stop, Test, Undo, Wait
from rules.reading import is_time
from rules.subjects import PREFIX

_LEFT_OUT = frozenset({"id", "why", "document", "field"})  # a field is said by its path


def normal(rule: Rule) -> str:
    """Canonical JSON of what the rule says. Different spellings of one path or span, groups of one, and settings
    without effect make no difference."""
    when = replace(
        rule.when,
        same=_subject(rule.when.same),
        counting=rule.when.counting if rule.when.counting == "events" else _path(rule.when.counting),
    )
    said = replace(
        rule,
        when=when,
        only_if=unwrapped(rule.only_if),
        steps=tuple(map(_step, rule.steps)),
        stop_when=tuple(map(_stop, rule.stop_when)),
        undo=None if rule.undo is None else Undo(rule.undo.on, _subject(rule.undo.same) or "", rule.undo.within),
        again=rule.again if rule.again.after is not None else Again(while_open=False, after=None),
        money=None if rule.money is None else _path(rule.money),
    )
    return json.dumps(_tree(said), sort_keys=True, ensure_ascii=False)


def unwrapped(condition: Condition) -> Condition:
    """The condition without groups of one."""
    match condition:
        case All(parts) | Any_(parts) if len(parts) == 1:
            return unwrapped(parts[0])
        case All(parts):
            return All(tuple(map(unwrapped, parts)))
        case Any_(parts):
            return Any_(tuple(map(unwrapped, parts)))
        case Not(part):
            return Not(unwrapped(part))
    return _test(condition)


def _test(test: Test) -> Test:
    other = test.other
    if other is not None and other.times == 1 and other.plus == 0:
        other = Other(other.field, other.path)
    where = None if test.where is None else unwrapped(test.where)
    return replace(test, other=other, where=where)


def _step(step: Step) -> Step:
    match step:
        case If():
            then, otherwise = tuple(map(_step, step.then)), tuple(map(_step, step.otherwise))
            return replace(step, condition=unwrapped(step.condition), then=then, otherwise=otherwise)
        case Approve():
            condition = None if step.condition is None else unwrapped(step.condition)
            timeout = step.on_timeout if step.at_most is not None else "stop"
            return replace(step, condition=condition, on_timeout=timeout)
        case Wait():
            until = step.until if step.until is None or is_time(step.until) else _path(step.until)
            return replace(step, until=until, for_event=tuple(map(_stop, step.for_event)))
    return step


def _stop(stop: Stop) -> Stop:
    return replace(stop, same=_subject(stop.same) or "")


def _subject(same: str | None) -> str | None:
    return same if same is None or same in PREFIX else _path(same)


def _path(text: str) -> str:
    return paths.join(paths.split(text))


def _tree(value: Any) -> Any:
    """JSON in which values of different kinds stay different."""
    if is_dataclass(value):
        kept = {one.name: _tree(getattr(value, one.name)) for one in fields(value) if one.name not in _LEFT_OUT}
        return {"": type(value).__name__, **kept}
    if isinstance(value, (tuple, list)):
        return [_tree(one) for one in value]
    return {key: _tree(one) for key, one in value.items()} if isinstance(value, dict) else value
