"""The pages of events, runs, customers, journeys, deliveries and notices, as a browser without JavaScript uses them."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import author, crm_inbox
from app.connectors.signed import signed_headers
from app.handle import handle
from app.services import Services
from app.web import create_app
from app.web.show import ident
from rules.event import Event, iso, trace_id
from rules.ports import Delivery, Disposition, Put
from tests.builders import DAY, NOON, TENANT, event, invoice, services_in_memory
from tests.records import RULE, keep_command, keep_event, keep_rule, keep_run, run, story
from tests.web.html import form

HX = {"HX-Request": "true"}
HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>'


@pytest.fixture
def services() -> Services:
    return services_in_memory()


@pytest.fixture
def browser(services: Services) -> FlaskClient:
    return create_app(services).test_client()


def text_of(browser: FlaskClient, address: str, **more: Any) -> str:
    """The page at an address; the test fails when it is not there."""
    answer = browser.get(address, follow_redirects=True, **more)
    assert answer.status_code == 200, (address, answer.status_code)
    return html.unescape(answer.text)


def publish(services: Services, document: dict[str, Any], mode: author.Mode = "live") -> None:
    s = services
    author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, document, "ada", NOON - 30 * DAY)
    author.publish(s.store, s.catalogue, s.connectors, TENANT, document["id"], "ada", "", NOON - 30 * DAY, mode)


def happen(services: Services, *events: Event) -> None:
    for one in events:
        done = handle([Delivery(one.id, one, 1)], services.store, services.rulesets, services.tracer, one.recorded)
        assert done[0].kind == "done", done


DECIDING = {
    **RULE,
    "only_if": {"all": [{"field": "data.object.amount_remaining", "is": "greater or equal to", "value": 1000}]},
}


# ---- nothing yet ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("address", ["/events", "/runs", "/customers", "/traces", "/deliveries", "/crm-inbox"])
def test_an_empty_list_says_what_fills_it_and_offers_the_sample(browser: FlaskClient, address: str) -> None:
    page = text_of(browser, address)
    assert "yet" in page
    assert '<a class="button" href="/sample">Play the sample</a>' in page


def test_nothing_waiting_says_so(browser: FlaskClient) -> None:
    assert "Nothing needs you" in text_of(browser, "/needs-you")


@pytest.mark.parametrize(
    "address", ["/events/evt_x", "/runs/run_x", "/customers/cus_x", "/traces/in_x", "/crm-inbox/x"]
)
def test_what_is_not_there_is_a_calm_404(browser: FlaskClient, address: str) -> None:
    answer = browser.get(address)
    assert answer.status_code == 404
    assert "Not here" in answer.text


@pytest.mark.parametrize("address", ["/events", "/runs", "/customers", "/traces", "/deliveries", "/crm-inbox"])
def test_a_cursor_that_nobody_handed_out_is_refused(services: Services, browser: FlaskClient, address: str) -> None:
    story(services.store)
    answer = browser.get(address + "?after=made-up")
    assert answer.status_code == 400


# ---- lists ----------------------------------------------------------------------------------------------------------
def test_the_log_pages_and_keeps_its_filters_from_page_to_page(services: Services, browser: FlaskClient) -> None:
    for number in range(60):
        keep_event(services.store, event(f"evt_{number:02}", time=NOON + timedelta(minutes=number)))
    first = text_of(browser, "/events?type=invoice.payment_failed")
    assert "/events/evt_59" in first
    assert "/events/evt_05" not in first
    older = first.split('rel="next"')[0].rsplit('href="', 1)[1].split('"')[0]
    assert older.startswith("/events?type=invoice.payment_failed&after=")
    second = text_of(browser, older)
    assert "/events/evt_05" in second
    assert 'href="/events?type=invoice.payment_failed">Newest' in second


def test_htmx_gets_the_list_alone_and_a_person_without_it_the_whole_page(
    services: Services, browser: FlaskClient
) -> None:
    story(services.store)
    for address, id in (("/events", "log"), ("/runs", "list"), ("/deliveries", "list"), ("/needs-you", "list")):
        part = browser.get(address, headers=HX).text
        assert part.strip().startswith(f'<div id="{id}"')
        assert part.strip() in browser.get(address).text


def test_an_events_id_in_the_logs_box_leads_to_its_page(services: Services, browser: FlaskClient) -> None:
    story(services.store)
    assert browser.get("/events?q=evt_2").location == "/events/evt_2"
    assert "No event fits" in text_of(browser, "/events?q=cus_nobody")


def test_the_lists_name_things_in_plain_words(services: Services, browser: FlaskClient) -> None:
    story(services.store)
    assert "An invoice payment fails" in text_of(browser, "/events")
    assert "$49.00" in text_of(browser, "/customers")
    assert "Two failed payments" in text_of(browser, "/runs?state=waiting")
    assert "Stripe moved the subscription." in text_of(browser, "/deliveries?state=done&connection=stripe")
    assert "No action fits" in text_of(browser, "/deliveries?state=dead")
    assert "in_1" in text_of(browser, "/traces")


# ---- one event ------------------------------------------------------------------------------------------------------
def test_an_event_says_what_each_rule_decided_and_why(services: Services, browser: FlaskClient) -> None:
    publish(services, DECIDING)
    publish(
        services,
        {
            **DECIDING,
            "id": "large",
            "name": "Large ones",
            "when": {"event": ["invoice.payment_failed"]},
            "only_if": {"all": [{"field": "data.object.amount_due", "is": "greater than", "value": 10**6}]},
        },
    )
    small = event("evt_1", object=invoice(amount_remaining=500), time=NOON - 2 * DAY)
    happen(services, small, event("evt_2", time=NOON - DAY), event("evt_3"))
    page = text_of(browser, "/events/evt_3")
    assert "An invoice payment fails for the 2nd time" in page
    assert "Two failed payments" in page
    assert "Large ones" in page
    assert "data.object.amount_remaining" in page
    assert "not counted: Condition 1 of 1 is not true: the amount remaining is at least" in page
    why = text_of(browser, "/events/evt_3?rule=large")
    assert "data.object.amount_due" in why
    assert "$49.00" in why


def test_a_window_names_each_event_that_was_too_old(services: Services, browser: FlaskClient) -> None:
    publish(services, DECIDING)
    happen(services, event("evt_1", time=NOON - timedelta(days=7, hours=4)), event("evt_2"))
    assert "not counted: too old by 4 hours" in text_of(browser, "/events/evt_2?rule=two-failed")


def test_why_not_answers_with_the_first_closed_gate_and_what_was_nearest(
    services: Services, browser: FlaskClient
) -> None:
    publish(services, DECIDING)
    happen(services, event("evt_1", time=NOON - timedelta(days=9)), event("evt_2"))
    page = text_of(browser, "/why?rule=two-failed&subject=sub_1")
    assert "Did not fire" in page
    assert "1 of 2 within 7 days" in page
    assert "too old by 2 days" in page
    assert '<li class="closed">Was the window full?' in page
    happen(services, event("evt_3", time=NOON + timedelta(days=1)))
    fired = text_of(browser, "/why?rule=two-failed&subject=sub_1")
    assert "Open its run" in fired


def test_why_not_asks_for_what_lacks_and_knows_nobody_without_an_error(
    services: Services, browser: FlaskClient
) -> None:
    assert "There is no rule to ask about" in text_of(browser, "/why")
    publish(services, DECIDING)
    assert "For whom?" in text_of(browser, "/why?rule=two-failed")
    answer = text_of(browser, "/why?rule=two-failed&subject=cus_nobody")
    assert "It never happened here that an invoice payment fails for cus_nobody." in answer
    assert browser.get("/why?rule=no-such-rule&subject=cus_1").status_code == 404


def test_an_update_shows_what_changed(services: Services, browser: FlaskClient) -> None:
    keep_event(services.store, event("evt_1", "invoice.updated", previous={"status": "draft"}))
    page = text_of(browser, "/events/evt_1")
    assert "What changed" in page
    assert "draft" in page


# ---- one run --------------------------------------------------------------------------------------------------------
def test_a_run_tells_its_story_its_steps_and_why_it_began(services: Services, browser: FlaskClient) -> None:
    publish(services, DECIDING)
    happen(services, event("evt_1", time=NOON - DAY), event("evt_2"))
    (made,) = services.store.find(TENANT, "run").items
    page = text_of(browser, f"/runs/{made.id}")
    for expected in (
        "An invoice payment fails for the 2nd time",
        "Run started on version 1",
        "counted",
        f"{made.id}/downgrade/0",
        "Not tried yet.",
        "wait 48 hours",
        "to come",
        "/events/evt_2",
        "/customers/cus_1",
        f"/traces/{trace_id(TENANT, 'in_1')}",
    ):
        assert expected in page, expected


def test_a_runs_tries_show_request_response_key_and_stripes_request_id(
    services: Services, browser: FlaskClient
) -> None:
    _, made, _ = story(services.store)
    page = text_of(browser, f"/runs/{made.id}")
    assert "Stripe answered 503." in page
    assert '"path": "/v1/subscriptions/sub_1"' in page
    assert "Stripe request" in page
    assert "req_1" in page
    assert "Idempotency-Key" in page


def test_a_run_that_acts_asks_for_news_and_reloads_only_when_there_is_some(
    services: Services, browser: FlaskClient
) -> None:
    keep_rule(services.store)
    made = keep_run(services.store, run(keep_event(services.store, event())))
    assert f'hx-get="/runs/{made.id}/news?seen=' in text_of(browser, f"/runs/{made.id}")
    same = browser.get(f"/runs/{made.id}/news", query_string={"seen": made.updated_at})
    newer = browser.get(f"/runs/{made.id}/news", query_string={"seen": iso(NOON - DAY)})
    assert (same.status_code, same.headers.get("HX-Refresh")) == (204, None)
    assert newer.headers["HX-Refresh"] == "true"


def asking(services: Services) -> str:
    """A run that stands at a failed action, and its action; the run's id."""
    keep_rule(services.store)
    made = run(keep_event(services.store, event()), state="needs_person", reason="downgrade: no such price")
    steps = {"downgrade": {"state": "failed", "at": iso(NOON), "command": f"{made.id}/downgrade", "generation": 0}}
    keep_run(services.store, replace(made, steps=steps))
    from tests.records import command

    keep_command(services.store, command(made, state="dead", due_at=None))
    return made.id


