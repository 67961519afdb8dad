"""Which metrics there are. Attributes are few and their values bounded: no id, customer, tenant or rule is in any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """kind: a counter adds up; a histogram keeps how values are spread; a gauge is what is now. unit: UCUM's."""

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    unit: str
    text: str
    attributes: Mapping[str, Sequence[str]]  # with every value that they can have


OUTCOMES = ("done", "retry", "branch", "person", "dead")
CONNECTORS = (
    "access",
    "crm",
    "hubspot",
    "mail",
    "review",
    "route",
    "runs",
    "salesforce",
    "slack",
    "stripe",
    "other",
)
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "signalbox.events.received",
            "counter",
            "{event}",
            "Webhooks that were answered",
            {"outcome": ("accepted", "refused", "unavailable")},
        ),
        Metric("signalbox.event.lag", "histogram", "s", "From the answer to Stripe to the decision's begin", {}),
        Metric("signalbox.decision.duration", "histogram", "s", "What an event's decision and its commit take", {}),
        Metric(
            "signalbox.commands",
            "counter",
            "{try}",
            "Tries of actions, by what they came to",
            {"outcome": OUTCOMES, "connector": CONNECTORS},
        ),
        Metric("signalbox.events.oldest_unacked", "gauge", "s", "Age of the oldest event not handled yet", {}),
        Metric("signalbox.actions.oldest_due", "gauge", "s", "How late the oldest action is that is due", {}),
        Metric("signalbox.runs.sleeping", "gauge", "{run}", "Runs that wait for their time", {}),
        Metric("signalbox.runs.parked", "gauge", "{run}", "Runs over a limit, which wait for a person", {}),
        Metric("signalbox.runs.needs_person", "gauge", "{run}", "Runs whose step needs a person", {}),
        Metric("signalbox.dead_letters", "gauge", "{letter}", "What gave up", {"sort": ("events", "actions")}),
        Metric("signalbox.connections.failing", "gauge", "{connection}", "Connections whose receiver fails", {}),
    )
}

Reading = tuple[str, float, Mapping[str, str]]  # metric, value, attributes
