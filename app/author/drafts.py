"""Drafts of rules: read, checked, kept and discarded. Every change is audited. In force they come by force.py."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from typing import Any

from app.audit import entry
from app.author import examples, lint
from app.author.advice import advice
from app.author.examples import checked
from rules.event import iso
from rules.fields import Catalogue
from rules.personal import replace, replace_emails
from rules.ports import ABSENT, ActionExecutor, Conflict, Document, Put, Store, Vault, Write
from rules.rule import Problem, RuleError

Actions = Mapping[str, ActionExecutor]
Row = dict[str, Any]

LARGEST = 256 * 1024  # characters of a rule document
MANY = 500  # rules or versions that one page reads
ELSEWHERE = (
    "Someone else saved this rule after you opened it. Nothing of yours was stored over it: "
    "open the rule again in another tab, compare, and save once more."
)


# ---- reading --------------------------------------------------------------------------------------------------------
def rules(store: Store, tenant: str) -> list[Row]:
    """Every rule, last changed first: the body of its document, and `version`, to be sent back with a change."""
    found = store.find(tenant, "rule", order="-updated_at", limit=MANY)
    return [{**document.body, "version": document.version} for document in found.items]


def rule(store: Store, tenant: str, id: str) -> Row:
    """One rule: its body, `version` (opaque, to be sent back with a change), `in_force` (the document or None) and
    `document` (the draft if there is one, else what is in force). LookupError."""
    found = read(store, tenant, id)
    number = found.body.get("number")
    in_force = version(store, tenant, id, number)["document"] if number else None
    return {
        **found.body,
        "version": found.version,
        "in_force": in_force,
        "document": found.body.get("draft") or in_force,
    }


def versions(store: Store, tenant: str, id: str) -> list[Row]:
    """Every published version, newest first."""
    found = store.find(tenant, "rule_version", [("rule_id", "==", id)], order="-number", limit=MANY)
    return [dict(document.body) for document in found.items]


def version(store: Store, tenant: str, id: str, number: int) -> Row:
    found = store.get(tenant, "rule_version", f"{id}@{number}")
    if found is None:
        raise LookupError(f"The rule {id!r} has no version {number}.")
    return dict(found.body)


def problems(
    store: Store, catalogue: Catalogue, actions: Actions, tenant: str, document: Mapping[str, Any]
) -> list[Problem]:
    """Everything to say about a document: errors, which keep it from being published, and advice."""
    odd = lint.advice(store, catalogue, tenant, document)
    return [*checked(store, tenant, document, catalogue, actions), *advice(store, tenant, document), *odd]


# ---- drafts ---------------------------------------------------------------------------------------------------------
def save_draft(
    store: Store,
    vault: Vault,
    catalogue: Catalogue,
    actions: Actions,
    tenant: str,
    document: Mapping[str, Any],
    actor: str,
    now: datetime,
    expect: str | None = None,
) -> Row:
    """Keep the document as the rule's draft, problems and all; what is in force stays. Returns `rule(...)`.
    A constant that is compared with a personal field is kept as its token, as the events hold it (RULE.md 10).
    expect: the version that was read, ABSENT for a rule that must be new, None for whatever is there.
    RuleError when it cannot even be kept, Conflict when someone else saved meanwhile."""
    id = _storable(document)
    document = without_personal(document, vault, catalogue, tenant)
    found = store.get(tenant, "rule", id)
    meet(expect, found, id)
    body = dict(found.body) if found else _fresh(id, now)
    in_force = version(store, tenant, id, body["number"])["document"] if body["number"] else None
    errors = [one for one in checked(store, tenant, document, catalogue, actions) if one.severity == "error"]
    before, after = body["draft"], None if document == in_force else dict(document)
    body.update(
        name=str(document.get("name") or body["name"] or id),
        draft=after,
        draft_by=actor,
        draft_authors=_draft_authors(body, after, actor),
        problems=len(errors),
        updated_at=iso(now),
    )
    writes: list[Write] = [Put("rule", id, body, found.version if found else ABSENT)]
    if before != body["draft"] or not found:
        writes.append(entry(now, actor, "save draft", id, before, body["draft"]))
    commit(store, tenant, writes)
    return rule(store, tenant, id)


def _draft_authors(body: Mapping[str, Any], after: Any, actor: str) -> list[str]:
    """Whoever had a hand in the draft: none of them may approve it."""
    if after is None:
        return []
    known = authors_of_draft(body)
    return known if after == body["draft"] else sorted({*known, actor})


def authors_of_draft(body: Mapping[str, Any]) -> list[str]:
    """Of a rule's document; those of an earlier version say only who was the last."""
    if not body.get("draft"):
        return []
    return list(body.get("draft_authors") or filter(None, [body.get("draft_by")]))