def test_a_verb_is_asked_with_its_meaning_then_done_with_a_reason(services: Services, browser: FlaskClient) -> None:
    id = asking(services)
    assert f'href="/runs/{id}/retry"' in text_of(browser, f"/runs/{id}")
    question = browser.get(f"/runs/{id}/retry")
    assert "under the same key" in question.text
    sent = form(question.text, f"/runs/{id}/retry").sent(reason="the price exists now")
    done = browser.post(f"/runs/{id}/retry", data=sent)
    assert (done.status_code, done.location) == (303, f"/runs/{id}")
    assert services.store.get(TENANT, "run", id).body["state"] == "acting"  # type: ignore[union-attr]
    (entry,) = services.store.find(TENANT, "audit", [("about", "==", id)]).items
    assert (entry.body["verb"], entry.body["why"]) == ("retry run", "the price exists now")


def test_a_verb_without_a_reason_changes_nothing_and_says_what_lacks(services: Services, browser: FlaskClient) -> None:
    id = asking(services)
    answer = browser.post(f"/runs/{id}/cancel", data={"reason": "  "})
    assert answer.status_code == 422
    assert "Say why" in answer.text
    assert services.store.get(TENANT, "run", id).body["state"] == "needs_person"  # type: ignore[union-attr]


def test_a_verb_that_the_state_does_not_allow_is_a_409_that_says_so(services: Services, browser: FlaskClient) -> None:
    id = asking(services)
    answer = browser.post(f"/runs/{id}/approve", data={"reason": "fine"})
    assert answer.status_code == 409
    assert "waits for no approval" in answer.text
    assert browser.get(f"/runs/{id}/explode").status_code == 404


