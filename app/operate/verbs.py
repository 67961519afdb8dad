"""Operate: what a person asks of runs, actions, dead letters, connections and switches; every answer is audited.

Raises LookupError for what is not there, NotPossible (rules.steps) when the state does not allow it, and Conflict when
somebody else was quicker: read again and decide again. The messages are for a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, get_args

from app import author
from app.access import members
from app.audit import entry
from app.author import parts
from app.operate.reopening import registered_again
from app.perform import holds
from app.perform.outbox import advanced, write_run
from app.perform.waking import admit
from rules import workflow
from rules.event import iso
from rules.model import Approve, Rule
from rules.ports import ABSENT, ActionExecutor, Conflict, DeadDelivery, Document, Inbox, Put, Store, Write
from rules.rule import parse
from rules.run import OPEN, Command, Run
from rules.steps import Advance, NotPossible, current_step, ended, told
from rules.undoing import to_take_back

Verb = Literal["cancel", "skip", "retry", "again", "approve", "decline", "release", "discard", "start", "undo", "from"]
Only = Literal["events", "actions"]
VERBS: tuple[str, ...] = get_args(Verb)
LONGEST = 500  # characters of a reason
PAGE = 100
Row = dict[str, Any]


# ---- runs -----------------------------------------------------------------------------------------------------------
def act(store: Store, tenant: str, run_id: str, verb: str, actor: str, why: str, now: datetime, step: str = "") -> Row:
    """Do one verb to one run; the run as it is then.

    cancel: end it. skip: leave out the step it stands at, or the rest of its wait. retry: the failed step once more
    under the same key. again: the step as a new effect. approve, decline: answer an approval. release: let a parked
    run go past its limit. discard: end a parked run. undo: stop it and take back what it did.
    start: let a parked run ask its rule's limits again. from: go from `step` again, as new effects.
    """
    if verb not in VERBS:
        raise NotPossible(f"there is no {verb!r} for a run; choose one of {', '.join(VERBS)}")
    document = _run(store, tenant, run_id)
    run = Run.from_body(document.body)
    rule = _rule(store, tenant, run)
    if verb == "release":
        return _release(store, document, rule, actor, why, now)
    if verb == "discard":
        advance = _discarded(run, actor, why, now)
    elif verb == "start":
        advance = _started(run, actor, why, now)
    elif verb == "undo":
        advance = _undone(run, actor, why, now)
    else:
        _check_role(store, tenant, run, rule, verb, actor)
        advance = workflow.operate(run, rule, _known(verb), actor, _short(why), now, step)
    change = entry(now, actor, f"{verb} run", run.id, run.state, advance.run.state, _short(why))
    known = registered_again(store, tenant, rule, run, advance.run)
    store.commit(tenant, None, [*advanced(store, document, advance), *known, change])
    return advance.run.body()


def _check_role(store: Store, tenant: str, run: Run, rule: Rule, verb: str, actor: str) -> None:
    """An approval is answered by who is on the list `role-<role>`. Where there is no such list, one for a role that
    members have takes a member with that role; any other, whoever has the right to approve. actor: the name that the
    sign-in has proved, a member's e-mail address."""
    step = current_step(run, rule)
    if verb not in ("approve", "decline") or not isinstance(step, Approve):
        return
    found = store.get(tenant, "list", parts.ROLE + step.role)
    if found is not None and actor.lower() not in (one.lower() for one in found.body["members"]):
        raise NotPossible(f"only {step.role} may answer: {actor} is not on the list {parts.ROLE}{step.role}")
    member = members.by_email(store, actor) if found is None and step.role in members.ROLES else None
    if member is not None and not {step.role, "admin"} & set(member.roles):
        raise NotPossible(f"only {step.role} may answer: {actor} does not have that role")


