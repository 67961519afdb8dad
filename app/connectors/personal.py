"""Personal values in what connectors send and keep: revealed at the moment of sending, masked in what is kept."""

from __future__ import annotations

import re

from rules.ports import Body, Unconfigured, Vault

TOKEN = re.compile(r"tok_[A-Za-z0-9_-]{8,}(?:@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)?")
# each part has its greatest length (RFC 5321), so that a receiver's answer cannot take the square of its own
E_MAIL = re.compile(r"[\w.+'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")


def revealed(text: str, vault: Vault, task: Body, reason: str, actor: str = "") -> str:
    """The text with the value of every token in it, for the moment of sending. A token whose value was erased stays, as
    does every one when the task's customer was. actor: the task's id."""
    tenant, on, whose = task["tenant"], f"action {task['id']}", task.get("customer") or ""

    def value(token: re.Match[str]) -> str:
        return vault.reveal(tenant, token[0], actor or task["id"], reason, on, whose) or token[0]

    return TOKEN.sub(value, text)


def masked(text: str) -> str:
    """The text without e-mail addresses, tokens aside."""
    return E_MAIL.sub(lambda found: found[0] if TOKEN.fullmatch(found[0]) else "[e-mail]", text)


def connection_of(task: Body, type: str) -> Body:
    """The connection of a task. Raises Unconfigured when it is of another type."""
    found: Body = task["connection_document"]
    given = found.get("type", type)
    if given != type:
        raise Unconfigured(f"Connection {found['name']} is of type {given}; this step needs one of type {type}.")
    return found
