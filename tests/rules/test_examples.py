"""Saved examples: what can be given, what is said of each, and that they are held against the real decision."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules import skeletons
from rules.catalogue import Catalogue
from rules.event import Event, seconds
from rules.example import ANCHOR, ANSWERS, personal_in
from rules.examples import check_examples, recorded_in, standing
from rules.rehearsal import Rehearsal
from rules.rule import check, parse
from rules.subjects import keys_of, partition_of
from tests.rules.histories import CONDITIONS, DO, SUBJECTS, histories, rules, whens
from tests.rules.naive_history import matches

CATALOGUE = Catalogue.load()
Document = dict[str, Any]
TWICE: Document = {
    "id": "twice",
    "name": "Twice",
    "when": {
        "event": ["invoice.payment_failed"],
        "at_least": 2,
        "within": "P7D",
        "same": "subscription",
        "start_again_after": ["invoice.paid"],
    },
    "only_if": {"all": [{"field": "data.object.amount_remaining", "is": "greater than", "value": 0}]},
    "never_for": {"lists": ["contracts"]},
    "again": {"while_open": False, "after": "P30D"},
    "steps": [
        {"name": "tell", "do": "crm.notify", "with": {"connection": "crm"}},
        {"name": "two-days", "wait": {"for": "PT48H"}},
        {"name": "pay", "do": "stripe.pay_invoice", "on_failure": "continue"},
        {
            "name": "declined",
            "if": {"field": "step.pay.state", "is": "equal to", "value": "branch"},
            "then": [{"name": "last", "wait": {"for": "P3D"}}],
        },
    ],
    "stop_when": [{"event": ["invoice.paid"], "same": "invoice"}],
    "undo": {"on": ["invoice.voided"], "same": "invoice", "within": "P60D"},
}
FAILED = "invoice.payment_failed"


def results(*examples: Document, recorded: dict[str, Event] | None = None, **more: Any) -> list[Any]:
    document = {**TWICE, **more, "examples": list(examples)}
    assert [one for one in check(document, CATALOGUE, None) if one.severity == "error"] == []
    return check_examples(parse(document, CATALOGUE), CATALOGUE, recorded)


def result(*given: Any, recorded: dict[str, Event] | None = None, **more: Any) -> Any:
    return results({"given": list(given), "then": "fires", **more}, recorded=recorded)[0]


# ---- what happens ---------------------------------------------------------------------------------------------------
def test_an_example_that_is_as_it_says_holds() -> None:
    found = result(f"{FAILED} P-6D", FAILED)
    assert found.holds
    assert found.gate is None
    assert found.stands == "two-days"
    assert "for the 2nd time in 6 days" in found.happened


def test_one_that_is_not_says_what_was_expected_and_why_it_is_not_so() -> None:
    found = result(f"{FAILED} P-9D", FAILED)
    assert not found.holds
    assert found.expected == "It should fire."
    assert found.happened.startswith("It does not fire: 1 of 2 within 7 days")
    assert found.problem().path == "examples[0]"
    assert found.tree["true"] is True


@pytest.mark.parametrize(
    ("gate", "given"),
    [
        ("window", [f"{FAILED} P-9D", FAILED]),
        ("condition", [f"{FAILED} P-6D", f"{FAILED} data.object.amount_remaining=0"]),
        ("key", [{"type": FAILED, "set": {"data.object.parent": None}}]),
        ("own", [f"{FAILED} P-6D", {"type": FAILED, "ours": True}]),
        ("reset", [f"{FAILED} P-6D", "invoice.paid"]),
        ("event", ["invoice.voided"]),
    ],
)
def test_it_does_not_fire_for_the_reason_that_is_named(gate: str, given: list[Any]) -> None:
    assert result(*given, then="does not fire", because=gate).holds
    other = "window" if gate != "window" else "condition"
    wrong = result(*given, then="does not fire", because=other)
    assert not wrong.holds
    assert other in wrong.expected


def test_words_for_people_are_held_against_nothing() -> None:
    assert result(FAILED, then="does not fire", because="once is a hiccup").holds


def test_whoever_is_on_a_list_that_the_rule_leaves_out_is_left_out() -> None:
    found = result(f"{FAILED} P-1D", FAILED, then="does not fire", because="never_for", on_lists=["contracts"])
    assert found.holds


def test_the_holdout_is_left_out_of_examples() -> None:
    example = {"given": [f"{FAILED} P-6D", FAILED], "then": "fires"}
    assert results(example, holdout=1.0)[0].holds


def test_a_third_failure_within_the_span_starts_no_second_run() -> None:
    found = result(f"{FAILED} P-6D", f"{FAILED} P-1D", FAILED)
    assert found.holds
    assert len(found.story) == 3  # of the one run: begun, told, waiting


# ---- where the run stands -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("after", "stands", "more"),
    [
        (None, "two-days", {}),
        ("PT47H", "two-days", {}),
        ("PT48H", "done", {}),
        ("PT48H", "last", {"answers": {"pay": "branch"}}),
        ("P5D", "done", {"answers": {"pay": "branch"}}),
        ("PT48H", "done", {"answers": {"pay": "dead"}}),
    ],
)
def test_the_run_stands_where_time_and_answers_have_brought_it(after: str | None, stands: str, more: Any) -> None:
    assert result(f"{FAILED} P-6D", FAILED, after=after, stands=stands, **more).holds
    wrong = result(f"{FAILED} P-6D", FAILED, after=after, stands="stopped", **more)
    assert not wrong.holds
    assert stands in wrong.happened


def test_an_event_after_the_trigger_stops_it() -> None:
    assert result(f"{FAILED} P-6D", FAILED, "invoice.paid P1D", after="P2D", stands="stopped").holds


def test_what_comes_after_the_moment_that_is_looked_at_has_not_come() -> None:
    given = [f"{FAILED} P-6D", FAILED, "invoice.paid P1D"]
    assert result(*given, after="PT23H", stands="two-days").holds
    assert result(*given, after="PT24H", stands="stopped").holds


def test_one_for_another_invoice_does_not() -> None:
    paid = {"type": "invoice.paid", "in": "P1D", "invoice": "in_other"}
    assert result(f"{FAILED} P-6D", FAILED, paid, after="P1D", stands="two-days").holds


def test_what_was_done_is_taken_back_when_its_event_comes() -> None:
    assert result(f"{FAILED} P-6D", FAILED, "invoice.voided P3D", after="P4D", stands="undone").holds


def test_an_absence_is_decided_at_its_deadline() -> None:
    when = {
        "event": ["customer.subscription.trial_will_end"],
        "and_not": {"event": ["payment_method.attached"], "within": "P2D"},
        "same": "customer",
    }
    given = ["customer.subscription.trial_will_end"]
    more = {"when": when, "only_if": {"all": []}, "undo": None, "stop_when": []}
    assert results({"given": given, "then": "fires"}, **more)[0].holds
    assert results({"given": given, "then": "does not fire", "after": "P1D"}, **more)[0].holds
    assert results({"given": [*given, "payment_method.attached P1D"], "then": "does not fire"}, **more)[0].holds


# ---- what can be given ----------------------------------------------------------------------------------------------
def test_a_field_is_set_in_the_text_or_in_the_object() -> None:
    text = f'{FAILED} P-6D subscription=sub_2 data.object.amount_remaining=5 data.object.description="two words"'
    whole = {
        "type": FAILED,
        "ago": "P6D",
        "subscription": "sub_2",
        "set": {"data.object.amount_remaining": 5, "data.object.description": "two words"},
    }
    both = [result(one, {"type": FAILED, "subscription": "sub_2"}) for one in (text, whole)]
    assert both[0] == both[1]
    assert both[0].holds


def test_a_span_in_a_field_of_time_counts_from_the_event() -> None:
    overdue = {
        "when": {"event": ["invoice.overdue"], "same": "invoice"},
        "only_if": {"field": "data.object.due_date", "is": "in the last", "value": "P2D"},
        "undo": None,
    }
    for due, then in (("P-1D", "fires"), ("P-3D", "does not fire"), ("2026-11-22", "fires"), (ANCHOR, "fires")):
        given = [{"type": "invoice.overdue", "set": {"data.object.due_date": due}}]
        assert results({"given": given, "then": then}, **overdue)[0].holds, due


def test_at_says_what_the_spans_count_from() -> None:
    (found,) = results({"given": [f"{FAILED} P-6D", FAILED], "at": "2026-03-01", "then": "fires"})
    assert found.story[0]["at"].startswith("2026-03-01T00:00:00")


def test_a_list_is_reached_by_its_place() -> None:
    rule = {
        "when": {"event": ["customer.subscription.updated"], "same": "subscription"},
        "only_if": {
            "field": "data.object.items.data",
            "is": "any item",
            "where": {"field": "quantity", "is": "equal to", "value": 7},
        },
        "undo": None,
        "stop_when": [],
    }
    given = ["customer.subscription.updated data.object.items.data.0.quantity=7"]
    assert results({"given": given, "then": "fires"}, **rule)[0].holds


def test_whole_events_and_events_of_the_log_are_given_as_they_are() -> None:
    first = skeletons.envelope("evt_1", FAILED, 1_800_000_000, {})
    second = skeletons.envelope("evt_2", FAILED, 1_800_086_400, {})
    keys = keys_of(second, "default")
    event = Event(
        "evt_2", FAILED, "default/live", 1_800_086_400, seconds(1_800_090_000), second, "in_example",
        partition_of(keys), keys, source="import",
    )  # fmt: skip
    assert result(first, "evt_2", recorded={"evt_2": event}).holds
    missing = result(first, "evt_2")
    assert not missing.holds
    assert missing.happened == "There is no event evt_2 here."
    assert recorded_in({"examples": [{"given": [first, "evt_2", f"{FAILED} P-1D"]}]}) == ("evt_2",)


def test_an_example_decides_nothing_anew_when_it_is_asked_again() -> None:
    example = {"given": [f"{FAILED} P-6D", FAILED], "then": "fires", "after": "P5D"}
    assert results(example) == results(copy.deepcopy(example))


# ---- what is refused ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("example", "path", "message", "suggestion"),
    [
        ({"given": ["invoice.payment_faild P-1D"]}, "given[0]", "no example can be made of", FAILED),
        ({"given": ["yesterday it failed"]}, "given[0]", "is no event", None),
        ({"given": [f"{FAILED} yesterday"]}, "given[0]", "is no event", f"{FAILED} P-1D"),
        ({"given": [f"{FAILED} P-6"]}, "given[0]", "is no duration", None),
        ({"given": [f"{FAILED} -P-6D"]}, "given[0]", "is no span", None),
        ({"given": [f"{FAILED} data.object.amount_du=1"]}, "given[0]", "unknown field", "data.object.amount_due"),
        ({"given": [f"{FAILED} amount_due=1"]}, "given[0]", "paths begin with data.object", "data.object.amount_due"),
        ({"given": [f"{FAILED} data.object.amount_due=lots"]}, "given[0]", "amount due is a number", None),
        ({"given": [f"{FAILED} data.object.status=opn"]}, "given[0]", "status is never", "open"),
        ({"given": [f"{FAILED} data.object.attempted=1"]}, "given[0]", "attempted is true or false", None),
        ({"given": [f"{FAILED} data.object.customer_email=a@b.com"]}, "given[0]", "is personal", None),
        ({"given": [{"type": FAILED, "charge": "ch_1"}]}, "given[0].charge", "does not say which charge", None),
        ({"given": [{"type": FAILED, "ago": "P1D", "in": "P1D"}]}, "given[0].in", "cannot be combined", None),
        ({"given": [{"type": FAILED, "sets": {}}]}, "given[0].sets", "unknown key", "set"),
        ({"given": [{"id": "evt_1", "data": {}}]}, "given[0].type", "a whole event has its 'type'", None),
        ({"given": [{"type": FAILED, "set": {"data.object.due_date": "soon"}}]}, None, "due date is a time", None),
        ({"given": []}, "given", "at least 1", None),
        ({"then": "fire"}, "then", "is one of", "fires"),
        ({"stands": "tel"}, "stands", "is one of", "tell"),
        ({"then": "does not fire", "stands": "tell"}, "stands", "has no run", None),
        ({"answers": {"two-days": "done"}}, "answers.two-days", "unknown key", None),
        ({"answers": {"pay": "declined"}}, "answers.pay", "is one of", None),
        ({"on_lists": ["contract"]}, "on_lists[0]", "leaves nobody out", "contracts"),
        ({"whenn": 1}, "whenn", "unknown key", None),
    ],
)  # fmt: skip
def test_what_is_no_example_is_refused_at_its_place(
    example: Document, path: str | None, message: str, suggestion: str | None
) -> None:
    document = {**TWICE, "examples": [{"given": [FAILED], "then": "fires", **example}]}
    found = [one for one in check(document, CATALOGUE, None) if one.severity == "error"]
    assert len(found) == 1, found
    assert message in found[0].message
    assert path is None or found[0].path == f"examples[0].{path}"
    assert suggestion is None or found[0].suggestion == suggestion


def test_what_was_published_is_read_without_looking_into_its_examples() -> None:
    assert parse({**TWICE, "examples": [{"given": ["whatever that was"], "then": "fires"}]}).examples


def test_what_is_no_example_any_more_does_not_hold() -> None:
    rule = parse({**TWICE, "examples": [{"given": ["whatever that was"], "then": "fires"}]})
    (found,) = check_examples(rule, CATALOGUE)
    assert not found.holds
    assert "is no event" in found.happened


def test_personal_values_of_examples_are_found_and_tokens_left_alone() -> None:
    whole = skeletons.envelope("evt_1", FAILED, 1, {})
    whole["data"]["object"]["customer_email"] = "ada@example.com"
    values = {"data.object.customer_email": "bob@example.com", "data.object.amount_due": 5}
    document = {"examples": [{"given": [whole, {"type": FAILED, "set": values}, FAILED]}, 5, {"given": 3}]}
    assert sorted(str(at[key]) for at, key in personal_in(document, CATALOGUE)) == [
        "ada@example.com",
        "bob@example.com",
    ]


# ---- facts ----------------------------------------------------------------------------------------------------------
def test_facts_are_folded_from_the_events_that_are_given() -> None:
    rule = {
        "only_if": {"field": "fact.customer.lifetime_paid", "is": "greater or equal to", "value": 2000},
        "when": {"event": [FAILED], "same": "invoice"},
    }
    paid = [{"type": "invoice.paid", "ago": f"P{30 * month}D", "invoice": f"in_{month}"} for month in (1, 2)]
    once, twice = [*paid[:1], FAILED], [*paid, FAILED]
    assert results({"given": once, "then": "does not fire", "because": "condition"}, **rule)[0].holds
    assert results({"given": twice, "then": "fires"}, **rule)[0].holds


def test_a_step_that_asks_for_a_fact_reads_it_when_its_time_has_come() -> None:
    steps = [
        {"name": "two-days", "wait": {"for": "P2D"}},
        {
            "name": "still-open",
            "if": {"field": "fact.invoice.status", "is": "equal to", "value": "open"},
            "then": [{"name": "a-week", "wait": {"for": "P7D"}}],
        },
    ]
    more = {"steps": steps, "stop_when": [], "undo": None, "when": {"event": [FAILED], "same": "invoice"}}
    assert results({"given": [FAILED], "then": "fires", "after": "P3D", "stands": "a-week"}, **more)[0].holds
    given = [FAILED, "invoice.paid P1D"]
    assert results({"given": given, "then": "fires", "after": "P3D", "stands": "done"}, **more)[0].holds


# ---- the real decision ----------------------------------------------------------------------------------------------
EVERY_TIME = {"while_open": True, "after": "PT0S"}


@settings(max_examples=300, deadline=None)
@given(whens(), st.sampled_from(CONDITIONS), histories())
def test_a_rehearsal_begins_a_run_for_every_match_that_the_slow_reference_finds(
    when: Document, only_if: Document, history: list[Event]
) -> None:
    document = {"id": "r", "name": "r", "when": when, "only_if": only_if, "again": EVERY_TIME, "steps": [DO]}
    rehearsal = Rehearsal(parse(document, declared=[same for same in SUBJECTS if same.startswith("data.")]))
    rehearsal.play(history, max(event.created for event in history) + 60)
    began = {run.trigger for run in rehearsal.began if not run.contradicted_by}
    assert began == {trigger for _, trigger in matches(document, history)}


@settings(max_examples=200, deadline=None)
@given(rules(), histories(), st.sampled_from(ANSWERS))
def test_every_rule_can_be_rehearsed_on_every_history_to_its_end(
    documents: list[Document], history: list[Event], answer: str
) -> None:
    declared = [same for same in SUBJECTS if same.startswith("data.")]
    for document in documents:
        rehearsal = Rehearsal(parse(document, declared=declared), answers={"act": answer, "second": answer})
        rehearsal.play(history, max(event.created for event in history) + 10**7)
        assert all(run.state not in ("acting", "waiting", "pending") for run in rehearsal.began)
        assert all(standing(run, rehearsal.version.rule) for run in rehearsal.began)
