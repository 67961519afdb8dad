"""The rule pages, as a browser without JavaScript uses them, and the fragments that htmx asks for."""

from __future__ import annotations

import copy
import html
import json
import re
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import author
from app.services import Services
from app.starters import starter, starters
from app.web import create_app
from app.web.editor import Seen
from app.web.forms import read
from app.web.forms.document import document_of
from app.web.picker import MOST_SEEN, Picker
from app.web.show import changed
from rules.event import iso
from rules.ports import Put
from tests.builders import DAY, NOON, TENANT, event, services_in_memory
from tests.web.html import Form, form
from tests.web.test_rules_form import ACTIONS, EVERYTHING, KIND

HX = {"HX-Request": "true"}
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
def services() -> Services:
    return services_in_memory()


@pytest.fixture
def browser(services: Services) -> FlaskClient:
    return create_app(services).test_client()


def ready(**changes: Any) -> dict[str, Any]:
    """A starter without gaps."""
    document = starter("two-failed-payments")
    for step in document["steps"]:
        if step.get("with", {}).get("price") == "":
            step["with"]["price"] = "price_free"
    return {**document, **changes}


def saved(services: Services, document: dict[str, Any] | None = None) -> dict[str, Any]:
    ports = services
    given = document or ready()
    return author.save_draft(ports.store, ports.vault, ports.catalogue, ports.connectors, TENANT, given, "ada", NOON)


def live(services: Services, document: dict[str, Any] | None = None) -> dict[str, Any]:
    id = saved(services, document)["id"]
    ports = services
    return author.publish(ports.store, ports.catalogue, ports.connectors, TENANT, id, "ada", "first", NOON)


def recorded(services: Services, count: int = 1, apart: timedelta = DAY) -> None:
    """Events in the log, the newest with 4,900 minor units left to pay."""
    for at in range(count):
        one = event(f"evt_{at}", time=NOON - at * apart)
        body = {
            "event": one.to_cloudevent(),
            "type": one.type,
            "created": one.created,
            "recorded": iso(one.recorded),
            "correlation": one.correlation,
            "customer": "cus_1",
            "origin": "webhook",
            "keys": list(one.keys),
            "fired": False,
            "spans": [],
        }
        services.store.commit(TENANT, Put("event", one.id, body), [])


def opened(browser: FlaskClient, address: str) -> Form:
    answer = browser.get(address)
    assert answer.status_code == 200, answer.text
    return form(answer.text, address.partition("?")[0])


def press(browser: FlaskClient, found: Form, do: str, **typed: str) -> Any:
    return browser.post(found.action, data=found.sent(do=do, **typed))


def again(answer: Any, found: Form) -> Form:
    assert answer.status_code == 200, answer.text
    return form(answer.text, found.action)


def rule(services: Services, id: str = "two-failed-payments") -> dict[str, Any]:
    return author.rule(services.store, TENANT, id)


# ---- writing a rule without JavaScript ------------------------------------------------------------------------------
def test_a_rule_is_written_from_nothing_and_put_live(browser: FlaskClient, services: Services) -> None:
    author.save_connection(services.store, services.secrets, TENANT, connection(), "ada", NOON)
    blank = opened(browser, "/rules/new/edit?from=blank")
    picked = {"name": "Two failures", "when__event-0": "An invoice payment fails · invoice.payment_failed"}
    windowed = again(press(browser, blank, "check", **picked, when__mode="count", when__same="subscription"), blank)
    asked = again(press(browser, windowed, "add:test"), blank)
    typed = {"only_if-0-0__field": "data.object.amount_remaining", "only_if-0-0__is": "greater than"}
    stepped = again(press(browser, asked, "add:step", **typed, **{"only_if-0-0__value": "10.00"}), blank)
    answer = press(browser, stepped, "publish", **{"steps-0__with__stage": "At risk - payment"})
    assert answer.status_code == 303, answer.text

    confirm = form(browser.get(answer.location).text, "/rules/two-failures/publish")
    done = browser.post(confirm.action, data=confirm.sent(reason="Stop the loss"))

    found = rule(services, "two-failures")
    assert done.location == "/rules/two-failures"
    assert (found["state"], found["number"]) == ("live", 1)
    assert found["in_force"]["when"] == {
        "event": ["invoice.payment_failed"],
        "at_least": 2,
        "within": "P7D",
        "same": "subscription",
    }
    assert found["in_force"]["only_if"]["all"][0]["value"] == 1000
    assert found["in_force"]["steps"][0]["with"] == {"connection": "crm", "stage": "At risk - payment"}


