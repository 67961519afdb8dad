"""Random conditions and envelopes for property tests: nested, of every operator, on values of every JSON type."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from rules.model import All, Any_, Condition, Not, Other, Test

PATHS = (
    ("data", "object", "amount"),
    ("data", "object", "status"),
    ("data", "object", "paid"),
    ("data", "object", "metadata", "a.b"),
    ("data", "object", "metadata", "id"),
    ("data", "object", "metadata", "$s"),
    ("data", "previous_attributes", "status"),
    ("created",),
)
TEXTS = (
    "",
    "a",
    "open",
    "Open",
    "open ",
    'o"pen',
    "o\npen",
    "5",
    "5.0",
    "true",
    "ö",
    "日本",
    "#",
    "x" * 2500,
    "\ud800",
)
INTS = (0, 1, -1, 2, 5, 100, 2**31, 2**53, 2**63, -(2**64), 10**20)
FLOATS = (0.0, -0.0, 0.1, 5.0, 5.5, 1e-7, 1e16, 1e300, 99.99)

numbers = st.one_of(
    st.sampled_from(INTS), st.sampled_from(FLOATS), st.integers(-10, 10), st.floats(-100, 100, width=32)
)
texts = st.one_of(st.sampled_from(TEXTS), st.text(max_size=4))
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.dictionaries(st.sampled_from("ab"), scalars, max_size=2))


@st.composite
def envelopes(draw: st.DrawFn) -> dict[str, Any]:
    """An event with some of the paths filled, each with anything."""
    envelope: dict[str, Any] = {"id": "evt_1", "type": "invoice.paid", "created": 1_700_000_000}
    for path in PATHS[:-1]:
        if draw(st.booleans()):
            into = envelope
            for key in path[:-1]:
                into = into.setdefault(key, {})
            into[path[-1]] = draw(values)
    return envelope


@st.composite
def tests(draw: st.DrawFn) -> Test:
    path = draw(st.sampled_from(PATHS))
    field = ".".join(path)
    operator = draw(st.sampled_from(OPERATORS))
    value: Any = None
    other = None
    if operator in ("greater than", "greater or equal to", "less than", "less or equal to"):
        value = draw(numbers)
        if draw(st.integers(0, 4)) == 0:
            target = draw(st.sampled_from(PATHS))
            other = Other(".".join(target), target, draw(st.integers(-2, 2)), draw(st.integers(-2, 3)))
    elif operator == "between":
        value = tuple(sorted((draw(numbers), draw(numbers))))
    elif operator in ("one of", "none of"):
        value = tuple(draw(st.lists(st.one_of(numbers, texts, st.booleans()), min_size=1, max_size=10)))
    elif operator in ("equal to", "not equal to", "changed from", "changed to"):
        value = draw(st.one_of(st.booleans(), numbers, texts))
    elif operator in ("contains", "starts with", "ends with"):
        value = draw(texts)
    return Test(field, path, operator, value, other)


OPERATORS = (
    "equal to",
    "not equal to",
    "greater than",
    "greater or equal to",
    "less than",
    "less or equal to",
    "between",
    "one of",
    "none of",
    "contains",
    "starts with",
    "ends with",
    "is present",
    "is absent",
    "is empty",
    "is true",
    "is false",
    "changed",
    "changed from",
    "changed to",
)


def groups(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    parts = st.lists(inner, max_size=4).map(tuple)
    return st.one_of(parts.map(All), parts.map(Any_), inner.map(Not))


conditions: st.SearchStrategy[Condition] = st.recursive(tests(), groups, max_leaves=12)
