"""The topics and subscriptions that Signalbox needs in a project: their names, their settings, and how they are made.

`differences` reads back what Pub/Sub has, because it takes settings it then ignores; `create` makes what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.types import BatchSettings, PublisherOptions
from google.protobuf import duration_pb2, field_mask_pb2

from app.adapters import pubsub_schema
from app.adapters.delivery import MAX_ATTEMPTS
from app.adapters.pubsub import Names
from app.provision.fanout import Group, filter_of
from rules.ports import Unavailable

PREFIX = "signalbox"
GATHER = 0.002  # seconds that a publish waits for others to share its request
DEADLINE = 30  # seconds of a lease; the client extends it while a message is worked on
ATTEMPTS = 4 * MAX_ATTEMPTS  # Pub/Sub's own limit is the last resort: the worker gives up first, and says why
KEPT = 7 * 86_400  # seconds that a message waits for a worker
FASTEST, SLOWEST = 1, 600  # seconds between tries
_RETRY: dict[str, Any] = {
    "minimum_backoff": duration_pb2.Duration(seconds=FASTEST),
    "maximum_backoff": duration_pb2.Duration(seconds=SLOWEST),
}


def clients() -> tuple[Any, Any]:
    """A publisher that keeps the order of a key and gathers what comes together, and a subscriber."""
    options = PublisherOptions(enable_message_ordering=True)
    batches = BatchSettings(max_messages=500, max_latency=GATHER)
    return pubsub_v1.PublisherClient(batches, publisher_options=options), pubsub_v1.SubscriberClient()


def names(project: str, prefix: str = PREFIX) -> Names:
    return Names(
        topic=f"projects/{project}/topics/{prefix}-events",
        subscription=f"projects/{project}/subscriptions/{prefix}-worker",
        dead_topic=f"projects/{project}/topics/{prefix}-dead-events",
        dead_subscription=f"projects/{project}/subscriptions/{prefix}-dead-events",
        schema=f"projects/{project}/schemas/{prefix}-event",
        quarantine_topic=f"projects/{project}/topics/{prefix}-quarantine",
        quarantine_subscription=f"projects/{project}/subscriptions/{prefix}-quarantine",
    )


def topics(names: Names) -> dict[str, dict[str, Any]]:
    """The settings of each topic, by its full name, as the API takes them."""
    held = {pubsub_schema.SETTING: pubsub_schema.settings(names)} if names.schema else {}
    rest = (names.dead_topic, names.quarantine_topic)
    return {names.topic: held, **{name: {} for name in rest if name}}


def group_name(names: Names, group: Group) -> str:
    """The full name of a group's subscription."""
    return f"{names.subscription.removesuffix('-worker')}-for-{group.name}"


def subscriptions(names: Names, groups: Sequence[Group] = ()) -> dict[str, dict[str, Any]]:
    """The settings of each subscription, by its full name, as the API takes them. groups: of other services."""
    kept = duration_pb2.Duration(seconds=KEPT)
    forever: dict[str, Any] = {}  # no expiry: a subscription that nobody reads for a month must not vanish
    return {
        names.subscription: {
            "topic": names.topic,
            "ack_deadline_seconds": DEADLINE,
            "message_retention_duration": kept,
            "expiration_policy": forever,
            "enable_message_ordering": True,
            "enable_exactly_once_delivery": True,
            "retry_policy": _RETRY,
            "dead_letter_policy": {"dead_letter_topic": names.dead_topic, "max_delivery_attempts": ATTEMPTS},
        },
        **{
            name: {
                "topic": topic,
                "ack_deadline_seconds": DEADLINE,
                "message_retention_duration": kept,
                "expiration_policy": forever,
            }
            for name, topic in (
                (names.dead_subscription, names.dead_topic),
                (names.quarantine_subscription, names.quarantine_topic),
            )
            if name
        },
        **{
            group_name(names, group): {
                "topic": names.topic,
                "ack_deadline_seconds": DEADLINE,
                "message_retention_duration": kept,
                "expiration_policy": forever,
                "enable_message_ordering": True,
                "retry_policy": _RETRY,
                "filter": filter_of(group),
            }
            for group in groups
        },
    }


def create(publisher: Any, subscriber: Any, names: Names, groups: Sequence[Group] = ()) -> list[str]:
    """Make what is missing; what was made. Raises Unavailable."""
    made = []
    try:
        if names.schema:
            made += pubsub_schema.create(names)
        for topic, settings in topics(names).items():
            request = {"name": topic, **settings}
            made += _made(topic, lambda request=request: publisher.create_topic(request=request))
        for name, settings in subscriptions(names, groups).items():
            request = {"name": name, **settings}
            made += _made(name, lambda request=request: subscriber.create_subscription(request=request))
    except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
        raise Unavailable(f"Pub/Sub: {error}") from error
    return made


def _made(name: str, make: Any) -> list[str]:
    try:
        make()
    except exceptions.AlreadyExists:
        return []
    return [name]


def differences(publisher: Any, subscriber: Any, names: Names, groups: Sequence[Group] = ()) -> dict[str, list[str]]:
    """What is missing or set otherwise, by full name: `["missing"]` or the settings that differ. Raises Unavailable."""
    found: dict[str, list[str]] = {}
    try:
        if names.schema and (lacking := pubsub_schema.difference(names)):
            found[names.schema] = [lacking]
        for topic, settings in topics(names).items():
            there = _exists(lambda topic=topic: publisher.get_topic(request={"topic": topic}))
            if there is None:
                found[topic] = ["missing"]
            elif settings and not pubsub_schema.is_attached(there, names):
                found[topic] = [pubsub_schema.SETTING]
        for name, settings in subscriptions(names, groups).items():
            there = _exists(lambda name=name: subscriber.get_subscription(request={"subscription": name}))
            if there is None:
                found[name] = ["missing"]
            elif wrong := _different(there, name, settings):
                found[name] = wrong
    except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
        raise Unavailable(f"Pub/Sub: {error}") from error
    return found


FIXED = ("topic", "enable_message_ordering", "filter")  # cannot be changed once a subscription is made


def correct(subscriber: Any, names: Names, name: str, wrong: list[str], groups: Sequence[Group] = ()) -> list[str]:
    """Set these settings of a subscription right; which. Those that cannot be changed are left."""
    changed = [setting for setting in wrong if setting not in FIXED]
    if changed:
        wanted = {"name": name, **subscriptions(names, groups)[name]}
        request = {"subscription": wanted, "update_mask": field_mask_pb2.FieldMask(paths=changed)}
        subscriber.update_subscription(request=request)
    return changed


def _exists(get: Any) -> Any:
    try:
        return get()
    except exceptions.NotFound:
        return None


def _different(there: Any, name: str, settings: Mapping[str, Any]) -> list[str]:
    wanted = pubsub_v1.types.Subscription({"name": name, **settings})
    return [setting for setting in settings if getattr(there, setting) != getattr(wanted, setting)]