def act_on_many(
    store: Store, tenant: str, run_ids: Iterable[str], verb: str, actor: str, why: str, now: datetime
) -> Row:
    """The same verb to several runs, each by itself: `{"done": n, "refused": [{"id", "why"}]}`."""
    done, refused = 0, []
    for id in run_ids:
        try:
            act(store, tenant, id, verb, actor, why, now)
            done += 1
        except (LookupError, NotPossible, Conflict) as error:
            refused.append({"id": id, "why": str(error)})
    return {"done": done, "refused": refused}


def _release(store: Store, document: Document, rule: Rule, actor: str, why: str, now: datetime) -> Row:
    run = Run.from_body(document.body)
    if run.state not in ("parked", "pending"):
        raise NotPossible(f"the run is {run.state}; only a parked one can be released")
    said = told(run, now, f"Released by {actor}" + (f" ({_short(why)})." if why else "."))
    change = entry(now, actor, "release run", run.id, run.state, "acting", _short(why))
    admit(store, replace(document, body=said.body()), rule, now, asked=False, more=(change,))
    return dict(_run(store, document.tenant, run.id).body)


def _discarded(run: Run, actor: str, why: str, now: datetime) -> Advance:
    if run.state not in ("parked", "pending"):
        raise NotPossible(f"the run is {run.state}; only a parked one can be discarded")
    said = told(run, now, f"Discarded by {actor}" + (f" ({_short(why)})." if why else "."))
    return Advance(ended(said, "cancelled", _short(why) or f"discarded by {actor}", now))


def _started(run: Run, actor: str, why: str, now: datetime) -> Advance:
    if run.state != "parked":
        raise NotPossible(f"the run is {run.state}; only a parked one can be started")
    said = told(run, now, f"Started by {actor}" + (f" ({_short(why)})." if why else "."))
    return Advance(replace(said, state="pending", due_at=iso(now), reason="", updated_at=iso(now)))


def _undone(run: Run, actor: str, why: str, now: datetime) -> Advance:
    if run.undo:
        raise NotPossible("what the run did was taken back once already")
    if run.mode == "watch":
        raise NotPossible("the run is simulated: it did nothing that could be taken back")
    if not (workflow.may_undo(run) or workflow.in_flight(run)):
        raise NotPossible("nothing that the run did can be taken back")
    return workflow.begin_undo(run, f"{actor}: undo" + (f" ({_short(why)})" if why else ""), now, actor=actor)


def undo_preview(store: Store, actions: Mapping[str, ActionExecutor], tenant: str, run_id: str) -> list[Row]:
    """What an undo of the run would do, newest first: `[{"step", "says", "action", "id", "call"}]`, where `call` is
    the exact one; a step that cannot be taken back has `cannot` instead."""
    run = Run.from_body(_run(store, tenant, run_id).body)
    return [_previewed(entry, actions) for entry in to_take_back(run)]


def _previewed(entry: Mapping[str, Any], actions: Mapping[str, ActionExecutor]) -> Row:
    if entry["state"] != "to come":
        return {"step": entry["step"], "cannot": entry["message"]}
    action = actions.get(entry["action"])
    call = dict(action.preview(entry["params"])) if action else {}
    call.pop("undo", None)
    return {
        "step": entry["step"],
        "says": entry["says"],
        "action": entry["action"],
        "title": action.title if action else entry["action"],
        "id": entry["command"],
        "call": call,
    }


def _known(verb: str) -> workflow.Verb:
    found: dict[str, workflow.Verb] = {name: name for name in get_args(workflow.Verb)}
    return found[verb]


def _run(store: Store, tenant: str, run_id: str) -> Document:
    found = store.get(tenant, "run", run_id)
    if found is None:
        raise LookupError(f"There is no run {run_id!r}.")
    return found


def _rule(store: Store, tenant: str, run: Run) -> Rule:
    """The version that the run ends on."""
    found = store.get(tenant, "rule_version", f"{run.rule_id}@{run.version}")
    if found is None:
        raise LookupError(f"There is no version {run.version} of the rule {run.rule_id!r}.")
    return parse(found.body["document"])


def _short(why: str) -> str:
    return why.strip()[:LONGEST]