def connection(name: str = "crm") -> dict[str, Any]:
    return {"name": name, "type": "webhook", "url": "https://crm.example.com/hook"}


@pytest.mark.parametrize("one", [EVERYTHING, *starters()], ids=lambda one: one["id"])
def test_the_page_gives_back_the_document_that_it_shows(browser: FlaskClient, services: Services, one: Any) -> None:
    document = {**one, "id": "shown"}
    saved(services, document)

    found = opened(browser, "/rules/shown/edit")

    kind = Picker(services.catalogue).kind
    assert document_of(read.read(found.sent()), kind, services.connectors) == document


def test_saving_an_untouched_form_keeps_every_construct(browser: FlaskClient, services: Services) -> None:
    saved(services, EVERYTHING)
    press(browser, opened(browser, "/rules/every-construct/edit"), "save")
    assert rule(services, "every-construct")["document"] == EVERYTHING


@pytest.mark.parametrize("name", ["items", "keys", "update"])
def test_a_rule_and_its_step_may_bear_any_name(browser: FlaskClient, services: Services, name: str) -> None:
    document = ready(id=name, name=name)
    document["steps"] = [{**document["steps"][0], "name": name}, *document["steps"][1:]]
    live(services, document)
    for address in ("/rules", f"/rules/{name}", f"/rules/{name}/sends", f"/rules/{name}/edit", "/schemas", "/lint"):
        assert browser.get(address).status_code == 200, address


def test_a_suggestion_is_one_press(browser: FlaskClient) -> None:
    blank = opened(browser, "/rules/new/edit?from=two-failed-payments")
    page = press(browser, blank, "check", **{"only_if-1-0__field": "data.object.amount_remainin"})
    buttons = form(page.text, blank.action).buttons
    use = next(b["value"] for b in buttons if b.get("value", "").startswith("use|only_if.all[1].field|"))

    mended = again(press(browser, form(page.text, blank.action), use), blank)

    assert mended.sent()["only_if-1-0.field"] == ["Amount remaining · data.object.amount_remaining"]


def test_an_error_stands_beside_its_field_and_is_announced_with_it(browser: FlaskClient) -> None:
    blank = opened(browser, "/rules/new/edit?from=two-failed-payments")
    page = press(browser, blank, "check", when__at_least="two").text
    assert 'aria-describedby="when-at_least-error" aria-invalid="true"' in page
    assert 'id="when-at_least-error"><p class="error"' in page.replace("\n", "").replace("  ", "")


def test_a_rule_with_problems_is_kept_as_a_draft_and_does_not_go_live(browser: FlaskClient, services: Services) -> None:
    blank = opened(browser, "/rules/new/edit?from=two-failed-payments")
    refused = press(browser, blank, "publish")
    kept = press(browser, blank, "save")

    assert refused.status_code == 422
    assert "It cannot go live yet" in refused.text
    assert kept.location == "/rules/two-failed-payments/edit"
    assert (rule(services)["state"], rule(services)["problems"]) == ("off", 1)


def test_two_people_who_edit_at_once_do_not_lose_each_others_work(browser: FlaskClient, services: Services) -> None:
    saved(services)
    mine = opened(browser, "/rules/two-failed-payments/edit")
    theirs = opened(browser, "/rules/two-failed-payments/edit")
    assert press(browser, theirs, "save", name="Theirs").status_code == 303

    answer = press(browser, mine, "save", name="Mine")

    assert answer.status_code == 409
    assert "Someone else saved this rule" in answer.text
    assert form(answer.text, mine.action).sent()["name"] == ["Mine"]
    assert rule(services)["document"]["name"] == "Theirs"


def test_a_second_rule_of_the_same_name_is_refused(browser: FlaskClient, services: Services) -> None:
    saved(services)
    answer = press(browser, opened(browser, "/rules/new/edit?from=two-failed-payments"), "save")
    assert answer.status_code == 409
    assert "Give this one another name" in answer.text


# ---- as JSON --------------------------------------------------------------------------------------------------------
def test_sentences_and_json_are_one_document(browser: FlaskClient, services: Services) -> None:
    saved(services, EVERYTHING)
    sentences = opened(browser, "/rules/every-construct/edit")
    as_json = again(press(browser, sentences, "json", name="Renamed"), sentences)
    text = as_json.sent()["text"][0]
    assert json.loads(text) == {**EVERYTHING, "name": "Renamed"}

    back = again(press(browser, as_json, "form", text=text.replace('"Renamed"', '"Again"')), sentences)

    assert back.sent()["name"] == ["Again"]
    press(browser, back, "save")
    assert rule(services, "every-construct")["document"] == {**EVERYTHING, "name": "Again"}


