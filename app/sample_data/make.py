"""Make the sample business from a longer story of Stripe events; `python -m app.sample_data.make FOLDER` writes it.

FOLDER holds `story.jsonl.xz` and `deliveries.jsonl.gz`. The result is the same bytes on every run. Every instant
becomes text such as `"@-86400"`, seconds from the last delivery, so that the player can end the story at any moment.
"""

from __future__ import annotations

import gzip
import json
import lzma
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

JSON = dict[str, Any]
TARGET = Path(__file__).parent / "business.jsonl.gz"
DAY = 86400
DAYS = 90
ALWAYS = ("customer.created", "customer.subscription.created", "payment_method.attached")
# Every whole number in this range is an instant in the story (checked: no other field reaches it under these names).
EARLIEST, LATEST = 1_700_000_000, 1_900_000_000
NO_INSTANT = frozenset({"height", "length", "width", "weight"})

TWICE = (  # two or more failures within 7 days; some pay in the end, some are cancelled by Stripe
    "cus_H1oTxjTizqYaSZ", "cus_DoDsbtApV7G4yW", "cus_gmxQzJVFDqJsHL", "cus_XI0NezbeeVrHzB", "cus_EHQ9o7An1Ynnxn",
    "cus_HgtDKZlSpsb1eW", "cus_14OJUE0EUoDuef", "cus_PmtESYz4fIuFTd", "cus_QLNLFeSdYI82bT", "cus_kKnAJfV8vjuJfD",
    "cus_THc738sR1Eekkf", "cus_596k56RwQeUMWJ", "cus_msDl52JwJLEEMt", "cus_pu7ZKyQPjuksWY", "cus_crSvuBQ4jC5yfp",
    "cus_2XpisCEhJ6jnue", "cus_xaojdEhzbtEPtu", "cus_BDldHJVxroywDn",
)  # fmt: skip
ONCE = (  # one failure, then paid
    "cus_3WOKdyWVOsHEdl", "cus_icEF9xOhmsdGAb", "cus_SIRAWWT81eI4DV", "cus_8dBHE2JsPZtjbK", "cus_bey1cBlzXB5Js4",
    "cus_gBBqMiNEaJjwzi",
)  # fmt: skip
HARD = ("cus_DOWSsh7Z4sAYsb", "cus_I8bLtmMeajSVyb", "cus_3NV0JP0oOL5RZa")  # a stolen card: Stripe gives up at once
OTHER = (  # refunds, disputes, and quiet payers
    "cus_G0fOGBtiSNXKg3", "cus_wwSZVIZL48U7rz", "cus_UNN5yVDpn9iuDE", "cus_iDz4pWaK1wgSvX", "cus_KusZfIztCsnUnF",
)  # fmt: skip
QUIET = 5  # payers without any trouble, the first ones of the story
NEAR_MISS = {"cus_S1ycHMWy9dWqET": 6 * DAY, "cus_RDZ4KvkbEk7bTF": 6 * DAY}  # second failure moved from day 3 to day 9
TROUBLE = ("invoice.payment_failed", "charge.dispute.created", "charge.refunded", "customer.subscription.deleted")


def main(folder: str, target: Path = TARGET) -> None:
    with lzma.open(Path(folder) / "story.jsonl.xz", "rt", encoding="utf-8") as file:
        story = [json.loads(line) for line in file]
    with gzip.open(Path(folder) / "deliveries.jsonl.gz", "rt", encoding="utf-8") as file:
        deliveries = [json.loads(line) for line in file]
    target.write_bytes(gzip.compress(b"".join(business(story, deliveries)), 9, mtime=0))


def business(story: Sequence[JSON], deliveries: Sequence[JSON]) -> Iterator[bytes]:
    """The lines of the sample: first `{"order": [line numbers of the events, as delivered]}`, then the events."""
    chosen = choose(story)
    shifts = move_near_misses(chosen)
    chosen = [*free_plan(story), *chosen]
    place = {event["id"]: number for number, event in enumerate(chosen)}
    sent = sorted(
        (delivery["t"] + shifts.get(delivery["event"], 0), place[delivery["event"]])
        for delivery in deliveries
        if delivery["event"] in place
    )
    last = int(sent[-1][0])
    first = [number for number in range(len(chosen)) if number not in {number for _, number in sent}]
    yield line({"order": first + [number for _, number in sent]})
    for event in chosen:
        yield line(relative(event, last))


