"""The first page's questions: is it healthy, what happened today, and what waits for a person."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from app.author import planned
from app.browse.dead_letters import dead_letters
from app.browse.deliveries import connections, day_start
from app.browse.rows import JSON, Row, command_row, run_row
from app.browse.runs import version_of
from app.browse.steps import verbs
from app.connections import live_actions
from app.operate import reviews
from app.operate.cases import case_id, case_of, is_overdue
from app.receive import quarantine
from rules.event import iso
from rules.ports import Document, Inbox, Store, Where
from rules.words import counted

LATE, VERY_LATE = timedelta(seconds=30), timedelta(minutes=5)  # age of the oldest event that is not handled yet
RULES = 50  # rules whose firings the first page counts
LISTED = 25  # of each sort on the page of what needs a person
RUN_STATES = ("pending", "waiting", "acting", "needs_person", "parked", "done", "stopped", "failed", "cancelled")


def overview(store: Store, inbox: Inbox, tenant: str, now: datetime) -> Row:
    """Health, today's counts (UTC), firings of the last 7 days by rule, the latest runs, and what needs a person."""
    needs = needs_you(store, inbox, tenant, now)
    latest = store.find(tenant, "run", order="-created_at", limit=8)
    return {
        "at": iso(now),
        "health": health(store, inbox, tenant, now),
        "today": today(store, tenant, now),
        "rules": firings(store, tenant, now),
        "latest": [run_row(document.body) for document in latest.items],
        "needs": {"count": needs["count"], "groups": [_count_only(group) for group in needs["groups"]]},
        "empty": not latest.items and not store.find(tenant, "event", order="-recorded", limit=1).items,
    }


# ---- health ---------------------------------------------------------------------------------------------------------
def health(store: Store, inbox: Inbox, tenant: str, now: datetime) -> list[Row]:
    """Each part of the way with a state (good, warn, bad), one sentence, and the page that says more."""
    return [_intake(inbox, now), _handled(inbox, tenant), _sending(store, tenant, now), _connected(store, tenant)]


def _intake(inbox: Inbox, now: datetime) -> Row:
    oldest = inbox.oldest()
    age = now - oldest if oldest else timedelta(0)
    state = "bad" if age > VERY_LATE else "warn" if age > LATE else "good"
    text = "Every event has been handled." if oldest is None else "Events are waiting to be handled."
    return _part("Events", state, text, "/events", age.total_seconds() or None)


def _handled(inbox: Inbox, tenant: str) -> Row:
    dead = sum(1 for found in inbox.dead() if found.tenant in (tenant, ""))
    text = "None was given up." if not dead else f"{counted(dead, 'event')} could not be handled."
    return _part("Dead letters", "bad" if dead else "good", text, "/needs-you")


def _sending(store: Store, tenant: str, now: datetime) -> Row:
    dead = store.count(tenant, "command", [("state", "==", "dead")])
    due = store.find(tenant, "command", [("due_at", "<=", iso(now - LATE))], order="due_at", limit=1).items
    if dead:
        return _part("Actions", "bad", f"{counted(dead, 'action')} gave up.", "/deliveries?state=dead")
    if due:
        waited = (now - datetime.fromisoformat(due[0].body["due_at"])).total_seconds()
        return _part("Actions", "warn", "Actions are late: is the worker running?", "/deliveries?state=due", waited)
    return _part("Actions", "good", "Every action that was due has been tried.", "/deliveries")


def _connected(store: Store, tenant: str) -> Row:
    found = connections(store, tenant)
    failing = [c["name"] for c in found if c.get("state") == "failing"]
    if failing:
        return _part("Connections", "bad", f"Failing: {', '.join(failing)}.", "/deliveries")
    if not found:
        return _part("Connections", "none", "None yet: notices need one.", "/settings")
    return _part("Connections", "good", f"{counted(len(found), 'connection')}, none failing.", "/deliveries")


def _part(name: str, state: str, text: str, to: str, seconds: float | None = None) -> Row:
    return {"name": name, "state": state, "text": text, "seconds": seconds, "to": to}


