"""Small edits of conditions and spans: other values with which a condition would be true of an event."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from itertools import product
from typing import Any, Final

from rules import operators as ops
from rules.expr import compile_condition
from rules.failing import parts_of
from rules.fields import MISSING, read
from rules.model import JSON, TRUE, All, Any_, Condition, Not, Test, duration
from rules.words import Words

LONGEST: Final = 400 * 86400  # seconds; no span of a rule may be longer
Change = tuple[str, Any, Condition, str]  # path, the value there (None: taken out), the condition then, its words
_SIZES: Final = ((86400, "P{}D"), (3600, "PT{}H"), (60, "PT{}M"))


def failing(condition: Condition, doc: JSON) -> list[int]:
    """The places of the parts that are not true."""
    return [at for at, part in enumerate(parts_of(condition)) if not compile_condition(part)(doc)]


def conditions(condition: Condition, doc: JSON, words: Words) -> Iterator[Change]:
    """Changes of one constant that make the condition true of what it reads, then leaving out the one part that is
    not. Where two parts are not true: `pairs`."""
    wrong = failing(condition, doc)
    if len(wrong) != 1:
        return
    yield from _changed(condition, "only_if", doc, words)
    if isinstance(condition, All) and len(condition.parts) > 1:
        kept = All(tuple(part for at, part in enumerate(condition.parts) if at != wrong[0]))
        yield f"only_if.all[{wrong[0]}]", None, kept, f"Without condition {wrong[0] + 1}"
    else:
        yield "only_if", None, TRUE, "Without its condition"


def pairs(condition: Condition, written: Any, doc: JSON, words: Words) -> Iterator[Change]:
    """Where two parts are not true, changes of both at once: other values before leaving out. written: the condition
    as its document has it, which the change replaces as a whole."""
    wrong = failing(condition, doc)
    if len(wrong) != 2 or not isinstance(condition, All) or not _listed(written, len(condition.parts)):
        return
    first, second = (list(_either(condition.parts[at], at, doc, words)) for at in wrong)
    for one, other in product(first, second):
        parts, documents = list(condition.parts), deepcopy(list(written["all"]))
        for at, (value, part, _) in zip(wrong, (one, other), strict=True):
            parts[at], documents[at] = part, value
        kept = [at for at in range(len(parts)) if parts[at] != TRUE]
        value = {"all": [documents[at] for at in kept]} if kept else None
        yield (
            "only_if",
            value,
            All(tuple(parts[at] for at in kept)),
            f"{one[2]} and {other[2][:1].lower()}{other[2][1:]}",
        )


def _listed(written: Any, count: int) -> bool:
    return isinstance(written, dict) and isinstance(written.get("all"), list) and len(written["all"]) == count


def _either(part: Condition, at: int, doc: JSON, words: Words) -> Iterator[tuple[Any, Condition, str]]:
    """(as the document has it, the part, its words) with another constant, and left out."""
    if isinstance(part, Test):
        for _, value, changed, said in _other_constant(part, "", doc, words):
            yield {"field": part.field, "is": part.operator, "value": value}, changed, said
    yield None, TRUE, f"Without condition {at + 1}"


def _changed(condition: Condition, path: str, doc: JSON, words: Words) -> Iterator[Change]:
    match condition:
        case All(parts):
            wrong = failing(condition, doc)
            if len(wrong) == 1:
                yield from _one_part(All, parts, wrong[0], f"{path}.all", doc, words)
        case Any_(parts):
            for at in range(len(parts)):
                yield from _one_part(Any_, parts, at, f"{path}.any", doc, words)
        case Not():
            return
        case _:
            yield from _other_constant(condition, path, doc, words)


def _one_part(
    group: type[All] | type[Any_], parts: tuple[Condition, ...], at: int, path: str, doc: JSON, words: Words
) -> Iterator[Change]:
    for place, value, part, said in _changed(parts[at], f"{path}[{at}]", doc, words):
        yield place, value, group((*parts[:at], part, *parts[at + 1 :])), said


def _other_constant(test: Test, path: str, doc: JSON, words: Words) -> Iterator[Change]:
    """The constant nearest to the one there is with which the comparison is true."""
    actual = read(doc, test.path)
    if test.other is not None or actual is MISSING or actual is None or isinstance(actual, (list, dict)):
        return
    if isinstance(actual, str) and actual.startswith("tok_"):  # a person's: no constant of a rule
        return
    found = _constant(test, actual, doc)
    if found is None:
        return
    value, written = found
    changed = replace(test, value=value)
    if compile_condition(changed)(doc):
        yield f"{path}.value", written, changed, f"With “{words.condition(changed)}”"


def _constant(test: Test, actual: Any, doc: JSON) -> tuple[Any, Any] | None:
    """The value as the condition holds it, and as the document writes it."""
    whole = isinstance(actual, int) and not isinstance(actual, bool)
    match test.operator:
        case "greater or equal to" | "less or equal to" if ops.number(actual):
            return actual, actual
        case "greater than" | "less than" if whole:
            value = actual - 1 if test.operator == "greater than" else actual + 1
            return value, value
        case "between" if ops.number(actual):
            value = (min(test.value[0], actual), max(test.value[1], actual))
            return value, list(value)
        case "equal to":
            return actual, actual
        case "one of":
            return (*test.value, actual), [*test.value, actual]
        case "none of":
            kept = tuple(one for one in test.value if not ops.same(one, actual))
            return (kept, list(kept)) if kept else None
        case "in the last" | "in the next":
            return _span(test, actual, doc)
    return None


def _span(test: Test, actual: Any, doc: JSON) -> tuple[Any, Any] | None:
    moment, created = ops.clock(actual), doc.get("created")
    if moment is None or not isinstance(created, int):
        return None
    distance = created - moment if test.operator == "in the last" else moment - created
    if not 0 < distance <= LONGEST:
        return None
    written = duration_text(int(-(-distance // 1)))
    return int(duration(written).total_seconds()), written


# ---- spans ----------------------------------------------------------------------------------------------------------
def duration_text(length: int, down: bool = False) -> str:
    """The next round ISO 8601 duration that is no shorter: `P10D`, `PT5H`, `PT3M`; down: that is no longer."""
    for size, form in _SIZES:
        if length > 2 * size or (length and length % size == 0):
            return form.format(length // size if down else -(-length // size))
    return f"PT{length if down else max(1, length)}S"
