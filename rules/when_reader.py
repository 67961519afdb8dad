"""Reading `when`: which events, how often, within what time, for the same what."""

from __future__ import annotations

from typing import Literal, cast

from rules import operators as ops
from rules.context import Context
from rules.labels import type_words
from rules.model import Aggregate, Span, When
from rules.reading import Node, is_number, whole

_KEYS = (
    "event",
    "at_least",
    "within",
    "same",
    "counting",
    "aggregate",
    "then",
    "and_not",
    "first",
    "start_again_after",
    "ignore_own",
)
_FORMS = ("at_least", "aggregate", "then", "and_not", "first")
_OF = ("sum", "average", "min", "max", "distinct")
_COMPARE = ("equal to", "not equal to", *ops.COMPARE)
_SUMMED = frozenset({"number", "amount", "time", "any"})


def read_when(node: Node, context: Context) -> When | None:
    """The `when` of a document, or None after noting what is wrong. Its event types go into the context."""
    if not node.object(_KEYS, "'when'", ("event",)):
        return None
    types = node.child("event").event_types("'event'", context.event_names()) if node.has("event") else ()
    context.types = types
    form = _form(node)
    windowed = form in ("at_least", "aggregate")
    return When(
        types=types,
        same=_same(node, form, context),
        at_least=node.child("at_least").integer("'at_least'", 1, 1000) if form == "at_least" else None,
        within=_within(node, windowed),
        counting=_counting(node, form, context),
        aggregate=_aggregate(node.child("aggregate"), context) if form == "aggregate" else None,
        then=_span(node.child("then"), "then", context) if form == "then" else None,
        and_not=_span(node.child("and_not"), "and_not", context) if form == "and_not" else None,
        first=form == "first",
        start_again_after=_start_again(node, windowed, context),
        ignore_own=_flag(node, "ignore_own", True),
    )


def _form(node: Node) -> str | None:
    """Which of the forms it is; None for each time."""
    given = [key for key in _FORMS if node.has(key) and not (key == "first" and node.child(key).value is False)]
    if node.has("first"):
        node.child("first").boolean("'first'")
    for extra in given[1:]:
        node.child(extra).error(f"{extra!r} cannot be combined with {given[0]!r}")
    return given[0] if given else None


def _within(node: Node, windowed: bool) -> int | None:
    if windowed and not node.has("within"):
        node.child("within").error("say within what time, such as P7D for 7 days", "P7D")
    elif not windowed and node.has("within"):
        node.child("within").error("'within' goes with 'at_least' or 'aggregate'", "at_least")
    return node.child("within").duration("'within'") if windowed and node.has("within") else None


def _same(node: Node, form: str | None, context: Context) -> str | None:
    if not node.has("same"):
        if form:
            node.child("same").error(f"{form!r} counts for the same what? Name a subject", "customer")
        return None
    then = node.child(form).child("event").value if form in ("then", "and_not") else None
    later = [type for type in then if isinstance(type, str)] if isinstance(then, list) else []
    known = context.event_names()
    return context.subject(node.child("same"), [*context.types, *(type for type in later if type in (known or ()))])


def _counting(node: Node, form: str | None, context: Context) -> str:
    if not node.has("counting"):
        return "events"
    counting = node.child("counting")
    if counting.value == "events":
        return "events"
    if form != "at_least":
        counting.error("'counting' goes with 'at_least'")
    found = context.own_path(counting)
    if found and found[2] and {info.type for info in found[2]} & {"list", "object", "map"}:
        counting.error(f"{found[2][0].label} has no single value to count", "events")
    return found[0] if found else "events"


def _aggregate(node: Node, context: Context) -> Aggregate | None:
    keys = ("of", "field", "is", "value")
    if not node.object(keys, "'aggregate'", keys) or not all(node.has(key) for key in keys):
        return None
    of = node.child("of").choice("'of'", _OF)
    operator = node.child("is").choice("'is'", _COMPARE)
    value = node.child("value").number("'value'")
    found = context.own_path(node.child("field"))
    if of is None or operator is None or value is None or found is None:
        return None
    text, path, infos = found
    if infos and of != "distinct" and not {info.type for info in infos} & _SUMMED:
        node.child("field").error(f"{infos[0].label} is {type_words(infos[0].type)}, which has no {of}", "distinct")
    if of == "distinct" and not (is_number(value) and value == int(value)):
        node.child("value").error("a count of distinct values is a whole number")
    kind = cast(Literal["sum", "average", "min", "max", "distinct"], of)
    return Aggregate(kind, text, path, operator, whole(value))


def _span(node: Node, what: str, context: Context) -> Span | None:
    if not node.object(("event", "within"), f"{what!r}", ("event", "within")):
        return None
    types = node.child("event").event_types("'event'", context.event_names()) if node.has("event") else ()
    within = node.child("within").duration("'within'") if node.has("within") else None
    return Span(types, within) if types and within else None


def _start_again(node: Node, windowed: bool, context: Context) -> tuple[str, ...]:
    if not node.has("start_again_after") or node.child("start_again_after").value == []:
        return ()
    if not windowed:
        node.child("start_again_after").error("'start_again_after' goes with 'at_least' or 'aggregate'")
    return node.child("start_again_after").event_types("'start_again_after'", context.event_names())


def _flag(node: Node, key: str, default: bool) -> bool:
    found = node.child(key).boolean(f"{key!r}") if node.has(key) else default
    return default if found is None else found