# ---- what needs a person --------------------------------------------------------------------------------------------
def test_parked_runs_are_released_together_after_their_count_is_shown(services: Services, browser: FlaskClient) -> None:
    keep_rule(services.store)
    for number in (1, 2):
        trigger = keep_event(services.store, event(f"evt_{number}"))
        keep_run(services.store, run(trigger, state="parked", reason="over the limit of 25 a day", steps={}))
    page = browser.get("/needs-you")
    ids = [line.split('value="')[1].split('"')[0] for line in page.text.splitlines() if 'name="id"' in line]
    assert len(ids) == 2
    question = browser.get("/needs-you/release", query_string={"id": ids})
    assert "Release 2 runs" in question.text
    sent = form(question.text, "/needs-you/release").sent(reason="checked both")
    done = browser.post("/needs-you/release", data=sent, follow_redirects=True)
    assert "2 of 2 runs" in done.text
    states = {document.body["state"] for document in services.store.find(TENANT, "run").items}
    assert states == {"acting"}


def test_dead_letters_are_replayed_or_discarded(services: Services, browser: FlaskClient) -> None:
    services.bus.publish(event("evt_1"))
    services.inbox.drain(lambda batch: [Disposition("dead", "unreadable")] * len(batch), NOON)
    assert "unreadable" in text_of(browser, "/needs-you")
    question = browser.get("/needs-you/replay?id=evt_1")
    assert "Replay 1 dead letter" in question.text
    sent = form(question.text, "/needs-you/replay").sent(reason="the fault is mended")
    done = browser.post("/needs-you/replay", data=sent, follow_redirects=True)
    assert "1 events and 0 actions are tried again." in done.text
    assert services.inbox.dead() == []


