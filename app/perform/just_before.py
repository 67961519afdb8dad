"""Just before an action is done: look again whether its run should still act, and keep what was there before it.

What an action read before it changed it is written down before the change. A worker that dies between the two finds
everything as wanted when it comes back, and would not know any more what it was; an undo has to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.perform.inverses import is_reversible
from rules.model import Rule
from rules.ports import (
    ActionExecutor,
    Body,
    Conflict,
    Document,
    Guard,
    Put,
    Standing,
    Store,
    Unavailable,
)
from rules.run import OURSELVES, Command
from rules.standing import asks
from rules.undoing import PREFIX as UNDO


def look_again(guard: Guard | None, rule: Rule | None, command: Command) -> Standing:
    """The objects that the rule's stops are about, as they are now. Not asked for an undo, which follows a stop, nor
    for what a person asked for alone. Raises Unavailable when nobody answers."""
    if guard is None or rule is None or command.step.startswith(UNDO) or command.connection == OURSELVES:
        return Standing()
    asked = asks(rule, command.subjects) if not command.outcome.get("replayed") else ()
    return guard.look(command.tenant, asked) if asked else Standing()


@dataclass(slots=True)
class Memo:
    """What is kept with a command before its effect. Raises Unavailable when somebody else has moved the command: then
    it is not ours to do any more, and the try comes again."""

    store: Store
    document: Document

    def begin(self, action: ActionExecutor) -> None:
        """Note that a try has begun, where an undo must know of it and the action itself keeps nothing: Stripe's do."""
        if is_reversible(action) and self.document.body["connection"] != "stripe":
            self.remember({"begun": True})

    def remember(self, data: Body) -> None:
        outcome: Mapping[str, Any] = self.document.body["outcome"]
        kept = {**outcome.get("data", {}), **data}
        if kept == outcome.get("data"):
            return
        document, body = self.document, {**self.document.body, "outcome": {**outcome, "data": kept}}
        try:
            self.store.commit(document.tenant, None, [Put("command", document.id, body, document.version)])
        except Conflict:
            raise Unavailable("The action was moved by somebody else meanwhile") from None
        self.document = self.store.get(document.tenant, "command", document.id) or document