# ---- dead letters ---------------------------------------------------------------------------------------------------
def replay(
    store: Store,
    inbox: Inbox,
    tenant: str,
    ids: Sequence[str] | None,
    actor: str,
    why: str,
    now: datetime,
    only: Only | None = None,
) -> Row:
    """Try again what gave up: deliveries of events (by delivery or event id) and actions; all of it when ids is None.
    `{"events": n, "actions": n, "refused": [{"id", "why"}]}`."""
    events = 0
    if only != "actions":
        dead = _dead_deliveries(inbox, tenant, ids)
        events = inbox.replay([one.id for one in dead], now)
        _audit_deliveries(store, tenant, dead, "replay event", actor, why, now)
    actions, refused = 0, []
    for document in _dead_commands(store, tenant, ids) if only != "events" else ():
        try:
            _replay_command(store, document, actor, why, now)
            actions += 1
        except (NotPossible, LookupError, Conflict) as error:
            refused.append({"id": document.id, "why": str(error)})
    return {"events": events, "actions": actions, "refused": refused}


def discard(store: Store, inbox: Inbox, tenant: str, ids: Sequence[str], actor: str, why: str, now: datetime) -> Row:
    """Give up for good: actions become cancelled and keep their tries, deliveries of events leave the queue (the
    audit log keeps their ids). `{"events": n, "actions": n}`."""
    dead = _dead_deliveries(inbox, tenant, ids)
    _audit_deliveries(store, tenant, dead, "discard event", actor, why, now)
    events = inbox.discard([one.id for one in dead])
    actions, connections = 0, set()
    for document in _dead_commands(store, tenant, ids):
        command = Command.from_body(document.body)
        connections.add(command.connection)
        outcome = {**command.outcome, "message": f"Discarded by {actor}: {_short(why)}"}
        gone = replace(command, state="cancelled", due_at=None, outcome=outcome)
        change = entry(now, actor, "discard action", command.id, command.state, "cancelled", _short(why))
        store.commit(tenant, None, [Put("command", command.id, gone.body(), document.version), change])
        actions += 1
    for name in sorted(connections):  # what waited behind them, where a connection keeps order
        holds.release(store, tenant, now, name)
    return {"events": events, "actions": actions}


def _dead_deliveries(inbox: Inbox, tenant: str, ids: Sequence[str] | None) -> list[DeadDelivery]:
    wanted = None if ids is None else set(ids)
    return [
        one
        for one in inbox.dead(limit=10_000)
        if one.tenant in (tenant, "") and (wanted is None or one.id in wanted or one.event_id in wanted)
    ]


def _audit_deliveries(
    store: Store, tenant: str, dead: Sequence[DeadDelivery], verb: str, actor: str, why: str, now: datetime
) -> None:
    for start in range(0, len(dead), PAGE):
        part = dead[start : start + PAGE]
        writes = [entry(now, actor, verb, one.event_id, one.reason, "due", _short(why)) for one in part]
        store.commit(tenant, None, writes)


def _dead_commands(store: Store, tenant: str, ids: Sequence[str] | None) -> Iterator[Document]:
    if ids is not None:
        found = (store.get(tenant, "command", id) for id in ids)
        yield from (one for one in found if one and one.body["state"] in ("dead", "person"))
        return
    known: list[Document] = []
    after = None
    while True:  # all of them first: each that is replayed leaves the list
        page = store.find(tenant, "command", [("state", "==", "dead")], "created_at", after, PAGE)
        known += page.items
        after = page.next
        if after is None:
            break
    yield from known


