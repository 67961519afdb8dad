"""`slack.post` writes to a channel, keeps its address secret, and reads every answer rightly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from app.adapters.memory import MemorySecrets, MemoryVault
from app.connectors.delivery import Courier
from app.connectors.slack import Post
from rules.ports import Outcome, Unconfigured
from tests.builders import NOON, TENANT, task
from tests.fakes.receiver import Receiver, Say

PATH = "/services/T000/B000/sesame"


@pytest.fixture
def slack() -> Receiver:
    return Receiver()


@pytest.fixture
def base(slack: Receiver) -> Iterator[str]:
    with slack.running() as address:
        yield address


def post(address: str, vault: MemoryVault | None = None, development: bool = True) -> Post:
    secrets = MemorySecrets({f"connection/{TENANT}/team": address} if address else {})
    courier = Courier(development=development, timeout=2)
    return Post(courier, secrets, vault or MemoryVault(), "https://signalbox.example.com")


def sent(action: Post, text: str = "Payment failed") -> Outcome:
    connection = {"name": "team", "type": "slack", "url": "Slack", "secret_name": f"connection/{TENANT}/team"}
    asked: dict[str, Any] = {**task("slack.post", {"text": text}, connection), "connection": "team"}
    return action.execute(asked, NOON)


def test_a_message_says_the_text_and_links_to_the_run(slack: Receiver, base: str) -> None:
    outcome = sent(post(base + PATH), "5 < 6 & <!channel>")
    assert (outcome.kind, slack.got[0].path) == ("done", PATH)
    said = json.loads(slack.got[0].body)["text"]
    assert said.startswith("5 &lt; 6 &amp; &lt;!channel&gt;")
    assert "<https://signalbox.example.com/runs/run_1|See the run>" in said


def test_neither_the_address_nor_personal_values_are_kept(slack: Receiver, base: str) -> None:
    vault = MemoryVault()
    (token,) = vault.tokenise(TENANT, "cus:cus_1", ["ada@example.com"])
    slack.usual = Say(500, b"no: ada@example.com")
    outcome = sent(post(base + PATH, vault), f"Call {token}.")
    assert "Call ada@example.com." in json.loads(slack.got[0].body)["text"]
    kept = json.dumps([outcome.request, outcome.response, outcome.message])
    assert "sesame" not in kept
    assert "ada@" not in kept
    assert token in kept
    assert vault.looks == [(token, "run_1/step", "message run_1/step to team")]


@pytest.mark.parametrize(
    ("say", "kind", "after", "pauses"),
    [
        (Say(400, b"invalid_payload"), "dead", None, False),
        (Say(403, b"action_prohibited"), "retry", None, True),
        (Say(404, b"no_service"), "retry", None, True),
        (Say(410, b"channel_is_archived"), "retry", None, True),
        (Say(429, headers={"Retry-After": "30"}), "retry", 30, False),
        (Say(500, b"rollup_error"), "retry", None, False),
        (Say(302, headers={"Location": "http://127.0.0.1:1/"}), "retry", None, False),
        (Say(how="reset"), "retry", None, False),
    ],
)
def test_answers_are_classified(
    slack: Receiver, base: str, say: Say, kind: str, after: int | None, pauses: bool
) -> None:
    slack.usual = say
    outcome = sent(post(base + PATH))
    assert (outcome.kind, outcome.pause_connection) == (kind, pauses)
    assert outcome.after == (timedelta(seconds=after) if after else None)


def test_an_address_inside_the_network_holds_the_connection_and_none_waits_for_one(base: str) -> None:
    outcome = sent(post("https://10.0.0.8/services/x", development=False))
    assert (outcome.kind, outcome.pause_connection) == ("retry", True)
    with pytest.raises(Unconfigured, match="no address"):
        sent(post(""))


def test_the_preview_sends_nothing() -> None:
    shown = post("").preview({"connection": "team", "text": "<b>"})
    assert (shown["to"], shown["body"]) == ("connection team", {"text": "&lt;b&gt;"})
