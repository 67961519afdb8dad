"""What the steps of a rule would send: each action's own preview, filled from the latest event that the rule is about.

Nothing is sent from here, and no personal value is looked at: texts show tokens where a person's values will stand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rules.event import Event
from rules.fields import Catalogue
from rules.model import Do, Rule
from rules.ports import ActionExecutor, Store
from rules.rule import parse
from rules.texts import facts_of, holes, render, walk

Row = dict[str, Any]
Actions = Mapping[str, ActionExecutor]


def previews(store: Store, catalogue: Catalogue, actions: Actions, tenant: str, document: Mapping[str, Any]) -> Row:
    """`{"event": id | None, "steps": [{"name", "action", "title", "call", "undo", "params"}]}`. Raises RuleError when
    the document has errors."""
    rule = parse(document, catalogue, actions)
    event = latest(store, tenant, rule)
    facts = facts_of(rule, event.data) if event else {}
    steps = [_step(one, facts, actions, event is not None) for one in walk(rule.steps) if isinstance(one, Do)]
    return {"event": event.id if event else None, "steps": steps}


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