def test_a_failing_connection_is_resumed_from_here(services: Services, browser: FlaskClient) -> None:
    failing = {
        "name": "crm",
        "type": "webhook",
        "url": "https://crm.example",
        "state": "failing",
        "reason": "410",
        "created_at": iso(NOON),
        "secret_name": "x",
        "held": True,
    }
    services.store.commit(TENANT, None, [Put("connection", "crm", failing)])
    assert 'href="/needs-you/resume?id=crm"' in text_of(browser, "/needs-you")
    done = browser.post("/needs-you/resume", data={"ids": "crm", "reason": "mended"}, follow_redirects=True)
    assert "sending again" in done.text
    assert services.store.get(TENANT, "connection", "crm").body["state"] == "on"  # type: ignore[union-attr]


def test_marking_nothing_does_nothing(browser: FlaskClient) -> None:
    assert "Nothing was marked" in browser.get("/needs-you/replay", follow_redirects=True).text


# ---- journeys and find ----------------------------------------------------------------------------------------------
def test_a_journey_draws_each_station_and_can_be_read_as_a_table(services: Services, browser: FlaskClient) -> None:
    story(services.store)
    page = text_of(browser, "/traces/in_1")
    assert page == text_of(browser, f"/traces/{trace_id(TENANT, 'in_1')}")
    assert page.count('<svg class="bars"') == 6
    assert "Stations in order of cause" in page
    assert "Idle time is drawn short" in page
    assert 'style="' not in page


def test_find_goes_straight_there_or_offers_choices_or_helps(services: Services, browser: FlaskClient) -> None:
    _, made, _ = story(services.store)
    assert browser.get(f"/find?q={made.id}").location == f"/runs/{made.id}"
    assert 'href="/customers/cus_1"' in text_of(browser, "/find?q=in_1")
    assert "last 30 days" in text_of(browser, "/find?q=in_unknown")
    assert "Find anything" in text_of(browser, "/find")


# ---- the CRM inbox --------------------------------------------------------------------------------------------------
def notice(services: Services, **data: Any) -> tuple[bytes, dict[str, str]]:
    """A signed notice of the story's run."""
    crm_inbox.ensure_sample_connection(services.store, services.secrets, TENANT, "http://localhost", NOON)
    secret = services.secrets.get(f"connection/{TENANT}/crm") or ""
    body = {
        "specversion": "1.0",
        "id": "run_1/tell-crm",
        "type": "signalbox.crm.notify",
        "correlationid": "in_1",
        "causationid": "evt_2",
        "data": {
            "rule": {"name": "Two failed payments"},
            "run": "run_1",
            "step": "tell-crm",
            "stage": "At risk",
            "customer": "cus_1",
            "amounts": {"usd": 4900},
            **data,
        },
    }
    raw = json.dumps(body).encode()
    trace = trace_id(TENANT, "in_1")
    return raw, {
        **signed_headers(secret, "run_1/tell-crm", NOON, raw),
        "traceparent": f"00-{trace}-00f067aa0ba902b7-01",
    }


def test_a_notice_is_verified_kept_once_and_leads_back_to_its_webhook(services: Services, browser: FlaskClient) -> None:
    raw, headers = notice(services)
    for expected in (1, 2):
        answer = browser.post(f"/crm-inbox?tenant={TENANT}", data=raw, headers=headers)
        assert (answer.status_code, answer.json["deliveries"]) == (200, expected)  # type: ignore[index]
    page = text_of(browser, "/crm-inbox")
    for expected_text in (
        "At risk",
        "$49.00",
        "Signature verified",
        "delivered 2 times",
        "/events/evt_2",
        "/runs/run_1#step-tell-crm",
        f"/traces/{trace_id(TENANT, 'in_1')}",
    ):
        assert expected_text in page, expected_text
    assert '"specversion": "1.0"' in text_of(browser, "/crm-inbox/run_1/tell-crm")