def without_personal(document: Mapping[str, Any], vault: Vault, catalogue: Catalogue, tenant: str) -> dict[str, Any]:
    """A copy in which constants that are compared with personal fields, and the personal values of saved examples, are
    tokens, as the events hold them."""
    copied = deepcopy(dict(document))
    subject = f"rule:{copied.get('id')}"

    def replacing(texts: Sequence[str]) -> list[str]:
        return vault.tokenise(tenant, subject, texts)

    replace(examples.personal(copied, catalogue), replacing)
    replace_emails(copied.get("examples"), replacing)
    return copied


def discard_draft(store: Store, tenant: str, rule_id: str, actor: str, note: str, now: datetime) -> Row:
    """Forget the draft; what is in force stays. The audit log keeps it."""
    found = read(store, tenant, rule_id)
    current = found.body["number"]
    if found.body["draft"] is None or not current:
        raise Conflict("There is no draft beside a version in force.")
    name = version(store, tenant, rule_id, current)["document"]["name"]
    body = {**found.body, "draft": None, "draft_by": None, "problems": 0, "name": name, "updated_at": iso(now)}
    body["draft_authors"] = []
    change = entry(now, actor, "discard draft", rule_id, found.body["draft"], None, note)
    commit(store, tenant, [Put("rule", rule_id, body, found.version), change])
    return rule(store, tenant, rule_id)


# ---- the parts ------------------------------------------------------------------------------------------------------
def slug(name: str) -> str:
    """The id that a name makes: `Two failed payments!` is `two-failed-payments`."""
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60].strip("-")
    return words if words not in ("", "new") else "rule"


def read(store: Store, tenant: str, id: str) -> Document:
    found = store.get(tenant, "rule", id)
    if found is None:
        raise LookupError(f"There is no rule {id!r}.")
    return found


def meet(expect: str | None, found: Document | None, id: str) -> None:
    if expect == ABSENT and found is not None:
        raise Conflict(f"There is a rule {id!r} already. Give this one another name.")
    if expect not in (None, ABSENT) and (found is None or found.version != expect):
        raise Conflict(ELSEWHERE)


def _storable(document: Mapping[str, Any]) -> str:
    id = document.get("id")
    if not isinstance(id, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,79}", id) or id == "new":
        wanted = slug(str(id or document.get("name") or ""))
        raise RuleError([Problem("id", "the id is lower-case letters, digits and hyphens", wanted)])
    if len(json.dumps(document)) > LARGEST:
        raise RuleError([Problem("", f"the document is larger than {LARGEST // 1024} KB")])
    return id


def refuse_errors(
    store: Store, tenant: str, document: Mapping[str, Any], catalogue: Catalogue, actions: Actions
) -> None:
    errors = [one for one in checked(store, tenant, document, catalogue, actions) if one.severity == "error"]
    if errors:
        raise RuleError(errors)


def _fresh(id: str, now: datetime) -> Row:
    return {
        "id": id,
        "name": "",
        "state": "off",
        "number": None,
        "draft": None,
        "draft_by": None,
        "draft_authors": [],
        "problems": 0,
        "created_at": iso(now),
        "updated_at": iso(now),
        "live_from": None,
        "paused_from": None,
    }


def commit(store: Store, tenant: str, writes: list[Write]) -> None:
    try:
        store.commit(tenant, None, writes)
    except Conflict as error:
        raise Conflict(ELSEWHERE) from error
