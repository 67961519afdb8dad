"""Reading rule documents: every part, every problem at once, and checks against fields and actions."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules import paths
from rules.catalogue import Catalogue
from rules.model import Do, If, Limits, Problem, Rule, Stop, Wait
from rules.ports import Field, Outcome
from rules.rule import LARGEST, RuleError, check, parse
from rules.schema import rule_schema
from tests.rules.documents import rules

Document = dict[str, Any]
CATALOGUE = Catalogue.load()
STEP: Document = {"name": "tell", "do": "crm.notify", "with": {"connection": "crm"}}
WHEN: Document = {"event": ["invoice.payment_failed"], "same": "invoice"}


@dataclass
class Action:
    """An action that is only looked at."""

    name: str
    title: str
    fields: tuple[Field, ...]

    def preview(self, params: Any) -> Any:
        return params

    def execute(self, command: Any, now: Any) -> Outcome:
        return Outcome.done("")


ACTIONS = {
    action.name: action
    for action in (
        Action(
            "crm.notify",
            "Notify the CRM",
            (
                Field("connection", "Connection", "connection", required=True),
                Field("message", "Message", "template"),
            ),
        ),
        Action(
            "stripe.change_plan",
            "Change the plan",
            (
                Field("price", "New price", "price", required=True),
                Field("proration", "Proration", "choice", choices=("none", "create_prorations"), default="none"),
                Field("days", "Days", "number"),
                Field("now", "Now", "boolean"),
            ),
        ),
    )
}


def document(**parts: Any) -> Document:
    return {"id": "r", "name": "R", "when": WHEN, "steps": [STEP], **parts}


def problems(**parts: Any) -> list[Problem]:
    return check(document(**parts), CATALOGUE, ACTIONS)


def places(**parts: Any) -> list[str]:
    return [problem.path for problem in problems(**parts)]


def read(**parts: Any) -> Rule:
    return parse(document(**parts), CATALOGUE, ACTIONS)


# ---- the whole ------------------------------------------------------------------------------------------------------
def test_all_problems_come_at_once_each_at_its_place() -> None:
    with pytest.raises(RuleError) as refused:
        read(
            nmae="x",
            when={**WHEN, "event": ["invoice.payed"]},
            only_if={
                "all": [{"field": "created", "is": "after", "value": "soon"}, {"field": "x y", "is": "is present"}]
            },
            steps=[{**STEP, "do": "crm.notfy"}],
            holdout=2,
        )
    assert [problem.path for problem in refused.value.problems] == [
        "nmae",
        "when.event[0]",
        "only_if.all[0].value",
        "only_if.all[1].field",
        "steps[0].do",
        "holdout",
    ]
    assert "crm.notify" in [problem.suggestion for problem in refused.value.problems]


@pytest.mark.parametrize(
    "junk", [None, "rule", 5, [], {"when": []}, {"steps": {"a": 1}}, {"id": {}, "when": {"event": 5}}]
)
def test_anything_at_all_can_be_refused(junk: Any) -> None:
    assert check(junk, CATALOGUE, ACTIONS)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_damaged_document_is_refused_or_read_and_never_breaks(data: st.DataObject) -> None:
    body = copy.deepcopy(data.draw(rules()))
    where: Any = body
    for _ in range(data.draw(st.integers(0, 4))):
        keys = list(where) if isinstance(where, dict) else list(range(len(where)))
        inner = [key for key in keys if isinstance(where[key], (dict, list)) and where[key]]
        if not inner:
            break
        where = where[data.draw(st.sampled_from(inner))]
    key = data.draw(st.sampled_from(list(where) if isinstance(where, dict) else list(range(len(where)))))
    where[key] = data.draw(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.just([[]]))
    )
    check(body, CATALOGUE, ACTIONS)


def test_a_document_is_bounded_in_size_and_depth() -> None:
    assert "KB" in problems(why="x" * (LARGEST + 1))[0].message
    nested: Document = {"field": "data.object.total", "is": "is present"}
    for _ in range(500):
        nested = {"not": nested}
    assert any("deep" in problem.message for problem in problems(only_if=nested))


def test_advice_comes_after_errors_and_refuses_nothing() -> None:
    found = problems(when={"event": ["charge.failed"], "same": "invoice"}, name="")
    assert [problem.severity for problem in found] == ["error", "advice"]
    assert "2025-03-31.basil" in found[1].message
    assert read(when={"event": ["charge.failed"], "same": "invoice"}).when.same == "invoice"


def test_a_published_rule_is_read_even_when_stripe_has_dropped_its_field() -> None:
    gone = document(only_if={"field": "data.object.dropped_since", "is": "is present"})
    assert check(gone, CATALOGUE, ACTIONS)
    assert parse(gone).only_if


# ---- parts ----------------------------------------------------------------------------------------------------------
def test_spans_are_read_as_seconds() -> None:
    rule = read(when={**WHEN, "at_least": 2, "within": "P1DT12H"}, again={"after": "P2W"})
    assert (rule.when.within, rule.again.after) == (129_600, 1_209_600)


def test_what_is_left_out_has_its_default() -> None:
    rule = read()
    assert (rule.again.while_open, rule.again.after) == (False, 30 * 86_400)
    assert (rule.when.ignore_own, rule.when.counting, rule.limits, rule.holdout) == (True, "events", None, 0.0)


def test_null_after_means_never_again() -> None:
    assert read(again={"after": None}).again.after is None


def test_limits_count_runs_and_money_in_minor_units() -> None:
    assert read(limits={"runs": 25, "money": {"usd": 500000}}).limits == Limits(25, {"usd": 500000}, 86_400)
    assert places(limits={"money": {"usd": 50.5}}) == ["limits.money.usd"]
    assert read(limits={}).limits is None


def test_steps_are_read_with_their_branches() -> None:
    branch = {
        "name": "check",
        "if": {"field": "step.tell.state", "is": "equal to", "value": "done"},
        "then": [{"name": "end", "stop": "done"}],
    }
    rule = read(steps=[STEP, {"name": "wait", "wait": {"for": "PT48H"}}, branch])
    tell, wait, check = rule.steps
    assert isinstance(tell, Do)
    assert isinstance(wait, Wait)
    assert isinstance(check, If)
    assert (tell.on_failure, wait.seconds, [step.name for step in check.then]) == ("person", 172_800, ["end"])


def test_names_of_steps_are_unique_over_all_branches() -> None:
    branch = {"name": "check", "if": {"all": []}, "then": [STEP]}
    assert places(steps=[STEP, branch]) == ["steps[1].then[0].name"]


def test_a_wait_until_a_field_needs_one_that_holds_a_time() -> None:
    def wait(until: str) -> list[str]:
        return places(steps=[{"name": "w", "wait": {"until": until}}, STEP])

    assert wait("data.object.due_date") == []
    assert wait("2026-11-23T09:00:00Z") == []
    assert wait("data.object.status") == ["steps[0].wait.until"]
    assert wait("data.object.due") == ["steps[0].wait.until"]
    assert wait("23.11.2026") == ["steps[0].wait.until"]


def test_a_stop_is_read_with_the_subject_that_ties_it_to_the_run() -> None:
    rule = read(stop_when=[{"event": ["invoice.paid", "invoice.voided"], "same": "invoice"}])
    assert rule.stop_when == (Stop(("invoice.paid", "invoice.voided"), "invoice"),)


def test_a_declared_path_is_a_subject_and_an_undeclared_one_is_not() -> None:
    team = document(when={**WHEN, "same": "data.object.metadata.team"})
    assert [problem.path for problem in check(team, CATALOGUE, ACTIONS)] == ["when.same"]
    assert check(team, CATALOGUE, ACTIONS, declared=["data.object.metadata.team"]) == []


def test_days_are_kept_in_the_order_of_the_week() -> None:
    hours = {"days": ["wed", "mon"], "from": "09:00", "to": "17:30", "zone": "Europe/Berlin", "applies_to": ["crm"]}
    found = parse(document(hours=hours), CATALOGUE).hours
    assert found is not None
    assert found.days == ("mon", "wed")


def test_hours_apply_to_actions_that_there_are() -> None:
    hours = {"days": ["mon"], "from": "09:00", "to": "17:30", "zone": "UTC", "applies_to": ["crm", "emial"]}
    assert [(problem.path, problem.suggestion) for problem in problems(hours=hours)] == [
        ("hours.applies_to[1]", "email")
    ]
    assert places(hours={**hours, "applies_to": ["crm", "email", "stripe.change_plan"]}) == []


def test_a_cap_counts_actions_that_there_are_or_what_carries_the_rules_own_tag() -> None:
    caps = [{"tag": tag, "at_most": 1, "per": "P1D"} for tag in ("email", "crm.notify", "dunning")]
    assert places(caps=caps, tags=["dunning"]) == []
    assert places(caps=caps) == ["caps[2].tag"]


def test_an_undo_names_its_events_a_subject_that_they_carry_and_a_span() -> None:
    undo = {"on": ["invoice.paid"], "same": "invoice", "within": "P60D"}
    assert places(undo=undo) == []
    assert places(undo={**undo, "on": ["invoice.payd"]}) == ["undo.on[0]"]
    assert set(places(undo={**undo, "same": "charge"})) == {"undo.same"}
    assert set(places(undo={})) == {"undo.on", "undo.same", "undo.within"}


# ---- against the catalogue ------------------------------------------------------------------------------------------
def refused(field: str, operator: str, *value: Any, types: tuple[str, ...] = ("invoice.updated",)) -> list[str]:
    test = {"field": field, "is": operator, **({"value": value[0]} if value else {})}
    when = {"event": list(types), "same": "customer"}
    return [problem.path.removeprefix("only_if.") for problem in problems(when=when, only_if=test)]


def test_a_field_must_be_on_one_of_the_event_types() -> None:
    both = ("customer.updated", "invoice.updated")
    assert refused("data.object.delinquent", "is true", types=both) == []
    assert refused("data.object.amount_due", "greater than", 5, types=both) == []
    assert refused("data.object.unheard_of", "is present", types=both) == ["field"]


def test_what_was_there_before_has_the_fields_of_the_object() -> None:
    assert refused("data.previous_attributes.status", "equal to", "open") == []
    assert refused("data.previous_attributes.status", "equal to", "opn") == ["value"]
    assert refused("data.previous_attributes.nothing", "is present") == ["field"]


def test_metadata_may_hold_any_key_as_text() -> None:
    assert refused('data.object.metadata["a.b"]', "equal to", "x") == []
    assert refused("data.object.metadata.tier", "greater than", 5) == ["is"]


def test_items_are_checked_against_what_the_list_holds() -> None:
    def where(field: str, operator: str = "is present", **value: Any) -> list[str]:
        inner = {"field": field, "is": operator, **value}
        test = {"field": "data.object.lines.data", "is": "any item", "where": inner}
        return places(only_if=test)

    assert where("amount") == []
    assert where("pricing.price_details.price") == []
    assert where("data.object.total") == []
    assert where("amuont") == ["only_if.where.field"]
    assert (
        problems(
            only_if={
                "field": "data.object.lines.data",
                "is": "any item",
                "where": {"field": "amuont", "is": "is present"},
            }
        )[0].suggestion
        == "amount"
    )
    assert where("amount", "equal to", value="5") == ["only_if.where.value"]


def test_personal_fields_can_be_compared_as_a_whole_only() -> None:
    email = "data.object.customer_email"
    for operator, value in (("equal to", "a@b.c"), ("one of", ["a@b.c"]), ("ends with", "@b.c")):
        assert refused(email, operator, value) == []
    for operator in ("is present", "is absent", "changed"):
        assert refused(email, operator) == []
    for operator, value in (("contains", "b"), ("starts with", "a"), ("matches", "a.b"), ("greater than", 5)):
        assert refused(email, operator, value) == ["is"]
    assert refused(email, "ends with", "b.c") == ["value"]


# ---- against the actions --------------------------------------------------------------------------------------------
def step(**params: Any) -> list[tuple[str, str | None]]:
    steps = [{"name": "x", "do": "stripe.change_plan", "with": params}]
    return [(problem.path, problem.suggestion) for problem in problems(steps=steps)]


def test_parameters_are_checked_against_what_the_action_takes() -> None:
    assert step(price="price_1", proration="none", days=3, now=True) == []
    assert step() == [("steps[0].with.price", None)]
    assert step(price="price_1", proraton="none") == [("steps[0].with.proraton", "proration")]
    assert step(price="price_1", proration="nome") == [("steps[0].with.proration", "none")]
    assert step(price="price_1", days="3") == [("steps[0].with.days", None)]
    assert step(price="price_1", now="yes") == [("steps[0].with.now", None)]
    assert step(price=5) == [("steps[0].with.price", None)]


def test_a_parameter_may_be_filled_in_when_the_step_runs() -> None:
    assert step(price="{{ data.object.metadata.downgrade_to }}", days="{{ data.object.attempt_count }}") == []
    assert (
        step(price="{{ data.object.unheard_of }}") == [("steps[0].with.price", None)]
        or step(price="{{ data.object.unheard_of }}")[0][0] == "steps[0].with.price"
    )


def test_texts_may_hold_the_outcome_of_earlier_steps() -> None:
    later = {**STEP, "name": "again", "with": {"connection": "crm", "message": "{{ step.tell.message }}"}}
    assert places(steps=[STEP, later]) == []
    assert places(steps=[later, STEP]) == ["steps[0].with.message"]


# ---- the schema -----------------------------------------------------------------------------------------------------
VALIDATOR = jsonschema.Draft202012Validator(rule_schema())


@settings(max_examples=60, deadline=None)
@given(rules())
def test_every_document_that_is_read_fits_the_schema(body: Document) -> None:
    try:
        parse(body)
    except RuleError:
        return
    assert [error.message for error in VALIDATOR.iter_errors(body)] == []


@pytest.mark.parametrize(
    "parts",
    [
        {"nmae": 1},
        {"when": {}},
        {"when": {"event": []}},
        {"when": {**WHEN, "at_least": 0}},
        {"when": {**WHEN, "within": "7 days"}},
        {"only_if": {"field": "a", "is": "equals", "value": 1}},
        {"only_if": {"field": "a", "is": "equal to"}},
        {"only_if": {"field": "a", "is": "is present", "value": 1}},
        {"only_if": {"any": []}},
        {"steps": []},
        {"steps": [{"name": "x"}]},
        {"steps": [{"name": "X", "stop": "no"}]},
        {"steps": [{"name": "x", "wait": {"for": "P1D", "until": "created"}}]},
        {"limits": {"money": {"USD": 5}}},
        {"hours": {"days": []}},
        {"examples": [{"then": "maybe"}]},
    ],
)
def test_the_schema_refuses_what_reading_refuses(parts: Document) -> None:
    assert not VALIDATOR.is_valid(document(**parts))
    assert check(document(**parts), None, None)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(rule_schema())


# ---- paths ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("data.object.status", ("data", "object", "status")),
        ('data.object.metadata["a.b"].c', ("data", "object", "metadata", "a.b", "c")),
        ('metadata["say \\"hi\\""]', ("metadata", 'say "hi"')),
        ("lines.data[].amount", ("lines", "data[]", "amount")),
    ],
)
def test_a_path_is_its_keys_and_back(text: str, keys: tuple[str, ...]) -> None:
    assert paths.split(text) == keys
    assert paths.join(keys) == text


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4))
def test_any_keys_make_a_path_that_gives_them_back(keys: list[str]) -> None:
    assert paths.split(paths.join(tuple(keys))) == tuple(keys)


@pytest.mark.parametrize("text", ["", ".a", "a..b", "a.", "a b", 'a["x', "a[0]", "a.[x]"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="path"):
        paths.split(text)
