"""Just before an action is done: look again whether its run should still act, and keep what was there before it.

What an action read before it changed it is written down before the change. A worker that dies between the two finds
everything as wanted when it comes back, and would not know any more what it was; an undo has to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rules.model import Rule
from rules.ports import Body, Conflict, Document, Guard, Put, Standing, Store, Unavailable
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


def remember(store: Store, document: Document, data: Body) -> None:
    """Keep with the command what the action has read. Raises Unavailable when somebody else has moved the command:
    then it is not ours to do any more, and the try comes again."""
    outcome: Mapping[str, Any] = document.body["outcome"]
    if {**outcome.get("data", {}), **data} == outcome.get("data"):
        return
    kept = {**outcome, "data": {**outcome.get("data", {}), **data}}
    try:
        put = Put("command", document.id, {**document.body, "outcome": kept}, document.version)
        store.commit(document.tenant, None, [put])
    except Conflict:
        raise Unavailable("The action was moved by somebody else meanwhile") from None
