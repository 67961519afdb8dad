"""The settings pages: Stripe, history, connections, lists, the emergency stop and the audit log."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import author, jobs, operate, tenant_settings
from app.connections.types import opened, private_of
from app.services import STORED_SECRETS, Services
from app.web import create_app
from rules.event import iso
from rules.ports import Put
from rules.rule import RuleError
from tests.builders import NOON, TENANT, services_in_memory
from tests.fakes.mail_server import MailServer
from tests.web.html import form
from tests.web.test_rules_pages import connection, live


@pytest.fixture
def services() -> Services:
    return services_in_memory(stripe_webhook_secrets=())


@pytest.fixture
def browser(services: Services) -> FlaskClient:
    return create_app(services).test_client()


def send(browser: FlaskClient, address: str, action: str = "", **typed: str) -> Any:
    """Open a page and send its form with these fields."""
    page = browser.get(address)
    assert page.status_code == 200, page.text
    found = form(page.text, action or address)
    return browser.post(found.action, data=found.sent(**typed))


def connected(services: Services) -> None:
    author.save_connection(services.store, services.secrets, TENANT, connection(), "ada", NOON)


# ---- Stripe ---------------------------------------------------------------------------------------------------------
def test_a_signing_secret_is_kept_beside_the_old_one_and_never_shown(browser: FlaskClient, services: Services) -> None:
    assert ">Missing<" in browser.get("/settings").text
    for secret in ("whsec_first_one", "whsec_second_one", "whsec_first_one"):
        assert send(browser, "/settings/stripe", secret=secret).status_code == 303
    assert services.secrets.get(STORED_SECRETS) == "whsec_first_one,whsec_second_one"
    page = browser.get("/settings").text
    assert "2 set here" in page
    assert "whsec_first_one" not in page


@pytest.mark.parametrize("secret", ["", "sk_test_123456789", "whsec_a,whsec_bbbbbbbbb", "whsec_ spaces here"])
def test_what_is_no_signing_secret_is_refused_beside_its_field(browser: FlaskClient, secret: str) -> None:
    answer = send(browser, "/settings/stripe", secret=secret)
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.text


def test_the_secrets_set_here_can_be_forgotten_with_a_reason(browser: FlaskClient, services: Services) -> None:
    send(browser, "/settings/stripe", secret="whsec_first_one")
    assert send(browser, "/settings/stripe/forget", reason=" ").status_code == 422
    assert send(browser, "/settings/stripe/forget", reason="leaked").status_code == 303
    assert not services.secrets.get(STORED_SECRETS)


# ---- history --------------------------------------------------------------------------------------------------------
def test_the_import_is_started_once_watched_and_stopped(browser: FlaskClient, services: Services) -> None:
    send(browser, "/settings/import")
    browser.post("/settings/import")
    found = services.store.find(TENANT, "job", [("type", "==", "import")]).items
    assert len(found) == 1
    fragment = browser.get("/settings/import", headers={"HX-Request": "true"}).text
    assert 'hx-trigger="every 2s"' in fragment
    assert "<progress" in fragment
    send(browser, "/settings/import", "/settings/import/stop")
    job = jobs.latest(services.store, TENANT, "import")
    assert job is not None
    assert job.body["state"] == "cancelled"


def test_without_a_key_of_this_tenant_the_import_says_what_is_missing() -> None:
    for settings in ({"stripe_api_key": ""}, {"stripe_api_key": "sk_live_x"}, {"stand_in": True}):
        browser = create_app(services_in_memory(**settings)).test_client()
        assert browser.post("/settings/import").status_code == 409
        assert "Stripe" in browser.get("/settings/import").text


# ---- connections ----------------------------------------------------------------------------------------------------
def test_a_new_connection_shows_its_secret_once(browser: FlaskClient, services: Services) -> None:
    answer = send(browser, "/settings/connections/new", url="https://crm.example.com/hook")
    secret = services.secrets.get(f"connection/{TENANT}/crm")
    assert secret
    assert secret in answer.text
    assert secret not in browser.get("/settings/connections/crm").text


def test_a_bad_address_stands_beside_its_field_and_what_was_typed_stays(browser: FlaskClient) -> None:
    answer = send(browser, "/settings/connections/new", name="My CRM", url="https://10.0.0.1/x")
    assert answer.status_code == 422
    assert "inside the network" in answer.text
    assert form(answer.text, "/settings/connections/new").sent()["url"] == ["https://10.0.0.1/x"]


def test_a_second_connection_of_the_same_name_is_refused(browser: FlaskClient, services: Services) -> None:
    connected(services)
    answer = send(browser, "/settings/connections/new", name="crm", url="https://other.example.com/")
    assert answer.status_code == 409
    assert author.connection(services.store, TENANT, "crm")["url"] == "https://crm.example.com/hook"


def test_a_connection_is_edited_paused_and_resumed(browser: FlaskClient, services: Services) -> None:
    connected(services)
    send(browser, "/settings/connections/crm", url="https://crm.example.com/new")
    assert author.connection(services.store, TENANT, "crm")["url"] == "https://crm.example.com/new"
    assert send(browser, "/settings/connections/crm/pause", reason="").status_code == 422
    send(browser, "/settings/connections/crm/pause", reason="they move")
    assert author.connection(services.store, TENANT, "crm")["state"] == "paused"
    send(browser, "/settings/connections/crm/resume", reason="they moved")
    assert author.connection(services.store, TENANT, "crm")["state"] == "on"


def test_a_connection_names_the_rules_that_use_it(browser: FlaskClient, services: Services) -> None:
    connected(services)
    live(services)
    assert "Two failed payments in 7 days" in browser.get("/settings/connections/crm").text


def test_a_test_notice_says_what_came_of_it(services: Services) -> None:
    services = services_in_memory()
    browser = create_app(services).test_client()
    local = {"name": "crm", "type": "webhook", "url": "http://127.0.0.1:9/hook"}
    author.save_connection(services.store, services.secrets, TENANT, local, "ada", NOON, development=True)
    answer = browser.post("/settings/connections/crm/test", follow_redirects=True)
    assert "Test notice: No answer from crm: nothing listens at its address" in answer.text


# ---- lists ----------------------------------------------------------------------------------------------------------
def test_a_list_is_made_changed_and_deleted(browser: FlaskClient, services: Services) -> None:
    send(browser, "/settings/lists/new", name="contracts", members="cus_1\ncus_2, cus_3")
    send(browser, "/settings/lists/contracts", members="cus_1")
    assert author.lists(services.store, TENANT)[0]["members"] == ["cus_1"]
    assert "Customers on the list <b>contracts</b>" in browser.get("/rules/new/edit?from=blank").text
    send(browser, "/settings/lists/contracts/delete", reason="ended")
    assert author.lists(services.store, TENANT) == []


def test_a_member_that_is_no_id_is_refused(browser: FlaskClient) -> None:
    answer = send(browser, "/settings/lists/new", name="contracts", members="ada@example.com")
    assert answer.status_code == 422
    assert "ada@example.com" in answer.text


@pytest.mark.parametrize(
    "address", ["/settings/lists/none", "/settings/connections/none", "/settings/lists/none/delete"]
)
def test_what_is_not_there_is_a_404(browser: FlaskClient, address: str) -> None:
    assert browser.get(address).status_code == 404


# ---- the emergency stop ---------------------------------------------------------------------------------------------
def test_everything_is_stopped_and_let_go_with_a_reason(browser: FlaskClient, services: Services) -> None:
    assert send(browser, "/settings/switch?what=all&stop=1", "/settings/switch", reason="").status_code == 422
    send(browser, "/settings/switch?what=all&stop=1", "/settings/switch", reason="it ran away")
    assert operate.switches(services.store, TENANT)["all"] is True
    assert "Everything is stopped" in browser.get("/settings").text
    send(browser, "/settings/switch?what=all&stop=0", "/settings/switch", reason="mended")
    assert operate.switches(services.store, TENANT)["all"] is False


def test_one_rule_is_stopped(browser: FlaskClient, services: Services) -> None:
    live(services)
    send(browser, "/settings/switch?what=rule:two-failed-payments&stop=1", "/settings/switch", reason="look")
    assert operate.switches(services.store, TENANT)["rules"] == ["two-failed-payments"]
    assert "is stopped" in browser.get("/settings").text


def test_a_switch_that_does_not_exist_changes_nothing(browser: FlaskClient, services: Services) -> None:
    answer = browser.post("/settings/switch", data={"what": "moon", "stop": "1", "reason": "x"})
    assert answer.status_code == 409
    assert operate.switches(services.store, TENANT)["all"] is False


# ---- who changed what -----------------------------------------------------------------------------------------------
def test_the_audit_log_says_who_and_why_and_can_be_narrowed(browser: FlaskClient, services: Services) -> None:
    assert "Nothing yet" in browser.get("/settings/audit").text
    live(services)
    connected(services)
    page = browser.get("/settings/audit?about=two-failed-payments").text
    assert "Publish" in page
    assert "first" in page
    assert "Add connection" not in page


def test_settings_name_what_runs_here(browser: FlaskClient) -> None:
    page = browser.get("/settings").text
    assert "SDK" in page
    assert "python" in page


# ---- connections of other types -------------------------------------------------------------------------------------
def test_each_type_of_connection_asks_for_its_own_fields(browser: FlaskClient, services: Services) -> None:
    page = browser.get("/settings/connections/new?type=smtp")
    given = form(page.text, "/settings/connections/new").sent(
        name="mail", host="smtp.example.com", **{"from": "billing@example.com"}, user="signalbox", secret="sesame"
    )
    assert browser.post("/settings/connections/new", data=given).status_code == 303
    kept = author.connection(services.store, TENANT, "mail")
    assert (kept["type"], kept["port"], kept["tls"], kept["url"]) == (
        "smtp", 587, "starttls", "smtp://smtp.example.com:587",
    )  # fmt: skip
    assert services.secrets.get(f"connection/{TENANT}/mail") == "sesame"
    shown = browser.get("/settings/connections/mail").text
    assert "sesame" not in shown
    assert "Send a test to billing@example.com" in shown
    assert "smtp://smtp.example.com:587" in browser.get("/settings").text


def test_what_is_wrong_with_a_mail_server_stands_beside_its_field(browser: FlaskClient) -> None:
    page = browser.get("/settings/connections/new?type=smtp")
    given = form(page.text, "/settings/connections/new").sent(
        name="mail", host="10.0.0.1", port="many", tls="none", **{"from": "us"}
    )
    answer = browser.post("/settings/connections/new", data=given)
    assert answer.status_code == 422
    for said in ("inside the network", "a port is a number", "mail is encrypted", "the sender’s address"):
        assert said in answer.text.replace("&#39;", "’"), said


def test_a_secret_stays_when_the_field_is_left_empty_and_a_type_is_for_good(
    browser: FlaskClient, services: Services
) -> None:
    mail = {"name": "mail", "type": "smtp", "host": "smtp.example.com", "from": "a@example.com", "secret": "sesame"}
    author.save_connection(services.store, services.secrets, TENANT, mail, "ada", NOON)
    send(browser, "/settings/connections/mail", host="mail.example.com")
    assert services.secrets.get(f"connection/{TENANT}/mail") == "sesame"
    assert author.connection(services.store, TENANT, "mail")["host"] == "mail.example.com"
    with pytest.raises(RuleError, match="type smtp"):
        author.save_connection(services.store, services.secrets, TENANT, connection("mail"), "ada", NOON)


def test_a_test_mail_goes_to_its_own_sender() -> None:
    services = services_in_memory()
    server = MailServer()
    with server.running() as port:
        mail = {"name": "mail", "type": "smtp", "host": "127.0.0.1", "port": port, "tls": "none", "from": "a@b.example"}
        author.save_connection(services.store, services.secrets, TENANT, mail, "ada", NOON, development=True)
        answer = create_app(services).test_client().post("/settings/connections/mail/test", follow_redirects=True)
    assert "mail took the e-mail" in answer.text
    assert server.to == ["a@b.example"]


def test_a_slack_address_is_asked_for_and_never_shown(browser: FlaskClient, services: Services) -> None:
    page = browser.get("/settings/connections/new?type=slack")
    for secret, said in (("", "webhook address is missing"), ("https://10.0.0.8/x", "inside the network")):
        given = form(page.text, "/settings/connections/new").sent(name="team", secret=secret)
        answer = browser.post("/settings/connections/new", data=given)
        assert (answer.status_code, said in answer.text) == (422, True)
    address = "https://hooks.slack.com/services/T0/B0/sesame"
    given = form(page.text, "/settings/connections/new").sent(name="team", secret=address)
    assert browser.post("/settings/connections/new", data=given).status_code == 303
    assert services.secrets.get(f"connection/{TENANT}/team") == address
    for path in ("/settings/connections/team", "/settings", "/settings/audit"):
        assert "sesame" not in browser.get(path).text


# ---- what is not shown ----------------------------------------------------------------------------------------------
def test_the_query_of_an_address_and_the_headers_are_kept_with_the_secrets_alone(
    browser: FlaskClient, services: Services
) -> None:
    address = "https://crm.example.com/hook"
    body = {"name": "crm", "type": "webhook", "url": f"{address}?token=sesame", "headers": {"Authorization": "sesame"}}
    author.save_connection(services.store, services.secrets, TENANT, body, "ada", NOON)
    for path in ("/settings", "/settings/connections/crm", "/settings/audit"):
        assert "sesame" not in browser.get(path).text
    found = services.store.get(TENANT, "connection", "crm")
    audit = [one.body for one in services.store.find(TENANT, "audit", order="at").items]
    assert found is not None
    assert "sesame" not in str([found.body, audit])
    assert opened(found.body, services.secrets) == (f"{address}?token=sesame", {"Authorization": "sesame"})


def test_saving_the_form_as_it_is_keeps_what_it_does_not_show(browser: FlaskClient, services: Services) -> None:
    body = {"name": "crm", "url": "https://crm.example.com/hook?token=sesame", "headers": {"X-Key": "sesame"}}
    author.save_connection(services.store, services.secrets, TENANT, body, "ada", NOON)
    assert send(browser, "/settings/connections/crm").status_code == 303
    found = services.store.get(TENANT, "connection", "crm")
    assert found is not None
    assert opened(found.body, services.secrets) == (body["url"], body["headers"])
    send(browser, "/settings/connections/crm", url="https://crm.example.com/other")
    found = services.store.get(TENANT, "connection", "crm")
    assert found is not None
    assert opened(found.body, services.secrets)[0] == "https://crm.example.com/other"


def test_a_document_from_before_is_shown_without_its_query_and_still_sent_with_it(services: Services) -> None:
    connected(services)
    found = services.store.get(TENANT, "connection", "crm")
    assert found is not None
    old = {**found.body, "url": "https://crm.example.com/?k=sesame", "headers": {"X-Key": "sesame"}}
    services.store.commit(TENANT, None, [Put("connection", "crm", old, found.version)])
    assert "sesame" not in str(author.connections(services.store, TENANT))
    assert opened(old, services.secrets) == ("https://crm.example.com/?k=sesame", {"X-Key": "sesame"})
    shown = {"name": "crm", "url": "https://crm.example.com/?…"}
    author.save_connection(services.store, services.secrets, TENANT, shown, "ada", NOON)
    kept = services.store.get(TENANT, "connection", "crm")
    assert kept is not None
    assert "sesame" not in str(kept.body)
    assert opened(kept.body, services.secrets) == ("https://crm.example.com/?k=sesame", {"X-Key": "sesame"})


def test_a_secret_is_replaced_and_both_sign_for_the_time_that_was_chosen(
    browser: FlaskClient, services: Services
) -> None:
    connected(services)
    name = f"connection/{TENANT}/crm"
    before = services.secrets.get(name)
    assert before is not None
    assert send(browser, "/settings/connections/crm/secret", hours="24").status_code == 422
    answer = send(browser, "/settings/connections/crm/secret", hours="24", reason="It is a year old")
    both = str(services.secrets.get(name)).split()
    assert both[1:] == [before]
    assert both[0] in answer.text
    found = services.store.get(TENANT, "connection", "crm")
    assert found is not None
    assert found.body["both_until"] == iso(NOON + timedelta(hours=24))
    page = browser.get("/settings/connections/crm").text
    assert "signs as well until" in page
    assert both[0] not in page


def test_a_connection_that_signs_nothing_has_no_secret_to_replace(browser: FlaskClient, services: Services) -> None:
    mail = {"name": "mail", "type": "smtp", "host": "smtp.example.com", "from": "a@example.com", "secret": "sesame"}
    author.save_connection(services.store, services.secrets, TENANT, mail, "ada", NOON)
    assert "Replace the secret" not in browser.get("/settings/connections/mail").text
    assert send(browser, "/settings/connections/mail/secret", reason="x").status_code == 422


def test_how_much_may_go_over_a_connection_is_set_beside_it(browser: FlaskClient, services: Services) -> None:
    connected(services)
    address = "/settings/connections/crm"
    assert send(browser, address, rate="many").status_code == 422
    assert send(browser, address, rate="2.5", at_once="3", in_order="true").status_code == 303
    kept = author.connection(services.store, TENANT, "crm")
    assert (kept["rate"], kept["at_once"], kept["in_order"]) == (2.5, 3, True)
    assert 'value="2.5"' in browser.get(address).text
    send(browser, address, rate="", at_once="")
    kept = author.connection(services.store, TENANT, "crm")
    assert (kept["rate"], kept["at_once"]) == (None, None)


def test_a_crm_connection_keeps_both_of_its_secrets_apart_from_its_document(
    browser: FlaskClient, services: Services
) -> None:
    typed = {"name": "hub", "client_id": "client", "client_secret": "sesame-client", "secret": "sesame-token"}
    assert (
        send(browser, "/settings/connections/new?type=hubspot", "/settings/connections/new", **typed).status_code == 303
    )
    found = services.store.get(TENANT, "connection", "hub")
    assert found is not None
    assert "sesame" not in str(found.body)
    assert "sesame" not in browser.get("/settings/connections/hub").text
    assert private_of(found.body, services.secrets)["client_secret"] == "sesame-client"
    send(browser, "/settings/connections/hub", client_id="another")
    assert private_of(author_document(services, "hub"), services.secrets)["client_secret"] == "sesame-client"


def author_document(services: Services, name: str) -> Any:
    found = services.store.get(TENANT, "connection", name)
    assert found is not None
    return found.body


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"type": "hubspot", "secret": "t", "client_secret": "x"}, "client_id"),
        ({"type": "hubspot", "secret": "t", "base": "https://10.0.0.8"}, "base"),
        ({"type": "hubspot"}, "secret"),
        ({"type": "salesforce"}, "client_id"),
        ({"type": "salesforce", "client_id": "c", "version": "new"}, "version"),
    ],
)
def test_what_a_crm_connection_lacks_is_said(services: Services, body: dict[str, Any], path: str) -> None:
    with pytest.raises(RuleError) as error:
        author.save_connection(services.store, services.secrets, TENANT, {"name": "c", **body}, "ada", NOON)
    assert path in [problem.path for problem in error.value.problems]


def test_the_pace_to_stripe_is_set_and_nothing_else_of_it(browser: FlaskClient, services: Services) -> None:
    address = "/settings/connections/stripe"
    page = browser.get(address).text
    assert "Send a test" not in page
    assert 'type="password"' not in page
    assert send(browser, address, rate="20", at_once="8").status_code == 303
    kept = author.connection(services.store, TENANT, "stripe")
    assert (kept["type"], kept["state"], kept["rate"], kept["at_once"]) == ("stripe", "on", 20.0, 8)
    assert 'value="20"' in browser.get(address).text
    for body in ({"name": "stripe", "url": "https://x.example.com"}, {"name": "other", "type": "stripe"}):
        with pytest.raises(RuleError, match="the connection to Stripe"):
            author.save_connection(services.store, services.secrets, TENANT, body, "ada", NOON)


def test_the_accounts_days_of_pause_are_set_beside_its_time_zone(browser: FlaskClient, services: Services) -> None:
    asked = form(browser.get("/settings/account").text, "/settings/account")
    wrong = browser.post(asked.action, data=asked.sent(not_on="2026-12-25, Easter"))
    assert wrong.status_code == 422
    assert "write up to 100 days such as 2026-12-25" in wrong.text
    assert browser.post(asked.action, data=asked.sent(not_on="2027-01-01 2026-12-25")).status_code == 303
    kept = tenant_settings.read(services.store, TENANT)
    assert kept.not_on == ("2026-12-25", "2027-01-01")
    assert "2026-12-25, 2027-01-01" in browser.get("/settings/account").text
