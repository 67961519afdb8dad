"""Runs: what is being done about matches, and one run whole: its story, its steps on a time line, and why it began."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from app.browse.causation import caused_by
from app.browse.decision import explained, verdicts
from app.browse.deliveries import whole_command
from app.browse.rows import JSON, Row, event_row, gather, listing, run_row
from app.browse.scale import Scale, scale
from app.browse.steps import steps_of, verbs
from app.browse.undoing import undo_of, undo_steps
from rules.event import iso, trace_id
from rules.ports import Document, Page, Store, Where

EVIDENCE = 50  # events of the match that a run's page reads
RULES = 500  # rules whose names the filter offers
BILLION = 1_000_000_000


def runs(
    store: Store,
    tenant: str,
    *,
    state: str | None = None,
    rule: str | None = None,
    customer: str | None = None,
    key: str | None = None,
    after: str | None = None,
    limit: int = 50,
) -> Row:
    """The runs, newest first: by rule and state, or those about one customer or subject key (`sub:sub_1`).
    Beside a customer or key, rule and state are looked for among five pages at a time."""
    about: list[Where] = [("customer", "==", customer)] if customer else [("key", "==", key)] if key else []
    narrow: list[Where] = [("rule_id", "==", rule)] if rule else []
    narrow += [("state", "==", state)] if state else []

    def read(cursor: str | None) -> Page:
        return store.find(tenant, "run", about or narrow, order="-created_at", after=cursor, limit=limit)

    def keep(document: Document) -> bool:
        return not about or all(document.body[name] == value for name, _, value in narrow)

    return listing(gather(read, keep, after, limit if about and narrow else 1), run_row)


def rule_names(store: Store, tenant: str) -> list[tuple[str, str]]:
    """(id, name) of the rules, by name."""
    found = store.find(tenant, "rule", order="-updated_at", limit=RULES).items
    return sorted(((document.id, str(document.body["name"])) for document in found), key=lambda pair: pair[1].lower())


def run(store: Store, tenant: str, id: str) -> Row:
    """One run whole. Raises LookupError.

    `story` in sentences, `steps` with their actions, `timeline` on a scale of 0..1000, `verdict` (why it began) and
    `others` (what the other rules made of the same event), `events` of the match, `undo` (what was taken back, or could
    be), and `can`: what may be asked of it.
    """
    document = store.get(tenant, "run", id)
    if document is None:
        raise LookupError(f"There is no run {id!r}.")
    body = document.body
    commands = store.find(tenant, "command", [("run_id", "==", id)], order="created_at").items
    version = version_of(store, tenant, body)
    by_step = {c.body["step"]: whole_command(c.body) for c in commands}
    steps = steps_of(version, body, by_step)
    undo = undo_of(body, by_step)
    evidence = _evidence(store, tenant, body)
    events = [event_row(event) for event in evidence]
    return {
        **run_row(body),
        "trace": trace_id(tenant, body["correlation"]),
        "subjects": dict(body.get("subjects") or {}),
        "story": [dict(sentence) for sentence in body.get("story") or ()],
        "steps": steps,
        "commands": [whole_command(command.body) for command in commands],
        "caused": caused_by(store, tenant, commands),
        "can": verbs(version, body),
        "undo": undo,
        "events": events,
        **_decided(store, tenant, id, evidence),
        "timeline": timeline(body, [*steps, *undo_steps(undo)], events),
    }


def _decided(store: Store, tenant: str, id: str, evidence: Sequence[JSON]) -> Row:
    """The verdict that began the run, from the event that made the match: the trigger, or one that came late."""
    for event in reversed(evidence):
        decision = event.get("decision") or {}
        rows = verdicts(decision)
        mine = next((row for row in rows if row["run"] == id and row["fired"]), None)
        if mine:
            others = [row for row in rows if row is not mine]
            return {
                "decided_at": event["event"]["id"],
                "verdict": explained(store, tenant, mine, event, decision["at"]),
                "others": others,
            }
    return {"decided_at": None, "verdict": None, "others": []}


def version_of(store: Store, tenant: str, body: JSON) -> JSON:
    """The rule document that the run follows, `{}` when it is not there."""
    found = store.get(tenant, "rule_version", f"{body['rule_id']}@{body['version']}")
    document: JSON = found.body["document"] if found else {}
    return document


def _evidence(store: Store, tenant: str, body: JSON) -> list[JSON]:
    """The documents of the events that made the match, the trigger last."""
    ids = list(body.get("events") or ())[-EVIDENCE:] or [body["trigger"]]
    return [found.body for id in ids if (found := store.get(tenant, "event", id))]


# ---- the time line --------------------------------------------------------------------------------------------------
def timeline(body: JSON, steps: Sequence[Row], events: Sequence[Row]) -> Row:
    """Rows with `left` and `width`: Stripe's events as moments above, then each step; waiting time is drawn short."""
    marks = [("event", one["type"], one["id"], _ns(one["created"]), _ns(one["created"])) for one in events]
    bars = list(_bars(body, steps))
    ruler = scale([(start, end) for *_, start, end in marks] + _busy(bars))
    return {
        "rows": [_row(ruler, *mark) for mark in marks] + [_row(ruler, *bar) for bar in bars],
        "gaps": ruler.gaps(),
    }


Bar = tuple[str, str, str, int, int]  # kind, name, what it came to, start and end in nanoseconds


def _bars(body: JSON, steps: Sequence[Row]) -> Iterator[Bar]:
    """A step begins when the one before it ended; its action's tries are bars of their own."""
    before = _ns(body["created_at"])
    for step in steps:
        if not step["at"]:
            continue
        attempts = (step["command"] or {}).get("attempts", ())
        for number, attempt in enumerate(attempts, 1):
            name = step["name"] if len(attempts) == 1 else f"{step['name']}, try {number}"
            end = _ns(attempt.get("ended_at") or attempt["at"])
            yield "try", name, str(attempt.get("outcome", "")), _ns(attempt["at"]), end
        if not attempts:
            end = _ns(step["until"] if step["state"] == "waiting" and step["until"] else step["at"])
            yield step["kind"], step["name"], step["state"], min(before, end), end
        before = _ns(step["at"])


def _busy(bars: Sequence[Bar]) -> list[tuple[int, int]]:
    """Tries take time; of everything else only its beginning and end count, so that what lies between is idle."""
    tries = [(start, end) for kind, _, _, start, end in bars if kind == "try"]
    ends = [(moment, moment) for kind, _, _, start, end in bars if kind != "try" for moment in (start, end)]
    return tries + ends


def _row(ruler: Scale, kind: str, name: str, state: str, start: int, end: int) -> Row:
    at = datetime.fromtimestamp(start / BILLION, UTC)
    return {
        "kind": kind,
        "name": name,
        "state": state,
        "at": iso(at),
        "seconds": (end - start) / BILLION,
        **ruler.bar(start, end),
    }


def _ns(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * BILLION + moment.microsecond * 1000
