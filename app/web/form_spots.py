"""Where in the rule form a place of the document stands, so that a problem is shown beside its field. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from app.web.form_words import Said
from app.web.forms import Form
from rules.rule import Problem

Placed = TypeVar("Placed", Problem, Said)


def slot(name: str) -> str:
    """The element id of a field's name."""
    return name.replace(".", "-")


STEP_FIELDS: Mapping[Any, Mapping[str, str]] = {
    "do": {"do": "do", "with": "do", "on_failure": "on_failure"},
    "wait": {"wait": "n"},
    "stop": {"stop": "reason"},
}


def spots(form: Form, document: Mapping[str, Any]) -> dict[str, str]:
    """Element ids by path: `only_if.all[1].field` is `only_if-1-0-field`."""
    found = {
        "name": "name",
        "id": "name",
        "why": "why",
        "when": "when-event-0",
        "never_for": "never_for",
        "steps": "new_step",
    }
    found |= {"again": "again-mode", "again.after": "again-n", "limits": "limits-runs"}
    found |= _when(form["when"]) | _conditions(form["only_if"], document.get("only_if"))
    found |= _examples(form["examples"])
    found |= _steps(form["steps"]) | _stops(form["stop_when"] or [], document.get("stop_when")) | _limits(form)
    return {path: slot(name) for path, name in found.items()}


def beside(problems: Iterable[Placed], spots: Mapping[str, str]) -> dict[str, list[Placed]]:
    """The problems by the element that they are shown beside; those of no element under the empty text."""
    found: dict[str, list[Placed]] = {}
    for problem in problems:
        found.setdefault(_nearest(problem.path, spots), []).append(problem)
    return found


def _nearest(path: str, spots: Mapping[str, str]) -> str:
    """The element of the path itself or of the narrowest part around it."""
    while path and path not in spots:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return spots.get(path, "")


def _when(when: Form) -> dict[str, str]:
    fixed = {"at_least": "at_least", "within": "n", "same": "same", "counting": "counting", "ignore_own": "ignore_own"}
    found = {f"when.{path}": f"when.{name}" for path, name in fixed.items()}
    for key in ("then", "and_not"):
        found |= {f"when.{key}": "when.other", f"when.{key}.event": "when.other", f"when.{key}.within": "when.n"}
    found |= _filled("when.event", "when.event", when["event"])
    return found | _filled("when.start_again_after", "when.start", when["start_again_after"])


def _filled(path: str, name: str, texts: list[str]) -> dict[str, str]:
    """Empty fields are not in the document, so they do not count."""
    places = [place for place, text in enumerate(texts) if text]
    first = {path: f"{name}-0"} if texts or path == "when.event" else {}
    return {**first, **{f"{path}[{at}]": f"{name}-{place}" for at, place in enumerate(places)}}


def _conditions(groups: list[list[Form]], condition: Any) -> dict[str, str]:
    listed = isinstance(condition, Mapping) and set(condition) == {"all"}
    found: dict[str, str] = {}
    for at, group in enumerate(groups):
        start = f"only_if.all[{at}]" if listed else "only_if"
        inner = condition["all"][at] if listed and at < len(condition["all"]) else condition
        either = isinstance(inner, Mapping) and "any" in inner and not group[0].get("kept")
        for place, row in enumerate(group):
            path, name = f"{start}.any[{place}]" if either else start, f"only_if-{at}-{place}"
            found[path] = f"{name}.field"
            keys = () if row.get("kept") else ("field", "is", "value")
            found |= {f"{path}.{key}": f"{name}.{key}" for key in keys}
            if row.get("is") == "between":
                found[f"{path}.value[1]"] = f"{name}.second"
    return found


def _steps(steps: list[Form]) -> dict[str, str]:
    found: dict[str, str] = {}
    for at, step in enumerate(steps):
        path, name = f"steps[{at}]", f"steps-{at}"
        found |= {path: f"{name}.name", f"{path}.name": f"{name}.name"}
        found |= {f"{path}.{part}": f"{name}.{field}" for part, field in STEP_FIELDS.get(step.get("kind"), {}).items()}
        found |= {f"{path}.with.{param}": f"{name}.with.{param}" for param in step.get("with", ())}
    return found


def _examples(rows: list[Form]) -> dict[str, str]:
    found = {"examples": "examples-0.given"} if rows else {}
    for at, row in enumerate(rows):
        path, name = f"examples[{at}]", f"examples-{at}"
        found[path] = f"{name}.given"
        found |= {f"{path}.{key}": f"{name}.{key}" for key in ("then", "because", "stands") if not row.get("kept")}
        found |= {f"{path}.after": f"{name}.n"}
    return found


def _stops(rows: list[Form], stops: Any) -> dict[str, str]:
    found, row = {"stop_when": "stop_when-0.event"}, 0
    for at, stop in enumerate(stops if isinstance(stops, list) else []):
        events = stop.get("event") if isinstance(stop, Mapping) else None
        found[f"stop_when[{at}].same"] = f"stop_when-{row}.same"
        for place in range(len(events) if isinstance(events, list) else 0):
            found[f"stop_when[{at}].event[{place}]"] = f"stop_when-{row}.event"
            row += 1
    return found if rows else {}


def _limits(form: Form) -> dict[str, str]:
    found = {"limits.runs": "limits.runs", "limits.per": "limits.n", "limits.money": "limits-0.amount"}
    rows = enumerate(form["limits"]["money"])
    return found | {f"limits.money.{row['currency']}": f"limits-{at}.amount" for at, row in rows}
