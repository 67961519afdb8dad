"""`slack.post`: a message in a Slack channel through an incoming webhook, whose address is the secret.

Slack does not tell a second message from the first: a try whose answer was lost may show up twice in the channel.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.connectors.delivery import Courier, Forbidden, Reply, Undelivered
from app.connectors.personal import connection_of, masked, revealed
from app.connectors.signed import kept_response, retry_after
from rules.ports import Body, Field, Outcome, Secrets, Unconfigured, Vault

LONGEST = 30_000  # characters; Slack cuts a text at 40,000
# 403 and 404: the address or its channel is no good; 410: the channel is archived
LOCKED = (401, 403, 404, 410)


def escaped(text: str) -> str:
    """The three characters that Slack reads as markup of links and mentions."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@dataclass
class Post:
    """See rules.ports.ActionExecutor."""

    courier: Courier
    secrets: Secrets
    vault: Vault
    public_url: str = ""
    name: str = "slack.post"
    title: str = "Write to Slack"
    undo: str = "Cannot be undone: a message that was posted stays."
    fields: tuple[Field, ...] = (
        Field("connection", "Connection", "connection", required=True, choices=("slack",),
              help="A channel: see Settings."),
        Field("text", "Text", "template", required=True,
              help="{{ data.object.id }} puts a field of the event in. A link to the run is added."),
    )  # fmt: skip

    def preview(self, params: Body) -> Body:
        return {
            "method": "POST",
            "to": f"connection {params.get('connection', '')}",
            "headers": {"Content-Type": "application/json"},
            "body": {"text": escaped(str(params.get("text", "")))},
            "undo": self.undo,
        }

    def execute(self, task: Body, now: datetime) -> Outcome:
        connection = connection_of(task, "slack")
        url = self.secrets.get(connection["secret_name"])
        if not url:
            raise Unconfigured(f"Connection {connection['name']} has no address: give it one under Settings.")
        name = connection["name"]
        request = self._request(connection, task)
        told: list[str] = []
        body = json.dumps({"text": self._text(task, told)}).encode()
        try:
            reply = self.courier.post(url, {"Content-Type": "application/json"}, body)
        except Forbidden as refused:
            return Outcome.retry(f"Not sent: {refused}.", request=request, pause_connection=True)
        except Undelivered:
            return Outcome.retry(f"No answer from {name}.", request=request)
        return outcome_of(reply, name, request, now, told)

    def _text(self, task: Body, told: list[str] | None = None) -> str:
        """told: with the personal values that the text asks for, which are added to it; else with their tokens."""
        text = str(task["params"].get("text") or "")
        if told is not None:
            text = revealed(text, self.vault, task, f"message {task['id']} to {task['connection']}", told=told)
        link = f"\n<{self.public_url}/runs/{task['run_id']}|See the run>" if self.public_url else ""
        return escaped(text[:LONGEST]) + link

    def _request(self, connection: Body, task: Body) -> dict[str, Any]:
        text = masked(self._text(task))
        return {"method": "POST", "url": connection["url"], "headers": {}, "body": {"text": text}}


def outcome_of(reply: Reply, connection: str, request: Body, now: datetime, told: Sequence[str] = ()) -> Outcome:
    """What Slack's answer means (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks)."""
    kept: dict[str, Any] = {"request": request, "response": kept_response(reply, told)}
    if 200 <= reply.status < 300:
        return Outcome.done(f"{connection} took the message.", **kept)
    if reply.status in LOCKED:
        return Outcome.retry(f"{connection} refused the message ({reply.status}).", pause_connection=True, **kept)
    if reply.status == 400:
        return Outcome.dead(f"{connection} cannot read the message (400).", **kept)
    after = retry_after(reply.headers.get("retry-after"), now)
    return Outcome.retry(f"{connection} did not take the message ({reply.status}).", after=after, **kept)
