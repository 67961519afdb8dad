"""Make the skeletons of events for saved examples; `python -m app.sample_data.skeletons FOLDER` writes them.

FOLDER holds `story.jsonl.xz` and `catalog.jsonl.gz`. One realistic event of each type: of the story where it has one,
else the catalogue's fixture laid over the story's object of that class. The result is the same bytes on every run.
Instants become text such as `"@-86400"`, seconds from the event; the ids of its subjects `cus_example`, `sub_example`
and so on, so that events of one example belong together; personal values become tokens.
"""

from __future__ import annotations

import gzip
import json
import lzma
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rules.catalogue import Catalogue
from rules.personal import cleanse
from rules.skeletons import DATA, STAND_INS, put
from rules.subjects import PREFIX, carried_by, keys_of

JSON = dict[str, Any]
DAY = 86400
EARLIEST, LATEST = 1_700_000_000, 1_900_000_000  # every whole number in this range is an instant
NO_INSTANT = frozenset({"height", "length", "width", "weight", "subtotal"})
MADE_UP = {1234567890, 1028554472, 976287773, 1896570518, 2082605468, 797691627}  # instants of fixtures mean nothing
IDS = {
    **{prefix: id for id in STAND_INS.values() if (prefix := id.partition("_")[0])},
    "pm": "pm_example",
    "si": "si_example",
    "price": "price_example",
    "prod": "prod_example",
    "dp": "dp_example",
    "re": "re_example",
    "po": "po_example",
}
SENT = {"collection_method": "send_invoice", "default_payment_method": None, "next_payment_attempt": None}
PLACES: Mapping[str, tuple[str, ...]] = {  # where a subject is named in objects that have such a field
    "customer": ("customer",),
    "subscription": ("subscription",),
    "invoice": ("invoice",),
    "payment_intent": ("payment_intent",),
    "charge": ("charge",),
    "card": ("card", "fingerprint"),
}
PARENT = ("parent", "subscription_details", "subscription")
# what makes a story's object one of a type that the story does not have: (a type of the story, what differs)
LIKE: Mapping[str, tuple[str, JSON]] = {
    "invoice.overdue": ("invoice.finalized", {**SENT, "due_date": "@0", "status": "open"}),
    "invoice.will_be_due": ("invoice.finalized", {**SENT, "due_date": f"@{3 * DAY}", "status": "open"}),
    "invoice.sent": ("invoice.finalized", {**SENT, "due_date": f"@{30 * DAY}"}),
    "invoice.payment_action_required": ("invoice.payment_failed", {}),
    "invoice.payment_attempt_required": ("invoice.finalized", {}),
    "invoice.finalization_failed": ("invoice.created", {"last_finalization_error": {"type": "invalid_request_error"}}),
    "invoice.upcoming": (
        "invoice.created",
        {"id": None, "number": None, "hosted_invoice_url": None, "next_payment_attempt": f"@{3 * DAY}"},
    ),
    "invoice.voided": ("invoice.payment_failed", {"status": "void", "next_payment_attempt": None}),
    "invoice.marked_uncollectible": (
        "invoice.payment_failed",
        {"status": "uncollectible", "next_payment_attempt": None},
    ),
    "invoice.overpaid": ("invoice.paid", {"amount_overpaid": 100}),
    "invoice.deleted": ("invoice.created", {}),
    "customer.subscription.trial_will_end": (
        "customer.subscription.created",
        {
            "status": "trialing",
            "trial_start": f"@{-11 * DAY}",
            "trial_end": f"@{3 * DAY}",
            "default_payment_method": None,
            "trial_settings": {"end_behavior": {"missing_payment_method": "cancel"}},
        },
    ),
    "customer.subscription.paused": ("customer.subscription.created", {"status": "paused"}),
    "customer.subscription.resumed": ("customer.subscription.created", {"status": "active"}),
    "customer.subscription.pending_update_applied": ("customer.subscription.created", {}),
    "customer.subscription.pending_update_expired": ("customer.subscription.created", {}),
    "customer.deleted": ("customer.created", {}),
    "payment_intent.canceled": ("payment_intent.payment_failed", {"status": "canceled", "canceled_at": "@0"}),
    "payment_intent.requires_action": ("payment_intent.created", {"status": "requires_action"}),
    "payment_intent.processing": ("payment_intent.created", {"status": "processing"}),
    "payment_method.automatically_updated": ("payment_method.attached", {}),
    "payment_method.updated": ("payment_method.attached", {}),
    "payment_method.detached": ("payment_method.attached", {}),
    "charge.dispute.closed": ("charge.dispute.created", {"status": "lost"}),
    "charge.dispute.updated": ("charge.dispute.created", {"status": "under_review"}),
    "charge.dispute.funds_reinstated": ("charge.dispute.created", {"status": "won"}),
    "charge.updated": ("charge.succeeded", {}),
    "charge.captured": ("charge.succeeded", {}),
    "charge.pending": ("charge.succeeded", {"status": "pending", "paid": False}),
    "charge.expired": ("charge.failed", {}),
    "refund.updated": ("refund.created", {}),
    "refund.failed": ("refund.created", {"status": "failed", "failure_reason": "lost_or_stolen_card"}),
    "payout.failed": (
        "payout.created",
        {"status": "failed", "failure_code": "account_closed", "failure_message": "The bank account has been closed."},
    ),
    "payout.canceled": ("payout.created", {"status": "canceled"}),
}


