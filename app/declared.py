"""Declared subjects: paths that rules may count by, named in settings, keyed on every event and filled in for the past.

A window finds events by their keys (rules.ruleset.keyed). From the declaration on, every new event carries the key; a
job gives it to the events that were there before. Until that is done, no rule that counts by the path is published.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from app import jobs, scores
from app.audit import entry
from app.author.parts import in_force_again
from app.connections.types import NAME
from rules import paths
from rules.event import Event, instant, iso
from rules.fields import Catalogue
from rules.model import Problem, RuleError
from rules.ports import ABSENT, ActionExecutor, Conflict, Delete, Document, Put, Store, Write
from rules.rule import check
from rules.subjects import PREFIX, key_for

Row = dict[str, Any]
JOB = "fill-keys"
MOST = 20  # declared paths of one tenant: each is one more key on every event that has a value there
SETTLE = timedelta(seconds=5)  # by then every process keys new events: rule sets are read again within a second
_PAGE = 90  # events of one step; one commit writes them all
_MANY = 500


# ---- what is declared -----------------------------------------------------------------------------------------------
def declared(store: Store, tenant: str) -> list[Row]:
    """Every declared path, by name: `name`, `path`, `state` (filling | ready), `progress` 0..1, `filled` events,
    `error` where filling stopped, `used_by` (rule ids)."""
    users = _users(store, tenant)
    return [_row(store, document, users) for document in documents(store, tenant)]


def documents(store: Store, tenant: str) -> list[Document]:
    found = store.find(tenant, "subject", order="created_at", limit=MOST).items
    return sorted(found, key=lambda document: document.id)


def paths_of(store: Store, tenant: str) -> tuple[str, ...]:
    """The declared paths, filled in or not: what new events are keyed by."""
    return tuple(sorted(document.body["path"] for document in documents(store, tenant)))


def _row(store: Store, document: Document, users: Sequence[tuple[str, frozenset[str]]]) -> Row:
    job = store.get(document.tenant, "job", document.body["job"])
    state = dict(job.body) if job else {}
    stopped = document.body["state"] == "filling" and state.get("state") in (None, "failed", "cancelled")
    return {
        **document.body,
        "progress": 1.0 if document.body["state"] == "ready" else float(state.get("progress", 0.0)),
        "filled": int(state.get("summary", {}).get("filled", 0)),
        "error": (state.get("error") or "It was stopped.") if stopped else None,
        "used_by": [id for id, used in users if document.body["path"] in used],
    }


# ---- declaring and withdrawing --------------------------------------------------------------------------------------
def declare(
    store: Store, catalogue: Catalogue, tenant: str, name: str, path: str, actor: str, now: datetime, why: str = ""
) -> Row:
    """Declare a path under a name, and begin to fill it in. RuleError for what is no path of any event; Conflict when
    the name or the path is declared already."""
    known = documents(store, tenant)
    wrong = _problems(catalogue, name, path, len(known))
    if wrong:
        raise RuleError(wrong)
    for document in known:
        if name == document.id or path == document.body["path"]:
            raise Conflict(f"{document.body['path']} is declared already, as {document.id!r}.")
    body = {
        "name": name,
        "path": path,
        "state": "filling",
        "job": "job_fill-" + _stamp(name, now),
        "created_at": iso(now),
        "declared_by": actor,
    }
    change = entry(now, actor, "declare subject", name, None, {"path": path}, why)
    store.commit(tenant, None, [Put("subject", name, body, ABSENT), *in_force_again(store, tenant, now), change])
    jobs.enqueue(store, tenant, JOB, {"name": name}, now, body["job"], due=now + SETTLE)
    return one(store, tenant, name)


def one(store: Store, tenant: str, name: str) -> Row:
    """One declared path, as in `declared`. LookupError."""
    return _row(store, _read(store, tenant, name), _users(store, tenant))


def fill_again(store: Store, tenant: str, name: str, actor: str, now: datetime) -> Row:
    """Begin again where filling in stopped. Conflict while it goes on, or is done."""
    found = _read(store, tenant, name)
    job = store.get(tenant, "job", found.body["job"])
    if found.body["state"] == "ready" or (job and job.body["state"] in jobs.OPEN):
        raise Conflict(f"{name} is {'filled in' if found.body['state'] == 'ready' else 'being filled in'} already.")
    body = {**found.body, "job": "job_fill-" + _stamp(name, now)}
    change = entry(now, actor, "fill subject again", name)
    store.commit(tenant, None, [Put("subject", name, body, found.version), change])
    jobs.enqueue(store, tenant, JOB, {"name": name}, now, body["job"])
    return one(store, tenant, name)


def withdraw(store: Store, tenant: str, name: str, actor: str, why: str, now: datetime) -> None:
    """Take a declaration back; keys that events have stay on them. Conflict while a rule counts by the path."""
    found = _read(store, tenant, name)
    path = found.body["path"]
    used_by = [id for id, used in _users(store, tenant) if path in used]
    if used_by:
        raise Conflict(f"{path} is used by {', '.join(used_by)}. Change or archive the rule first.")
    if store.get(tenant, "job", found.body["job"]):
        jobs.cancel(store, tenant, found.body["job"], now)
    change = entry(now, actor, "withdraw subject", name, {"path": path}, None, why)
    writes: list[Write] = [Delete("subject", name, found.version), *in_force_again(store, tenant, now), change]
    store.commit(tenant, None, writes)


def _read(store: Store, tenant: str, name: str) -> Document:
    found = store.get(tenant, "subject", name)
    if found is None:
        raise LookupError(f"There is no declared subject {name!r}.")
    return found


def _stamp(name: str, now: datetime) -> str:
    return f"{name}-{now.strftime('%Y%m%dT%H%M%S%f')}"


def _problems(catalogue: Catalogue, name: str, path: str, known: int) -> list[Problem]:
    wrong = []
    if not NAME.fullmatch(name) or name in (*PREFIX, "new"):
        wrong.append(Problem("name", "the name is up to 40 lower-case letters, digits and hyphens, such as team"))
    if known >= MOST:
        wrong.append(Problem("path", f"at most {MOST} paths can be declared"))
    try:
        keys = paths.split(path)
    except ValueError as error:
        return [*wrong, Problem("path", str(error))]
    if keys[:2] != ("data", "object") or len(keys) < 3 or len(path) > 300:
        wrong.append(Problem("path", "write a field of the event's object, such as data.object.metadata.team"))
    elif any(key.endswith("[]") for key in keys):
        wrong.append(Problem("path", "a path through a list has no single value to count by"))
    elif not any(catalogue.field(type.name, path) for type in catalogue.event_types()):
        near = catalogue.nearest("invoice.paid", path)
        wrong.append(Problem("path", f"no event of Stripe's has a field {path!r}", near))
    return wrong


# ---- rules that count by it -----------------------------------------------------------------------------------------
def checked(
    store: Store, tenant: str, document: Any, catalogue: Catalogue, actions: Mapping[str, ActionExecutor]
) -> list[Problem]:
    """`rules.rule.check` with what settings declare; a path that is not filled in yet is a problem of its own."""
    known = documents(store, tenant)
    filling = {one.body["path"]: one for one in known if one.body["state"] != "ready"}
    problems = check(document, catalogue, actions, [one.body["path"] for one in known], scores.names(store, tenant))
    used = sorted({(where, path) for where, path in subjects_in(document) if path in filling})
    return [*problems, *(_not_yet(store, where, filling[path]) for where, path in used)]


def _not_yet(store: Store, where: str, subject: Document) -> Problem:
    row = _row(store, subject, ())
    how = f"filling it in stopped: {row['error']}" if row["error"] else f"{row['progress']:.0%} done"
    path, name = subject.body["path"], subject.body["name"]
    return Problem(where, f"{path} (“{name}”) is not filled in on past events yet ({how}); publish when it is done")


def subjects_in(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """(place, what) of every `same` in a rule document."""
    if isinstance(value, dict):
        for key, part in value.items():
            place = f"{where}.{key}" if where else key
            if key == "same" and isinstance(part, str):
                yield place, part
            yield from subjects_in(part, place)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from subjects_in(part, f"{where}[{index}]")


def _users(store: Store, tenant: str) -> list[tuple[str, frozenset[str]]]:
    """(rule id, what it counts by) of every rule that is not archived: its draft and the version in force."""
    found = []
    for document in _rules(store, tenant):
        number = document.body.get("number")
        version = store.get(tenant, "rule_version", f"{document.id}@{number}") if number else None
        both = [document.body.get("draft"), version.body["document"] if version else None]
        found.append((document.id, frozenset(same for one in both for _, same in subjects_in(one))))
    return found


def _rules(store: Store, tenant: str) -> Iterator[Document]:
    after = None
    while True:
        page = store.find(tenant, "rule", order="-updated_at", after=after, limit=_MANY)
        yield from (document for document in page.items if document.body["state"] != "archived")
        after = page.next
        if after is None:
            return


# ---- filling in -----------------------------------------------------------------------------------------------------
def job(store: Store) -> jobs.Run:
    return partial(_step, store)


def _step(store: Store, job: Document, now: datetime) -> jobs.Step:
    """Give the key to one page of events, in the order in which they were heard; the last page makes it ready."""
    tenant, name = job.tenant, job.body["params"]["name"]
    subject = store.get(tenant, "subject", name)
    if subject is None or subject.body["job"] != job.id:
        raise jobs.JobFailed("The declaration was taken back.")
    page = store.find(tenant, "event", order="recorded", after=job.body["cursor"], limit=_PAGE)
    summary = job.body.get("summary") or {"looked_at": 0, "filled": 0}
    writes = [put for document in page.items if (put := _keyed(document, subject.body["path"]))]
    try:
        if writes:
            store.commit(tenant, None, writes)
    except Conflict as error:
        raise jobs.TryLater("An event changed meanwhile.") from error
    summary = {
        "looked_at": summary["looked_at"] + len(page.items),
        "filled": summary["filled"] + len(writes),
    }
    if page.next is None:
        store.commit(tenant, None, [Put("subject", name, {**subject.body, "state": "ready"}, subject.version)])
        return jobs.Step(None, 1.0, summary, done=True)
    return jobs.Step(page.next, _share(store, tenant, page.items[-1], subject), summary)


def _keyed(document: Document, path: str) -> Put | None:
    """The event's document with the key of this path; None when it has none, or has it already."""
    event = Event.from_cloudevent(document.body["event"])
    key = key_for(event, path)
    if key is None or key in document.body["keys"]:
        return None
    keys = [*document.body["keys"], key]
    body = {**document.body, "keys": keys, "event": {**document.body["event"], "keys": keys}}
    return Put("event", document.id, body, document.version)


def _share(store: Store, tenant: str, last: Document, subject: Document) -> float:
    """How far the last event is on the way from the first to the declaration, by when they were heard."""
    first = store.find(tenant, "event", order="recorded", limit=1).items[0]
    begun, here, end = (
        instant(text) for text in (first.body["recorded"], last.body["recorded"], _declared_at(subject))
    )
    return min(1.0, (here - begun) / (end - begun)) if end > begun else 0.5


def _declared_at(subject: Document) -> str:
    return str(subject.body["created_at"])
