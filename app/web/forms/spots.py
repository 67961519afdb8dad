"""Where in the rule form a place of the document stands, so that a problem is shown beside its field. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from app.web.forms.conditions import ways_of
from app.web.forms.document import Form
from app.web.forms.steps import BRANCHES
from app.web.forms.values import OTHER, RECKONED
from app.web.forms.words import Said
from rules.rule import Problem

Placed = TypeVar("Placed", Problem, Said)


def slot(name: str) -> str:
    """The element id of a field's name."""
    return name.replace(".", "-")


STEP_FIELDS: Mapping[Any, Mapping[str, str]] = {
    "do": {"do": "do", "with": "do", "on_failure": "on_failure"},
    "wait": {"wait": "n", "wait.until": "until", "wait.for_event": "ends"},
    "stop": {"stop": "reason"},
    "approve": {"approve": "role", "approve.role": "role", "approve.at_most": "n", "approve.on_timeout": "on_timeout"},
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
    found |= _when(form["when"]) | _conditions(form["only_if"], document.get("only_if"), "only_if", "only_if")
    found |= _examples(form["examples"]) | _extras(form) | _steps(form["steps"], document.get("steps"))
    found |= _stops(form["stop_when"] or [], document.get("stop_when"), "stop_when", "stop_when") | _limits(form)
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


def _conditions(groups: list[list[Form]], condition: Any, place: str, name: str) -> dict[str, str]:
    """place: of the condition in the document, `steps[2].if`; name: of its fields, `steps-2.if`."""
    listed = isinstance(condition, Mapping) and set(condition) == {"all"}
    found: dict[str, str] = {place: f"{name}-0-0.field"} if groups else {}
    for at, group in enumerate(groups):
        start = f"{place}.all[{at}]" if listed else place
        inner = condition["all"][at] if listed and at < len(condition["all"]) else condition
        either = isinstance(inner, Mapping) and "any" in inner and not group[0].get("kept")
        row_at = 0
        for way_at, way in enumerate(ways_of(group)):
            outer = f"{start}.any[{way_at}]" if either else start
            for one_at, row in enumerate(way):
                path = f"{outer}.all[{one_at}]" if len(way) > 1 else outer
                found |= _row(row, path + (".not" if row.get("not") else ""), path, f"{name}-{at}-{row_at}")
                row_at += 1
    return found


def _row(row: Form, path: str, outer: str, name: str) -> dict[str, str]:
    found = {outer: f"{name}.field", path: f"{name}.field"}
    found |= {f"{path}.{key}": f"{name}.{key}" for key in (() if row.get("kept") else ("field", "is", "value"))}
    if row.get("is") == "between":
        found[f"{path}.value[1]"] = f"{name}.second"
    if str(row.get("is")).endswith(OTHER):
        found |= {f"{path}.value.{how}": f"{name}.second" for how in RECKONED}
    return found


def _steps(steps: list[Form], documents: Any, start: str = "steps", prefix: str = "steps") -> dict[str, str]:
    found: dict[str, str] = {}
    for at, step in enumerate(steps):
        path, name = f"{start}[{at}]", f"{prefix}-{at}"
        document = documents[at] if isinstance(documents, list) and at < len(documents) else {}
        found |= {path: f"{name}.name", f"{path}.name": f"{name}.name"}
        found |= {f"{path}.{part}": f"{name}.{field}" for part, field in STEP_FIELDS.get(step.get("kind"), {}).items()}
        found |= {f"{path}.with.{param}": f"{name}.with.{param}" for param in step.get("with", ())}
        if isinstance(document, Mapping):
            found |= _inside(step, document, path, name)
    return found


def _inside(step: Form, document: Mapping[str, Any], path: str, name: str) -> dict[str, str]:
    """What stands in a step: a condition, the events of a wait, steps."""
    found = {f"{path}.if": f"{name}.name"} if "if" in step else {}
    found |= _conditions(step.get("if", []), document.get("if"), f"{path}.if", f"{name}.if")
    if step.get("events"):
        wait = document.get("wait")
        events = wait.get("for_event") if isinstance(wait, Mapping) else None
        found |= _stops(step["events"], events, f"{path}.wait.for_event", f"{name}.events")
    for branch in BRANCHES:
        found |= {f"{path}.{branch}": f"{name}.{branch}.new"} if isinstance(step.get(branch), list) else {}
        found |= _steps(step.get(branch, []), document.get(branch), f"{path}.{branch}", f"{name}.{branch}")
    return found


def _examples(rows: list[Form]) -> dict[str, str]:
    found = {"examples": "examples-0.given"} if rows else {}
    for at, row in enumerate(rows):
        path, name = f"examples[{at}]", f"examples-{at}"
        found[path] = f"{name}.given"
        found |= {f"{path}.{key}": f"{name}.{key}" for key in ("then", "because", "stands") if not row.get("kept")}
        found |= {f"{path}.after": f"{name}.n"}
    return found


def _stops(rows: list[Form], stops: Any, place: str, name: str) -> dict[str, str]:
    found, row = {place: f"{name}-0.event"}, 0
    for at, stop in enumerate(stops if isinstance(stops, list) else []):
        events = stop.get("event") if isinstance(stop, Mapping) else None
        found[f"{place}[{at}].same"] = f"{name}-{row}.same"
        for event_at in range(len(events) if isinstance(events, list) else 0):
            found[f"{place}[{at}].event[{event_at}]"] = f"{name}-{row}.event"
            row += 1
    return found if rows else {}


def _extras(form: Form) -> dict[str, str]:
    found = {"tags": "tags"} if form["tags"] is not None else {}
    for at, _ in enumerate(form["caps"] or ()):
        keys = {"tag": "tag", "at_most": "at_most", "per": "n"}
        found |= {f"caps[{at}]": f"caps-{at}.tag"} | {f"caps[{at}].{key}": f"caps-{at}.{f}" for key, f in keys.items()}
    if form["undo"] and form["undo"]["on"]:
        found |= {"undo": "undo.on-0", "undo.same": "undo.same", "undo.within": "undo.n"}
        found |= _filled("undo.on", "undo.on", form["undo"]["on"])
    if form["hours"]:
        found |= {"hours": "hours.use"} | {f"hours.{key}": f"hours.{key}" for key in ("from", "to", "zone", "not_on")}
    return found


def _limits(form: Form) -> dict[str, str]:
    found = {"limits.runs": "limits.runs", "limits.per": "limits.n", "limits.money": "limits-0.amount"}
    rows = enumerate(form["limits"]["money"])
    return found | {f"limits.money.{row['currency']}": f"limits-{at}.amount" for at, row in rows}
