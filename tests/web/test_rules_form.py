"""The rule form and the rule document say the same: what is typed is in the document, what is not touched stays."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.services import catalogue, connectors
from app.settings import Settings
from app.starters import starters
from app.web.forms import presses, read
from app.web.forms.document import document_of, form_of, refreshed
from app.web.forms.spots import beside, spots
from app.web.forms.values import Kind, money_meant, money_shown, number_meant, operators, span_meant, span_shown
from app.web.picker import Picker
from rules.rule import Problem, check
from tests.builders import MemorySecrets, MemoryVault

CATALOGUE = catalogue()
ACTIONS = connectors(Settings(), MemorySecrets(), MemoryVault())
KIND = Picker(CATALOGUE).kind
QUICK = settings(deadline=None, max_examples=60)
PRESENT = {"field": "data.object.id", "is": "is present"}

EVERYTHING: dict[str, Any] = {
    "id": "every-construct",
    "name": "Every construct",
    "why": "A rule that holds\nwhat the form cannot show.",
    "tags": ["dunning"],
    "priority": 3,
    "when": {
        "event": ["invoice.payment_failed", "invoice.overdue"],
        "aggregate": {
            "of": "sum",
            "field": "data.object.amount_remaining",
            "is": "greater or equal to",
            "value": 50000,
        },
        "within": "P1DT12H",
        "same": "subscription",
        "counting": "data.object.id",
        "start_again_after": ["invoice.paid"],
        "ignore_own": False,
    },
    "only_if": {
        "all": [
            {"field": "data.object.amount_remaining", "is": "between", "value": [100, 99999]},
            {"field": "data.object.attempt_count", "is": "greater than", "value": 1},
            {"field": "data.object.billing_reason", "is": "one of", "value": ["subscription_cycle", "manual"]},
            {"any": [{"field": "data.object.due_date", "is": "in the next", "value": "P2W"}, PRESENT]},
            {"any": [{"not": PRESENT}, {"all": [PRESENT, PRESENT]}]},
            {"field": "data.object.amount_due", "is": "equal to", "value": {"field": "data.object.total", "times": 2}},
            {"field": "data.object.lines.data", "is": "any item", "where": {"field": "amount", "is": "is present"}},
            {"field": "data.object.metadata.tier", "is": "equal to", "value": " gold, and more "},
            {"field": "data.object.attempted", "is": "is true"},
        ]
    },
    "never_for": {"lists": ["contracts"]},
    "again": {"while_open": True, "after": "P3D"},
    "steps": [
        {
            "name": "tell",
            "do": "crm.notify",
            "with": {"connection": "crm", "message": "Two\nlines"},
            "on_failure": "stop",
        },
        {"name": "half-day", "wait": {"for": "PT12H"}},
        {"name": "until", "wait": {"until": "data.object.due_date", "minus": "P3D"}},
        {"name": "paid", "wait": {"for_event": [{"event": ["invoice.paid"], "same": "invoice"}], "at_most": "P7D"}},
        {"name": "fork", "if": PRESENT, "then": [{"name": "end", "stop": "nothing to do"}], "else": []},
        {"name": "ask", "approve": {"role": "approver", "at_most": "P2D", "on_timeout": "stop"}},
        {"name": "plan", "do": "stripe.change_plan", "with": {"price": "price_1", "unknown": {"deep": [1]}}},
        {"name": "end-2", "stop": "done"},
    ],
    "stop_when": [
        {"event": ["invoice.paid", "invoice.voided"], "same": "invoice"},
        {"event": ["customer.subscription.deleted"], "same": "subscription"},
    ],
    "undo": {"on": ["invoice.paid"], "same": "invoice", "within": "P60D"},
    "limits": {"runs": 25, "money": {"usd": 500000, "jpy": 70000}, "per": "P1D"},
    "money": "data.object.amount_remaining",
    "caps": [{"tag": "email", "at_most": 1, "per": "P1D"}],
    "hours": {"days": ["mon"], "from": "09:00", "to": "18:00", "zone": "account", "applies_to": ["crm"]},
    "holdout": 0.1,
    "examples": [{"given": ["evt_1"], "then": "fires"}],
}


def form(document: Any, currency: str = "usd") -> Any:
    return form_of(document, KIND, currency)


def there_and_back(document: Any, currency: str = "usd") -> Any:
    return document_of(form(document, currency), KIND, ACTIONS)


# ---- strategies -----------------------------------------------------------------------------------------------------
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TYPES = st.sampled_from(["invoice.payment_failed", "invoice.paid", "customer.subscription.updated", "no.such_type"])
FIELDS = st.sampled_from(
    [
        "data.object.amount_remaining",
        "data.object.status",
        "data.object.attempted",
        "data.object.due_date",
        "created",
        "x",
    ]
)
SPANS = st.sampled_from(["P7D", "PT48H", "P1DT12H", "P2W", "PT90M", "PT45S", "P0D", "", "abc", "PxD"])
SCALARS = st.one_of(TEXTS, st.integers(-(10**9), 10**9), st.booleans(), st.floats(-1e6, 1e6), st.none())
OPERATORS = st.sampled_from(
    ["equal to", "less than", "one of", "between", "is present", "in the last", "contains", "changed to", "no operator"]
)
NUMBERS = st.one_of(st.integers(-(10**9), 10**9), st.floats(-1e6, 1e6), st.booleans(), TEXTS)
OTHERS = st.fixed_dictionaries({"field": st.one_of(FIELDS, TEXTS)}, optional={"times": NUMBERS, "plus": NUMBERS})
TESTS = st.fixed_dictionaries(
    {"field": FIELDS, "is": OPERATORS},
    optional={"value": st.one_of(SCALARS, SPANS, OTHERS, st.lists(SCALARS, max_size=3))},
)
CONDITIONS = st.recursive(
    TESTS,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"all": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"any": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=6,
)
WHENS = st.fixed_dictionaries(
    {"event": st.lists(TYPES, max_size=3)},
    optional={
        "at_least": st.one_of(st.integers(0, 9), TEXTS),
        "within": SPANS,
        "same": st.sampled_from(["customer", "subscription", "data.object.number"]),
        "counting": st.sampled_from(["events", "data.object.id"]),
        "first": st.booleans(),
        "then": st.fixed_dictionaries({"event": st.lists(TYPES, max_size=2), "within": SPANS}),
        "and_not": st.fixed_dictionaries({"event": st.lists(TYPES, min_size=1, max_size=1), "within": SPANS}),
        "start_again_after": st.lists(TYPES, max_size=2),
        "ignore_own": st.booleans(),
        "bogus": SCALARS,
    },
)
STOPS = st.fixed_dictionaries({"event": st.lists(TYPES, max_size=3), "same": st.sampled_from(["invoice", "customer"])})
WAITS = st.one_of(
    st.fixed_dictionaries({"for": SPANS}, optional={"in_hours": st.booleans()}),
    st.fixed_dictionaries({"until": TEXTS}, optional={"minus": SPANS, "in_hours": st.booleans()}),
    st.fixed_dictionaries({"for_event": st.lists(STOPS, max_size=2)}, optional={"at_most": SPANS}),
)
FLAT = st.one_of(
    st.fixed_dictionaries(
        {"name": TEXTS, "do": st.sampled_from([*sorted(ACTIONS), "no.action"])},
        optional={
            "with": st.dictionaries(st.sampled_from(["price", "stage", "connection", "proration", "other"]), SCALARS),
            "on_failure": st.sampled_from(["stop", "continue", "person"]),
        },
    ),
    st.fixed_dictionaries({"name": TEXTS, "wait": WAITS}),
    st.fixed_dictionaries({"name": TEXTS, "stop": TEXTS}),
    st.fixed_dictionaries(
        {
            "name": TEXTS,
            "approve": st.fixed_dictionaries(
                {"role": TEXTS}, optional={"at_most": SPANS, "on_timeout": st.sampled_from(["stop", "continue"])}
            ),
        },
        optional={"if": CONDITIONS},
    ),
)
STEPS = st.recursive(
    FLAT,
    lambda inner: st.fixed_dictionaries(
        {"name": TEXTS, "if": CONDITIONS, "then": st.lists(inner, max_size=2)},
        optional={"else": st.lists(inner, max_size=2)},
    ),
    max_leaves=4,
)
UNDO = st.fixed_dictionaries({"on": st.lists(TYPES, max_size=2), "same": TEXTS, "within": SPANS})
CAPS = st.lists(st.fixed_dictionaries({"tag": TEXTS, "at_most": st.one_of(st.integers(0, 9), TEXTS), "per": SPANS}),
                max_size=2)  # fmt: skip
HOURS = st.fixed_dictionaries(
    {
        "days": st.lists(st.sampled_from(["mon", "tue", "sun"]), max_size=3),
        "from": st.sampled_from(["09:00", "x"]),
        "to": TEXTS,
        "zone": st.sampled_from(["account", "Europe/Berlin"]),
        "applies_to": st.lists(st.sampled_from(["email", "crm", "stripe.refund"]), max_size=2),
    },
    optional={"not_on": st.lists(st.sampled_from(["2026-12-25", "soon"]), max_size=2)},
)
AGAIN = st.fixed_dictionaries({}, optional={"while_open": st.booleans(), "after": st.one_of(SPANS, st.none())})
DOCUMENTS = st.fixed_dictionaries(
    {"name": TEXTS},
    optional={
        "why": TEXTS,
        "tags": st.lists(TEXTS, max_size=2),
        "when": WHENS,
        "only_if": CONDITIONS,
        "never_for": st.fixed_dictionaries({}, optional={"lists": st.lists(TEXTS, max_size=2), "bogus": SCALARS}),
        "again": st.fixed_dictionaries(
            {}, optional={"while_open": st.booleans(), "after": st.one_of(SPANS, st.none())}
        ),
        "steps": st.lists(STEPS, max_size=3),
        "stop_when": st.lists(STOPS, max_size=2),
        "undo": UNDO,
        "caps": CAPS,
        "hours": HOURS,
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "runs": st.integers(0, 99),
                "money": st.dictionaries(st.sampled_from(["usd", "jpy"]), st.integers(0, 10**7)),
                "per": SPANS,
            },
        ),
    },
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))
PARTS = ["name", "why", "when", "only_if", "never_for", "again", "steps", "stop_when", "limits", "tags", "undo", "caps"]
SECTIONS = st.sampled_from([*PARTS, "hours"])


# ---- document -> form -> document -----------------------------------------------------------------------------------
@QUICK
@given(DOCUMENTS)
def test_a_document_that_nobody_touched_comes_back_key_for_key(document: Any) -> None:
    assert there_and_back(document) == document
    assert list(there_and_back(document)) == list(document)


@QUICK
@given(st.dictionaries(SECTIONS, JSON))
def test_any_json_has_a_form_and_comes_back(document: Any) -> None:
    assert there_and_back(document) == document


def test_a_document_with_every_construct_comes_back() -> None:
    assert there_and_back(EVERYTHING) == EVERYTHING


@pytest.mark.parametrize("starter", starters(), ids=lambda starter: starter["id"])
def test_a_starter_comes_back(starter: dict[str, Any]) -> None:
    assert there_and_back(starter) == starter


def test_touching_one_row_leaves_the_others_verbatim() -> None:
    found = form(EVERYTHING)
    found["only_if"][1][0]["value"] = "3"

    changed = document_of(found, KIND, ACTIONS)

    expected = copy.deepcopy(EVERYTHING)
    expected["only_if"]["all"][1]["value"] = 3
    assert changed == expected


def test_touching_one_step_leaves_the_others_and_its_unknown_parameters() -> None:
    found = form(EVERYTHING)
    found["steps"][6]["with"]["price"] = "price_2"

    expected = copy.deepcopy(EVERYTHING)
    expected["steps"][6]["with"]["price"] = "price_2"
    assert document_of(found, KIND, ACTIONS) == expected


def test_touching_the_event_keeps_a_window_that_the_form_cannot_show() -> None:
    found = form(EVERYTHING)
    found["when"]["event"] = ["invoice.payment_failed"]

    when = document_of(found, KIND, ACTIONS)["when"]

    assert when["aggregate"] == EVERYTHING["when"]["aggregate"]
    assert when["within"] == "P1DT12H"
    assert when["ignore_own"] is False


def kept_parts(found: Any) -> list[Any]:
    """What of a form is shown only, because it is in a shape that the form has not."""
    if isinstance(found, dict):
        mine = [found["was"]] if found.get("kept") or found.get("kind") == "kept" else []
        return mine + [part for key, one in found.items() if key not in ("was", "base") for part in kept_parts(one)]
    return [part for one in found for part in kept_parts(one)] if isinstance(found, list) else []


@pytest.mark.parametrize("starter", starters(), ids=lambda starter: starter["id"])
def test_every_part_of_a_starter_is_edited_as_sentences(starter: dict[str, Any]) -> None:
    found = form(starter)
    assert kept_parts(found) == []
    assert all(found[key] is not None for key in ("tags", "undo", "caps", "hours", "stop_when"))


def starter(id: str) -> dict[str, Any]:
    return next(copy.deepcopy(one) for one in starters() if one["id"] == id)


def test_what_holds_together_within_an_alternative_is_edited_in_the_form() -> None:
    found = form(starter("cancellation-scheduled"))
    assert [row["joint"] for row in found["only_if"][0]] == ["", "and", "", "and"]
    found["only_if"][0][3]["joint"] = ""
    found = presses.press(found, "remove:only_if-0-1")

    before = starter("cancellation-scheduled")["only_if"]["all"][0]["any"]
    ways = document_of(found, KIND, ACTIONS)["only_if"]["all"][0]["any"]
    assert ways == [before[0]["all"][0], *before[1]["all"]]


def test_another_field_times_or_plus_a_number_is_edited_in_the_form() -> None:
    found = form(starter("contraction"))
    percent, amount = found["only_if"][2]
    assert (percent["is"], percent["unit"], percent["second"]) == ("less or equal to the field", "times", "0.9")
    assert (amount["value"], amount["unit"], amount["second"]) == ("fact.subscription.mrr_before", "plus", "-100.00")
    percent["second"], amount["second"] = "0.75", "-250"

    expected = starter("contraction")
    either = expected["only_if"]["all"][2]["any"]
    either[0]["value"]["times"], either[1]["value"]["plus"] = 0.75, -25000
    assert document_of(found, KIND, ACTIONS) == expected
    percent["unit"] = ""
    either[0]["value"] = {"field": "fact.subscription.mrr_before"}
    assert document_of(found, KIND, ACTIONS) == expected


@QUICK
@given(st.lists(st.lists(TESTS, min_size=1, max_size=3), min_size=1, max_size=3))
def test_alternatives_are_typed_as_they_are_shown(ways: list[list[Any]]) -> None:
    joined = [way[0] if len(way) == 1 else {"all": way} for way in ways]
    document = {"only_if": {"all": [joined[0] if len(joined) == 1 else {"any": joined}, PRESENT]}}
    found = form(document)
    found["only_if"][1][0]["field"] = "data.object.number"  # so that the section is written anew

    changed = document_of(found, KIND, ACTIONS)["only_if"]["all"]

    assert changed == [document["only_if"]["all"][0], {**PRESENT, "field": "data.object.number"}]


def ladder() -> dict[str, Any]:
    return next(copy.deepcopy(one) for one in starters() if one["id"] == "dunning-ladder")


def test_the_ladders_condition_branches_caps_tags_and_undo_are_edited_in_the_form() -> None:
    found = form(ladder())
    found["only_if"][3][0]["not"] = ""
    branch = found["steps"][3]
    branch["if"][0][0]["value"] = "branch"
    branch["then"][1]["with"]["reason"] = "Not paid"
    found = presses.press(found, "into:steps-3.else=stop")
    found = presses.press(found, "down:steps-3.then-0")
    found["tags"] = "dunning, late"
    found["caps"][0]["at_most"] = "2"
    found["undo"]["n"] = "30"

    changed = document_of(found, KIND, ACTIONS)

    expected = ladder()
    expected["only_if"]["all"][3] = expected["only_if"]["all"][3]["not"]
    unpaid = expected["steps"][3]
    unpaid["if"]["not"]["value"] = "branch"
    unpaid["then"][1]["with"]["reason"] = "Not paid"
    unpaid["then"][0], unpaid["then"][1] = unpaid["then"][1], unpaid["then"][0]
    unpaid["else"] = [{"name": "stop", "stop": ""}]
    expected["tags"], expected["undo"]["within"] = ["dunning", "late"], "P30D"
    expected["caps"][0]["at_most"] = 2
    assert changed == expected


def test_a_branch_is_built_from_nothing_with_presses() -> None:
    found = form({"when": {"event": ["invoice.payment_failed"]}, "steps": []})
    for button in ("add:step-if", "into:steps-0.then=crm.notify", "into:steps-0.then=if", "into:steps-0.if",
                   "into:steps-0.if-1", "into:steps-0.then-1.else=wait", "add:undo", "add:cap"):  # fmt: skip
        found = presses.press(found, button)
    assert [len(group) for group in found["steps"][0]["if"]] == [1, 2]
    names = [step["name"] for step in presses.every_step(found["steps"])]
    assert names == ["if", "notify", "if-2", "wait"]
    found["undo"]["on"] = ["invoice.paid"]
    found["steps"][0]["if"][0][0] |= {"field": "data.object.attempted", "is": "is true", "not": "yes"}
    changed = document_of(found, KIND, ACTIONS)
    assert changed["steps"][0]["if"]["all"][0] == {"not": {"field": "data.object.attempted", "is": "is true"}}
    assert changed["steps"][0]["then"][1]["else"] == [{"name": "wait", "wait": {"for": "PT48H"}}]
    assert changed["caps"] == [{"tag": "email", "at_most": 1, "per": "P1D"}]
    assert changed["undo"] == {"on": ["invoice.paid"], "same": "customer", "within": "P60D"}
    gone = presses.press(found, "remove:steps-0.then-1.else-0")
    assert "else" not in document_of(gone, KIND, ACTIONS)["steps"][0]["then"][1]
    assert presses.press(found, "remove:steps-0.if-1-1")["steps"][0]["if"][1] == found["steps"][0]["if"][1][:1]


@pytest.mark.parametrize(
    ("typed_as", "wait"),
    [
        ({"ends": "until", "until": "data.object.due_date", "n": "3", "unit": "days"},
         {"until": "data.object.due_date", "minus": "P3D"}),
        ({"ends": "until", "until": "data.object.due_date", "n": ""}, {"until": "data.object.due_date"}),
        ({"ends": "event", "events": [{"event": "invoice.paid", "same": "invoice"}], "n": "7", "unit": "days"},
         {"for_event": [{"event": ["invoice.paid"], "same": "invoice"}], "at_most": "P7D"}),
        ({"ends": "for", "n": "2", "in_hours": "yes"}, {"for": "PT2H", "in_hours": True}),
    ],
)  # fmt: skip
def test_every_kind_of_wait_is_typed(typed_as: dict[str, Any], wait: dict[str, Any]) -> None:
    found = presses.press(form({"steps": []}), "add:step-wait")
    found["steps"][0] |= typed_as
    assert document_of(found, KIND, ACTIONS)["steps"][0]["wait"] == wait


def test_an_approval_and_hours_are_typed() -> None:
    found = presses.press(form({"steps": []}), "add:step-approve")
    found["steps"][0] |= {"role": "lead", "n": "", "on_timeout": "continue"}
    found["hours"] |= {"use": "yes", "not_on": "2026-12-25 2027-01-01", "applies_to": ["email"]}
    changed = document_of(found, KIND, ACTIONS)
    assert changed["steps"][0] == {"name": "approve", "approve": {"role": "lead", "on_timeout": "continue"}}
    assert changed["hours"]["not_on"] == ["2026-12-25", "2027-01-01"]
    found["hours"]["use"] = ""
    assert "hours" not in document_of(found, KIND, ACTIONS)


# ---- form -> document -> form ---------------------------------------------------------------------------------------
@QUICK
@given(DOCUMENTS, st.data())
def test_what_is_typed_is_shown_again(document: Any, data: st.DataObject) -> None:
    found = form({**document, "when": {"event": ["invoice.payment_failed"], **document.get("when", {})}})
    when = found["when"]
    if when["mode"] == "count":
        when["at_least"], when["n"] = str(data.draw(st.integers(1, 9))), str(data.draw(st.integers(1, 90)))
    found["name"] = data.draw(TEXTS)
    found["again"] = {"mode": "after", "n": str(data.draw(st.integers(1, 90))), "unit": "days"}
    found["limits"]["runs"] = str(data.draw(st.integers(1, 90)))

    shown = form(document_of(found, KIND, ACTIONS))

    for section in ("name", "when", "again"):
        assert shown[section] == found[section]
    assert shown["limits"]["runs"] == found["limits"]["runs"]


# ---- what was typed -------------------------------------------------------------------------------------------------
def typed(fields: dict[str, str], base: dict[str, Any] | None = None) -> dict[str, Any]:
    sent = {name: [value] for name, value in fields.items()} | {"base": [json.dumps(base or {})]}
    return document_of(refreshed(read.read(sent), KIND), KIND, ACTIONS)


def row(field: str, operator: str, value: str, **more: str) -> dict[str, str]:
    start = "only_if-0-0"
    return {
        f"{start}.was": "null",
        f"{start}.field": field,
        f"{start}.is": operator,
        f"{start}.value": value,
        "when.event-0": "An invoice payment fails · invoice.payment_failed",
        **{f"{start}.{name}": text for name, text in more.items()},
    }


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        (row("Amount due · data.object.amount_due", "greater than", "$1,200.50"), 120050),
        (row("data.object.amount_due", "greater than", "much"), "much"),
        (row("data.object.amount_due", "between", "10", second="20"), [1000, 2000]),
        (row("data.object.attempt_count", "equal to", "2"), 2),
        (row("data.object.status", "one of", "open, paid"), ["open", "paid"]),
        (row("data.object.status", "equal to", "open"), "open"),
        (row("data.object.due_date", "in the last", "48", unit="hours"), "PT48H"),
        (row("data.object.due_date", "before", "2026-11-23"), "2026-11-23"),
        (row("data.object.metadata.seats", "equal to", "5"), "5"),
        (
            row("data.object.amount_due", "less than the field", "Total · data.object.total"),
            {"field": "data.object.total"},
        ),
        (
            row("data.object.amount_due", "less than the field", "data.object.total", unit="plus", second="5"),
            {"field": "data.object.total", "plus": 500},
        ),
        (
            row("data.object.amount_due", "less than the field", "data.object.total", unit="times", second="much"),
            {"field": "data.object.total", "times": "much"},
        ),
    ],
)
def test_a_value_is_read_as_its_field_means_it(fields: dict[str, str], value: Any) -> None:
    assert typed(fields)["only_if"]["all"][0]["value"] == value


def test_amounts_are_typed_in_the_currency_that_the_form_shows() -> None:
    fields = row("data.object.amount_due", "greater than", "500") | {"currency": "jpy"}
    assert typed(fields)["only_if"]["all"][0]["value"] == 500


def test_an_operator_that_needs_no_value_gets_none() -> None:
    assert "value" not in typed(row("data.object.status", "is absent", "left over"))["only_if"]["all"][0]


def test_a_picked_event_is_its_type() -> None:
    assert typed({"when.event-0": "An invoice payment fails · invoice.payment_failed"})["when"]["event"] == [
        "invoice.payment_failed"
    ]


def test_choosing_a_window_brings_two_within_seven_days() -> None:
    when = typed({"when.event-0": "invoice.payment_failed", "when.mode": "count", "when.same": "subscription"})["when"]
    assert (when["at_least"], when["within"], when["same"]) == (2, "P7D", "subscription")


def test_stops_of_one_subject_stand_together() -> None:
    rows = {"invoice.paid": "invoice", "invoice.voided": "invoice", "customer.subscription.deleted": "subscription"}
    fields = {}
    for at, (event, same) in enumerate(rows.items()):
        fields |= {f"stop_when-{at}.event": event, f"stop_when-{at}.same": same}
    assert typed(fields)["stop_when"] == [
        {"event": ["invoice.paid", "invoice.voided"], "same": "invoice"},
        {"event": ["customer.subscription.deleted"], "same": "subscription"},
    ]


def test_a_limit_in_money_is_in_minor_units() -> None:
    fields = {"limits.runs": "25", "limits-0.amount": "5,000", "limits-0.currency": "usd", "limits-1.amount": ""}
    assert typed(fields)["limits"] == {"runs": 25, "money": {"usd": 500000}}


def test_leaving_a_limit_empty_takes_it_away() -> None:
    assert "limits" not in typed({"limits.runs": ""}, {"limits": {"runs": 5}})


# ---- presses --------------------------------------------------------------------------------------------------------
def test_a_condition_can_be_added_or_ed_and_removed() -> None:
    found = form(EVERYTHING)
    groups = len(found["only_if"])
    added = presses.press(found, "add:test")
    ored = presses.press(added, "add:or-0")

    assert len(added["only_if"]) == groups + 1
    assert len(ored["only_if"][0]) == 2
    assert len(presses.press(ored, "remove:only_if-0-1")["only_if"][0]) == 1
    assert len(presses.press(found, "remove:only_if-0-0")["only_if"]) == groups - 1


def test_a_step_moves_with_all_it_holds() -> None:
    moved = document_of(presses.press(form(EVERYTHING), "up:steps-4"), KIND, ACTIONS)
    names = [step["name"] for step in EVERYTHING["steps"]]
    names[3], names[4] = names[4], names[3]
    assert [step["name"] for step in moved["steps"]] == names
    assert moved["steps"][3] == EVERYTHING["steps"][4]


def test_a_new_step_gets_a_name_of_its_own() -> None:
    once = presses.press(form({"steps": []}), "add:step-crm.notify")
    twice = presses.press(once, "add:step-crm.notify")
    assert [step["name"] for step in twice["steps"]] == ["notify", "notify-2"]


@QUICK
@given(st.text(max_size=30), st.sampled_from(["add", "remove", "up", "down", "no"]))
def test_a_press_that_means_nothing_breaks_nothing(place: str, verb: str) -> None:
    pressed = presses.press(form(EVERYTHING), f"{verb}:{place}")
    assert document_of(pressed, KIND, ACTIONS)["id"] == "every-construct"


def test_a_press_leaves_the_given_form_alone() -> None:
    found = form(EVERYTHING)
    before = copy.deepcopy(found)
    presses.press(found, "remove:steps-0")
    assert found == before


# ---- problems beside fields -----------------------------------------------------------------------------------------
def placed(document: dict[str, Any]) -> dict[str, list[str]]:
    found = form(document)
    problems = check(document_of(found, KIND, ACTIONS), CATALOGUE, ACTIONS)
    return {id: [one.path for one in ones] for id, ones in beside(problems, spots(found, document)).items()}


def test_each_problem_stands_beside_its_field() -> None:
    document = {
        "id": "x",
        "name": "",
        "when": {"event": ["invoice.payment_failde"], "at_least": "two", "within": "7 days", "same": "subscription"},
        "only_if": {"all": [PRESENT, {"any": [PRESENT, {"field": "data.object.amont", "is": "equal to", "value": 1}]}]},
        "steps": [{"name": "a b", "do": "crm.notify", "with": {"connection": "crm", "colour": "red"}}],
        "stop_when": [{"event": ["invoice.paid", "invoice.payed"], "same": "invoice"}],
        "limits": {"runs": "many"},
    }
    found = placed(document)
    for id, path in {
        "name": "name",
        "when-event-0": "when.event[0]",
        "when-at_least": "when.at_least",
        "when-n": "when.within",
        "stop_when-1-event": "stop_when[0].event[1]",
        "limits-runs": "limits.runs",
    }.items():
        assert path in found.get(id, []), (id, found)


def test_a_problem_in_a_lone_condition_finds_its_row() -> None:
    found = placed({"when": {"event": ["invoice.paid"]}, "only_if": {"field": "data.object.amont", "is": "is present"}})
    assert found["only_if-0-0-field"] == ["only_if.field"]


def test_a_problem_inside_a_branch_stands_beside_its_field() -> None:
    document = ladder()
    document["steps"][3]["if"]["not"]["field"] = "step.nowhere.state"
    document["steps"][3]["then"][0]["with"]["colour"] = "red"
    document["steps"][3]["then"][2]["with"]["due"] = 1
    found = placed(document)
    assert found["steps-3-if-0-0-field"] == ["steps[3].if.not.field"]
    assert found["steps-3-then-0-with-price"] == ["steps[3].then[0].with.price"]


def test_a_problem_of_another_field_or_its_number_stands_beside_it() -> None:
    document = starter("contraction")
    rows = document["only_if"]["all"][2]["any"]
    rows[0]["value"]["field"], rows[1]["value"]["plus"] = "data.object.nowhere", "much"
    document["only_if"]["all"].append({"any": [PRESENT, {"all": [PRESENT, {"field": "data.object.amont", "is": "x"}]}]})
    found = placed(document)
    assert found["only_if-2-0-value"] == ["only_if.all[2].any[0].value.field"]
    assert found["only_if-2-1-second"] == ["only_if.all[2].any[1].value.plus"]
    assert "only_if.all[3].any[1].all[1].field" in found["only_if-3-2-field"]


def test_a_problem_of_no_field_stands_at_the_top() -> None:
    assert list(beside([Problem("bogus", "unknown key")], spots(form({}), {}))) == [""]


# ---- taking a suggestion --------------------------------------------------------------------------------------------
def test_a_suggestion_is_taken_where_its_problem_is() -> None:
    document = {"only_if": {"all": [{"field": "data.object.amont", "is": "equal to", "value": "500"}]}}
    used = presses.use(document, "only_if.all[0].field", "data.object.amount_due")
    assert used["only_if"]["all"][0]["field"] == "data.object.amount_due"
    assert presses.use(document, "only_if.all[0].value", "500")["only_if"]["all"][0]["value"] == 500
    assert presses.use(document, "only_if.all[0].is", "is present")["only_if"]["all"][0] == {
        "field": "data.object.amont",
        "is": "is present",
    }
    assert presses.rename({"nmae": "x", "id": "y"}, "nmae", "name") == {"name": "x", "id": "y"}


@QUICK
@given(st.dictionaries(SECTIONS, JSON), st.text(max_size=20))
def test_a_suggestion_for_nowhere_changes_nothing_it_should_not(document: dict[str, Any], path: str) -> None:
    before = copy.deepcopy(document)
    presses.use(document, path, "x")
    presses.rename(document, path, "x")
    assert document == before


# ---- values ---------------------------------------------------------------------------------------------------------
@QUICK
@given(st.integers(-(10**12), 10**12), st.sampled_from(["usd", "jpy", "kwd"]))
def test_money_is_read_as_it_is_shown(minor: int, currency: str) -> None:
    assert money_meant(money_shown(minor, currency), currency) == minor


@pytest.mark.parametrize("text", ["12.345", "ten", "1e400", "nan", "", "-"])
def test_what_is_no_amount_stays_text(text: str) -> None:
    assert money_meant(text, "usd") == text


@QUICK
@given(st.integers(1, 10**6), st.sampled_from(["seconds", "minutes", "hours", "days"]))
def test_a_span_is_read_as_it_is_shown(number: int, unit: str) -> None:
    assert span_shown(span_meant(str(number), unit)) == (str(number), unit)


def test_numbers_may_have_separators() -> None:
    assert [number_meant(text) for text in ("1,200", "1200", "1.5", "1,2", "x")] == [1200, 1200, 1.5, "1,2", "x"]


def test_operators_fit_the_field_and_keep_what_is_set() -> None:
    assert "greater than" in operators(Kind("money"), "")
    assert "greater than" not in operators(Kind("text"), "")
    assert "changed" not in operators(Kind("text"), "", updated=False)
    assert operators(Kind("boolean"), "matches")[-1] == "matches"
    assert "matches" not in operators(Kind("text"), "", personal=True)
