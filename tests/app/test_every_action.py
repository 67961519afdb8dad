"""Every action that is registered keeps the contract of app.connectors: one more connector is held to it unseen."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.connections.types import HIDDEN, TYPES
from app.connectors import actions
from app.connectors.delivery import Courier
from app.services import Services
from rules.english import _ACTIONS
from rules.ports import ActionExecutor, Outcome, Reversible, Unconfigured
from tests.builders import NOON, TENANT, event, services_in_memory, task
from tests.fakes.receiver import Receiver, Say

ROOT = Path(__file__).parents[2]
SERVICES = services_in_memory()
NAMES = sorted(SERVICES.connectors)
SECRET = "whsec_" + "c2VzYW1l" * 4  # base64 of sesame, again and again
ECHO = b'{"message": "no such user ada@example.com", "errorCode": "X", "error": {"message": "ada@example.com"}}'
# parameters that make an action act; every other one is at its default
GIVEN: Mapping[str, Any] = {
    "connection": "there", "title": "Call", "subject": "Call", "text": "Please pay.", "task": "7", "stage": "lead",
    "properties": "a = b", "fields": "a = b", "price": "price_1", "key": "cus_1", "amount": "5", "currency": "usd",
    "to": "ada@example.com", "credit_note": "cn_1", "invoice_item": "ii_1", "value": "v",
}  # fmt: skip
# those that speak HTTP to an address of the connection
OVER_HTTP = [
    name for name in NAMES
    if name.partition(".")[0] in ("crm", "access", "route", "slack", "hubspot", "salesforce", "stripe")
]  # fmt: skip


def params_of(action: ActionExecutor) -> dict[str, Any]:
    """The required ones, and the few that would leave the action nothing to do."""
    wanted = {field.name for field in action.fields if field.required} | {"key", "currency"}
    return {name: GIVEN[name] for name in GIVEN if name in wanted & {field.name for field in action.fields}}


# ---- what it says of itself -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_an_action_has_a_name_a_title_and_fields_that_the_editor_can_show(name: str) -> None:
    action = SERVICES.connectors[name]
    assert action.name == name
    assert re.fullmatch(r"[a-z0-9_]+\.[a-z0-9_]+", name)
    assert action.title[:1].isupper()
    assert len({field.name for field in action.fields}) == len(action.fields)
    for field in action.fields:
        assert field.label, field.name
        assert (field.type == "choice") <= bool(field.choices), field.name
        assert field.type != "connection" or set(field.choices) <= set(TYPES), field.name
        assert field.type != "choice" or field.default is None or field.default in field.choices, field.name


@pytest.mark.parametrize("name", NAMES)
def test_an_action_previews_its_call_from_nothing_and_from_holes_and_sends_nothing(name: str) -> None:
    action = SERVICES.connectors[name]
    holes = {field.name: "{{ data.object.id }}" for field in action.fields}
    for params in ({}, params_of(action), holes):
        shown = action.preview(params)
        assert shown["method"]
        assert shown["undo"] == action.undo
        assert {"to", "url"} & set(shown)
        json.dumps(shown)


@pytest.mark.parametrize("name", NAMES)
def test_an_action_says_what_undoing_it_does_or_why_it_cannot_be_undone(name: str) -> None:
    action = SERVICES.connectors[name]
    cannot = action.undo.startswith("Cannot be undone: ")
    assert len(action.undo) > 12
    assert cannot != isinstance(action, Reversible), action.undo


@pytest.mark.parametrize("name", NAMES)
def test_an_action_that_changed_nothing_has_nothing_to_take_back(name: str) -> None:
    action = SERVICES.connectors[name]
    if isinstance(action, Reversible):
        found = action.inverse({**task(name, params_of(action)), "outcome": {"data": {"already": True}}})
        assert found is None or found.action in SERVICES.connectors


@pytest.mark.parametrize("name", NAMES)
def test_an_action_is_read_back_in_words(name: str) -> None:
    assert name in _ACTIONS


@pytest.mark.parametrize("type", sorted(TYPES))
def test_a_connection_can_be_tested_and_asks_for_what_it_needs(type: str) -> None:
    found = TYPES[type]
    assert found.action in SERVICES.connectors
    assert found.title
    assert found.lead
    assert found.secret.label
    assert all(field.label for field in (*found.fields, *found.more))


def row(action: ActionExecutor) -> str:
    """The action in the table of docs/actions.md."""
    fields = ", ".join(f"`{field.name}`" + ("\\*" if field.required else "") for field in action.fields)
    return f"| `{action.name}` | {action.title} | {fields or '–'} | {action.undo} |"


def test_the_table_of_actions_is_whole_and_right() -> None:
    """To mend it: write what `row` says of each action into docs/actions.md."""
    table = [line for line in (ROOT / "docs" / "actions.md").read_text().splitlines() if line.startswith("| `")]
    assert table == [row(SERVICES.connectors[name]) for name in NAMES]


# ---- what it does ---------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture(scope="module")
def base(receiver: Receiver) -> Iterator[str]:
    with receiver.running() as address:
        yield address


def executed(name: str, base: str, say: Say, receiver: Receiver) -> Outcome:
    """The action's first try against a receiver that says this to everything."""
    receiver.usual = say
    services: Services = services_in_memory()
    type = next((field.choices[0] for field in SERVICES.connectors[name].fields if field.type == "connection"), "")
    secret_name = f"connection/{TENANT}/there"
    secret = base + "/sesame" if type == "slack" else SECRET
    services.secrets.put(secret_name, secret)
    services.secrets.put(f"{secret_name}/private", json.dumps({"query": "key=sesame", "client_secret": "sesame"}))
    services.secrets.put(f"{secret_name}/access", json.dumps(
        {"token": "sesame", "until": "2999", "base": base, "of": "x"}))  # fmt: skip
    document = {
        "name": "there", "type": type, "url": f"{base}/hook?{HIDDEN}", "base": base, "secret_name": secret_name,
        "client_id": "client" if type == "salesforce" else "", "client_secret": HIDDEN, "updated_at": "x",
    }  # fmt: skip
    found = actions(
        "sk_test_sesame", base, services.secrets, services.vault, True, "", Courier(True, timeout=2),
        events=lambda tenant, id: event(id).to_cloudevent(),
    )[name]  # fmt: skip
    params = params_of(found)
    subjects = {"sub": "sub_1", "cus": "cus_1", "in": "in_1", "ch": "ch_1", "pi": "pi_1"}
    return found.execute({**task(name, params, document, subjects=subjects), "connection": "there"}, NOON)