def test_broken_json_says_the_line_and_keeps_what_was_typed(browser: FlaskClient, services: Services) -> None:
    saved(services)
    found = opened(browser, "/rules/two-failed-payments/edit?as=json".replace("/edit?", "/edit?"))
    answer = press(browser, found, "save", text='{"name": "x",\n oops}')
    assert answer.status_code == 422
    assert "Line 2, column 2" in answer.text
    assert "oops}" in form(answer.text, found.action).sent()["text"][0]


DEEP = '{"a":' * 300 + "1" + "}" * 300
UNKEEPABLE = ['{"a": 1e999}', r'{"name": "\ud800"}', "[" * 5000, DEEP]


@pytest.mark.parametrize("text", ["[1]", "NaN", '{"a": NaN}', "", *UNKEEPABLE])
def test_what_is_no_rule_object_is_refused_kindly(browser: FlaskClient, text: str) -> None:
    answer = browser.post("/rules/new/edit", data={"text": text, "do": "save", "expect": "absent"})
    assert answer.status_code == 422
    assert "Something went wrong" not in answer.text


@pytest.mark.parametrize("base", ["[]", *UNKEEPABLE])
def test_a_form_whose_hidden_part_was_tampered_with_is_shown_again(browser: FlaskClient, base: str) -> None:
    answer = browser.post("/rules/new/edit", data={"base": base, "do": "check", "expect": "absent"})
    assert answer.status_code == 200


def test_an_exported_rule_can_be_opened_again(browser: FlaskClient, services: Services) -> None:
    saved(services, EVERYTHING)
    exported = browser.get("/rules/every-construct/export")
    data = {"file": (BytesIO(exported.data), "rule.json")}
    opened = browser.post("/rules/new/import", data=data, content_type="multipart/form-data")
    text = form(opened.text, "/rules/new/edit").sent()["text"][0]
    assert json.loads(text) == {**EVERYTHING, "id": "every-construct"}


# ---- with htmx ------------------------------------------------------------------------------------------------------
def test_the_read_back_follows_the_typing_and_nothing_is_kept(browser: FlaskClient, services: Services) -> None:
    found = opened(browser, "/rules/new/edit?from=dispute-opened")
    answer = browser.post("/rules/new/draft", data=found.sent(), headers=HX)
    assert "<html" not in answer.text
    assert "disputes a charge" in answer.text
    assert 'id="name-error" hx-swap-oob="true"' in answer.text
    assert author.rules(services.store, TENANT) == []


def test_a_press_by_htmx_brings_the_editor_alone(browser: FlaskClient) -> None:
    found = opened(browser, "/rules/new/edit?from=blank")
    answer = browser.post(found.action, data=found.sent(do="add:test"), headers=HX)
    assert answer.text.lstrip().startswith('<div id="editor">')
    assert "only_if-0-0.field" in answer.text


def test_a_picker_finds_fields_by_words_and_shows_their_last_value(browser: FlaskClient, services: Services) -> None:
    recorded(services)
    query = {"as": "options", "event": "invoice.payment_failed", "only_if-0-0.field": "remaining"}
    answer = browser.get("/fields", query_string=query, headers=HX)
    assert 'value="Amount remaining · data.object.amount_remaining">last: 49.00 USD<' in answer.text


def test_every_field_of_an_event_can_be_looked_up(browser: FlaskClient, services: Services) -> None:
    recorded(services)
    page = browser.get("/fields?event=invoice.payment_failed&q=collection method").text
    assert "data.object.collection_method" in page
    assert "charge_automatically" in page
    assert browser.get("/fields?event=no.such").status_code == 404


def test_the_event_picker_says_how_often_each_was_seen(browser: FlaskClient, services: Services) -> None:
    recorded(services, 3)
    page = browser.get("/rules/new/edit?from=blank").text
    assert '<option value="An invoice payment fails · invoice.payment_failed">3 in 30 days</option>' in page
    assert page.count("<option value=") > 275


def test_seen_events_are_counted_at_most_once_in_a_while(services: Services) -> None:
    seen = Seen()
    recorded(services, 1)
    first = seen.counts(services.store, services.catalogue, TENANT, NOON)
    later = event("evt_9", time=NOON)
    assert first["invoice.payment_failed"] == 1
    assert seen.counts(services.store, services.catalogue, TENANT, later.recorded) is first


