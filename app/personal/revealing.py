"""Show a personal value to a person: one at a time, from a page that holds its token, with a reason that is recorded.

Who may is decided before this is asked (the right `reveal`); the vault writes the audit entry before it opens anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from app.access import attempts
from rules import personal
from rules.personal_sorts import sort_of
from rules.ports import Document, Refused, Store, Vault

On = Literal["event", "customer", "run"]
ON: tuple[On, ...] = get_args(On)
RECENT = 100  # events of a customer that are looked through
MOST = 200  # values that one page offers
LONGEST_REASON = 2_000
HIDDEN = "[e-mail]"


@dataclass(frozen=True, slots=True)
class Held:
    """A token on a page. path: where it stands. sort: see rules.personal_sorts."""

    token: str
    path: str
    sort: str


@dataclass(frozen=True, slots=True)
class Shown:
    """value: None when it is not kept (any more)."""

    token: str
    path: str
    value: str | None


def held(store: Store, tenant: str, on: On, id: str) -> list[Held]:
    """The tokens of a page, each once, at the first place where it stands. Raises LookupError."""
    found: dict[str, Held] = {}
    for body in _bodies(store, tenant, on, id):
        for token, path in _tokens(body, ()):
            found.setdefault(token, Held(token, ".".join(path), sort_of(_named(path))))
            if len(found) == MOST:
                return list(found.values())
    return list(found.values())


def show(
    store: Store, vault: Vault, tenant: str, on: On, id: str, token: str, actor: str, reason: str, now: datetime
) -> Shown:
    """The value behind a token of this page. Raises Refused without a reason and after too many values, LookupError for
    a token that does not stand there."""
    why = reason_of(reason)
    one = next((one for one in held(store, tenant, on, id) if one.token == token), None)
    if one is None:
        raise LookupError(f"There is no value {token!r} on this page.")
    whose = _customer(store, tenant, on, id)
    _bound(store, actor, now)
    return Shown(token, one.path, vault.reveal(tenant, token, actor, why, f"{on} {id}", whose))


def _bound(store: Store, actor: str, now: datetime) -> None:
    """Each look is in the log, but nobody may have read it before the vault is empty. Raises Refused."""
    wait = attempts.begin(store, "", now, reveal=actor)
    if isinstance(wait, timedelta):
        minutes = max(1, -(-int(wait.total_seconds()) // 60))
        most = attempts.MOST["reveal"]
        raise Refused(f"{actor} has looked at {most} values in a quarter of an hour: more in {minutes} minutes.")


def reason_of(text: str) -> str:
    """What somebody typed as a reason, without addresses: it is kept for ever. Raises Refused."""
    why = text.strip()
    if not why:
        raise Refused("Say why: it is kept in the audit log.")
    if len(why) > LONGEST_REASON:
        raise Refused(f"A reason has at most {LONGEST_REASON:,} characters.")
    said = {"why": why}
    personal.replace_emails(said, lambda found: [HIDDEN] * len(found))
    return said["why"]


def _bodies(store: Store, tenant: str, on: On, id: str) -> Iterator[Any]:
    if on == "customer":
        newest = store.find(tenant, "event", [("keys", "has", f"cus:{id}")], "-created", limit=RECENT).items
        if not newest:
            raise LookupError(f"Nothing is known of the customer {id!r}.")
        yield from (_payload(document) for document in newest)
        return
    document = _document(store, tenant, on, id)
    if on == "event":
        yield _payload(document)
        return
    yield {"facts": document.body.get("facts") or {}}
    steps = store.find(tenant, "command", [("run_id", "==", id)], "created_at").items
    yield from ({step.body["step"]: step.body["params"]} for step in steps)
    trigger = store.get(tenant, "event", document.body["trigger"])
    yield from (_payload(one) for one in (trigger,) if one is not None)


def _document(store: Store, tenant: str, on: On, id: str) -> Document:
    found = store.get(tenant, on, id)
    if found is None:
        raise LookupError(f"There is no {on} {id!r}.")
    return found


def _payload(document: Document) -> Any:
    return document.body["event"]["data"].get("data") or {}


def _customer(store: Store, tenant: str, on: On, id: str) -> str:
    """Whose page it is, as the vault files values: a transaction's that names nobody by its own id."""
    if on == "customer":
        return id
    body = _document(store, tenant, on, id).body
    return str(body.get("customer") or body.get("correlation") or "")


def _tokens(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _tokens(part, (*path, str(key)))
    elif isinstance(value, list):
        for at, part in enumerate(value):
            yield from _tokens(part, (*path, str(at)))
    elif isinstance(value, str) and "tok_" in value:
        yield from ((found[0], path) for found in personal.TOKEN.finditer(value))


def _named(path: tuple[str, ...]) -> str:
    return next((key for key in reversed(path) if not key.isdigit()), "")