def main(folder: str, target: Path = DATA) -> None:
    with lzma.open(Path(folder) / "story.jsonl.xz", "rt", encoding="utf-8") as file:
        story = [json.loads(line) for line in file]
    with gzip.open(Path(folder) / "catalog.jsonl.gz", "rt", encoding="utf-8") as file:
        catalog = [json.loads(line) for line in file]
    text = json.dumps(skeletons(story, catalog), sort_keys=True, separators=(",", ":"))
    target.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def skeletons(story: Sequence[JSON], catalog: Iterable[JSON]) -> JSON:
    """`{event type: {"object", "previous_attributes" where there are any}}`."""
    typical: dict[str, JSON] = {}
    for event in sorted(story, key=_usual):
        typical.setdefault(event["type"], event)
    found = {event["type"]: event for event in catalog}
    for type, (like, differs) in LIKE.items():
        base = typical[like]
        found[type] = {**base, "type": type, "data": {"object": {**base["data"]["object"], **differs}}}
    found |= typical
    return {type: _skeleton(event) for type, event in found.items()}


def _usual(event: JSON) -> tuple[bool, bool, bool, str]:
    """In dollars, a renewal, and of an ordinary update rather than one that ends or pays something."""
    thing, before = event["data"]["object"], event["data"].get("previous_attributes", {})
    odd = "cancel_at_period_end" in before or "delinquent" in before or "amount_paid" in before or before == {"status"}
    renewal = thing.get("billing_reason", "subscription_cycle") == "subscription_cycle"
    return thing.get("currency", "usd") != "usd", odd or "status" in before, not renewal, event["id"]


def _skeleton(event: JSON) -> JSON:
    """What stands in for any event of this one's type."""
    event = json.loads(json.dumps(event))
    cleanse(event, lambda values, sorts: [_token(value) for value in values])
    data = {key: event["data"][key] for key in ("object", "previous_attributes") if event["data"].get(key)}
    made: JSON = _relative(json.loads(_anonymous(json.dumps(data))), event["created"])
    _name_subjects(event["type"], made)
    return made


def _name_subjects(type: str, data: JSON) -> None:
    """Fill in the subjects that fixtures leave empty or name oddly, where events of the type say what they are
    about."""
    thing = data["object"]
    for subject in carried_by(Catalogue.load(), type):
        if subject not in STAND_INS or thing.get("object") == subject:
            continue
        known = [key for key in keys_of({"data": data}, "") if key.startswith(f"{PREFIX[subject]}:")]
        if known != [f"{PREFIX[subject]}:{STAND_INS[subject]}"]:
            put(
                thing,
                PARENT if subject == "subscription" and "parent" in thing else PLACES[subject],
                STAND_INS[subject],
            )


def _token(value: str) -> str:
    """A token like the vault's that stands for nobody."""
    domain = value.partition("@")[2]
    return "tok_exampleexampleexample" + (f"@{domain}" if domain else "")


def _anonymous(text: str) -> str:
    for prefix, id in IDS.items():
        text = re.sub(rf'"{prefix}_[A-Za-z0-9]{{8,}}"', f'"{id}"', text)
        text = re.sub(rf"(?<![A-Za-z0-9]){prefix}_[A-Za-z0-9]{{14,}}", id, text)
    return re.sub(r'("fingerprint": )"[^"]+"', rf'\1"{STAND_INS["card"]}"', text)


def _relative(value: Any, created: int, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _relative(part, created, key) for key, part in value.items()}
    if isinstance(value, list):
        return [_relative(part, created, name) for part in value]
    if isinstance(value, bool) or not isinstance(value, int) or name in NO_INSTANT:
        return value
    if value in MADE_UP:
        return None
    return f"@{value - created}" if EARLIEST <= value <= LATEST else value


if __name__ == "__main__":
    main(sys.argv[1])
