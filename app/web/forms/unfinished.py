"""A rule that is not finished yet, in plain English all the same: what is missing or wrong reads “…”. Pure.

Each place that the reader of rules refuses gets a stand-in that it takes; the rule is read back, and the words of the
stand-ins become dots. A part that cannot be filled that way is left out.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from app.web.forms.presses import holder
from app.web.forms.words import is_condition
from rules import english
from rules.catalogue import Catalogue
from rules.rule import Rule, RuleError, parse

WORD = "zzgap"  # nobody's word, and no field of Stripe's
PATH = f"data.object.{WORD}"
TYPE = f"{WORD}.{WORD}"
DAYS, TIMES = 397, 919  # nobody's numbers
TRIES = 6
STEP = {"name": f"{WORD}-0", "stop": WORD}
BEGINNING = {"event": [TYPE]}
TEST = {"field": PATH, "is": "is true"}
NEEDED = {"id": WORD, "name": WORD, "when": BEGINNING, "steps": [STEP]}
KNOWN: Mapping[str, Any] = {  # by the key of the document that holds it
    **dict.fromkeys(("within", "after", "per", "for", "at_most"), f"P{DAYS}D"),
    **dict.fromkeys(("at_least", "runs"), TIMES),
    **dict.fromkeys(("field", "same", "counting"), PATH),
    **{key: [TYPE] for key in ("event", "start_again_after")},
    **dict.fromkeys(("reason", "stop"), WORD),
    **NEEDED,
}
SAID = re.compile(
    rf"(the )?value of the {WORD}|“{TYPE}” comes|stop, because “{WORD}”|the {WORD} is true|(the )?{WORD}|“({WORD})?”"
    rf"|{DAYS} days|{TIMES}(?= times| runs)"
)


def sentences(document: Mapping[str, Any], catalogue: Catalogue) -> list[dict[str, str]]:
    """The sentences of what is there, `{"part", "text"}`; none when it cannot be told at all."""
    rule = _read(document)
    return [{**one, "text": _dotted(one["text"])} for one in english.sentences(rule, catalogue)] if rule else []


def _dotted(text: str) -> str:
    return SAID.sub("…", re.sub(rf"\(“{WORD}-\d+”\) ", "", text)).replace("….", "…")


def _read(document: Mapping[str, Any]) -> Rule | None:
    """The rule with its gaps filled."""
    filled: dict[str, Any] = {**NEEDED, **copy.deepcopy(dict(document))}
    for _ in range(TRIES):
        try:
            return parse(filled, declared=(PATH,))
        except RuleError as error:
            paths = [problem.path for problem in error.problems]
            if not any([_fill(filled, path) for path in paths]):
                for path in paths:
                    _leave_out(filled, path)
    return None


def _fill(document: dict[str, Any], path: str) -> bool:
    """Put the stand-in at the path; whether that changed anything."""
    path = re.sub(r"\.(value\[\d+\]|is)$", "", path) if is_condition(path) else path
    at, key = holder(document, path)
    if isinstance(at, list) and isinstance(key, int) and key < len(at):
        was, at[key] = at[key], _item(path, at[key])
        return bool(at[key] != was)
    if isinstance(at, dict) and isinstance(key, str) and (found := _of_key(path, at, key)) is not None:
        was, at[key] = at.get(key), found
        return bool(found != was)
    return False


def _item(path: str, was: Any) -> Any:
    """The stand-in of one item of a list."""
    if re.fullmatch(r"steps\[\d+\]", path):
        return _step(path)
    if "event" in path or "start_again" in path:
        return TYPE
    return dict(TEST) if is_condition(path) and isinstance(was, dict) else WORD


def _step(path: str) -> dict[str, Any]:
    return {"name": _named(path), "stop": WORD}


def _named(path: str) -> str:
    return f"{WORD}-{''.join(re.findall('[0-9]+', path)) or 0}"


def _of_key(path: str, at: Mapping[str, Any], key: str) -> Any:
    """The stand-in that this key takes; None when there is none."""
    if key == "name" and path.startswith("steps"):
        return _named(path)
    if key == "value":
        return _value(str(at.get("is")))
    return copy.deepcopy(KNOWN.get(key))


def _value(operator: str) -> Any:
    """What the comparison takes as its right side and is told as dots."""
    if operator in ("one of", "none of"):
        return [WORD]
    if operator in ("contains", "starts with", "ends with", "matches"):
        return WORD
    if operator in ("in the last", "in the next"):
        return f"P{DAYS}D"
    return {"field": PATH}


def _leave_out(document: dict[str, Any], path: str) -> None:
    """Without the part that cannot be filled; what a rule cannot be without is stood in for whole."""
    part = re.split(r"[.\[]", path, maxsplit=1)[0]
    step = re.match(r"steps\[(\d+)\]", path)
    if step and isinstance(document.get("steps"), list) and int(step[1]) < len(document["steps"]):
        document["steps"][int(step[1])] = _step(step[0])
    elif part in NEEDED:
        document[part] = copy.deepcopy(NEEDED[part])
    else:
        document.pop(part, None)
