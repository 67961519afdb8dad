"""Personal values in what connectors send and keep: revealed at the moment of sending, masked in what is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from html import escape
from urllib.parse import quote, quote_plus

from rules.ports import Body, Unconfigured, Vault

TOKEN = re.compile(r"tok_[A-Za-z0-9_-]{8,}(?:@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)?")
# each part has its greatest length (RFC 5321), so that a receiver's answer cannot take the square of its own
E_MAIL = re.compile(r"[\w.+'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")


def revealed(text: str, vault: Vault, task: Body, reason: str, actor: str = "", told: list[str] | None = None) -> str:
    """The text with the value of every token in it, for the moment of sending. A token whose value was erased stays, as
    does every one when the task's customer was. actor: the task's id. told: the values are added to it, so that no echo
    of them is kept."""
    tenant, on, whose = task["tenant"], f"action {task['id']}", task.get("customer") or ""

    def value(token: re.Match[str]) -> str:
        clear = vault.reveal(tenant, token[0], actor or task["id"], reason, on, whose)
        if clear and told is not None:
            told.append(clear)
        return clear or token[0]

    return TOKEN.sub(value, text)


def masked(text: str, told: Iterable[str] = ()) -> str:
    """The text without e-mail addresses, tokens aside, and without the values that were told, in whatever case."""
    for clear in sorted({form for one in told for form in _forms(one)}, key=len, reverse=True):
        text = re.sub(re.escape(clear), "[personal]", text, flags=re.IGNORECASE)
    return E_MAIL.sub(lambda found: found[0] if TOKEN.fullmatch(found[0]) else "[e-mail]", text)


def _forms(value: str) -> set[str]:
    """How a value may be echoed: as it is, in JSON, in a URL, in HTML. One letter would take every other with it."""
    forms = {value, json.dumps(value)[1:-1], quote(value, safe=""), quote_plus(value), escape(value)}
    return forms if len(value.strip()) > 1 else set()


def connection_of(task: Body, type: str) -> Body:
    """The connection of a task. Raises Unconfigured when it is of another type."""
    found: Body = task["connection_document"]
    given = found.get("type", type)
    if given != type:
        raise Unconfigured(f"Connection {found['name']} is of type {given}; this step needs one of type {type}.")
    return found
