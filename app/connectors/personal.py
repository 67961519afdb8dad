"""Personal values in what connectors send and keep: revealed at the moment of sending, masked in what is kept."""

from __future__ import annotations

import re

from rules.ports import Body, Unconfigured, Vault

TOKEN = re.compile(r"tok_[A-Za-z0-9_-]{8,}(?:@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)?")
# each part has its greatest length (RFC 5321), so that a receiver's answer cannot take the square of its own
E_MAIL = re.compile(r"[\w.+'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")


def revealed(text: str, vault: Vault, tenant: str, actor: str, reason: str) -> str:
    """The text with the value of every token in it. A token whose value was erased stays."""
    return TOKEN.sub(lambda token: vault.reveal(tenant, token[0], actor, reason) or token[0], text)


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
