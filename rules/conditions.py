"""Reading a condition of a document: its shape, and whether the comparison is possible for that field at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rules import operators as ops
from rules.context import Context
from rules.facts import LISTS
from rules.fields import OBJECT, FieldInfo
from rules.labels import type_words
from rules.model import TRUE, All, Any_, Condition, Not, Other, Test
from rules.reading import Node, is_number, nearest, whole

_DEEPEST = 8
_MOST_TESTS = 200
_NUMERIC = frozenset({"number", "amount", "time"})
_TEXTUAL = frozenset({"text", "id", "enum", "decimal"})
_SCALAR = _NUMERIC | _TEXTUAL | {"boolean"}
_FITS = {  # the types of field that an operator can ever hold for
    "equal to": _SCALAR,
    "not equal to": _SCALAR,
    **dict.fromkeys(ops.COMPARE, _NUMERIC),
    "between": _NUMERIC,
    "one of": _NUMERIC | _TEXTUAL,
    "none of": _NUMERIC | _TEXTUAL,
    "contains": _TEXTUAL | {"list"},
    **dict.fromkeys(ops.TEXT, _TEXTUAL),
    "is true": frozenset({"boolean"}),
    "is false": frozenset({"boolean"}),
    "changed from": _SCALAR,
    "changed to": _SCALAR,
    **dict.fromkeys((*ops.TIMES, *ops.SPANS), frozenset({"time", "number"})),
    **dict.fromkeys(ops.ITEMS, frozenset({"list"})),
}
_FIELD_VALUES = frozenset(
    {"equal to", "not equal to", *ops.COMPARE, "contains", "starts with", "ends with", *ops.TIMES}
)
_PERSONAL = frozenset(
    {"equal to", "not equal to", "one of", "none of", "is present", "is absent", "is empty", "changed", "ends with"}
)

_MEANT = {  # how other languages write it
    "is": "equal to",
    "=": "equal to",
    "==": "equal to",
    "equals": "equal to",
    "eq": "equal to",
    "!=": "not equal to",
    "<>": "not equal to",
    "is not": "not equal to",
    "ne": "not equal to",
    ">": "greater than",
    "gt": "greater than",
    ">=": "greater or equal to",
    "gte": "greater or equal to",
    "at least": "greater or equal to",
    "<": "less than",
    "lt": "less than",
    "<=": "less or equal to",
    "lte": "less or equal to",
    "at most": "less or equal to",
    "in": "one of",
    "not in": "none of",
    "exists": "is present",
    "missing": "is absent",
    "null": "is absent",
    "like": "contains",
    "regex": "matches",
    "true": "is true",
    "false": "is false",
    "any": "any item",
    "all": "all items",
    "none": "no item",
}


def read_condition(node: Node, context: Context, inside: str = "", depth: int = 0) -> Condition:
    """A condition, or TRUE after noting what is wrong. inside: the path of the list whose items it is about."""
    if depth > _DEEPEST:
        node.error(f"conditions nest at most {_DEEPEST} deep")
        return TRUE
    if not isinstance(node.value, dict):
        node.object((), "a condition")
        return TRUE
    for key, group in (("all", All), ("any", Any_)):
        if node.has(key):
            node.object((key,), f"an {key!r} group")
            least = 0 if key == "all" and not depth and not inside else 1
            parts = node.child(key).items(f"{key!r}", least, _MOST_TESTS)
            return group(tuple(read_condition(part, context, inside, depth + 1) for part in parts))
    if node.has("not"):
        node.object(("not",), "a 'not'")
        return Not(read_condition(node.child("not"), context, inside, depth + 1))
    return read_test(node, context, inside, depth) or TRUE


def read_test(node: Node, context: Context, inside: str, depth: int) -> Test | None:
    """One `{"field", "is", "value"}`; None, with its problems noted, when it is none."""
    if not node.object(("field", "is", "value", "where"), "a test", ("field", "is")):
        return None
    if not (node.has("field") and node.has("is")):
        return None
    operator = _operator(node.child("is"))
    found = context.path(node.child("field"), inside)
    if operator is None or found is None:
        return None
    text, path, infos = found
    if path == LISTS and operator != "contains":
        node.child("is").error("of the customer's lists it can only be asked whether they contain one", "contains")
        return None
    if not _fits(node, operator, infos):
        infos = []  # one problem with it is enough
    _changes(node, operator, path, context, inside)
    where = _where(node, operator, text, context, inside, depth)
    value, other = _value(node, operator, infos, context, inside)
    return Test(text, path, operator, value, other, where)


def _operator(node: Node) -> str | None:
    meant = _MEANT.get(node.value) if isinstance(node.value, str) else None
    if meant:
        node.error(f"{node.value!r} is written {meant!r} here", meant)
        return None
    return node.choice("'is'", ops.OPERATORS)


def _fits(node: Node, operator: str, infos: Sequence[FieldInfo]) -> bool:
    """Whether the operator can ever hold for the field; notes it when not."""
    if not infos:
        return True
    info = infos[0]
    if any(one.personal for one in infos) and operator not in _PERSONAL:
        message = f"{info.label} is personal and kept as a token, which {operator!r} cannot read"
        node.child("is").error(message, "equal to")
        return False
    types = {one.type for one in infos}
    fitting = _FITS.get(operator)
    if fitting is None or types & fitting or "any" in types:
        return True
    message = f"{info.label} is {type_words(info.type)}, which is never {operator!r}"
    node.child("is").error(message, _better(info, operator))
    return False


def _better(info: FieldInfo, operator: str) -> str:
    """An operator that does what was meant on this type of field."""
    if info.type == "boolean":
        return "is true"
    if info.type in ("list", "object", "map"):
        return "any item" if info.type == "list" else "is present"
    if info.type in _TEXTUAL and operator in ("is true", "is false"):
        return "is present"
    return "one of" if info.enum else "equal to"


def _changes(node: Node, operator: str, path: tuple[str, ...], context: Context, inside: str) -> None:
    if operator not in ops.CHANGES:
        return
    if inside or path[:2] != OBJECT or len(path) < 3:
        node.child("field").error(f"{operator!r} is about a field of the event's object, data.object....")
    elif context.types and not any(type.endswith("updated") for type in context.types):
        node.child("is").error(f"{operator!r} needs an event that says what changed, one that ends in '.updated'")


def _where(node: Node, operator: str, text: str, context: Context, inside: str, depth: int) -> Condition | None:
    if operator not in ops.ITEMS:
        if node.has("where"):
            node.child("where").error(f"{operator!r} takes no 'where'; 'any item', 'all items' and 'no item' do")
        return None
    if not node.has("where"):
        node.child("where").error(f"{operator!r} needs 'where', a condition on the items")
        return None
    list_path = f"{inside}[].{text}" if inside and not text.startswith("data.object.") else text
    return read_condition(node.child("where"), context, list_path, depth + 1)


# ---- values ---------------------------------------------------------------------------------------------------------
def _value(
    node: Node, operator: str, infos: Sequence[FieldInfo], context: Context, inside: str
) -> tuple[Any, Other | None]:
    """The constant that the field is compared with, or the other field."""
    value = node.child("value")
    if operator in ops.BARE or operator in ops.ITEMS:
        if node.has("value"):
            value.error(f"{operator!r} takes no value")
        return None, None
    if not node.has("value"):
        value.error(f"{operator!r} needs a value")
        return None, None
    if isinstance(value.value, dict):
        return None, _other(value, operator, infos, context, inside)
    if operator in ops.SPANS:
        return value.duration(f"{operator!r}"), None
    if operator in ops.TIMES:
        return value.time(f"{operator!r}"), None
    if operator in ("one of", "none of"):
        return _constants(value, infos), None
    if operator == "between":
        return _bounds(value), None
    if operator in ops.COMPARE:
        return value.number(f"{operator!r}"), None
    if operator in ops.TEXT:
        return _part(value, operator, infos), None
    return _constant(value, infos, operator), None


def _constant(node: Node, infos: Sequence[FieldInfo], operator: str = "equal to") -> Any:
    value = node.value
    if value is None:
        node.error("nothing is equal to nothing; test 'is absent' instead", "is absent")
        return None
    if not isinstance(value, (str, bool)) and not is_number(value):
        node.error("the value is text, a number, true or false")
        return None
    if infos and not any(_suits(value, info, operator) for info in infos):
        _unsuited(node, value, infos)
    return whole(value) if is_number(value) else value


def _suits(value: Any, info: FieldInfo, operator: str) -> bool:
    if info.type in ("any", "map", "object"):
        return True
    if info.type == "list":
        return operator == "contains"
    if isinstance(value, bool):
        return info.type == "boolean"
    if is_number(value):
        return info.type in _NUMERIC
    return info.type in _TEXTUAL and (not info.enum or value in info.enum or operator == "contains")


def _unsuited(node: Node, value: Any, infos: Sequence[FieldInfo]) -> None:
    info = infos[0]
    if info.enum and isinstance(value, str):
        node.error(f"{value!r} is never a {info.label}; it is one of {_listed(info.enum)}", nearest(value, info.enum))
        return
    suggestion = None
    if info.type in _NUMERIC and isinstance(value, str):
        digits = value.replace(",", "").strip()
        suggestion = digits if digits.lstrip("-").isdigit() else None
    elif info.type in _TEXTUAL and is_number(value):
        suggestion = f'"{value}"'
    elif info.type == "boolean":
        suggestion = "true" if value in ("true", "yes", 1) else "false"
    node.error(f"{info.label} is {type_words(info.type)}, which never equals {value!r}", suggestion)


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:8]) + (f" and {len(words) - 8} more" if len(words) > 8 else "")


def _constants(node: Node, infos: Sequence[FieldInfo]) -> tuple[Any, ...]:
    values = [_constant(item, infos) for item in node.items("the value", 1, 1000)]
    kinds = {ops.kind(value) for value in values if value is not None}
    if len(kinds) > 1 or kinds - {"text", "number"}:
        node.error("the values are all text or all numbers")
    return tuple(dict.fromkeys(value for value in values if value is not None))


def _bounds(node: Node) -> tuple[Any, ...] | None:
    found = [item.number("a bound") for item in node.items("'between'", 2, 2)]
    if len(found) != 2 or found[0] is None or found[1] is None:
        return None
    if found[0] > found[1]:
        node.error("the lower bound comes first", f"[{found[1]}, {found[0]}]")
    return tuple(found)


def _part(node: Node, operator: str, infos: Sequence[FieldInfo]) -> str | None:
    text = node.text(f"{operator!r}", 500)
    if text is None:
        return None
    if operator == "matches":
        try:
            ops.pattern(text)
        except ValueError as error:
            node.error(f"the regular expression is refused: {error}")
    elif any(info.personal for info in infos) and not text.startswith("@"):
        node.error("of a personal field only the end of an e-mail can be read", "@example.com")
    return text


def _other(node: Node, operator: str, infos: Sequence[FieldInfo], context: Context, inside: str) -> Other | None:
    """Another field in place of a constant: `{"field": path, "plus" or "times": number}`."""
    if operator not in _FIELD_VALUES:
        node.error(f"{operator!r} compares with a constant, not with another field")
        return None
    if not node.object(("field", "plus", "times"), "another field as value", ("field",)) or not node.has("field"):
        return None
    found = context.path(node.child("field"), inside)
    if node.has("plus") and node.has("times"):
        node.error("either 'plus' or 'times', not both")
    plus = node.child("plus").number("'plus'") if node.has("plus") else 0
    times = node.child("times").number("'times'") if node.has("times") else 1
    if found is None or plus is None or times is None:
        return None
    text, path, others = found
    _comparable(node, operator, infos, others, reckoned=node.has("plus") or node.has("times"))
    return Other(text, path, plus, times)


def _comparable(
    node: Node, operator: str, infos: Sequence[FieldInfo], others: Sequence[FieldInfo], reckoned: bool
) -> None:
    if not infos or not others or "any" in {info.type for info in (*infos, *others)}:
        return
    left, right = infos[0], others[0]
    if left.personal != right.personal and operator not in ("equal to", "not equal to"):
        node.error("a personal field can only be compared as a whole")
    numeric = reckoned or operator in (*ops.COMPARE, *ops.TIMES)
    if numeric and right.type not in _NUMERIC:
        node.child("field").error(f"{right.label} is {type_words(right.type)}, not a number")
    elif left.type != "list" and (left.type in _NUMERIC) != (right.type in _NUMERIC):
        node.child("field").error(
            f"{left.label} is {type_words(left.type)} and {right.label} is {type_words(right.type)}"
        )