@pytest.mark.parametrize("at_once", [1, 8])
def test_seen_events_are_counted_no_further_than_anyone_needs_and_then_more_rarely(
    services: Services, at_once: int
) -> None:
    seen = Seen(at_once)
    recorded(services, MOST_SEEN + 3, MINUTE)
    first = seen.counts(services.store, services.catalogue, TENANT, NOON + 3 * HOUR)
    assert first["invoice.payment_failed"] == MOST_SEEN
    assert set(first) == {found.name for found in services.catalogue.event_types()}
    assert seen.counts(services.store, services.catalogue, TENANT, NOON + 4 * HOUR - MINUTE) is first
    assert seen.counts(services.store, services.catalogue, TENANT, NOON + 4 * HOUR) is not first
    shown = Picker(services.catalogue, [], {}, True, first).seen_text("invoice.payment_failed")
    assert shown == "1,000 or more in 30 days"


# ---- one rule and its controls --------------------------------------------------------------------------------------
def act(browser: FlaskClient, verb: str, id: str = "two-failed-payments", query: str = "", why: str = "Because") -> Any:
    page = browser.get(f"/rules/{id}/{verb}{query}")
    assert page.status_code == 200, page.text
    found = form(page.text, f"/rules/{id}/{verb}")
    return browser.post(found.action, data=found.sent(reason=why))


def test_a_live_rule_is_paused_resumed_and_archived_with_a_reason(browser: FlaskClient, services: Services) -> None:
    live(services)
    states = []
    for verb in ("pause", "resume", "watch", "publish", "archive", "restore"):
        assert act(browser, verb).status_code == 303
        states.append(rule(services)["state"])
    assert states == ["paused", "live", "watch", "live", "archived", "off"]


def test_a_control_without_a_reason_asks_for_one(browser: FlaskClient, services: Services) -> None:
    live(services)
    answer = act(browser, "pause", why=" ")
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.text
    assert rule(services)["state"] == "live"


def test_a_control_that_does_not_fit_the_state_changes_nothing(browser: FlaskClient, services: Services) -> None:
    live(services)
    answer = browser.post("/rules/two-failed-payments/resume", data={"reason": "x"})
    assert answer.status_code == 409
    assert "it cannot be resumed" in answer.text


def test_going_live_says_what_changes_and_what_stays(browser: FlaskClient, services: Services) -> None:
    live(services)
    document = ready()
    document["when"]["within"] = "P10D"
    saved(services, document)
    page = browser.get("/rules/two-failed-payments/publish").text
    assert "within <del>7</del> <ins>10</ins> days" in page
    assert "Events from now on start runs" in page


def test_an_earlier_version_is_put_in_force_again(browser: FlaskClient, services: Services) -> None:
    live(services)
    document = ready(name="Ten days")
    document["when"]["within"] = "P10D"
    live(services, document)
    page = browser.get("/rules/two-failed-payments").text
    assert '<a href="/rules/two-failed-payments/rollback?number=1">Put this version in force again</a>' in page

    assert act(browser, "rollback", query="?number=1").status_code == 303

    assert (rule(services)["number"], rule(services)["in_force"]["when"]["within"]) == (1, "P7D")


def test_an_empty_page_says_what_to_do_and_blames_nobody(browser: FlaskClient) -> None:
    address = "/rules/new/edit?from=blank"
    page = browser.get(address).text
    assert "Choose the event that it begins with" in page
    assert "Give the rule a name" in page
    assert "Each time …" in page
    assert 'class="error"' not in page
    assert "aria-invalid" not in page

    answer = press(browser, opened(browser, address), "publish")
    assert answer.status_code == 422
    assert answer.text.count('class="error"') == 3  # the name, the event, the first step


def test_a_name_that_another_rule_has_is_pointed_out(browser: FlaskClient, services: Services) -> None:
    saved(services)
    assert "Another rule has this name" not in browser.get("/rules/two-failed-payments/edit").text

    blank = opened(browser, "/rules/new/edit?from=blank")
    answer = press(browser, blank, "check", name="Two failed payments in 7 days")

    assert "Another rule has this name" in answer.text


def test_every_link_of_a_rule_leads_somewhere(browser: FlaskClient, services: Services) -> None:
    live(services)
    live(services, ready(name="Another name"))
    saved(services, ready(name="A third name"))
    page = browser.get("/rules/two-failed-payments").text

    links = set(re.findall(r'href="(/[^"#]*)"', page.split("<main", 1)[1].split("</main>", 1)[0]))

    assert {link: browser.get(link.replace("&amp;", "&")).status_code for link in links} == dict.fromkeys(links, 200)
    assert any(link.endswith("/archive") for link in links)
    assert any(link.endswith("/export") for link in links)


