"""Alerts: say by e-mail or Slack what is stuck and what waits for a person (P16), on one machine too.

One message when something begins, then at most one every quarter of an hour while it gets worse, and one when all is
well again. What was said last is one document, compared and set in the commit that puts the message into the outbox,
so two workers say it once and a crash loses none. A message is a durable command that belongs to no run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app import browse, logs, tenant_settings, tenants
from app.audit import seal
from app.connections.types import TYPES
from app.tenant_settings import TenantSettings
from rules.event import instant, iso
from rules.ports import ABSENT, Conflict, Document, Inbox, Put, Store
from rules.run import Command
from rules.words import counted

APART = timedelta(minutes=15)
CALM = timedelta(minutes=5)  # after the last message: what comes and goes each minute is not told each minute
STEP = "alert"
# groups of what needs a person that have a line of their own
OWN = ("dead", "failing", "quarantine", "emergency", "halted")
ID = "current"
JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not well. name: what, the same from look to look. value: how bad, to see it grow."""

    name: str
    value: int
    text: str


def announce(store: Store, inbox: Inbox, now: datetime, public_url: str = "") -> int:
    """Look at every tenant that has said where alerts go; how many messages were put into the outbox."""
    return sum(_announce(store, inbox, tenant, now, public_url) for tenant in tenants.every(store))


def _announce(store: Store, inbox: Inbox, tenant: str, now: datetime, public_url: str) -> int:
    settings = tenant_settings.read(store, tenant)
    connection = store.get(tenant, "connection", settings.alert_connection) if settings.alert_connection else None
    if connection is None:
        return 0
    known = store.get(tenant, "alert", ID)
    said: JSON = known.body if known else {"number": 0, "told": {}, "at": ""}
    found = list(findings(store, inbox, tenant, now, settings))
    text = what_to_say(said["told"], found, instant(said["at"]) if said["at"] else None, now)
    if not text:
        return 0
    number = int(said["number"]) + 1
    body = {"number": number, "told": {one.name: one.value for one in found}, "at": iso(now)}
    link = f"\n{public_url}/needs-you" if public_url else ""
    command = _command(tenant, number, connection, settings, text + link + _anchor(store, tenant), now)
    writes = [
        Put("alert", ID, body, known.version if known else ABSENT),
        Put("command", command.id, command.body(), ABSENT),
    ]
    try:
        store.commit(tenant, None, writes)
    except Conflict:
        return 0  # another worker said it
    logs.line("alert.told", tenant=tenant, number=number, about=[one.name for one in found])
    return 1


def _anchor(store: Store, tenant: str) -> str:
    """The head of the audit log's chain: a mailbox is another place, with other rights (docs/audit.md)."""
    head = seal.head(store, tenant)
    return f"\nAudit log: {tenant}={head.anchor}" if head else ""


def what_to_say(told: Mapping[str, int], found: Sequence[Finding], last: datetime | None, now: datetime) -> str:
    """The message that is due, or nothing. told: what the last one said; empty when all was well.

    >>> dead = Finding("dead", 2, "2 dead letters wait.")
    >>> noon = datetime(2026, 11, 23, 12)
    >>> what_to_say({}, [dead], None, noon)
    'Signalbox needs you.\\n- 2 dead letters wait.'
    >>> what_to_say({"dead": 1}, [dead], noon - APART / 2, noon), what_to_say({"dead": 2}, [dead], noon - APART, noon)
    ('', '')
    >>> what_to_say({"dead": 1}, [dead], noon - APART, noon)
    'Signalbox still needs you.\\n- 2 dead letters wait.'
    >>> what_to_say({"dead": 2}, [], noon - timedelta(minutes=1), noon)
    ''
    >>> what_to_say({"dead": 2}, [], noon - CALM, noon)
    'Signalbox: all is well again. Nothing is stuck and nothing waits for a person.'
    """
    since = now - last if last is not None else APART
    if not found:
        is_over = bool(told) and not timedelta(0) <= since < CALM
        return "Signalbox: all is well again. Nothing is stuck and nothing waits for a person." if is_over else ""
    is_worse = any(one.value > told.get(one.name, 0) for one in found)
    is_early = bool(told) and timedelta(0) <= since < APART
    if not is_worse or is_early:
        return ""
    head = "Signalbox still needs you." if told else "Signalbox needs you."
    return "\n".join([head, *(f"- {one.text}" for one in found)])


