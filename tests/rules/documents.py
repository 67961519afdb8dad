"""Random rule documents and envelopes: legal conditions and rules over an invoice's fields, for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NOW = 1_780_000_000
TIMES = (NOW - 86_400, NOW - 1, NOW, NOW + 3_600, "2026-05-28", "2026-05-28T20:26:40Z", "soon")
NUMBERS = ("amount_due", "amount_paid", "total", "attempt_count")
TEXTS = ("status", "currency", "billing_reason", "number", "description")
WHEN_TIMES = ("due_date", "next_payment_attempt")
WORDS = ("open", "paid", "usd", "", "a_b", "ab", "b", "5", "true", "” or “", "x, y", "\\", "line\nbreak")
ITEM_FIELDS = ("amount", "description", "pricing.type")
EVENTS = ("invoice.payment_failed", "invoice.paid", "invoice.voided", "invoice.updated")
SPANS = ("P7D", "PT48H", "P1D", "PT24H", "P1DT12H", "PT36H", "PT90S", "P2W")

KNOWN = ("fact.customer.mrr", "fact.customer.open_invoices", "score.churn")  # beyond the payload

words = st.sampled_from(WORDS)
numbers = st.one_of(st.integers(-3, 6), st.sampled_from((5.0, 0.5, 1e16, 2**53, 2**70, 1000, 100000)))
anything = st.one_of(
    st.none(), st.booleans(), numbers, words, st.sampled_from(TIMES), st.lists(st.one_of(words, numbers), max_size=3)
)
spans = st.sampled_from(SPANS)


# ---- conditions -----------------------------------------------------------------------------------------------------
def field(*names: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.sampled_from([f"data.object.{name}" for group in names for name in group])


def bare(target: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda f, op: {"field": f, "is": op},
        target,
        st.sampled_from(("is present", "is absent", "is empty", "is true")),
    )


def compared(
    target: st.SearchStrategy[str], operators: tuple[str, ...], value: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda f, op, v: {"field": f, "is": op, "value": v}, target, st.sampled_from(operators), value)


def other(target: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    plain = st.builds(lambda f: {"field": f}, target)
    return st.one_of(
        plain,
        st.builds(lambda f, n: {"field": f, "plus": n}, target, st.integers(-2, 2)),
        st.builds(lambda f, n: {"field": f, "times": n}, target, st.sampled_from((2, 0.5, 1))),
    )


ORDER = ("greater than", "greater or equal to", "less than", "less or equal to")
EQUAL = ("equal to", "not equal to")
CHANGE = ("changed from", "changed to")


def questions(updated: bool = True) -> st.SearchStrategy[dict[str, Any]]:
    number, text, time = field(NUMBERS), field(TEXTS), field(WHEN_TIMES)
    texts = st.lists(words, min_size=1, max_size=3)
    parts = [
        bare(field(NUMBERS, TEXTS, WHEN_TIMES)),
        compared(number, (*ORDER, *EQUAL), st.one_of(numbers, other(number))),
        compared(number, ("between",), st.tuples(numbers, numbers).map(sorted)),
        compared(number, ("one of", "none of"), st.lists(numbers, min_size=1, max_size=3)),
        compared(text, EQUAL, st.one_of(words, other(text).filter(lambda o: len(o) == 1))),
        compared(text, ("one of", "none of"), texts),
        compared(text, ("contains", "starts with", "ends with"), words.filter(bool)),
        compared(text, ("matches",), st.sampled_from(("^o", "a.b", "[0-9]+", "p$", ""))).filter(lambda t: t["value"]),
        compared(time, ("before", "after"), st.one_of(st.sampled_from(TIMES[:-1]), other(time))),
        compared(time, ("in the last", "in the next"), st.sampled_from(("P1D", "PT1H", "PT1S"))),
        items(),
        compared(st.sampled_from(KNOWN), (*ORDER, *EQUAL), st.one_of(numbers, other(number))),
        compared(st.just("fact.customer.status"), EQUAL, st.sampled_from(("active", "past_due"))),
        bare(st.sampled_from((*KNOWN, "fact.customer.plan"))).filter(lambda t: t["is"] != "is true"),
    ]
    if updated:
        parts += [
            compared(text, CHANGE, words),
            compared(number, CHANGE, numbers),
            st.builds(lambda f: {"field": f, "is": "changed"}, field(TEXTS, NUMBERS)),
        ]
    return st.one_of(*parts)


def items() -> st.SearchStrategy[dict[str, Any]]:
    inner = st.one_of(
        compared(st.just("amount"), (*ORDER, *EQUAL), st.one_of(numbers, other(st.just("data.object.total")))),
        compared(st.sampled_from(("description", "pricing.type")), EQUAL, words),
        bare(st.sampled_from(ITEM_FIELDS)),
    )
    operators = st.sampled_from(("any item", "all items", "no item"))
    return st.builds(
        lambda op, where: {"field": "data.object.lines.data", "is": op, "where": where}, operators, grouped(inner, 3)
    )


def grouped(inner: st.SearchStrategy[dict[str, Any]], most: int) -> st.SearchStrategy[dict[str, Any]]:
    def deeper(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        group = st.lists(children, min_size=1, max_size=3)
        return st.one_of(
            group.map(lambda parts: {"all": parts}),
            group.map(lambda parts: {"any": parts}),
            children.map(lambda part: {"not": part}),
        )

    return st.recursive(inner, deeper, max_leaves=most)


def conditions(updated: bool = True) -> st.SearchStrategy[dict[str, Any]]:
    """Condition documents that `parse` takes without a catalogue."""
    return grouped(questions(updated), 6)


# ---- envelopes ------------------------------------------------------------------------------------------------------
def _filled(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), anything, max_size=len(names))


@st.composite
def envelopes(draw: st.DrawFn) -> dict[str, Any]:
    """Envelopes of the newest API version whose fields hold anything at all."""
    thing = {"object": "invoice", **draw(_filled((*NUMBERS, *TEXTS, *WHEN_TIMES)))}
    line = st.one_of(anything, st.builds(lambda a, b: {**a, "pricing": b}, _filled(("amount", "description")), pricing))
    if draw(st.booleans()):
        thing["lines"] = {"object": "list", "data": draw(st.one_of(anything, st.lists(line, max_size=3)))}
    data = {"object": thing}
    if draw(st.booleans()):
        data["previous_attributes"] = draw(_filled((*TEXTS, *NUMBERS)))
    return {"id": "evt_1", "type": "invoice.updated", "created": NOW, "data": data}


pricing = st.one_of(anything, _filled(("type",)))


# ---- rules ----------------------------------------------------------------------------------------------------------
def _some(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=parts)


events = st.lists(st.sampled_from(EVENTS), min_size=1, max_size=2, unique=True)
subjects = st.sampled_from(("customer", "subscription", "invoice"))
stops = st.builds(lambda e, s: {"event": e, "same": s}, events, subjects)


@st.composite
def whens(draw: st.DrawFn) -> dict[str, Any]:
    when: dict[str, Any] = {"event": draw(events), "same": draw(subjects)}
    form = draw(st.sampled_from(("each", "at_least", "aggregate", "then", "and_not", "first")))
    if form == "at_least":
        counting = st.sampled_from(("events", "data.object.number", "data.object.status"))
        when |= {"at_least": draw(st.integers(1, 4)), "within": draw(spans), "counting": draw(counting)}
    elif form == "aggregate":
        of = draw(st.sampled_from(("sum", "average", "min", "max", "distinct")))
        value = draw(st.integers(0, 9))
        when |= {"within": draw(spans), "aggregate": {"of": of, "field": draw(field(NUMBERS)), "value": value}}
        when["aggregate"]["is"] = draw(st.sampled_from((*ORDER, *EQUAL)))
    elif form in ("then", "and_not"):
        when[form] = {"event": draw(events), "within": draw(spans)}
    elif form == "first":
        when["first"] = True
    if form in ("at_least", "aggregate") and draw(st.booleans()):
        when["start_again_after"] = draw(events)
    return when | draw(_some(ignore_own=st.booleans()))


@st.composite
def step(draw: st.DrawFn, name: str, depth: int) -> dict[str, Any]:
    kind = draw(st.sampled_from(("do", "for", "until", "for_event", "approve", "stop", "if")[: 7 if depth < 2 else 6]))
    made: dict[str, Any] = {"name": name}
    if kind == "do":
        values = st.one_of(words, numbers, st.booleans(), st.lists(words, max_size=2))
        names = st.sampled_from(("price", "proration", "when", "stage", "connection", "Odd-Key"))
        made["do"] = draw(st.sampled_from(("stripe.change_plan", "crm.notify", "mail.send")))
        made["with"] = draw(st.dictionaries(names, values, max_size=3))
        made |= draw(_some(on_failure=st.sampled_from(("stop", "continue", "person"))))
    elif kind == "for":
        made["wait"] = {"for": draw(spans)}
    elif kind == "until":
        until = st.sampled_from(("2026-11-23", "2026-11-23T09:00:00Z", "data.object.due_date"))
        made["wait"] = {"until": draw(until), **draw(_some(minus=spans))}
    elif kind == "for_event":
        made["wait"] = {"for_event": draw(st.lists(stops, min_size=1, max_size=2)), "at_most": draw(spans)}
    elif kind == "approve":
        more = _some(at_most=spans, on_timeout=st.sampled_from(("stop", "continue")))
        made["approve"] = {"role": draw(words.filter(bool)), **draw(more)}
        made |= draw(_some(**{"if": conditions(False)}))
    elif kind == "stop":
        made["stop"] = draw(words.filter(bool))
    else:
        made["if"] = draw(conditions(False))
        made["then"] = [draw(step(f"{name}-a", depth + 1))]
        if draw(st.booleans()):
            made["else"] = [draw(step(f"{name}-b", depth + 1))]
    return made


example = st.builds(
    lambda given, then, more: {"given": given, "then": then, **more},
    st.lists(st.sampled_from(("evt_1", "evt_2", "evt_1” and “evt_2")), min_size=1, max_size=2),
    st.sampled_from(("fires", "does not fire")),
    _some(because=words),
)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    """Rule documents that `parse` takes without a catalogue."""
    names = [f"s{index}" for index in range(draw(st.integers(1, 3)))]
    texts = st.lists(words.filter(bool), max_size=2)
    money = st.dictionaries(st.sampled_from(("usd", "jpy")), st.integers(0, 300), max_size=2)
    limits = st.fixed_dictionaries({}, optional={"runs": st.integers(1, 30), "money": money, "per": spans})
    again = st.fixed_dictionaries(
        {}, optional={"while_open": st.booleans(), "after": st.one_of(st.none(), spans, st.just("PT0S"))}
    )
    undo = st.builds(lambda e, s, w: {"on": e, "same": s, "within": w}, events, subjects, spans)
    cap = st.builds(lambda t, n, p: {"tag": t, "at_most": n, "per": p}, words.filter(bool), st.integers(1, 2), spans)
    hours = {
        "days": st.lists(st.sampled_from(("mon", "tue", "sun")), min_size=1, max_size=3, unique=True),
        "from": st.sampled_from(("08:00", "09:00")),
        "to": st.just("18:00"),
        "zone": st.sampled_from(("account", "Europe/Berlin")),
        "applies_to": st.lists(words.filter(bool), min_size=1, max_size=2),
    }
    pauses = {"not_on": st.lists(st.sampled_from(("2026-12-25", "2027-01-01")), max_size=2, unique=True)}
    document = {
        "id": draw(st.sampled_from(("one", "two"))),
        "name": draw(st.sampled_from(("A", "B", "A” B"))),
        "when": draw(whens()),
        "steps": [draw(step(name, 0)) for name in names],
    }
    return document | draw(
        _some(
            why=words,
            tags=texts,
            priority=st.integers(-1, 1),
            only_if=conditions(False),
            never_for=st.builds(lambda names: {"lists": names}, texts),
            again=again,
            stop_when=st.lists(stops, max_size=2),
            undo=undo,
            limits=limits,
            money=field(NUMBERS),
            caps=st.lists(cap, max_size=1),
            hours=st.fixed_dictionaries(hours, optional=pauses),
            holdout=st.sampled_from((0, 0.05, 0.050001, 1)),
            examples=st.lists(example, max_size=2),
        )
    )
