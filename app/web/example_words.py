"""Saved examples as sentences for people: what is given, and what must come of it. Pure and total."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from app.web.forms import examples as form_examples
from rules.example import SPAN, seconds_of
from rules.trace import field_text
from rules.words import event_text, span_text

GATE_WORDS = {
    "condition": "a condition is not true",
    "event": "no such event came",
    "key": "the event does not say whom it is about",
    "never_for": "it is on a list that the rule leaves alone",
    "own": "our own action caused it",
    "re-entry": "it ran for the same one lately",
    "reset": "counting had started again",
    "stopped": "what stops it came first",
    "window": "there were not enough in the window",
    "contradicted": "a late event took it back",
}
ENDS = {"done": "the run is done", "stopped": "the run is stopped", "failed": "the run has failed",
        "undone": "what the run did is taken back"}  # fmt: skip


def sentences(examples: Any) -> list[str]:
    """One for each example; one in a shape that the form does not know is left out."""
    rows = [form_examples.shown(one) for one in examples] if isinstance(examples, list) else []
    return [_sentence(row) for row in rows if not row.get("kept")]


def _sentence(row: form_examples.Form) -> str:
    given = _joined(_event(line) for line in row["given"].split("\n") if line.strip())
    because = GATE_WORDS.get(row["because"], row["because"])
    text = f"When {given or 'nothing happens'}, it {row['then']}" + (f", because {because}" if because else "")
    if not row["n"] and not row["stands"]:
        return text + "."
    later = f"{row['n']} {row['unit'][:-1] if row['n'] == '1' else row['unit']} later " if row["n"] else "then "
    stands = ENDS.get(row["stands"]) or f"the run stands at “{row['stands']}”"
    return f"{text}; {later}{stands if row['stands'] else 'nothing more is asked of it'}."


def _joined(texts: Iterable[str]) -> str:
    return ", then ".join(texts)


def _event(line: str) -> str:
    """One event of the shorthand; an id of the log and a whole envelope are named as such."""
    if line.startswith(("{", '"')):
        return "an event that is written out comes"
    name, *words = line.split()
    if name.startswith("evt_"):
        return f"{name} comes"
    spans = [word for word in words if SPAN.fullmatch(word)]
    sets = [word for word in words if "=" in word and word not in spans]
    about = f" ({', '.join(map(_setting, sets))})" if sets else ""
    return event_text((name,)) + "".join(map(_offset, spans[:1])) + about


def _offset(span: str) -> str:
    try:
        seconds = seconds_of(span)
    except ValueError:
        return f" at {span}"
    return f" {span_text(abs(seconds))} {'earlier' if seconds < 0 else 'later'}" if seconds else ""


def _setting(word: str) -> str:
    path, _, value = word.partition("=")
    name = field_text(path) if re.fullmatch(r"data\.object\.[\w.]+", path) else path.replace("_", " ")
    return f"{name} " + value.strip('"')
