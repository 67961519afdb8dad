"""Which tests show what the language means: every row of its table, every operator, and its settled meanings 1 to 13.

A test that is renamed or lost makes a row here fail. `golden:` names a golden history.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from rules.operators import OPERATORS
from rules.schema import rule_schema
from tests.golden.histories import CASES

TESTS = Path(__file__).parents[1]
EVERYWHERE = "rules/test_histories.py::test_of_random_histories"

TABLE: dict[str, tuple[str, ...]] = {
    "when, each time": ("golden:each time is every event", EVERYWHERE),
    "at_least": ("rules/test_decide.py::test_both_ends_of_the_window_belong_to_it", EVERYWHERE),
    "aggregate": ("golden:a sum reaches its bound", "golden:the largest", "golden:the smallest",
                  "golden:different values aggregated", "golden:an average may be contradicted"),
    "sequence": ("golden:A and then B: the trigger is B", "golden:B before A", "golden:A heard after its B"),
    "absence": ("rules/test_decide.py::test_an_absence_waits_and_acts_when_nothing_came",
                "golden:absence: it came at the last second"),
    "first ever": ("golden:the first ever", "golden:the first ever, contradicted by one that came late"),
    "same": ("rules/test_versions.py::test_subjects_of_recorded_events_are_found_whatever_their_version",
             "rules/test_decide.py::test_a_card_is_counted_across_customers"),
    "same, a declared path": (
        "app/test_declared.py::test_past_events_are_given_their_key_page_by_page_and_then_it_is_ready",
        "app/test_declared.py::test_a_rule_that_counts_by_it_is_published_when_it_is_filled_in_and_not_before",
        "golden:a declared path is counted by its value"),
    "counting": ("golden:different values count, not events", "golden:a duplicate delivery counts once"),
    "operators": ("rules/test_conditions.py::test_each_comparison_means_one_thing",
                  "rules/test_conditions.py::test_each_question_without_a_value_means_one_thing",
                  "rules/test_conditions.py::test_compiled_explained_and_naive_readings_agree"),
    "operators, any item, all items, no item": (
        "rules/test_conditions.py::test_items_of_a_list_are_judged_one_by_one",),
    "operators, changed": ("rules/test_conditions.py::test_changed_reads_what_the_event_says_was_there_before",),
    "operators, matches in linear time": ("rules/test_conditions.py::test_a_hostile_pattern_costs_nothing",),
    "value, another field": (
        "rules/test_conditions.py::test_another_field_may_stand_on_the_right_side_with_simple_arithmetic",),
    "groups": ("rules/test_matcher.py::test_both_matchers_agree_on_random_conditions_and_events",),
    "step do": ("rules/test_workflow.py::test_a_permanent_failure_does_what_the_step_says",
                "rules/test_documents.py::test_texts_may_hold_the_outcome_of_earlier_steps"),
    "step wait": ("rules/test_workflow.py::test_a_wait_until_a_fields_time_less_a_span",
                  "rules/test_workflow.py::test_the_first_of_several_events_ends_a_wait_and_says_which",
                  "rules/test_workflow.py::test_a_wait_for_an_event_that_does_not_come_ends_by_timeout"),
    "step if": ("rules/test_workflow.py::test_an_if_takes_its_branch_and_goes_on_behind_it",),
    "step approve": ("rules/test_workflow.py::test_an_approval_nobody_answers_stops_or_continues_as_it_says",
                     "rules/test_workflow.py::test_an_approval_is_not_asked_for_where_its_condition_is_false"),
    "step stop": ("rules/test_workflow.py::test_a_stop_step_ends_the_run_with_its_reason",),
    "never_for": ("golden:who is on a list is left out",
                  "rules/test_decide.py::test_a_member_of_a_suppression_list_gets_no_run"),
    "again": ("golden:not again within the span, whichever came first", "golden:never again"),
    "stop_when": ("golden:a stop ends the open run",),
    "undo": ("stories/test_undo.py::*",),
    "limits": ("app/test_perform.py::test_runs_over_the_days_limit_are_parked_and_the_next_day_has_room_again",
               "app/test_perform.py::test_a_sum_of_money_is_a_limit_by_currency"),
    "caps": ("rules/test_caps.py::test_no_span_ever_holds_more_than_the_cap",),
    "hours": ("rules/test_hours.py::test_friday_evening_waits_for_monday",),
    "holdout": ("rules/test_decide.py::test_the_holdout_is_a_fixed_share_of_the_subjects",),
    "examples": ("rules/test_examples.py::test_an_example_that_is_as_it_says_holds",),
    "unknown keys are errors with a suggestion": (
        "rules/test_documents.py::test_all_problems_come_at_once_each_at_its_place",
        "rules/test_documents.py::test_the_schema_refuses_what_reading_refuses"),
    "typed against the catalogue": ("rules/test_documents.py::test_a_field_must_be_on_one_of_the_event_types",
                                    "golden/test_golden.py::*"),
    "old API versions": ("rules/test_versions.py::test_every_recorded_invoice_names_its_subscription_at_todays_path",
                         "rules/test_versions.py::test_what_changed_is_read_across_versions"),
    "money is entered in currency": ("web/test_rules_form.py::*", "rules/test_money.py::*"),
    "facts": ("rules/test_facts.py::test_facts_are_what_the_slow_reference_says_and_tenants_with_equal_ids_never_mix",),
}  # fmt: skip

MEANINGS: dict[int, tuple[str, ...]] = {
    1: (EVERYWHERE, "rules/test_decide.py::test_a_late_reset_stops_a_run_that_has_not_acted",
        "rules/test_decide.py::test_a_late_reset_marks_a_run_that_has_acted"),
    2: ("golden:two within a day, both ends inclusive", "golden:two in the same second",
        "golden:a stop in the trigger's second wins", "golden:an event without the key takes no part"),
    3: ("golden:every event at which the window holds is a match",
        "rules/test_decide.py::test_a_late_event_behind_a_run_makes_no_second_run",
        "rules/test_decide.py::test_re_entry_is_remembered_across_versions"),
    4: ("rules/test_decide.py::test_events_heard_before_the_rule_went_live_count_and_start_nothing",
        "golden:imported history counts and starts nothing"),
    5: ("rules/test_workflow.py::test_the_run_id_is_the_same_on_every_version_and_in_every_mode",
        "app/test_perform.py::test_a_new_key_is_used_only_after_a_stored_error_was_replayed",
        "app/test_operate.py::test_run_again_is_a_new_effect_with_the_next_key"),
    6: ("rules/test_decide.py::test_a_watched_rule_simulates_its_run_and_sends_nothing",
        "app/test_perform.py::test_open_runs_of_a_paused_rule_sleep_and_go_on_when_it_is_resumed"),
    7: ("app/test_perform.py::test_two_admitters_cannot_both_take_the_last_place",
        "rules/test_workflow.py::test_money_is_the_invoices_open_amount_unless_the_rule_says_otherwise"),
    8: ("golden:our own retries are no evidence", "golden:our own retries count where the rule says so",
        "rules/test_decide.py::test_our_own_event_stops_a_run"),
    9: ("rules/test_conditions.py::test_a_missing_field_is_absent_and_empty_and_nothing_else",
        "rules/test_conditions.py::test_missing_null_and_wrong_type_are_told_apart",
        "golden:only if: a missing field fails it", "golden:only if: a text is no number"),
    10: ("rules/test_documents.py::test_personal_fields_can_be_compared_as_a_whole_only",
         "rules/test_constants.py::test_constants_compared_with_personal_fields_become_tokens_and_others_stay"),
    11: ("rules/test_facts.py::test_every_fact_is_json_and_names_an_event_that_was_known",
         "rules/test_facts.py::test_facts_are_the_same_in_any_order_with_duplicates_and_late_news_of_other_times"),
    12: ("rules/test_undoing.py::test_what_was_done_is_taken_back_newest_first_whatever_else_became_of_the_run",
         "rules/test_undoing.py::test_the_event_counts_from_the_trigger_to_the_end_of_its_span_both_included"),
    13: ("rules/test_documents.py::test_all_problems_come_at_once_each_at_its_place",
         "golden/test_golden.py::test_a_bad_document_is_refused_with_every_problem_at_its_place"),
}  # fmt: skip

STORY = "stories/test_two_failed_payments.py::test_with_renewals_only_it_is_39_in_any_order"


@cache
def written(file: str) -> frozenset[str]:
    path = TESTS / file
    names = re.findall(r"^\s*def (test_\w+)", path.read_text(), re.MULTILINE) if path.exists() else []
    return frozenset(names)


def missing(shown_by: tuple[str, ...]) -> list[str]:
    golden = {about for about, _, _ in CASES}
    absent = []
    for name in shown_by:
        file, _, test = name.partition("::")
        if name.startswith("golden:"):
            absent += [] if name.removeprefix("golden:") in golden else [name]
        elif not written(file) or (test != "*" and test not in written(file)):
            absent.append(name)
    return absent


@pytest.mark.parametrize("row", TABLE)
def test_a_row_of_the_table_is_shown_by_tests_that_there_are(row: str) -> None:
    assert TABLE[row]
    assert missing(TABLE[row]) == []


@pytest.mark.parametrize("number", range(1, 14))
def test_a_settled_meaning_is_shown_by_tests_that_there_are(number: int) -> None:
    assert len(MEANINGS[number]) >= 2
    assert missing(MEANINGS[number]) == []


def test_the_example_rule_finds_its_subscriptions_in_any_order() -> None:
    assert missing((STORY,)) == []


def test_every_key_of_a_rule_document_has_a_row() -> None:
    told = " ".join([*TABLE, *(name for names in TABLE.values() for name in names)])
    plain = {"id", "name", "why", "tags", "priority", "only_if", "steps", "money"}  # said by many of the rows
    assert [key for key in rule_schema()["properties"] if key not in plain and key not in told] == []


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_has_a_meaning_in_a_table_of_values(operator: str) -> None:
    text = (TESTS / "rules" / "test_conditions.py").read_text()
    assert f'"{operator}"' in text, f"no test of conditions names {operator!r}"