def findings(
    store: Store, inbox: Inbox, tenant: str, now: datetime, settings: TenantSettings = tenant_settings.DEFAULTS
) -> Iterator[Finding]:
    """What is not well now: names and counts only, for it goes out by mail."""
    needs = browse.needs_you(store, inbox, tenant, now)
    counts = {group["kind"]: group["count"] for group in needs["groups"]}
    failing = [row["name"] for group in needs["groups"] if group["kind"] == "failing" for row in group["items"]]
    waiting = sum(count for kind, count in counts.items() if kind not in OWN)
    if waiting >= settings.needs_you:
        yield Finding("waiting", waiting, f"{counted(waiting, 'thing')} for a person to decide.")
    if counts.get("emergency"):  # one alone did what takes two: whoever reads this is to look
        gone = counted(counts["emergency"], "emergency change") + " went past the second person"
        yield Finding("emergency", counts["emergency"], f"{gone}: look, and acknowledge or undo it.")
    if counts.get("halted"):
        plans = counted(counts["halted"], "plan")
        yield Finding("halted", counts["halted"], f"{plans} halted: a rule did not go in force as it was planned.")
    if counts.get("dead", 0) >= settings.dead_letters:
        yield Finding("dead", counts["dead"], f"{counted(counts['dead'], 'dead letter')}: what gave up and waits.")
    if counts.get("quarantine"):
        held = counted(counts["quarantine"], "payload")
        yield Finding("quarantine", counts["quarantine"], f"{held} in quarantine: not of the shape of their type.")
    if failing:
        yield Finding("failing", len(failing), f"{counted(len(failing), 'connection')} failing: {', '.join(failing)}.")
    yield from _late(store, inbox, tenant, now, timedelta(minutes=settings.oldest_minutes))


def _late(store: Store, inbox: Inbox, tenant: str, now: datetime, most: timedelta) -> Iterator[Finding]:
    oldest = inbox.oldest()
    if oldest is not None and now - oldest >= most:
        minutes = _minutes(now - oldest)
        yield Finding(
            "events", minutes, f"The oldest event that was not handled came {counted(minutes, 'minute')} ago."
        )
    due = store.find(tenant, "command", [("due_at", "<=", iso(now - most))], order="due_at", limit=1).items
    if due:
        minutes = _minutes(now - instant(due[0].body["due_at"]))
        yield Finding("actions", minutes, f"The oldest action that was not tried is {counted(minutes, 'minute')} late.")


def _minutes(span: timedelta) -> int:
    return int(span.total_seconds() // 60)


def _command(
    tenant: str, number: int, connection: Document, settings: TenantSettings, text: str, now: datetime
) -> Command:
    """The message in the outbox."""
    type = str(connection.body.get("type", "webhook"))
    params = {
        "smtp": {"to": settings.alert_to, "subject": text.partition("\n")[0], "text": text},
        "slack": {"text": text},
        "webhook": {"stage": "Signalbox", "message": text},
    }[type]
    return Command(
        id=f"alert_{number:06}/{STEP}",
        tenant=tenant,
        run_id="",
        step=STEP,
        rule_id="",
        version=0,
        action=TYPES[type].action,
        connection=connection.id,
        params={"connection": connection.id, **params},
        state="due",
        customer=None,
        correlation=f"alert_{number:06}",
        created_at=iso(now),
        due_at=iso(now),
    )