def choose(story: Sequence[JSON]) -> list[JSON]:
    """The catalogue of prices, and every event of the chosen customers within the last days, oldest first."""
    owner = owners(story)
    customers = set(TWICE + ONCE + HARD + OTHER + tuple(NEAR_MISS)) | set(quiet(story, owner))
    since = max(event["created"] for event in story) - DAYS * DAY
    return [
        event
        for event in sorted(story, key=lambda event: (event["created"], event["id"]))
        if event["type"] in ("product.created", "price.created")
        or (owner.get(event["id"]) in customers and (event["created"] >= since or event["type"] in ALWAYS))
    ]


def owners(story: Iterable[JSON]) -> dict[str, str]:
    """The customer of each event; payments, refunds and disputes name one only through their invoice or charge."""
    objects: dict[str, str] = {}
    found: dict[str, str] = {}
    for event in story:
        item = event["data"]["object"]
        links = (item.get("customer"), objects.get(item.get("invoice", "")), objects.get(item.get("charge", "")))
        customer = item["id"] if item["object"] == "customer" else next((link for link in links if link), None)
        if customer:
            found[event["id"]] = customer
            objects[item.get("id", "")] = customer
    return found


def quiet(story: Sequence[JSON], owner: Mapping[str, str]) -> list[str]:
    troubled = {owner.get(event["id"]) for event in story if event["type"] in TROUBLE}
    calm = [owner[event["id"]] for event in story if event["type"] == "customer.created"]
    return [customer for customer in calm if customer not in troubled][-QUIET - 20 : -20]


def move_near_misses(events: Sequence[JSON]) -> dict[str, int]:
    """Move the second failure of some customers, and what followed on that invoice, out of the seven days.
    Changes the events in place; the seconds by which each moved event is later, by id."""
    shifts: dict[str, int] = {}
    owner = owners(events)
    for customer, by in NEAR_MISS.items():
        mine = [event for event in events if owner.get(event["id"]) == customer]
        failures = [event["created"] for event in mine if event["type"] == "invoice.payment_failed"]
        moved = [event for event in mine if failures[1] - 60 <= event["created"] <= failures[1] + 12 * DAY]
        times = {event["created"] for event in moved}
        shifts |= {event["id"]: by for event in moved}
        for event in mine:
            event.update(_shifted(event, times, by))
    return shifts


def _shifted(value: Any, times: set[int], by: int) -> Any:
    """A copy in which every instant within a minute of one of these times is later."""
    if isinstance(value, dict):
        return {key: _shifted(item, times, by) for key, item in value.items()}
    if isinstance(value, list):
        return [_shifted(item, times, by) for item in value]
    if _instant(value) and any(abs(value - time) <= 60 for time in times):
        return value + by
    return value


def free_plan(story: Sequence[JSON]) -> list[JSON]:
    """The product and the price of the plan that customers are moved down to."""
    product = next(event for event in story if event["type"] == "product.created")
    price = next(event for event in story if event["type"] == "price.created" and _object(event)["currency"] == "usd")
    free = {"id": "prod_free", "name": "Free", "description": "Free plan"}
    nothing = {"id": "price_free", "product": "prod_free", "unit_amount": 0, "unit_amount_decimal": "0"}
    return [
        _renamed(product, "evt_sampleFreeProduct", free),
        _renamed(price, "evt_sampleFreePrice", {**nothing, "nickname": "Free", "lookup_key": "free"}),
    ]


def _object(event: JSON) -> JSON:
    found: JSON = event["data"]["object"]
    return found


def _renamed(event: JSON, id: str, changes: JSON) -> JSON:
    return {**event, "id": id, "data": {"object": {**_object(event), **changes}}}


def relative(value: Any, last: int, name: str = "") -> Any:
    """A copy in which every instant is text, the seconds after `last`."""
    if isinstance(value, dict):
        return {key: relative(item, last, key) for key, item in value.items()}
    if isinstance(value, list):
        return [relative(item, last, name) for item in value]
    return f"@{value - last}" if _instant(value) and name not in NO_INSTANT else value


def _instant(value: Any) -> bool:
    return type(value) is int and EARLIEST < value < LATEST


def line(value: JSON) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


if __name__ == "__main__":
    main(sys.argv[1])
