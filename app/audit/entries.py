"""The audit log's entries: who did what, when, from what to what, and why; each written in the commit that did it.

An entry names itself by the digest of its content, and no store takes a second one under its id or lets it go. The
sealer (app.audit.seal) links entries into a chain; app.audit.verify finds what was changed, removed or put in later.
No two writers meet at one document: an entry is a document of its own. Which of its writer's entries it is, it says
when it is committed (app.audit.writers).
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from rules.event import iso
from rules.personal import replace_emails
from rules.ports import Put

KIND = "audit"
TOLD = ("at", "actor", "verb", "about", "from", "to", "why")  # what an entry says; the rest is its proof
FREE = frozenset({"note", "why", "reason", "decision", "live_why"})  # fields that hold what a person typed
ADDRESS = "[an address]"
_NAMED = 12  # hex digits of the digest in an id
_ROUND = 1_000_000
_TURNS = itertools.count()  # of this process


@dataclass(frozen=True, slots=True)
class Entry(Put):
    """An entry that this process writes."""


def entry(
    now: datetime, actor: str, verb: str, about: str, before: Any = None, after: Any = None, why: str = ""
) -> Entry:
    """The write. about: the id of a rule, run, action, connection or list. The id sorts by time. E-mail addresses in
    what people typed freely are left out: the log is never erased, and they may be a customer's."""
    told: dict[str, Any] = {"at": iso(now), "actor": actor, "verb": verb, "about": about}
    told |= {"from": _said(before), "to": _said(after), "why": _unaddressed(why)}
    # the same said twice is two entries, and those of one moment are listed in the order in which they were said
    body = {**told, "nonce": secrets.token_hex(8), "turn": next(_TURNS) % _ROUND}
    return _named(body)


def numbered(one: Entry, writer: str, number: int, after: int | None = None) -> Entry:
    """The entry as the `number`th of its writer. after: the last one before it that is sure to be there, where that is
    not the one just before."""
    proof: dict[str, Any] = {"writer": writer, "number": number, **({} if after is None else {"after": after})}
    return _named({**one.body, **proof})


def _named(body: dict[str, Any]) -> Entry:
    body["hash"] = entry_hash(body)
    return Entry(KIND, entry_id(body), body)


def entry_hash(body: Mapping[str, Any]) -> str:
    """SHA-256 of the content as JSON with sorted keys, without its own `hash`; hex."""
    return digest({name: value for name, value in body.items() if name != "hash"})


def entry_id(body: Mapping[str, Any]) -> str:
    return f"{body['at']}-{body['turn']:06}-{body['hash'][:_NAMED]}"


def is_whole(id: str, body: Mapping[str, Any]) -> bool:
    """Whether an entry says what it said when it was written, as far as it can tell by itself. Those of the first
    versions carry no hash: the chain alone holds them."""
    return "hash" not in body or (body["hash"] == entry_hash(body) and "turn" in body and id == entry_id(body))


def _said(value: Any, freely: bool = False) -> Any:
    """A copy without the addresses in what a person typed freely, at any depth."""
    if isinstance(value, Mapping):
        return {name: _said(part, freely or name in FREE) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_said(part, freely) for part in value]
    return _unaddressed(value) if freely and isinstance(value, str) else value


def _unaddressed(text: str) -> str:
    if "@" not in text and "%40" not in text:
        return text
    holder = {"text": text}
    replace_emails(holder, lambda found: [ADDRESS] * len(found))
    return holder["text"]


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, the same on every machine and after every move; hex."""
    return hashlib.sha256(orjson.dumps(value, _plain, orjson.OPT_SORT_KEYS)).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"an audit entry holds JSON only, not {type(value).__name__}")
