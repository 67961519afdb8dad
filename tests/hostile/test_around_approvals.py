"""No way round an approval: whoever may operate runs and not approve neither leaves it out nor goes in behind it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rules.model import Approve, Do, If, Rule, Step, Wait
from rules.ports import Outcome
from rules.run import Run
from rules.workflow import NotPossible, operate, settled, woke
from tests.rules.test_workflow import EMAIL, NOW, begun
from tests.rules.test_workflow import _amount as amount_over

ASK = Approve("ask", "cfo", at_most=3600)
REFUND = Do("refund", "stripe.refund", {})


def asked(*steps: Step) -> tuple[Run, Rule]:
    advance, one = begun(*steps)
    assert (advance.run.state, advance.commands) == ("needs_person", ())
    return advance.run, one


def go_from(run: Run, one: Rule, step: str) -> Any:
    return operate(run, one, "from", "olga", "hurry", NOW, step)


def test_a_run_that_waits_for_approval_is_not_sent_past_it() -> None:
    run, one = asked(ASK, REFUND)
    with pytest.raises(NotPossible, match="waits for approval by cfo"):
        operate(run, one, "skip", "olga", "hurry", NOW)


@pytest.mark.parametrize("answer", [None, "decline", "timeout"])
def test_nothing_behind_an_approval_is_begun_that_was_not_given(answer: str | None) -> None:
    run, one = asked(ASK, REFUND, EMAIL)
    if answer == "decline":
        run = operate(run, one, "decline", "cfo", "no", NOW).run
    if answer == "timeout":
        run = woke(run, one, NOW + timedelta(hours=2)).run
        assert run.state == "stopped"
    for step in ("refund", "email"):
        with pytest.raises(NotPossible, match="has not been approved"):
            go_from(run, one, step)


def test_what_was_approved_once_is_asked_for_again_when_one_goes_from_before_it() -> None:
    run, one = asked(ASK, REFUND)
    run = settled(operate(run, one, "approve", "cfo", "", NOW).run, one, "refund", Outcome.dead("no"), NOW).run
    assert go_from(run, one, "refund").commands[0].step == "refund"  # approved, so it may be done anew
    again = go_from(run, one, "ask").run
    assert again.state == "needs_person"
    with pytest.raises(NotPossible, match="has not been approved"):
        go_from(again, one, "refund")


@pytest.mark.parametrize("branch", ["then", "otherwise"])
def test_an_approval_in_a_branch_holds_for_what_comes_behind_the_branch(branch: str) -> None:
    over = amount_over(100 if branch == "then" else 9000)
    choice = If("big", over, (ASK,) if branch == "then" else (), (ASK,) if branch == "otherwise" else ())
    run, one = asked(choice, REFUND)
    with pytest.raises(NotPossible, match="has not been approved"):
        go_from(run, one, "refund")


def test_a_branch_that_was_not_gone_into_asks_nobody() -> None:
    advance, one = begun(If("big", amount_over(9000), (ASK,), ()), REFUND)
    run = settled(advance.run, one, "refund", Outcome.dead("no"), NOW).run
    assert go_from(run, one, "refund").commands[0].step == "refund"


def test_nobody_goes_over_a_branch_with_an_approval_that_was_not_come_to() -> None:
    advance, one = begun(Wait("wait", seconds=3600), If("big", amount_over(100), (ASK,), ()), REFUND)
    with pytest.raises(NotPossible, match="has not been approved"):
        go_from(advance.run, one, "refund")


def test_an_approval_that_its_condition_did_not_ask_for_stands_in_nobodys_way() -> None:
    advance, one = begun(Approve("ask", "cfo", condition=amount_over(9000)), REFUND)
    run = settled(advance.run, one, "refund", Outcome.dead("no"), NOW).run
    assert go_from(run, one, "refund").commands[0].step == "refund"


def test_an_approval_whose_rule_goes_on_without_an_answer_did_so_and_may_again() -> None:
    run, one = asked(Approve("ask", "cfo", 3600, "continue"), REFUND)
    with pytest.raises(NotPossible, match="has not been approved"):
        go_from(run, one, "refund")
    late = NOW + timedelta(hours=2)
    run = settled(woke(run, one, late).run, one, "refund", Outcome.dead("no"), late).run
    assert go_from(run, one, "refund").commands[0].step == "refund"
