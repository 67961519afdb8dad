"""What is wrong with a rule, in the words of the sentence form: people who fill it in never see the document's keys.

What nobody has filled in yet is a gap. A gap is no mistake: it stands in the list of what is to do, and beside its
field only once somebody wanted to go on without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.web.forms.presses import holder
from app.web.forms.values import as_map, span_shown
from rules.ports import ActionExecutor
from rules.rule import Problem

GAPS: Mapping[str, str] = {
    "name": "give the rule a name",
    "when.event": "choose the event that it begins with",
    "when.then.event": "choose the event that follows",
    "when.and_not.event": "choose the event that must not follow",
    "when.same": "say for the same what it counts",
    "steps": "add a first step: so far nothing happens",
    "again.after": "say for how long",
    "undo.same": "say for the same what it is taken back",
    "undo.within": "say within how long it is taken back",
    "when.within": "say within how long",
}
COUNTS: Mapping[str, str] = {"at_least": "how many times is a whole number", "runs": "how many runs is a whole number"}


@dataclass(frozen=True, slots=True)
class Said:
    """A problem as the form says it."""

    path: str
    message: str
    suggestion: str | None = None
    severity: Literal["error", "advice"] = "error"
    gap: bool = False


def said(
    problems: Iterable[Problem], document: Mapping[str, Any], actions: Mapping[str, ActionExecutor]
) -> Iterator[Said]:
    """Each problem in the form's words; the id follows the name, so that only the name is spoken of."""
    nameless = not document.get("name")
    for problem in problems:
        if not (nameless and problem.path == "id"):
            yield _said(problem, document, actions)


def as_written(problems: Iterable[Problem]) -> list[Said]:
    """The problems as the document's own words have them, for who edits it as JSON."""
    return [Said(one.path, one.message, one.suggestion, one.severity) for one in problems]


def _said(problem: Problem, document: Mapping[str, Any], actions: Mapping[str, ActionExecutor]) -> Said:
    place, key = holder(document, problem.path)
    typed = place.get(key) if isinstance(place, Mapping) else None
    empty = typed in (None, "", [])
    words = GAPS.get(problem.path) if empty else None
    words = words or _step_gap(problem.path, document, actions) or _test_gap(problem.path, place, empty)
    if words:
        return Said(problem.path, words, problem.suggestion, problem.severity, gap=problem.severity == "error")
    message = _span(problem, typed) or _count(str(key), typed) or _compared(problem, typed) or problem.message
    return Said(problem.path, message, problem.suggestion, problem.severity)


def _step_gap(path: str, document: Mapping[str, Any], actions: Mapping[str, ActionExecutor]) -> str | None:
    """A parameter that its action needs and that is not filled in."""
    found = re.fullmatch(r"(steps\[(\d+)\](?:\.(?:then|else)\[\d+\])*)\.with\.(\w+)", path)
    step = holder(document, f"{found[1]}.do")[0] if found else None
    action = actions.get(str(step.get("do"))) if isinstance(step, Mapping) else None
    if not found or action is None or not isinstance(step, Mapping) or as_map(step.get("with")).get(found[3]):
        return None
    label = next((field.label for field in action.fields if field.name == found[3]), found[3])
    return f"step {int(found[2]) + 1}, {action.title[:1].lower()}{action.title[1:]}: fill in “{label}”"


def _test_gap(path: str, place: Any, empty: bool) -> str | None:
    """A condition whose field or value is not filled in; without a field, its value does not matter yet."""
    if not is_condition(path) or not isinstance(place, Mapping):
        return None
    if empty and path.endswith(".field"):
        return "choose the field that a condition is about"
    return "write the value that a condition compares with" if empty and path.endswith(".value") else None


def is_condition(path: str) -> bool:
    """Whether the place is in a condition, the rule's or a step's."""
    return path.startswith("only_if") or re.match(r"steps.*\]\.if\b", path) is not None


def _span(problem: Problem, typed: Any) -> str | None:
    """What stands where a span should, as it was typed: the document has it inside `P...D`."""
    if "is no duration" not in problem.message:
        return None
    return f"“{span_shown(typed)[0]}” is no whole number; how long?" if typed else "say how long, as a number"


def _count(key: str, typed: Any) -> str | None:
    words = COUNTS.get(key)
    return f"{words}, not “{typed}”" if words and isinstance(typed, str) else None


def _compared(problem: Problem, typed: Any) -> str | None:
    """Letters where a number is compared."""
    compared = is_condition(problem.path) and problem.message.endswith(" is a number")
    return f"“{typed}” is no number" if compared and isinstance(typed, str) else None
