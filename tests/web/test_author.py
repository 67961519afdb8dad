"""Authoring: drafts, versions, what is in force, connections and lists; each change audited, none half-done."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from app import author
from app.connections import trial
from app.services import Services
from rules.ports import ABSENT, Body, Conflict, Outcome, Put, Unconfigured
from rules.rule import RuleError
from tests.builders import DAY, NOON, TENANT, services_in_memory
from tests.web.test_rules_pages import ready

ID = "two-failed-payments"


@pytest.fixture
def services() -> Services:
    return services_in_memory()


def save(services: Services, document: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    ports = services
    given = ready() if document is None else document
    return author.save_draft(
        ports.store, ports.vault, ports.catalogue, ports.connectors, TENANT, given, "ada", NOON, **more
    )


def publish(services: Services, note: str = "because", **more: Any) -> dict[str, Any]:
    ports = services
    return author.publish(ports.store, ports.catalogue, ports.connectors, TENANT, ID, "ada", note, NOON, **more)


def change(services: Services, verb: Callable[..., Any]) -> dict[str, Any]:
    found: dict[str, Any] = verb(services.store, TENANT, ID, "ada", "because", NOON)
    return found


def revision(services: Services) -> int:
    found = services.store.get(TENANT, "ruleset", "current")
    return found.body["revision"] if found else 0


def audited(services: Services) -> list[str]:
    found = services.store.find(TENANT, "audit", order="at")
    return [document.body["verb"] for document in found.items]


# ---- drafts ---------------------------------------------------------------------------------------------------------
def test_a_draft_is_not_in_force(services: Services) -> None:
    row = save(services)
    assert (row["state"], row["number"], row["draft"]) == ("off", None, ready())
    assert revision(services) == 0
    assert audited(services) == ["save draft"]


def test_a_personal_constant_is_kept_as_its_token(services: Services) -> None:
    asked = {"field": "data.object.customer_email", "is": "equal to", "value": "ada@example.com"}
    row = save(services, ready() | {"only_if": asked})
    (token,) = services.vault.tokenise(TENANT, "cus_1", ["ada@example.com"])
    assert row["draft"]["only_if"] == asked | {"value": token}
    assert "ada@example.com" not in str(services.store.find(TENANT, "audit", order="at"))


def test_a_draft_may_have_problems_and_says_how_many(services: Services) -> None:
    assert save(services, {"id": ID, "name": "Half"})["problems"] > 0


@pytest.mark.parametrize("id", ["", "Two Failed", "new", 5, None, "a/b", "x" * 90])
def test_a_document_without_a_usable_id_is_refused_with_a_better_one(services: Services, id: Any) -> None:
    with pytest.raises(RuleError) as caught:
        save(services, {**ready(), "id": id})
    assert caught.value.problems[0].path == "id"
    assert caught.value.problems[0].suggestion
    assert author.rules(services.store, TENANT) == []


def test_a_document_beyond_all_measure_is_refused(services: Services) -> None:
    with pytest.raises(RuleError):
        save(services, {**ready(), "why": "x" * 300_000})


def test_saving_the_same_as_what_is_in_force_leaves_no_draft(services: Services) -> None:
    save(services)
    publish(services)
    assert save(services)["draft"] is None


def test_saving_over_someone_elses_draft_is_a_conflict(services: Services) -> None:
    mine = save(services)["version"]
    save(services, {**ready(), "name": "Theirs"}, expect=mine)
    with pytest.raises(Conflict, match="Someone else saved this rule"):
        save(services, {**ready(), "name": "Mine"}, expect=mine)
    assert author.rule(services.store, TENANT, ID)["name"] == "Theirs"


def test_a_new_rule_does_not_replace_one_of_the_same_id(services: Services) -> None:
    save(services)
    with pytest.raises(Conflict, match="Give this one another name"):
        save(services, expect=ABSENT)


def test_a_discarded_draft_stays_in_the_audit_log(services: Services) -> None:
    save(services)
    publish(services)
    save(services, ready(name="Another"))
    change(services, author.discard_draft)
    entries = services.store.find(TENANT, "audit", order="at").items
    kept = [entry.body["from"] for entry in entries if entry.body["verb"] == "discard draft"]
    assert kept[0]["name"] == "Another"


# ---- in force -------------------------------------------------------------------------------------------------------
def test_publishing_makes_the_next_version_and_moves_the_revision(services: Services) -> None:
    save(services)
    first = publish(services)
    save(services, ready(name="Second"))
    second = publish(services, note="better")

    assert (first["number"], second["number"], second["state"]) == (1, 2, "live")
    assert revision(services) == 2
    newest = author.versions(services.store, TENANT, ID)[0]
    assert (newest["number"], newest["note"], newest["published_by"], newest["mode"]) == (2, "better", "ada", "live")


def test_errors_block_publishing(services: Services) -> None:
    save(services, {**ready(), "steps": []})
    with pytest.raises(RuleError):
        publish(services)
    assert author.rule(services.store, TENANT, ID)["state"] == "off"
    assert revision(services) == 0


def test_a_connection_that_is_not_there_yet_is_advice(services: Services) -> None:
    ports = services
    document = {**ready(), "never_for": {"lists": ["contracts"]}}
    found = author.problems(ports.store, ports.catalogue, ports.connectors, TENANT, document)
    advice = {one.path: one.severity for one in found}
    assert advice["steps[1].with.connection"] == "advice"
    assert advice["never_for.lists[0]"] == "advice"


def test_a_version_never_changes(services: Services) -> None:
    save(services)
    publish(services)
    with pytest.raises(Conflict):
        services.store.commit(TENANT, None, [Put("rule_version", f"{ID}@1", {"rule_id": ID, "number": 1}, ABSENT)])
    save(services, ready(name="Second"))
    assert author.version(services.store, TENANT, ID, 1)["document"] == ready()


def test_watching_and_going_live_need_no_second_version(services: Services) -> None:
    save(services)
    watching = publish(services, mode="watch")
    live = publish(services)
    assert (watching["state"], live["state"], live["number"]) == ("watch", "live", 1)
    with pytest.raises(Conflict, match="in force already"):
        publish(services)


def test_a_pause_remembers_whether_it_was_live_or_watching(services: Services) -> None:
    save(services)
    publish(services, mode="watch")
    since = author.rule(services.store, TENANT, ID)["live_from"]
    change(services, author.pause)
    resumed = change(services, author.resume)
    assert (resumed["state"], resumed["live_from"]) == ("watch", since)


def test_rolling_back_puts_the_earlier_version_in_force_and_keeps_the_draft(services: Services) -> None:
    ports = services
    save(services)
    publish(services)
    save(services, ready(name="Second"))
    publish(services)
    save(services, ready(name="Third"))

    later = NOON + DAY
    row = author.rollback(ports.store, ports.catalogue, ports.connectors, TENANT, ID, 1, "ada", "worse", later)

    assert (row["number"], row["in_force"], row["draft"]["name"]) == (1, ready(), "Third")
    assert row["live_from"] > row["created_at"]
    assert audited(services)[-1] == "roll back"


def test_the_version_after_a_roll_back_has_a_number_of_its_own(services: Services) -> None:
    ports = services
    for name in ("First", "Second"):
        save(services, ready(name=name))
        publish(services)
    author.rollback(ports.store, ports.catalogue, ports.connectors, TENANT, ID, 1, "ada", "worse", NOON)
    save(services, ready(name="Third"))
    assert publish(services)["number"] == 3


@pytest.mark.parametrize("verb", [author.pause, author.resume, author.restore, author.discard_draft])
def test_a_verb_that_does_not_fit_the_state_is_a_conflict(services: Services, verb: Callable[..., Any]) -> None:
    save(services)
    with pytest.raises(Conflict):
        change(services, verb)
    assert audited(services) == ["save draft"]


def test_a_rule_that_is_not_there_is_a_lookup_error(services: Services) -> None:
    with pytest.raises(LookupError):
        change(services, author.pause)
    with pytest.raises(LookupError):
        author.version(services.store, TENANT, ID, 7)


def test_publishing_what_someone_else_changed_is_a_conflict(services: Services) -> None:
    seen = save(services)["version"]
    save(services, ready(name="Theirs"))
    with pytest.raises(Conflict, match="Someone else"):
        publish(services, expect=seen)


class Racing:
    """A store where someone puts another rule in force just before the first commit."""

    def __init__(self, services: Services) -> None:
        self.inner = services.store
        self.raced = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def commit(self, tenant: str, event: Put | None, writes: Any) -> None:
        if not self.raced:
            self.raced = True
            self.inner.commit(tenant, None, [Put("ruleset", "current", {"revision": 41, "changed_at": "x"})])
        self.inner.commit(tenant, event, writes)


def test_two_rules_published_at_once_both_move_the_revision(services: Services) -> None:
    save(services)
    ports = services
    racing: Any = Racing(services)
    author.publish(racing, ports.catalogue, ports.connectors, TENANT, ID, "ada", "x", NOON)
    assert revision(services) == 42


def test_a_tenant_does_not_see_anothers_rules(services: Services) -> None:
    save(services)
    assert author.rules(services.store, "default/live") == []
    with pytest.raises(LookupError):
        author.rule(services.store, "default/live", ID)


# ---- connections ----------------------------------------------------------------------------------------------------
def connect(services: Services, development: bool = False, expect: str | None = None, **body: Any) -> dict[str, Any]:
    given = {"name": "crm", "type": "webhook", "url": "https://crm.example.com/hook", **body}
    ports = services
    return author.save_connection(ports.store, ports.secrets, TENANT, given, "ada", NOON, development, expect)


def secret_of(services: Services) -> str | None:
    return services.secrets.get(f"connection/{TENANT}/crm")


def test_a_new_connection_gets_a_secret_that_is_shown_once(services: Services) -> None:
    made = connect(services)
    assert len(base64.b64decode(made["secret"].removeprefix("whsec_"))) == 32
    assert secret_of(services) == made["secret"]
    assert "secret" not in author.connection(services.store, TENANT, "crm")
    assert "secret" not in connect(services, url="https://crm.example.com/other")


def test_a_given_secret_is_kept_apart_from_the_document_and_the_audit_log(services: Services) -> None:
    secret = "whsec_" + base64.b64encode(b"x" * 24).decode()
    connect(services, secret=secret, headers={"Authorization": "Bearer hush"})
    assert secret_of(services) == secret
    for kind in ("connection", "audit"):
        kept = str([document.body for document in services.store.find(TENANT, kind).items])
        assert secret not in kept
        assert kind == "connection" or "hush" not in kept


def test_two_secrets_are_taken_while_one_replaces_the_other(services: Services) -> None:
    both = " ".join("whsec_" + base64.b64encode(key * 24).decode() for key in (b"a", b"b"))
    connect(services, secret=both)
    assert secret_of(services) == both


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"name": "Not Good"}, "name"),
        ({"type": "carrier pigeon"}, "type"),
        ({"url": ""}, "url"),
        ({"url": "ftp://crm.example.com"}, "url"),
        ({"url": "http://crm.example.com"}, "url"),
        ({"url": "https://user:pw@crm.example.com"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://localhost/"}, "url"),
        ({"url": "https://[::1]/"}, "url"),
        ({"url": "https://10.0.0.8/"}, "url"),
        ({"url": "https://169.254.169.254/latest"}, "url"),
        ({"url": "https://metadata.google.internal/"}, "url"),
        ({"url": "https://intranet/"}, "url"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "url"),
        ({"url": "https://crm.example.com:99999/"}, "url"),
        ({"url": "https://crm.example .com/"}, "url"),
        ({"url": 5}, "url"),
        ({"secret": "whsec_short"}, "secret"),
        ({"secret": "not a secret"}, "secret"),
        ({"headers": {"webhook-id": "x"}}, "headers.webhook-id"),
        ({"headers": {"X-Ok": "two\nlines"}}, "headers.X-Ok"),
        ({"headers": []}, "headers"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_connection_that_cannot_be_is_refused_at_its_field(services: Services, body: Body, path: str) -> None:
    if body == {"headers": []}:
        body = {"headers": ["x"]}
    with pytest.raises(RuleError) as caught:
        connect(services, **body)
    assert [one.path for one in caught.value.problems] == [path]
    assert author.connections(services.store, TENANT) == []
    assert secret_of(services) is None


def test_in_development_a_connection_may_be_http_on_this_machine(services: Services) -> None:
    assert connect(services, development=True, url="http://127.0.0.1:9000/hook")["state"] == "on"
    with pytest.raises(RuleError):
        connect(services, development=True, url="http://10.0.0.8/hook")


def test_a_failing_connection_with_another_address_gets_another_try(services: Services) -> None:
    connect(services)
    body = {**author.connection(services.store, TENANT, "crm"), "state": "failing", "reason": "410"}
    services.store.commit(TENANT, None, [Put("connection", "crm", body)])
    assert connect(services)["state"] == "failing"
    assert connect(services, url="https://crm.example.com/new")["state"] == "on"


def test_a_connection_is_paused_and_resumed_with_a_reason(services: Services) -> None:
    connect(services)
    paused = author.pause_connection(services.store, TENANT, "crm", "ada", "they moved", NOON)
    resumed = author.resume_connection(services.store, TENANT, "crm", "ada", "done", NOON)
    assert (paused["state"], paused["reason"], resumed["state"], resumed["reason"]) == (
        "paused",
        "they moved",
        "on",
        "",
    )
    with pytest.raises(Conflict):
        author.resume_connection(services.store, TENANT, "crm", "ada", "again", NOON)


def test_a_connection_changed_by_someone_else_is_a_conflict(services: Services) -> None:
    seen = connect(services)["version"]
    connect(services, url="https://crm.example.com/theirs")
    with pytest.raises(Conflict):
        connect(services, url="https://crm.example.com/mine", expect=seen)
    with pytest.raises(Conflict, match="already"):
        connect(services, expect=ABSENT)


# ---- a test notice --------------------------------------------------------------------------------------------------
class Recorder:
    name, title, fields = "crm.notify", "Notify", ()

    def __init__(self, answer: Outcome | Exception) -> None:
        self.answer, self.tasks = answer, list[Body]()

    def preview(self, params: Body) -> Body:
        return params

    def execute(self, command: Body, now: Any) -> Outcome:
        self.tasks.append(command)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_test_notice_goes_over_the_connection_by_the_real_action(services: Services) -> None:
    connect(services)
    action = Recorder(Outcome.done("taken"))
    said = trial.send_test_notice(services.store, {"crm.notify": action}, TENANT, "crm", "ada", NOON)
    assert said.message == "taken"
    assert action.tasks[0]["connection_document"]["url"] == "https://crm.example.com/hook"
    assert "send test notice" in audited(services)


def test_a_test_notice_that_cannot_be_signed_says_what_to_mend(services: Services) -> None:
    connect(services)
    action = Recorder(Unconfigured("no secret"))
    said = trial.send_test_notice(services.store, {"crm.notify": action}, TENANT, "crm", "ada", NOON)
    assert (said.kind, said.message) == ("dead", "no secret")
    with pytest.raises(LookupError):
        trial.send_test_notice(services.store, {}, TENANT, "none", "ada", NOON)


# ---- lists ----------------------------------------------------------------------------------------------------------
def test_a_list_is_kept_without_repeats_and_is_in_force_at_once(services: Services) -> None:
    author.save_list(services.store, TENANT, "contracts", ["cus_2", " cus_1 ", "cus_2", ""], "ada", NOON)
    assert author.lists(services.store, TENANT)[0]["members"] == ["cus_1", "cus_2"]
    assert revision(services) == 1


@pytest.mark.parametrize(
    ("name", "members", "path"),
    [("No Name", ["cus_1"], "name"), ("ok", ["ada@example.com"], "members"), ("ok", ["x" * 3] * 2, "members")],
)
def test_a_list_that_cannot_be_is_refused(services: Services, name: str, members: list[str], path: str) -> None:
    with pytest.raises(RuleError) as caught:
        author.save_list(services.store, TENANT, name, members, "ada", NOON)
    assert caught.value.problems[0].path == path


def test_a_deleted_list_is_gone_and_audited(services: Services) -> None:
    author.save_list(services.store, TENANT, "contracts", ["cus_1"], "ada", NOON)
    author.delete_list(services.store, TENANT, "contracts", "ada", "ended", NOON)
    assert author.lists(services.store, TENANT) == []
    assert sorted(audited(services)) == ["change list", "delete list"]
    with pytest.raises(LookupError):
        author.delete_list(services.store, TENANT, "contracts", "ada", "ended", NOON)


def test_a_list_changed_by_someone_else_is_a_conflict(services: Services) -> None:
    author.save_list(services.store, TENANT, "contracts", ["cus_1"], "ada", NOON)
    seen = author.lists(services.store, TENANT)[0]["version"]
    author.save_list(services.store, TENANT, "contracts", ["cus_2"], "bob", NOON)
    with pytest.raises(Conflict):
        author.save_list(services.store, TENANT, "contracts", ["cus_3"], "ada", NOON, seen)


def test_every_change_says_who_what_and_why(services: Services) -> None:
    save(services)
    publish(services, note="to stop the loss")
    entry = services.store.find(TENANT, "audit", [("about", "==", ID)], order="-at").items
    found = next(one.body for one in entry if one.body["verb"] == "publish")
    assert (found["actor"], found["why"]) == ("ada", "to stop the loss")
    assert (found["from"], found["to"]) == ({"state": "off", "version": None}, {"state": "live", "version": 1})