# ---- today and this week --------------------------------------------------------------------------------------------
def today(store: Store, tenant: str, now: datetime) -> Row:
    """Counts since midnight UTC, each on an index."""
    since = day_start(now)
    runs = {state: store.count(tenant, "run", [("state", "==", state), *_since(since)]) for state in RUN_STATES}
    done = store.count(tenant, "command", [("state", "==", "done"), *_since(since)])
    return {
        "since": since,
        "events": store.count(tenant, "event", [("recorded", ">=", since)]),
        "fired": sum(runs.values()),
        "runs": {state: count for state, count in runs.items() if count},
        "actions": store.count(tenant, "command", _since(since)),
        "actions_done": done,
    }


def firings(store: Store, tenant: str, now: datetime) -> list[Row]:
    """The rules last changed, with their runs of the last 7 days; the busiest first."""
    since = iso(now - timedelta(days=7))
    found = store.find(tenant, "rule", order="-updated_at", limit=RULES)
    rows = [
        {
            "id": document.id,
            "name": document.body["name"],
            "state": document.body["state"],
            "version": document.body.get("number"),
            "week": store.count(tenant, "run", [("rule_id", "==", document.id), *_since(since)]),
        }
        for document in found.items
        if document.body["state"] != "archived"
    ]
    return sorted(rows, key=lambda row: -row["week"])


def _since(since: str) -> list[Where]:
    return [("created_at", ">=", since)]


# ---- what needs a person --------------------------------------------------------------------------------------------
def needs_you(
    store: Store, inbox: Inbox, tenant: str, now: datetime, owner: str | None = None, overdue: bool = False
) -> Row:
    """Everything that waits for a decision, in groups: the total of each, and the newest ones with what can be done
    and whose they are. owner: only what is theirs; "" for what is nobody's. overdue: only what is past its time."""
    groups = [
        _runs(store, tenant, "parked", "Held back by a limit"),
        _runs(store, tenant, "needs_person", "Asking for a person"),
        _commands(store, tenant, "person", "Actions with an unclear outcome"),
        _given_up(store, inbox, tenant),
        _quarantined(store, tenant),
        _failing(store, tenant),
        _live(store, tenant),
        _reviews(store, tenant),
        _halted(store, tenant),
        _proposals(store, tenant, "emergency", "Emergencies to acknowledge"),
        _proposals(store, tenant, "open", "Changes to approve"),
    ]
    told = [_with_cases(store, tenant, group, now) for group in _without_doubles(groups)]
    if owner is not None or overdue:
        told = [_only(group, owner, overdue) for group in told]
    shown = [group for group in told if group["count"]]
    return {"at": iso(now), "count": sum(group["count"] for group in shown), "groups": shown}


_ABOUT = {
    "approval": "proposal",
    "emergency": "proposal",
    "parked": "run",
    "needs_person": "run",
    "person": "command",
    "failing": "connection",
    "live": "connection",
    "review": "review",
    "looping": "rule",
    "halted": "rule",
    "quarantine": "quarantine",
}


def _with_cases(store: Store, tenant: str, group: Row, now: datetime) -> Row:
    """Each thing with the name of its case (`run:run_1`) and, where somebody has made one, the case."""
    items = []
    for item in group["items"]:
        about = case_id(
            _ABOUT.get(group["kind"], item.get("kind", "")), item.get("event_id") or item.get("id") or item["name"]
        )
        case = case_of(store, tenant, about)
        items.append({**item, "about": about, "case": case, "overdue": is_overdue(case, now)})
    return {**group, "items": items}


def _only(group: Row, owner: str | None, overdue: bool) -> Row:
    items = [
        item
        for item in group["items"]
        if (owner is None or (item["case"] or {}).get("owner", "") == owner) and (item["overdue"] or not overdue)
    ]
    return {**group, "items": items, "count": len(items)}


def waiting(store: Store, inbox: Inbox, tenant: str) -> int:
    """How many things wait for a person, as `needs_you` counts them; cheap while nothing does."""
    runs = {state: store.count(tenant, "run", [("state", "==", state)]) for state in ("parked", "needs_person")}
    actions = sum(store.count(tenant, "command", [("state", "==", state)]) for state in ("person", "dead"))
    received = sum(1 for dead in inbox.dead() if dead.tenant in (tenant, ""))
    failing = sum(1 for row in connections(store, tenant) if row.get("state") == "failing")
    doubles = _doubles(store, tenant) if actions and runs["needs_person"] else 0
    asking = len(live_actions.asking(store, tenant)) + reviews.count(store, tenant) + quarantine.count(store, tenant)
    asking += planned.count_halted(store, tenant)
    asked = sum(store.count(tenant, "proposal", [("state", "==", state)]) for state in ("open", "emergency"))
    return asked + sum(runs.values()) + actions + received + failing + asking - doubles


