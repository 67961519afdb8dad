"""Saved examples where authors meet them: what is refused, what is kept, and a real event made into one."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import author
from app.services import Services
from app.web import create_app
from app.web.forms import examples as form_examples
from app.worker import Work, tick
from rules.catalogue import Catalogue
from rules.context import Context
from rules.example_reader import read_examples
from rules.reading import Node
from rules.rule import RuleError, parse
from tests.builders import NOON, SHARED, TENANT, envelope, event, invoice
from tests.web.api import Api, api
from tests.web.html import Form, form

__all__ = ["api"]
FAILED = "invoice.payment_failed"
RULE = json.loads((SHARED / "data" / "example_rule.json").read_bytes())
ID = RULE["id"]
FIRES = {"given": [f"{FAILED} P-6D", FAILED], "then": "fires"}
TOO_FAR = {"given": [f"{FAILED} P-9D", FAILED], "then": "fires"}


def rule(*examples: dict[str, Any]) -> dict[str, Any]:
    return {**RULE, "examples": list(examples)}


def heard(services: Services, *days: float, subscription: str = "sub_1") -> list[str]:
    """Failed payments so many days ago, handled; their ids."""
    events = [
        event(f"evt_{subscription}_{at}", FAILED, invoice(subscription=subscription), NOON - timedelta(days=days))
        for at, days in enumerate(days)
    ]
    for one in events:
        services.bus.publish(one)
    tick(Work(services), NOON)
    return [one.id for one in events]


# ---- what is refused ------------------------------------------------------------------------------------------------
def test_a_rule_is_not_put_in_force_while_an_example_breaks_and_every_broken_one_is_named(api: Api) -> None:
    assert api.post("/rules?incomplete=true", rule(FIRES, TOO_FAR, TOO_FAR)).json["problems"] == 2
    for verb in ("publish", "watch"):
        refused = api.post(f"/rules/{ID}/{verb}", {"note": "now"})
        assert refused.status_code == 422
        assert [one["path"] for one in refused.json["problems"]] == ["examples[1]", "examples[2]"]
        assert "1 of 2 within 7 days" in refused.json["problems"][0]["message"]
    assert api.get(f"/rules/{ID}").json["state"] == "off"


def test_a_rule_whose_examples_hold_is_put_in_force(api: Api) -> None:
    assert api.put(f"/rules/{ID}", rule(FIRES)).json["examples"][0]["holds"] is True
    assert api.post(f"/rules/{ID}/publish", {"note": "now"}).json["state"] == "live"


def test_a_change_that_breaks_an_example_says_so_at_once(api: Api) -> None:
    api.put(f"/rules/{ID}", rule(FIRES))
    changed = {**rule(FIRES), "when": {**RULE["when"], "within": "P3D"}}
    assert api.put(f"/rules/{ID}", changed).status_code == 422
    kept = api.put(f"/rules/{ID}?incomplete=true", changed).json
    assert kept["problems"] == 1
    assert kept["examples"][0]["holds"] is False
    assert kept["examples"][0]["happened"].startswith("It does not fire: 1 of 2 within 3 days")


def test_a_version_whose_examples_name_what_is_gone_is_not_rolled_back_to(api: Api) -> None:
    services = api.services
    ids = heard(services, 6, 0)
    api.put(f"/rules/{ID}", rule({"given": ids, "then": "fires"}))
    api.post(f"/rules/{ID}/publish", {"note": "one"})
    api.put(f"/rules/{ID}", RULE)
    api.post(f"/rules/{ID}/publish", {"note": "two"})
    with pytest.raises(RuleError) as refused:
        author.rollback(
            Forgetful(services.store), services.catalogue, services.connectors, TENANT, ID, 1, "ada", "back", NOON
        )
    assert refused.value.problems[0].path == "examples[0]"


class Forgetful:
    """A store that lost its events."""

    def __init__(self, store: Any) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def get(self, tenant: str, kind: str, id: str) -> Any:
        return None if kind == "event" else self.store.get(tenant, kind, id)


def test_the_check_says_what_comes_of_each_example_and_keeps_nothing(api: Api) -> None:
    found = api.post("/rules:check", rule(FIRES, TOO_FAR)).json
    assert [one["holds"] for one in found["examples"]] == [True, False]
    assert found["ok"] is False
    assert api.get("/rules").json["items"] == []


# ---- personal values ------------------------------------------------------------------------------------------------
def test_what_is_personal_in_an_example_is_kept_as_a_token(api: Api) -> None:
    whole = envelope("evt_9", object=invoice(customer_email="ada@example.com"))
    values = {"data.object.customer_email": "ada@example.com", "data.object.customer_name": "Ada Example"}
    built = {"type": FAILED, "ago": "P1D", "set": values}
    kept = api.put(
        f"/rules/{ID}?incomplete=true", rule({**FIRES, "given": [whole, built], "because": "for ada@example.com"})
    )
    text = json.dumps(kept.json)
    assert "ada@" not in text
    assert "Ada Example" not in text
    (token,) = api.services.vault.tokenise(TENANT, "someone", ["ada@example.com"])
    assert kept.json["document"]["examples"][0]["given"][1]["set"]["data.object.customer_email"] == token
    assert token in kept.json["document"]["examples"][0]["because"]


# ---- from a real event ----------------------------------------------------------------------------------------------
def test_a_real_event_becomes_an_example_that_says_what_comes_of_it(api: Api) -> None:
    ids = heard(api.services, 30, 6, 0)
    api.put(f"/rules/{ID}", RULE)
    added = api.post(f"/rules/{ID}/examples", {"event": ids[2]})
    assert added.status_code == 200
    assert added.json["document"]["examples"] == [{"given": ids[1:], "then": "fires"}]
    again = api.post(f"/rules/{ID}/examples", {"event": ids[1]}).json
    assert again["document"]["examples"][1] == {"given": [ids[1]], "then": "does not fire", "because": "window"}
    assert [one["holds"] for one in api.get(f"/rules/{ID}/examples").json["items"]] == [True, True]


def test_it_can_say_what_should_come_of_it_instead(api: Api) -> None:
    (id,) = heard(api.services, 0)
    api.put(f"/rules/{ID}", RULE)
    added = api.post(f"/rules/{ID}/examples", {"event": id, "then": "fires", "because": "one is enough"}).json
    assert added["document"]["examples"] == [{"given": [id], "then": "fires", "because": "one is enough"}]
    assert added["examples"][0]["holds"] is False
    assert added["problems"] == 1


def test_an_event_that_is_not_there_or_not_listened_to_makes_no_example(api: Api) -> None:
    api.put(f"/rules/{ID}", RULE)
    assert api.post(f"/rules/{ID}/examples", {"event": "evt_none"}).status_code == 404
    paid = event("evt_paid", "invoice.paid", invoice(status="paid"))
    api.services.bus.publish(paid)
    tick(Work(api.services), NOON)
    refused = api.post(f"/rules/{ID}/examples", {"event": "evt_paid"})
    assert refused.status_code == 422
    assert "does not listen to invoice.paid" in refused.json["problems"][0]["message"]


def test_another_tenants_event_makes_no_example(api: Api) -> None:
    heard(api.services, 0)
    api.services.bus.publish(event("evt_other", FAILED, invoice(), tenant="default/live"))
    tick(Work(api.services), NOON)
    mine = "tenant=default/test"
    assert api.put(f"/rules/{ID}?{mine}", RULE).status_code == 200
    assert api.post(f"/rules/{ID}/examples?{mine}", {"event": "evt_other"}).status_code == 404
    named = rule({"given": ["evt_other"], "then": "fires"})
    assert api.put(f"/rules/{ID}?incomplete=true&{mine}", named).json["problems"] == 1


# ---- in the editor, without JavaScript ------------------------------------------------------------------------------
@pytest.fixture
def browser(api: Api) -> FlaskClient:
    return create_app(api.services).test_client()


def pressed(browser: FlaskClient, found: Form, do: str, **typed: str) -> tuple[Form, str]:
    answer = browser.post(found.action, data=found.sent(do=do, **typed))
    assert answer.status_code in (200, 422), answer.text
    return form(answer.text, found.action), answer.text


def test_an_example_is_written_run_mended_and_removed_in_the_editor(api: Api, browser: FlaskClient) -> None:
    api.put(f"/rules/{ID}", RULE)
    page = form(browser.get(f"/rules/{ID}/edit").text, f"/rules/{ID}/edit")
    added, _ = pressed(browser, page, "add:example")
    given = f"{FAILED} P-9D\n{FAILED}"
    broken, text = pressed(browser, added, "publish", **{"examples-0__given": given})
    assert "It does not fire: 1 of 2 within 7 days" in text
    assert "cannot go live yet" in text
    mended = broken.sent(do="save", **{"examples-0__then": "does not fire", "examples-0__because": "window"})
    assert browser.post(broken.action, data=mended).status_code == 303
    kept = author.rule(api.services.store, TENANT, ID)
    example = {"given": [f"{FAILED} P-9D", FAILED], "then": "does not fire", "because": "window"}
    assert (kept["draft"]["examples"], kept["problems"]) == ([example], 0)
    again = form(browser.get(f"/rules/{ID}/edit").text, f"/rules/{ID}/edit")
    gone, _ = pressed(browser, again, "remove:examples-0")
    assert browser.post(gone.action, data=gone.sent(do="save")).status_code == 303
    assert author.rule(api.services.store, TENANT, ID)["document"].get("examples") is None


def test_the_read_back_says_what_comes_of_each_example_while_people_type(api: Api, browser: FlaskClient) -> None:
    api.put(f"/rules/{ID}?incomplete=true", rule(FIRES, TOO_FAR))
    page = form(browser.get(f"/rules/{ID}/edit").text, f"/rules/{ID}/edit")
    text = browser.post(f"/rules/{ID}/draft", data=page.sent(), headers={"HX-Request": "true"}).text
    assert "It fires: An invoice payment fails for the 2nd time in 6 days" in text
    assert "It does not fire: 1 of 2 within 7 days" in text
    assert "It should fire." in text


def test_a_real_event_is_kept_as_an_example_from_its_page_and_from_the_answer_to_why(
    api: Api, browser: FlaskClient
) -> None:
    api.put(f"/rules/{ID}", RULE)
    api.post(f"/rules/{ID}/publish", {"note": "now"})
    first, second = heard(api.services, 6, 0)
    from_page = form(browser.get(f"/events/{second}").text, "/examples")
    kept = browser.post("/examples", data=from_page.sent())
    assert kept.location == f"/rules/{ID}/edit#part-examples"
    from_why = form(browser.get(f"/why?rule={ID}&event={first}").text, "/examples")
    typed = from_why.sent(then="does not fire", because="one is a hiccup")
    assert browser.post("/examples", data=typed).status_code == 303
    document = author.rule(api.services.store, TENANT, ID)["draft"]
    assert document["examples"] == [
        {"given": [first, second], "then": "fires"},
        {"given": [first], "then": "does not fire", "because": "one is a hiccup"},
    ]
    assert "Kept as example 2" in browser.get(f"/rules/{ID}/edit").text


def test_a_draft_that_was_never_in_force_can_keep_a_real_event_too(api: Api, browser: FlaskClient) -> None:
    (id,) = heard(api.services, 0)
    assert "Keep it as an example" not in browser.get(f"/events/{id}").text
    api.put(f"/rules/{ID}", RULE)
    kept = browser.post("/examples", data=form(browser.get(f"/events/{id}").text, "/examples").sent())
    assert kept.location == f"/rules/{ID}/edit#part-examples"


def test_what_cannot_be_an_example_says_why(api: Api, browser: FlaskClient) -> None:
    api.put(f"/rules/{ID}", RULE)
    api.services.bus.publish(event("evt_paid", "invoice.paid", invoice(status="paid")))
    tick(Work(api.services), NOON)
    assert browser.post("/examples", data={"rule": ID, "event": "evt_paid"}).location == "/events/evt_paid"
    assert "does not listen to invoice.paid" in browser.get("/events/evt_paid").text
    assert browser.post("/examples", data={"rule": "none", "event": "evt_paid"}).status_code == 404


@pytest.mark.parametrize(
    "example",
    [
        FIRES,
        {"given": [], "then": "fires"},
        {"given": [{"type": FAILED, "set": {"data.object.amount_due": 5}}, "evt_1"], "then": "does not fire"},
        {"given": ["a\nb", " c ", "{", '"', ""], "then": "fires"},
        {"given": [FAILED], "then": "fires", "after": "PT36H", "stands": "x", "answers": {"y": "branch"}, "at": 5},
        {
            "given": [{"type": FAILED, "ago": "PT84H", "subscription": "sub_2", "set": {"data.object.status": "open"}}],
            "then": "fires",
        },
        {"given": "what", "then": 5, "after": 7},
        "nothing",
    ],
)
def test_an_example_comes_back_from_the_form_as_it_was(example: Any) -> None:
    row = form_examples.shown(example)
    assert form_examples.meant(row) == example
    if isinstance(example, dict) and not row.get("kept"):
        typed = form_examples.meant({**row, "because": "changed"})
        again = form_examples.shown(typed)
        assert {**again, "was": None} == {**row, "because": "changed", "was": None}


def test_an_event_written_as_an_object_is_shown_as_the_line_that_means_the_same() -> None:
    values = {"data.object.amount_due": 5, "data.object.description": "two words", "data.object.number": "5"}
    built = {"type": FAILED, "ago": "PT84H", "subscription": "sub_2", "set": values}
    row = form_examples.shown({"given": [built], "then": "fires"})
    more = 'data.object.amount_due=5 data.object.description="two words" data.object.number="5"'
    assert row["given"] == f"{FAILED} -PT84H subscription=sub_2 {more}"
    typed = form_examples.meant({**row, "because": "changed"})
    examples = [{"given": [built], "then": "fires"}, {"given": typed["given"], "then": "fires"}]
    rule = parse({**RULE, "examples": examples}, Catalogue.load())
    first, second = read_examples(Node(list(rule.examples), "", []), Context(Catalogue.load(), None), {}, ())
    assert first.given == second.given
    whole = {"type": FAILED, "set": {"data.object.parent": {"type": "x"}}}
    assert form_examples.shown({"given": [whole], "then": "fires"})["given"].startswith("{")
