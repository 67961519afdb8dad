"""A reader of a group of events, to copy: `python docs/subscriber.py projects/P/subscriptions/signalbox-for-reporting invoice.`

Change what `act` does. It drops what it does not want, whatever the filter let through, and acts once for each event."""
# ruff: noqa: E401, E501, I001, T201

import json, os, sqlite3, sys, time
from google.api_core.exceptions import DeadlineExceeded
from google.cloud import pubsub_v1

WAIT = float(
    os.environ.get("WAIT", "60")
)  # seconds without a message after which it ends, for a scheduler to start again

DB = sqlite3.connect(os.environ.get("DB", "subscriber.db"))
DB.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY)")


def act(type: str, event: dict) -> None:
    print(type, event["data"]["object"]["id"], flush=True)


def take(message: pubsub_v1.types.PubsubMessage, wanted: tuple[str, ...]) -> None:
    type, id = message.attributes["ce-type"], f"{message.attributes['ce-tenant']}/{message.attributes['ce-id']}"
    if not type.startswith(wanted):
        return
    with DB:  # the id and what `act` writes belong into one transaction: both are there, or neither
        if DB.execute("INSERT OR IGNORE INTO seen VALUES (?)", (id,)).rowcount:
            envelope = json.loads(
                message.data
            )  # the record of deploy/envelope.avsc; its data is Stripe's event as text
            act(type, json.loads(envelope["data"]))


def main(subscription: str, *wanted: str) -> None:
    last = time.monotonic()
    with pubsub_v1.SubscriberClient() as subscriber:
        while time.monotonic() - last < WAIT:
            try:
                got = subscriber.pull(
                    subscription=subscription, max_messages=100, timeout=WAIT, retry=None
                ).received_messages
            except DeadlineExceeded:
                continue
            for one in got:
                take(one.message, wanted)
            if got:
                subscriber.acknowledge(subscription=subscription, ack_ids=[one.ack_id for one in got])
                last = time.monotonic()


if __name__ == "__main__":
    main(*sys.argv[1:])