def _replay_command(store: Store, document: Document, actor: str, why: str, now: datetime) -> None:
    """Where the run stands at the failed step it goes on from there; where it has gone on, the effect alone is done."""
    command = Command.from_body(document.body)
    if not command.run_id:
        _send_again(store, document, command, actor, why, now)
        return
    run_document = _run(store, document.tenant, command.run_id)
    run = Run.from_body(run_document.body)
    change = entry(now, actor, "replay action", command.id, command.state, "due", _short(why))
    if run.state in ("stopped", "cancelled"):
        raise NotPossible(f"its run is {run.state}, so the action must not happen any more")
    rule = _rule(store, document.tenant, run)
    here = current_step(run, rule)
    if workflow.is_undoing(run):
        advance = workflow.operate(run, rule, "retry", actor, _short(why), now)
        store.commit(document.tenant, None, [*advanced(store, run_document, advance), change])
        return
    if run.state in ("needs_person", "failed") and here is not None and here.name == command.step:
        advance = workflow.operate(run, rule, "retry", actor, _short(why), now)
        store.commit(document.tenant, None, [*advanced(store, run_document, advance), change])
        return
    alone = replace(command, state="due", due_at=iso(now), outcome={"kind": "replayed", "replayed": True})
    said = told(run, now, f"{command.step}: tried again by {actor}" + (f" ({_short(why)})." if why else "."))
    writes: list[Write] = [Put("command", command.id, alone.body(), document.version), write_run(said, run_document)]
    store.commit(document.tenant, None, [*writes, change])


def _send_again(store: Store, document: Document, command: Command, actor: str, why: str, now: datetime) -> None:
    """A message of Signalbox itself, which belongs to no run."""
    again = replace(command, state="due", due_at=iso(now), outcome={"kind": "replayed", "replayed": True})
    change = entry(now, actor, "replay action", command.id, command.state, "due", _short(why))
    store.commit(document.tenant, None, [Put("command", command.id, again.body(), document.version), change])


# ---- switches -------------------------------------------------------------------------------------------------------
def switches(store: Store, tenant: str) -> Row:
    """What is stopped: `{"all": bool, "rules": [...], "connections": [...]}`."""
    found = store.get(tenant, "switch", "switches")
    return {"all": False, "rules": [], "connections": [], **(found.body if found else {})}


def switch(store: Store, tenant: str, what: str, stopped: bool, actor: str, why: str, now: datetime) -> Row:
    """Stop or let go everything (`all`), one rule (`rule:<id>`) or one connection (`connection:<name>`). Takes effect
    at the next look, within a second; what is due waits and goes on when it is let go."""
    found = store.get(tenant, "switch", "switches")
    before = switches(store, tenant)
    kind, _, name = what.partition(":")
    if kind == "all" and not name:
        after = {**before, "all": stopped}
    elif kind in ("rule", "connection") and name:
        others = [one for one in before[f"{kind}s"] if one != name]
        after = {**before, f"{kind}s": sorted([*others, name]) if stopped else others}
    else:
        raise NotPossible(f"there is no switch {what!r}; write all, rule:<id> or connection:<name>")
    verb = "stop" if stopped else "let go"
    change = entry(now, actor, verb, "everything" if kind == "all" else name, before, after, _short(why))
    put = Put("switch", "switches", after, found.version if found else ABSENT)
    store.commit(tenant, None, [put, change])
    if not stopped:
        holds.release(store, tenant, now)
    return after


# ---- connections ----------------------------------------------------------------------------------------------------
def resume_connection(store: Store, tenant: str, name: str, actor: str, why: str, now: datetime) -> Row:
    """Send over a held, failing or paused connection again, what waited first."""
    found = author.resume_connection(store, tenant, name, actor, why, now)
    holds.release(store, tenant, now, name, recovered=True)
    return found


def pause_connection(store: Store, tenant: str, name: str, actor: str, why: str, now: datetime) -> Row:
    """Send nothing over it; what is due waits."""
    return author.pause_connection(store, tenant, name, actor, why, now)


def open_runs(store: Store, tenant: str, rule_id: str) -> Mapping[str, int]:
    """How many runs of a rule are open, by state: what an operator is told before acting on them all."""
    counts = {
        state: store.count(tenant, "run", [("rule_id", "==", rule_id), ("state", "==", state)])
        for state in sorted(OPEN)
    }
    return {state: count for state, count in counts.items() if count}
