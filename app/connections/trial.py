"""A test notice over a connection: the real action with a made-up run, so that what is tried is what will be sent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from app.audit import entry
from app.connections.types import SAID, TYPES
from app.connectors.personal import TOKEN
from app.perform import dry_run
from rules import patience
from rules.event import iso, span_id, trace_id
from rules.ports import ActionExecutor, Body, Outcome, Store, Unconfigured

NOTHING_SENT = Outcome.dead(f"{dry_run.WHY[:1].upper()}{dry_run.WHY[1:]}.")


def send_test_notice(
    store: Store,
    actions: Mapping[str, ActionExecutor],
    tenant: str,
    name: str,
    actor: str,
    now: datetime,
    is_dry: bool = False,
) -> Outcome:
    """Send one notice now and say what was answered; nothing in a dry run. LookupError when there is no such
    connection."""
    found = store.get(tenant, "connection", name)
    if found is None or found.body["type"] not in TYPES:
        raise LookupError(f"There is no connection {name!r} that can be tested.")
    if is_dry:
        return NOTHING_SENT
    patience.begin()
    try:
        outcome = actions[TYPES[found.body["type"]].action].execute(_task(tenant, found.body, now), now)
    except Unconfigured as error:
        outcome = Outcome.dead(str(error))
    sent = {"outcome": outcome.kind, "message": outcome.message}
    store.commit(tenant, None, [entry(now, actor, "send test notice", name, None, sent)])
    return outcome


def send_test_mail(
    store: Store,
    actions: Mapping[str, ActionExecutor],
    tenant: str,
    params: Body,
    to: str,
    actor: str,
    now: datetime,
    is_dry: bool = False,
) -> Outcome:
    """Send the e-mail of a step to one address, with words where a person's values would stand. The address is kept
    nowhere. LookupError when the step's connection is not there."""
    name = str(params.get("connection") or "")
    found = store.get(tenant, "connection", name)
    if found is None:
        raise LookupError(f"There is no connection {name!r} yet.")
    if is_dry:
        return NOTHING_SENT
    told = {key: TOKEN.sub("[personal value]", str(value)) for key, value in params.items()}
    task = _task(tenant, found.body, now)
    given = {**told, "connection": name, "to": to, "subject": f"[Test] {told.get('subject', '')}"}
    patience.begin()
    try:
        outcome = actions["mail.send"].execute({**task, "action": "mail.send", "params": given}, now)
    except Unconfigured as error:
        outcome = Outcome.dead(str(error))
    sent = {"outcome": outcome.kind, "message": outcome.message}
    store.commit(tenant, None, [entry(now, actor, "send test e-mail", name, None, sent)])
    return outcome


def _task(tenant: str, connection: Body, now: datetime) -> Body:
    id = f"test_{int(now.timestamp() * 1000)}/notice"
    type = TYPES[connection["type"]]
    run_id = id.partition("/")[0]
    trace, span = trace_id(tenant, run_id), span_id(tenant, id, "1")
    run = {
        "id": run_id,
        "key": "test",
        "story": [{"at": iso(now), "text": SAID}],
        "money": {},
        "steps": {},
        "events": [],
    }
    return {
        "id": id,
        "tenant": tenant,
        "run_id": run_id,
        "step": "notice",
        "rule_id": "test",
        "action": type.action,
        "connection": connection["name"],
        "connection_document": connection,
        "params": {"connection": connection["name"], **type.trial(connection)},
        "customer": None,
        "correlation": run_id,
        "trigger": "test",
        "subjects": {},
        "created_at": iso(now),
        "attempt": 1,
        "idempotency_key": f"{id}/0",
        "trial": True,
        "traceparent": f"00-{trace}-{span}-01",
        "run": run,
        "rule": {"id": "test", "name": "Test notice", "number": 0, "why": SAID},
    }