def test_a_notice_that_is_not_genuine_is_refused_with_its_reason(services: Services, browser: FlaskClient) -> None:
    raw, headers = notice(services)
    forged = browser.post(f"/crm-inbox?tenant={TENANT}", data=raw + b" ", headers=headers)
    assert (forged.status_code, forged.content_type) == (400, "application/problem+json")
    assert "No signature matches" in forged.json["detail"]  # type: ignore[index]
    large = browser.post(f"/crm-inbox?tenant={TENANT}", data=b"x" * 70_000, headers=headers)
    assert large.status_code == 413
    assert crm_inbox.notices(services.store, TENANT)["items"] == []


# ---- the sample -----------------------------------------------------------------------------------------------------
def test_the_sample_starts_with_a_button_and_shows_how_far_it_is(browser: FlaskClient, services: Services) -> None:
    services = services_in_memory(stripe_api_key="")
    browser = create_app(services).test_client()
    assert "Play the sample" in text_of(browser, "/sample")
    assert browser.post("/sample").location == "/sample"
    job = services.store.get(TENANT, "job", "sample")
    assert job is not None
    going = {**job.body, "state": "running", "progress": 0.25, "summary": {"deliveries": 400, "of": 1600}}
    services.store.commit(TENANT, None, [Put("job", "sample", going)])
    page = text_of(browser, "/sample")
    assert '<progress max="100" value="25"' in page
    assert "400 of 1,600 webhooks" in page
    assert 'hx-trigger="every 1s"' in page


def test_the_sample_is_not_played_against_a_real_account_nor_in_production(services: Services) -> None:
    for settings in ({"stripe_api_key": "sk_live_x"}, {"environment": "production", "stripe_api_key": ""}):
        refusing = services_in_memory(**settings)
        answer = (
            create_app(refusing)
            .test_client()
            .post("/sample", headers={"Authorization": f"Bearer {refusing.settings.admin_token}"})
        )
        assert answer.status_code == 400
        assert refusing.store.get(TENANT, "job", "sample") is None


# ---- what is hostile ------------------------------------------------------------------------------------------------
def test_tags_in_names_payloads_and_answers_come_out_as_text(services: Services, browser: FlaskClient) -> None:
    s = services.store
    keep_rule(s, document={**RULE, "name": HOSTILE})
    thing = invoice(status=HOSTILE, id="in_1", metadata={HOSTILE: HOSTILE})
    trigger = keep_event(s, event("evt_1", object=thing, previous={HOSTILE: HOSTILE}))
    keep_event(s, event("evt_2", HOSTILE, object={"id": HOSTILE, "object": "customer", "name": HOSTILE}))
    told = ({"at": iso(NOON), "text": HOSTILE},)
    made = keep_run(s, run(trigger, rule_name=HOSTILE, reason=HOSTILE, story=told, state="needs_person"))
    from tests.records import attempt, command

    tried = {**attempt(trigger, NOON), "message": HOSTILE, "response": {"body": HOSTILE}}
    keep_command(s, command(made, attempts=(tried,), action=HOSTILE, connection=HOSTILE, state="dead", due_at=None))
    raw, headers = notice(services, message=HOSTILE, rule={"name": HOSTILE})
    browser.post(f"/crm-inbox?tenant={TENANT}", data=raw, headers=headers)
    for address in (
        "/",
        "/events",
        "/events/evt_1",
        "/events/evt_2",
        "/runs",
        f"/runs/{made.id}",
        "/customers",
        "/customers/cus_1",
        "/traces",
        "/traces/in_1",
        "/deliveries",
        "/needs-you",
        "/crm-inbox",
        f"/runs/{made.id}/cancel",
        "/crm-inbox/run_1/tell-crm",
        "/why?rule=two-failed&subject=in_1",
        f"/find?q={HOSTILE}",
        f"/events?q={HOSTILE}",
    ):
        answer = browser.get(address)
        assert answer.status_code == 200, address
        assert "<script>alert" not in answer.text, address
        assert "<img src=x" not in answer.text, address


@pytest.mark.parametrize("id", [5, 1.5, ["in_1"], {"id": "<b>"}, True])
def test_what_came_as_an_id_and_is_no_text_is_shown_and_leads_nowhere(id: Any) -> None:
    shown = str(ident(id))
    assert "href" not in shown
    assert "<b>" not in shown
