"""`route.forward`: the event itself, as a CloudEvent, to an HTTP address (signed) or to another Pub/Sub topic.

The event goes as it is kept: what is personal in it is a token. A receiver tells a second copy by the CloudEvent's id,
which is Stripe's, or by the `webhook-id`, which is the command's.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from app.connections.types import is_topic
from app.connectors.personal import connection_of
from app.connectors.signed import Signer
from rules.event import Event, iso
from rules.ports import Body, Bus, Field, Outcome, Refused, Unavailable, Unconfigured
from rules.route import ACTION

TEST = "signalbox.route.test"
LOCKED = ("NotFound", "PermissionDenied", "Unauthenticated")  # of Google's client: a person must mend it
Events = Callable[[str, str], Body | None]  # tenant and id: the CloudEvent as it is kept
Topics = Callable[[str], Bus]  # a topic's full name: its bus


class Forward:
    """See rules.ports.ActionExecutor. topics: None where this installation knows no Pub/Sub."""

    name = ACTION
    title = "Forward the event"
    undo = "Cannot be undone: an event that was received stays received."
    fields: tuple[Field, ...] = (
        Field("connection", "Route", "connection", required=True, choices=("route",),
              help="Where the event goes, whatever the route's own filter says."),
    )  # fmt: skip

    def __init__(self, signer: Signer, events: Events, topics: Topics | None) -> None:
        self.signer, self.events, self.topics = signer, events, topics

    def preview(self, params: Body) -> Body:
        return {
            "method": "POST",
            "to": f"connection {params.get('connection', '')}",
            "headers": {"webhook-id": "(run)/(step)", "webhook-signature": "v1,..."},
            "body": {"specversion": "1.0", "id": "{the event's id}", "type": "{its type}", "data": "{the event}"},
            "undo": self.undo,
        }

    def execute(self, task: Body, now: datetime) -> Outcome:
        connection = connection_of(task, "route")
        found = _trial(task) if task.get("trial") else self.events(task["tenant"], task["trigger"])
        if found is None:
            return Outcome.dead("The event is no longer kept here, so it cannot be forwarded.")
        event = {name: value for name, value in found.items() if name != "received"}
        if is_topic(connection["url"]):
            return self._published(connection, event)
        return self.signer.send(task, connection, event, now, shown=_shown(event))

    def _published(self, connection: Body, event: dict[str, Any]) -> Outcome:
        name, topic = connection["name"], connection["url"]
        if self.topics is None:
            raise Unconfigured("This installation knows no Pub/Sub: set GOOGLE_CLOUD_PROJECT and start again.")
        request = {"method": "PUBLISH", "url": topic, "headers": {}, "body": _shown(event)}
        try:
            self.topics(topic).publish(Event.from_cloudevent(event))
        except (Unavailable, Refused) as error:
            locked = isinstance(error, Refused) or type(error.__cause__).__name__ in LOCKED
            return Outcome.retry(f"{name} did not take the event: {error}.", request=request, pause_connection=locked)
        return Outcome.done(f"{name} took the event.", request=request)


def _shown(event: Body) -> dict[str, Any]:
    """What is kept of a forwarded event: which one it was. The event itself is in the log."""
    return {name: event[name] for name in ("specversion", "id", "type", "source", "time")}


def _trial(task: Body) -> Body:
    return {
        "specversion": "1.0",
        "id": task["id"],
        "source": f"stripe/{task['tenant']}",
        "type": TEST,
        "time": task["created_at"],
        "datacontenttype": "application/json",
        "recordedtime": iso(datetime.fromisoformat(task["created_at"])),
        "correlationid": task["id"],
        "partitionkey": "test",
        "tenant": task["tenant"],
        "origin": "test",
        "keys": [],
        "data": {"id": task["id"], "type": TEST, "livemode": False},
    }