ANSWERS = [
    (Say(401, ECHO), "retry", True, None),
    (Say(403, ECHO), "retry", True, None),
    (Say(400, ECHO), "dead", False, None),
    (Say(429, ECHO, {"Retry-After": "7"}), "retry", False, 7),
    (Say(500, ECHO), "retry", False, None),
    (Say(503, ECHO, {"Retry-After": "7"}), "retry", False, None),
    (Say(how="reset"), "retry", False, None),
    (Say(200, b"x" * 100, how="half"), "retry", False, None),
]


@pytest.mark.parametrize("name", OVER_HTTP)
def test_every_answer_is_classified_and_nothing_secret_or_personal_is_kept(
    name: str, base: str, receiver: Receiver
) -> None:
    for say, kind, pauses, after in ANSWERS:
        outcome = executed(name, base, say, receiver)
        about = f"{say.status} {say.how}"
        assert (outcome.kind, outcome.pause_connection) == (kind, pauses), about
        assert after is None or outcome.after == timedelta(seconds=after), about
        kept = json.dumps([outcome.message, dict(outcome.data), dict(outcome.request), dict(outcome.response)])
        assert "sesame" not in kept, about
        assert SECRET not in kept, about
        assert "ada@" not in kept, about
        assert outcome.message, about


@pytest.mark.parametrize("name", [name for name in OVER_HTTP if not name.startswith("stripe.")])
def test_a_redirect_is_not_followed_and_an_address_inside_the_network_is_not_called(
    name: str, base: str, receiver: Receiver
) -> None:
    before = len(receiver.got)
    moved = executed(name, base, Say(302, b"", {"Location": f"{base}/elsewhere"}), receiver)
    assert moved.kind in ("retry", "dead")
    assert not any(got.path == "/elsewhere" for got in receiver.got[before:])


@pytest.mark.parametrize("name", [name for name in NAMES if "connection" in {
    field.name for field in SERVICES.connectors[name].fields}])  # fmt: skip
def test_a_connection_of_another_type_waits_for_the_right_one(name: str) -> None:
    document = {"name": "there", "type": "none", "url": "https://x.example.com", "secret_name": "none"}
    action = SERVICES.connectors[name]
    with pytest.raises(Unconfigured, match="of type"):
        action.execute({**task(name, params_of(action), document), "connection": "there"}, NOON)


# ---- how it gets there ----------------------------------------------------------------------------------------------
NETWORK = {"socket", "ssl", "http.client", "smtplib", "urllib.request", "requests", "httpx", "urllib3", "aiohttp"}


def test_no_connector_opens_a_connection_by_itself() -> None:
    """delivery checks and pins every address; mail's conversation asks it where to connect. Stripe's address is the
    operator's setting, and goes through Stripe's own library."""
    found = {}
    for path in (ROOT / "app" / "connectors").glob("*.py"):
        tree = ast.parse(path.read_text())
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        if used := names & NETWORK:
            found[path.name] = used
    assert found == {"delivery.py": {"socket", "ssl", "http.client"}, "mail.py": {"socket", "ssl", "smtplib"}}