def test_a_draft_can_be_discarded(browser: FlaskClient, services: Services) -> None:
    live(services)
    saved(services, ready(name="Another"))
    assert "began changes that are not in force" in browser.get("/rules/two-failed-payments").text
    act(browser, "discard")
    assert (rule(services)["draft"], rule(services)["name"]) == (None, "Two failed payments in 7 days")


def test_the_list_shows_state_version_and_firings(browser: FlaskClient, services: Services) -> None:
    assert "No rule yet" in browser.get("/rules").text
    live(services)
    page = browser.get("/rules").text
    assert "Two failed payments in 7 days" in page
    assert '<span class="badge good">Live</span>' in page
    act(browser, "archive")
    assert "Two failed payments" not in browser.get("/rules").text
    assert "Two failed payments" in browser.get("/rules?state=archived").text


def test_a_rule_that_is_not_there_is_a_calm_404(browser: FlaskClient) -> None:
    for address in ("/rules/none", "/rules/none/edit", "/rules/none/pause", "/rules/new/edit?from=none"):
        assert browser.get(address).status_code == 404
    assert browser.get("/rules/none/explode").status_code == 404


def test_names_and_texts_are_never_markup(browser: FlaskClient, services: Services) -> None:
    hostile = '"><script>alert(1)</script><img hx-on:load="x">'
    document = copy.deepcopy(EVERYTHING) | {"name": hostile, "why": hostile}
    document["only_if"]["all"][5] = {"field": hostile, "is": hostile, "value": hostile}
    saved(services, document)
    for address in ("", "/edit", "/edit?as=json", "/archive"):
        page = browser.get(f"/rules/every-construct{address}").text
        assert "<script>alert" not in page
        assert "<img hx-on" not in page


def test_a_difference_marks_the_words_that_changed() -> None:
    assert changed("Was: at least 2 times. Now: at least 3 times.") == "at least <del>2</del> <ins>3</ins> times."
    assert changed("New: <b>x</b>") == "<ins>&lt;b&gt;x&lt;/b&gt;</ins>"
    assert changed("No longer: y") == "<del>y</del>"
    assert changed("Other & more") == "Other &amp; more"


def test_before_the_first_event_the_fields_have_examples(browser: FlaskClient) -> None:
    page = browser.get("/rules/new/edit?from=two-failed-payments").text
    assert "For example: <b>subscription_details</b>" in page
    assert "0 so far" in page


def test_each_step_of_a_ready_rule_goes_over_the_one_connection_of_its_kind(
    services: Services, browser: FlaskClient
) -> None:
    for name, kind in (("our-crm", "webhook"), ("post", "smtp")):
        body = {"name": name, "type": kind, "state": "on", "created_at": "2026"}
        services.store.commit(TENANT, None, [Put("connection", name, body)])
    page = html.unescape(browser.get("/rules/new/edit?from=dunning-ladder&as=json").text)
    assert re.findall(r'"do": "mail.send",\s+"with": {\s+"connection": "(\S+)"', page) == ["post"]
    assert set(re.findall(r'"do": "crm.task",\s+"with": {\s+"connection": "(\S+)"', page)) == {"our-crm"}


@pytest.mark.parametrize("starter", [one["id"] for one in starters()])
def test_a_starters_page_sends_back_the_document_that_it_shows(browser: FlaskClient, starter: str) -> None:
    shown = opened(browser, f"/rules/new/edit?from={starter}")
    before = json.loads(dict(shown.fields)["base"])
    again_shown = again(press(browser, shown, "check"), shown)
    assert document_of(read.read(again_shown.sent()), KIND, ACTIONS) == before


def test_a_step_is_put_into_a_branch_and_its_condition_typed_without_javascript(
    browser: FlaskClient, services: Services
) -> None:
    author.save_connection(services.store, services.secrets, TENANT, connection(), "ada", NOON)
    ladder = opened(browser, "/rules/new/edit?from=dunning-ladder")
    added = again(press(browser, ladder, "into:steps-3.else", **{"steps-3__else__new": "crm.notify"}), ladder)
    typed = {"steps-3__else-0__with__stage": "Paid after all", "steps-3__if-0-0__not": "", "caps-0__at_most": "2"}
    answer = press(browser, added, "save", **typed)
    assert answer.status_code == 303, answer.text
    found = rule(services, "dunning-ladder")["draft"]
    assert found["steps"][3]["if"] == {"field": "step.retry-payment.state", "is": "equal to", "value": "done"}
    assert found["steps"][3]["else"][0]["with"] == {"connection": "crm", "stage": "Paid after all"}
    assert found["caps"][0]["at_most"] == 2
    assert found["steps"][3]["then"] == starter("dunning-ladder")["steps"][3]["then"]