def _doubles(store: Store, tenant: str) -> int:
    """Actions whose run asks already, among the newest."""
    asking = {document.id for document in _newest(store, tenant, "run", "needs_person")}
    return sum(
        document.body["run_id"] in asking
        for state in ("person", "dead")
        for document in _newest(store, tenant, "command", state)
    )


def _newest(store: Store, tenant: str, kind: str, state: str) -> Sequence[Document]:
    return store.find(tenant, kind, [("state", "==", state)], order="-created_at", limit=LISTED).items


def _without_doubles(groups: list[Row]) -> list[Row]:
    """An action whose run asks for a person is the same matter: it is told once, with its run."""
    asking = {run["id"] for group in groups if group["kind"] == "needs_person" for run in group["items"]}
    left = []
    for group in groups:
        items = [item for item in group["items"] if item.get("run_id") not in asking]
        left.append({**group, "items": items, "count": group["count"] - len(group["items"]) + len(items)})
    return left


def _runs(store: Store, tenant: str, state: str, title: str) -> Row:
    where: list[Where] = [("state", "==", state)]
    versions: dict[str, JSON] = {}
    items = []
    for document in _newest(store, tenant, "run", state):
        name = f"{document.body['rule_id']}@{document.body['version']}"
        if name not in versions:
            versions[name] = version_of(store, tenant, document.body)
        items.append({**run_row(document.body), "can": verbs(versions[name], document.body)})
    return _group(state, title, _total(store, tenant, "run", where, len(items)), items)


def _commands(store: Store, tenant: str, state: str, title: str) -> Row:
    where: list[Where] = [("state", "==", state)]
    items = [command_row(document.body) for document in _newest(store, tenant, "command", state)]
    return _group(state, title, _total(store, tenant, "command", where, len(items)), items)


def _given_up(store: Store, inbox: Inbox, tenant: str) -> Row:
    letters = dead_letters(store, inbox, tenant, limit=LISTED)["items"]
    received = sum(1 for letter in letters if letter["kind"] == "event")
    sent = _total(store, tenant, "command", [("state", "==", "dead")], len(letters) - received)
    return _group("dead", "Gave up", received + sent, letters)


def _quarantined(store: Store, tenant: str) -> Row:
    items = quarantine.entries(store, tenant, limit=LISTED)["items"]
    count = len(items) if len(items) < LISTED else quarantine.count(store, tenant)
    return _group("quarantine", "Payloads that do not conform", count, items)


def _proposals(store: Store, tenant: str, state: str, title: str) -> Row:
    where: list[Where] = [("state", "==", state)]
    items = [
        {name: found.body[name] for name in ("id", "title", "about", "asked_by", "note", "created_at")}
        for found in _newest(store, tenant, "proposal", state)
    ]
    kind = "emergency" if state == "emergency" else "approval"
    return _group(kind, title, _total(store, tenant, "proposal", where, len(items)), items)


def _failing(store: Store, tenant: str) -> Row:
    failing = [row for row in connections(store, tenant) if row.get("state") == "failing"]
    return _group("failing", "Connections that fail", len(failing), failing)


def _live(store: Store, tenant: str) -> Row:
    asking = live_actions.asking(store, tenant)
    return _group("live", "Live actions to be allowed", len(asking), asking)


def _reviews(store: Store, tenant: str) -> Row:
    items = reviews.opened(store, tenant, LISTED)
    count = len(items) if len(items) < LISTED else reviews.count(store, tenant)
    return _group("review", "Flagged for review", count, items)


def _halted(store: Store, tenant: str) -> Row:
    items = planned.halted(store, tenant, LISTED)
    count = len(items) if len(items) < LISTED else planned.count_halted(store, tenant)
    return _group("halted", "Plans that halted", count, items)


def _total(store: Store, tenant: str, kind: str, where: list[Where], listed: int) -> int:
    return listed if listed < LISTED else store.count(tenant, kind, where)


def _group(kind: str, title: str, count: int, items: list[Row]) -> Row:
    return {"kind": kind, "title": title, "count": count, "items": items}


def _count_only(group: JSON) -> Row:
    return {name: group[name] for name in ("kind", "title", "count")}
