"""What the steps of a rule would send: each action's own preview, filled from an event that the rule is about and from
what is known of its customer now.

Nothing is sent from here, and no personal value is looked at: texts show tokens where a person's values will stand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app import knowing
from rules.event import Event
from rules.fields import Catalogue
from rules.model import Do, Rule
from rules.ports import ActionExecutor, Store
from rules.rule import parse
from rules.texts import facts_of, holes, render, walk
from rules.wanted import wanted_by_steps

Row = dict[str, Any]
Actions = Mapping[str, ActionExecutor]


def previews(
    store: Store,
    catalogue: Catalogue,
    actions: Actions,
    tenant: str,
    document: Mapping[str, Any],
    now: datetime,
    event: str | None = None,
) -> Row:
    """`{"event": id | None, "customer": id | None, "known": bool, "steps": [{"name", "action", "title", "call", "undo",
    "params"}]}`; known: whether facts or scores are filled in. event: the id of one to fill in from, else it is the
    latest that the rule is about. Raises RuleError when the document has errors, LookupError for an unknown event."""
    rule = parse(document, catalogue, actions)
    found = _chosen(store, tenant, rule, event) if event else latest(store, tenant, rule)
    facts = facts_of(rule, knowing.filled(store, tenant, rule, found, now).data) if found else {}
    steps = [_step(one, facts, actions, found is not None) for one in walk(rule.steps) if isinstance(one, Do)]
    return {
        "event": found.id if found else None,
        "customer": ((found.key("cus") if found else None) or "").partition(":")[2] or None,
        "known": bool(wanted_by_steps(rule)),
        "steps": steps,
    }


def _chosen(store: Store, tenant: str, rule: Rule, id: str) -> Event:
    found = store.get(tenant, "event", id)
    if found is None:
        raise LookupError(f"No event {id} is recorded here. Copy an id that begins with evt_ from the list of events.")
    if found.body["type"] not in rule.when.types:
        begins = " or ".join(sorted(rule.when.types))
        raise LookupError(f"{id} is of the type {found.body['type']}; the rule begins with {begins}.")
    return Event.from_cloudevent(found.body["event"])


def latest(store: Store, tenant: str, rule: Rule) -> Event | None:
    """The newest recorded event that the rule is about."""
    found = [
        one
        for type in rule.when.types
        for one in store.find(tenant, "event", [("type", "==", type)], order="-recorded", limit=1).items
    ]
    newest = max(found, key=lambda one: str(one.body["recorded"]), default=None)
    return Event.from_cloudevent(newest.body["event"]) if newest else None


def _step(step: Do, facts: Mapping[str, Any], actions: Actions, filled: bool) -> Row:
    action = actions.get(step.action)
    params = render(step.params, facts) if filled else dict(step.params)
    row = {"name": step.name, "action": step.action, "title": step.action, "call": None, "undo": "", "params": params}
    if action is None:
        return row
    call = dict(action.preview({name: value for name, value in params.items() if value != ""}))
    return {**row, "title": action.title, "undo": call.pop("undo", action.undo), "call": call}


def texts(document: Mapping[str, Any], actions: Actions, sample: Mapping[str, Any]) -> list[Row]:
    """The texts of a document's actions, filled in from an event: `{"step", "label", "text"}`. What the event does not
    say stays empty, as it would; a text that is not written rightly yet is left out."""
    found = []
    steps = document.get("steps")
    for step in steps if isinstance(steps, list) else []:
        action = actions.get(str(step.get("do"))) if isinstance(step, Mapping) else None
        params = step.get("with") if action else None
        for field in action.fields if action and isinstance(params, Mapping) else ():
            text = params.get(field.name)  # type: ignore[union-attr]
            if field.type == "template" and isinstance(text, str) and "{{" in text:
                found += _filled(str(step.get("name")), field.label, text, sample)
    return found


def _filled(step: str, label: str, text: str, sample: Mapping[str, Any]) -> list[Row]:
    """What only the moment of acting knows, such as a fact or an earlier step's outcome, stands in brackets."""
    try:
        later = {path for path in holes(text) if path[:1] != ("data",) and len(path) > 1}
        for path in later:
            text = re.sub(r"\{\{\s*" + re.escape(".".join(path)) + r"\s*\}\}", f"[{'.'.join(path)}]", text)
        return [{"step": step, "label": label, "text": str(render(text, sample))}]
    except ValueError:
        return []
