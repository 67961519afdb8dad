"""Every changing route and command leaves an entry in the audit log, with who, what and to what; the few that leave
none say why. A route that is in neither list fails here."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

import main
from app import approvals, author, declared, jobs, scores, suppressions, tenants
from app.access import api_tokens, members
from app.adapters.memory import MemoryVault
from app.approvals import Change
from app.audit import entry, entry_hash, entry_id, is_whole
from app.author import planned
from app.backends import _looked
from app.operate import dead_letters
from app.personal import erasing
from app.receive import history, quarantine, quarantine_job
from app.receive.webhook import receive
from app.services import Services, job_types, keeper_of, office_of
from app.web import create_app
from app.worker import Work, tick
from rules.event import iso
from rules.kinds import SYSTEM
from rules.personal import addresses
from rules.ports import Delete, Disposition, Put
from tests import records
from tests.builders import ADMIN_TOKEN, DAY, NOON, TENANT, body_of, envelope, event, invoice, services_in_memory, signed
from tests.web.access_table import Place, places
from tests.web.test_rules_pages import ready

RULE = "two-failed-payments"
LIVE = "default/live"
WHY = "Incident 7"
HOOK = {"name": "crm", "type": "webhook", "url": "https://crm.example.com/hook"}
PASSWORD = "correct horse battery staple"
Prepare = Callable[["World"], Any]


class Looked(MemoryVault):
    """Writes each look at a value down, as the vaults of SQLite and Google do."""

    def __init__(self, looked: Callable[[str, str, str, str, str], None]) -> None:
        super().__init__()
        self._looked = looked

    def reveal(self, tenant: str, token: str, actor: str, reason: str, on: str = "", subject: str = "") -> str | None:
        found = super().reveal(tenant, token, actor, reason, on, subject)
        self._looked(tenant, token, actor, reason, on)
        return found


class World:
    """One of everything that people change, in memory, in development; the API by the admin token."""

    def __init__(self) -> None:
        made = services_in_memory()
        self.services: Services = replace(made, vault=Looked(_looked(made.store, made.clock)))
        self.flask = create_app(self.services)
        self.store = self.services.store
        self.client: FlaskClient = self.flask.test_client()
        self.names: dict[str, str] = {}  # what stands for `{...}` in an address

    def entries(self) -> dict[str, Mapping[str, Any]]:
        every = (SYSTEM, *tenants.every(self.store))
        found = [one for tenant in every for one in self.store.find(tenant, "audit", order="at", limit=2000).items]
        return {one.id: one.body for one in found}

    def send(self, place: Place, tried: Try) -> Any:
        address = (tried.address or place.address).format(**self.names)
        data = tried.data(self) if callable(tried.data) else tried.data
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"} if address.startswith("/api/") else {}
        if address.startswith("/api/") and isinstance(data, bytes):
            return self.client.open(address, method=place.method, data=data, headers=headers)
        if address.startswith("/api/"):
            return self.client.open(address, method=place.method, json=data, headers=headers)
        return self.client.open(address, method=place.method, data=data, headers=headers)

    # ---- what there is ----------------------------------------------------------------------------------------------
    def draft(self, **changes: Any) -> None:
        s = self.services
        author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, {**ready(), **changes}, "ann", NOON)

    def live(self, *versions: str) -> None:
        s = self.services
        for name in versions or ("First",):
            self.draft(name=name)
            author.publish(s.store, s.catalogue, s.connectors, TENANT, RULE, "ann", "because", NOON)

    def planned(self) -> None:
        self.draft()
        s = self.services
        desk = planned.Desk(s.store, s.catalogue, s.connectors)
        planned.plan(desk, TENANT, RULE, [planned.Phase(NOON + DAY)], "live", "ann", "because", NOON)

    def do(self, verb: str) -> None:
        getattr(author, verb)(self.store, TENANT, RULE, "ann", "because", NOON)

    def connect(self, **more: Any) -> None:
        s = self.services
        author.save_connection(s.store, s.secrets, TENANT, {**HOOK, **more}, "ann", NOON, True)

    def run(self, **changes: Any) -> None:
        _, made, command = records.story(self.store)
        one = records.keep_run(self.store, replace(made, **changes))
        self.names["run"] = one.id
        if changes.get("state") == "needs_person":
            records.keep_command(self.store, replace(command, state="dead"))
        if changes.get("state") == "parked":  # it has done nothing yet
            self.store.commit(TENANT, None, [Delete("command", command.id)])

    def stuck(self) -> None:
        steps = {"downgrade": {"state": "dead", "at": iso(NOON), "message": "no", "command": "x"}}
        self.run(state="needs_person", position=(0,), steps=steps)

    def parked(self) -> None:
        self.run(state="parked", position=(0,), steps={}, reason="over its limit")

    def asking(self) -> None:
        """A run that waits for an approval."""
        ok = {"name": "ok", "approve": {"role": "finance", "at_most": "P2D", "on_timeout": "continue"}}
        steps = [ok, *records.RULE["steps"]]  # type: ignore[misc]
        _, made, command = records.story(self.store)
        self.store.commit(TENANT, None, [Delete("command", command.id)])
        records.keep_rule(self.store, document={**records.RULE, "steps": steps})
        waits = {"ok": {"state": "asking", "at": iso(NOON), "message": "asks"}}
        self.names["run"] = made.id
        records.keep_run(self.store, replace(made, state="needs_person", position=(0,), steps=waits))

    def done(self) -> None:
        """A run that did something which can be taken back."""
        inverse = {"action": "stripe.change_plan", "params": {"price": "price_pro"}, "says": "the plan is as it was"}
        steps = {"downgrade": {"state": "done", "at": iso(NOON), "message": "done", "command": "x", "inverse": inverse}}
        self.run(state="done", position=(3,), steps=steps, due_at=None)

    def dead(self) -> None:
        bus: Any = self.services.bus
        bus.publish(event("evt_dead"))
        bus.drain(lambda batch: [Disposition("dead", "no such rule") for _ in batch], NOON)

    def bulk_dead(self) -> None:
        self.dead()
        which = dead_letters.Which.of({})
        begun = dead_letters.start(self.store, self.services.inbox, TENANT, "replay", which, "ann", WHY, NOON)
        self.names["job"] = begun["id"]

    def review(self) -> None:
        body = {"id": "one", "state": "open", "text": "look", "run_id": "run_1", "rule_id": "r", "rule_name": "R",
                "customer": None, "created_at": iso(NOON)}  # fmt: skip
        self.store.commit(TENANT, None, [Put("review", "one", body)])

    def listed(self) -> None:
        author.save_list(self.store, TENANT, "one", ["cus_1"], "ann", NOON)
        author.save_list(self.store, TENANT, "role-one", ["ann"], "ann", NOON)

    def scored(self) -> None:
        scores.declare(self.store, TENANT, "one", "One", "ann", NOON)

    def counted(self) -> None:
        declared.declare(self.store, self.services.catalogue, TENANT, "one", "data.object.metadata.team", "ann", NOON)

    def filled(self) -> None:
        """A declared path whose filling failed, so that it can be asked for again."""
        self.counted()
        found = self.store.get(TENANT, "subject", "one")
        assert found
        job = self.store.get(TENANT, "job", found.body["job"])
        assert job
        self.store.commit(TENANT, None, [Put("job", job.id, {**job.body, "state": "failed"})])

    def member(self) -> None:
        s = self.services
        given = {"email": "dan@example.com", "roles": ["viewer"], "password": PASSWORD}
        self.names["member"] = members.add(s.store, s.passwords, given, "ann", NOON).id

    def named(self) -> None:
        """A member whom an issuer has named once."""
        self.member()
        found = self.store.get(SYSTEM, "member", self.names["member"])
        assert found
        self.store.commit(SYSTEM, None, [Put("member", found.id, {**found.body, "subjects": ["https://id.example 1"]})])

    def signed_in(self) -> None:
        self.member()
        sent = {"email": "dan@example.com", "password": PASSWORD}
        assert self.client.post("/sign-in", data=sent).status_code == 303

    def token(self) -> None:
        self.names["token"] = api_tokens.make(self.store, {"name": "ci", "rights": ["read"]}, "ann", NOON)[0].id

    def asked(self, emergency: bool = False) -> None:
        s = self.services
        self.draft()
        office = replace(office_of(s), production=True)
        change = Change("publish", RULE, {})
        approvals.change(office, TENANT, change, "local operator", WHY, NOON, emergency=emergency)
        self.names["proposal"] = approvals.proposals(self.store, TENANT)["items"][0]["id"]

    def asked_over_the_api(self) -> None:
        self._asked_by("admin token")

    def asked_on_the_command_line(self) -> None:
        self._asked_by("command line")

    def _asked_by(self, name: str) -> None:
        self.asked()
        found = self.store.get(TENANT, "proposal", self.names["proposal"])
        assert found
        self.store.commit(TENANT, None, [Put("proposal", found.id, {**found.body, "asked_by": name})])

    def personal(self) -> None:
        s = self.services
        history.load([json.dumps(envelope(object=invoice())).encode()], s.bus, s.vault, NOON, source="webhook")
        tick(Work(s), NOON)
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        items = self.client.get("/api/v1/personal/event/evt_1", headers=headers).json["items"]
        self.names["value"] = next(one["token"] for one in items if one["sort"] == "email")

    def erased(self) -> None:
        s = self.services
        self.personal()
        erasing.start(s.store, s.vault, TENANT, "cus_1", "ann", WHY, NOON)
        self.work()

    def held(self) -> None:
        """A payload in quarantine."""
        s = self.services
        body = body_of(envelope("evt_bad", object=invoice(amount_due="much")))
        receive(signed(body), body, s.bus, s.vault, s.verifier, NOON, quarantine=self._keep)
        found = self.store.find(TENANT, "quarantine", order="-received_at", limit=1).items
        self.names["held"] = found[0].id

    def _keep(self, *given: Any, **more: Any) -> Any:
        return quarantine.keep(keeper_of(self.services), *given, **more)

    def held_job(self) -> None:
        self.held()
        which = quarantine.Which.of({})
        begun = quarantine_job.start(self.store, TENANT, "discard", which, "ann", WHY, NOON, False)
        self.names["job"] = begun["id"]

    def work(self) -> None:
        """What the jobs come to that were asked for."""
        clock: Any = self.services.clock
        for _ in range(60):
            if not jobs.run_one(self.store, job_types(self.services), clock.now()):
                clock.forward(jobs.LEASE / 6)


@dataclass(frozen=True, slots=True)
class Try:
    """How a route is made to change something. verb: of the entry it leaves. data: form or JSON, or what makes it.
    by: the name that the entry bears, where it is not the caller's."""

    verb: str
    prepare: Prepare = lambda world: None
    data: Any = field(default_factory=dict)
    address: str = ""
    by: str = ""


def why(**more: Any) -> dict[str, Any]:
    return {"reason": WHY, **more}


def note(**more: Any) -> dict[str, Any]:
    return {"note": WHY, **more}


def with_value(world: World) -> dict[str, Any]:
    return {"token": world.names["value"], "reason": "a call from the bank"}


RUNS: Mapping[str, tuple[str, Prepare]] = {
    "again": ("again run", World.stuck),
    "approve": ("approve run", World.asking),
    "cancel": ("cancel run", World.run),
    "decline": ("decline run", World.asking),
    "discard": ("discard run", World.parked),
    "from": ("from run", World.stuck),
    "release": ("release run", World.parked),
    "retry": ("retry run", World.stuck),
    "skip": ("skip run", World.run),
    "start": ("start run", World.parked),
    "undo": ("undo run", World.done),
}
PROPOSALS = {"decline": "decline", "withdraw": "withdraw"}


def two(world: World) -> None:
    world.live("First", "Second")


def watched(world: World) -> None:
    world.live()
    world.draft(name="Second")


def paused(world: World) -> None:
    world.live()
    world.do("pause")


def archived(world: World) -> None:
    world.live()
    world.do("archive")


def routed(world: World) -> None:
    world.connect(name="one", type="route", url="https://lake.example.com/in", types=["invoice.paid"])


def stopped_crm(world: World) -> None:
    world.connect()
    author.pause_connection(world.store, TENANT, "crm", "ann", WHY, NOON)


def with_mail(world: World) -> None:
    s = world.services
    world.connect()
    mail = {"name": "mail", "type": "smtp", "host": "127.0.0.1", "port": 1, "tls": "none", "from": "a@example.com"}
    author.save_connection(s.store, s.secrets, TENANT, mail, "ann", NOON, True)
    step = {"name": "write", "do": "mail.send", "with": {"connection": "mail", "subject": "Hello", "text": "Hello"}}
    world.draft(steps=[step])


def begun_live(world: World) -> None:
    tenants.ensure(world.store, LIVE, NOON)
    s = world.services
    author.save_connection(s.store, s.secrets, LIVE, HOOK, "ann", NOON, True)
    found = world.store.get(LIVE, "connection", "crm")
    assert found
    world.store.commit(LIVE, None, [Put("connection", "crm", {**found.body, "live_actions": False})])


def unsubscribed(world: World) -> None:
    world.names["address"] = "tok_" + "a" * 24
    suppressions.suppress(world.store, TENANT, world.names["address"], "ann", WHY, NOON)


def importing(world: World) -> None:
    history.start_import(world.store, TENANT, NOON)


def fired_event(world: World) -> None:
    world.draft()
    records.keep_event(world.store, event("evt_1"))


PAGES: Mapping[str, Try] = {
    "POST /customers/one/erase": Try("erase customer", World.personal, why(confirm="cus_1"), "/customers/cus_1/erase"),
    "POST /customers/one/erase/lift": Try("keep values again", World.erased, why(), "/customers/cus_1/erase/lift"),
    "POST /customers/one/exclude": Try("exclude customer", data=why(list="excluded"),
                                       address="/customers/cus_1/exclude"),
    "POST /dead-letters/discard": Try("discard dead letters", World.dead, why()),
    "POST /dead-letters/replay": Try("replay dead letters", World.dead, why()),
    "POST /deliveries/quarantine/all/discard": Try("", World.held, why()),
    "POST /deliveries/quarantine/all/replay": Try("", World.held, why()),
    "POST /deliveries/quarantine/all/take": Try("", World.held, why()),
    "POST /deliveries/quarantine/discard/one": Try("", World.held, why(), "/deliveries/quarantine/discard/{held}"),
    "POST /deliveries/quarantine/replay/one": Try("", World.held, why(), "/deliveries/quarantine/replay/{held}"),
    "POST /deliveries/quarantine/take/one": Try("", World.held, why(), "/deliveries/quarantine/take/{held}"),
    "POST /examples": Try("save draft", fired_event, {"rule": RULE, "event": "evt_1", "then": "fires"}),
    "POST /needs-you/assign": Try("assign", World.run, {"about": "run:run_1", "owner": "dan"}),
    "POST /needs-you/one": Try("release run", World.parked, lambda w: why(ids=w.names["run"]), "/needs-you/release"),
    "POST /reveal/one/one": Try("", World.personal, with_value, "/reveal/event/evt_1"),
    "POST /rules/one/archive": Try("archive", World.live, why()),
    "POST /rules/one/discard": Try("discard draft", watched, why()),
    "POST /rules/one/pause": Try("pause", World.live, why()),
    "POST /rules/one/publish": Try("publish", World.draft, why(limits="none")),
    "POST /rules/one/restore": Try("restore", archived, why()),
    "POST /rules/one/resume": Try("resume", paused, why()),
    "POST /rules/one/rollback": Try("roll back", two, why(number="1")),
    "POST /rules/one/watch": Try("watch", World.draft, why()),
    "POST /rules/one/withdraw": Try("withdraw plan", World.planned, why()),
    "POST /rules/one/edit": Try("save draft", data={"as": "json", "document": json.dumps(ready()), "do": "save",
                                                    "expect": "absent"}, address="/rules/new/edit"),
    "POST /rules/one/sends/one/test": Try("send test e-mail", with_mail, {"to": "me@example.com"},
                                          f"/rules/{RULE}/sends/write/test"),
    "POST /runs/many": Try("cancel many runs", World.run, why(verb="cancel", state="waiting")),
    **{f"POST /runs/one/{verb}": Try(told, prepare, why(step="downgrade"), f"/runs/{{run}}/{verb}")
       for verb, (told, prepare) in RUNS.items()},
    **{f"POST /proposals/one/{verb}": Try(told, World.asked, note(), f"/proposals/{{proposal}}/{verb}")
       for verb, told in PROPOSALS.items()},
    "POST /set-up": Try("add member", data={"email": "dan@example.com", "name": "Dan", "password": PASSWORD},
                        by="set-up"),
    "POST /settings/account": Try("change settings", data={"zone": "Europe/Berlin", "oldest_minutes": "5",
                                                           "dead_letters": "1", "needs_you": "1"}),
    "POST /settings/connections/one": Try("add connection", data={**HOOK, "name": "one"},
                                          address="/settings/connections/new"),
    "POST /settings/connections/one/live": Try("switch live actions on", begun_live, why(on="1"),
                                               f"/settings/connections/crm/live?tenant={LIVE}"),
    "POST /settings/connections/one/pause": Try("pause connection", World.connect, why(),
                                                "/settings/connections/crm/pause"),
    "POST /settings/connections/one/resume": Try("resume connection", stopped_crm, why(),
                                                 "/settings/connections/crm/resume"),
    "POST /settings/connections/one/secret": Try("replace secret", World.connect, why(hours="1"),
                                                 "/settings/connections/crm/secret"),
    "POST /settings/connections/one/test": Try("send test notice", with_mail,
                                               address="/settings/connections/mail/test"),
    "POST /settings/dry-run": Try("", data=why(on="1")),
    "POST /settings/import": Try("import history"),
    "POST /settings/import/stop": Try("stop import", importing),
    "POST /settings/lists/one": Try("change list", data={"members": "cus_1"}),
    "POST /settings/lists/role-one": Try("change list", data={"members": "ann"}),
    "POST /settings/lists/one/delete": Try("delete list", World.listed, why()),
    "POST /settings/lists/role-one/delete": Try("delete list", World.listed, why()),
    "POST /settings/members": Try("add member", data={"email": "eve@example.com", "roles": "viewer"}),
    "POST /settings/members/one": Try("", World.member, {"roles": "author", "active": "on"},
                                      "/settings/members/{member}"),
    "POST /settings/members/one/issuers": Try("", World.named, why(), "/settings/members/{member}/issuers"),
    "POST /settings/members/one/password": Try("", World.member, {"password": PASSWORD + "!"},
                                               "/settings/members/{member}/password"),
    "POST /settings/members/one/sessions": Try("", World.member, why(), "/settings/members/{member}/sessions"),
    "POST /settings/no-email/one/lift": Try("allow e-mail", unsubscribed, why(),
                                            "/settings/no-email/{address}/lift"),
    "POST /settings/personal": Try("", data={"email": "400"}),
    "POST /settings/routes/one": Try("add connection", data={"name": "lake", "url": "https://lake.example.com/in",
                                                             "types": "invoice.paid"},
                                     address="/settings/routes/new"),
    "POST /settings/routes/one/delete": Try("delete route", routed, why()),
    "POST /settings/scores/new": Try("declare score", data={"name": "one", "title": "One"}),
    "POST /settings/scores/one/delete": Try("delete score", World.scored, why()),
    "POST /settings/scores/one/values": Try("set score", World.scored, {"values": "cus_1, 5"}),
    "POST /settings/stripe": Try("add webhook secret", data={"secret": "whsec_0123456789abcdef"}),
    "POST /settings/stripe/forget": Try("forget webhook secrets", data=why()),
    "POST /settings/subjects/new": Try("declare subject", data={"name": "one", "path": "data.object.metadata.team"}),
    "POST /settings/subjects/one/fill": Try("fill subject again", World.filled),
    "POST /settings/subjects/one/withdraw": Try("withdraw subject", World.counted, why()),
    "POST /settings/switch": Try("stop", data=why(what="all", stop="1")),
    "POST /settings/tokens": Try("make token", data={"name": "ci", "rights": "read", "days": "30"}),
    "POST /settings/tokens/one/revoke": Try("revoke token", World.token, why(), "/settings/tokens/{token}/revoke"),
    "POST /account/password": Try("", World.signed_in, {"current": PASSWORD, "password": PASSWORD + "!"},
                                  by="dan@example.com"),
    "POST /account/sessions": Try("", World.signed_in, by="dan@example.com"),
    "POST /sign-in": Try("sign in", World.member, {"email": "dan@example.com", "password": PASSWORD},
                         by="dan@example.com"),
    "POST /sign-out": Try("sign out", World.signed_in, by="dan@example.com"),
}  # fmt: skip

API: Mapping[str, Try] = {
    "POST /connections": Try("add connection", data=HOOK),
    "POST /connections/one/live": Try("switch live actions on", begun_live, note(on=True),
                                      f"/api/v1/connections/crm/live?tenant={LIVE}"),
    "POST /connections/one/secret": Try("replace secret", World.connect, note(), "/api/v1/connections/crm/secret"),
    "POST /customers/one/erasure": Try("erase customer", World.personal, why(confirm="cus_1"),
                                       "/api/v1/customers/cus_1/erasure"),
    "POST /customers/one/erasure/lift": Try("keep values again", World.erased, why(),
                                            "/api/v1/customers/cus_1/erasure/lift"),
    "POST /customers/one/exclude": Try("exclude customer", data=note(), address="/api/v1/customers/cus_1/exclude"),
    "POST /dead-letters/discard": Try("discard event", World.dead, note(ids=["evt_dead"])),
    "POST /dead-letters/replay": Try("replay event", World.dead, note(ids=["evt_dead"])),
    "POST /dry-run": Try("", data=note(on=True)),
    "POST /events:import": Try("import events", data=lambda w: json.dumps(envelope("evt_9")).encode()),
    "POST /members": Try("add member", data=note(email="eve@example.com", roles=["viewer"])),
    "PUT /members/one": Try("", World.member, note(roles=["author"]), "/api/v1/members/{member}"),
    "POST /members/one/end-sessions": Try("", World.member, note(), "/api/v1/members/{member}/end-sessions"),
    "POST /needs-you/assign": Try("assign", World.run, {"about": ["run:run_1"], "owner": "dan"}),
    "POST /personal/one/one": Try("", World.personal, with_value, "/api/v1/personal/event/evt_1"),
    "POST /proposals/one/decline": Try("decline", World.asked, note(), "/api/v1/proposals/{proposal}/decline"),
    "POST /proposals/one/withdraw": Try("withdraw", World.asked_over_the_api, note(),
                                        "/api/v1/proposals/{proposal}/withdraw"),
    "POST /quarantine/discard": Try("", World.held, note(filter={})),
    "POST /quarantine/replay": Try("", World.held, note(filter={})),
    "PUT /retention": Try("", data={"days": {"email": 400}}),
    "POST /reviews/one/close": Try("close review", World.review, note()),
    "POST /routes/one/delete": Try("delete route", routed, note()),
    "POST /rules": Try("save draft", data=lambda w: ready()),
    "PUT /rules/one": Try("save draft", data=lambda w: ready()),
    "POST /rules/one/archive": Try("archive", World.live, note()),
    "POST /rules/one/examples": Try("save draft", fired_event, {"event": "evt_1", "then": "fires"}),
    "POST /rules/one/pause": Try("pause", World.live, note()),
    "POST /rules/one/publish": Try("publish", World.draft, note()),
    "POST /rules/one/restore": Try("restore", archived, note()),
    "POST /rules/one/resume": Try("resume", paused, note()),
    "POST /rules/one/rollback": Try("roll back", two, note(number=1)),
    "POST /rules/one/watch": Try("watch", World.draft, note()),
    "POST /rules/one/plan": Try("plan", World.draft, note(steps=[{"at": iso(NOON + DAY)}])),
    "DELETE /rules/one/plan": Try("withdraw plan", World.planned, address=f"/api/v1/rules/{RULE}/plan?note={WHY}"),
    **{f"POST /runs/one/{verb}": Try(told, prepare, note(step="downgrade") if verb == "from" else note(),
                                     f"/api/v1/runs/{{run}}/{verb}") for verb, (told, prepare) in RUNS.items()},
    "POST /runs:many": Try("cancel many runs", World.run, note(verb="cancel", runs={"state": "waiting"})),
    "PUT /scores/one": Try("declare score", data={"title": "One"}),
    "POST /scores/one/delete": Try("delete score", World.scored, note()),
    "PUT /settings": Try("change settings", data={"zone": "Europe/Berlin"}),
    "POST /subjects": Try("declare subject", data=note(name="one", path="data.object.metadata.team")),
    "POST /subjects/one/fill": Try("fill subject again", World.filled, note()),
    "POST /subjects/one/withdraw": Try("withdraw subject", World.counted, note()),
    "POST /switches": Try("stop", data=note(what="all", stopped=True)),
    "POST /tokens": Try("make token", data=note(name="ci", rights=["read"])),
    "POST /tokens/one/revoke": Try("revoke token", World.token, note(), "/api/v1/tokens/{token}/revoke"),
}  # fmt: skip
TRIES: Mapping[str, Try] = {
    **PAGES,
    **{f"{key.split(' ')[0]} /api/v1{key.split(' ')[1]}": one for key, one in API.items()},
}
ASKS = "it asks a question of the history: nothing that acts is changed, and nothing is sent"
STOPS = "it stops a job whose beginning is in the log, and which says itself how far it came"
KEPT_ELSEWHERE = "what machines deliver is kept as it is, in the log of events or as a notice, and is no person's doing"
REMOVES = "its job writes down what it removed, in the name of who asked; nothing is due here"
NONE: Mapping[str, str] = {
    "POST /api/v1/backtests": ASKS,
    "POST /api/v1/backtests/one/cancel": ASKS,
    "POST /api/v1/explain": ASKS,
    "POST /api/v1/routes:count": ASKS,
    "POST /api/v1/rules:check": ASKS,
    "POST /api/v1/starters/one": ASKS,
    "POST /backtests": ASKS,
    "POST /backtests/one/cancel": ASKS,
    "POST /rules/new/import": "it opens the editor with the file; saving is what is written down",
    "POST /rules/new/start": "it opens the editor with a ready rule; saving is what is written down",
    "POST /rules/new/try": ASKS,
    "POST /rules/one/draft": "it reads back what is typed; nothing is kept",
    "POST /rules/one/effect": ASKS,
    "POST /rules/one/preview": "it looks at what is typed; nothing is kept",
    "POST /settings/audit/verify": "it looks at the log, and says what it found as a job",
    "POST /settings/routes/one/count": ASKS,
    "POST /api/v1/dead-letters/jobs/one/cancel": STOPS,
    "POST /api/v1/quarantine-jobs/one/cancel": STOPS,
    "POST /dead-letters/jobs/one/stop": STOPS,
    "POST /deliveries/quarantine/jobs/one/stop": STOPS,
    "POST /crm-inbox": KEPT_ELSEWHERE,
    "POST /pubsub/push": KEPT_ELSEWHERE,
    "POST /tasks/tick": "a scheduler's ring: what is due by itself is done",
    "POST /sample": "it begins the sample's job; its rules and connection are in the log as the sample's doing",
    "POST /api/v1/retention/run": REMOVES,
    "POST /settings/personal/remove": REMOVES,
    "POST /unsubscribe/one": "held in tests/app/test_unsubscribe.py: the entry is the addressee's, who has no account",
    "POST /api/v1/proposals/one/approve": "held in tests/web/test_proposals.py: it takes two members",
    "POST /api/v1/proposals/one/acknowledge": "held in tests/web/test_proposals.py: it takes two members",
    "POST /proposals/one/approve": "held in tests/web/test_proposals.py: it takes two members",
    "POST /proposals/one/acknowledge": "held in tests/web/test_proposals.py: it takes two members",
}
WORLD = World()
UNSAFE = [place for place in places(WORLD.flask) if place.method != "GET"]


def name_of(place: Place) -> str:
    return f"{place.method} {place.address}"


def test_every_unsafe_route_is_driven_here_or_says_why_it_leaves_no_entry() -> None:
    there = {name_of(place) for place in UNSAFE}
    assert there - set(TRIES) - set(NONE) == set()
    assert (set(TRIES) | set(NONE)) - there == set()
    assert set(TRIES) & set(NONE) == set()


@pytest.mark.parametrize("place", [place for place in UNSAFE if name_of(place) in TRIES], ids=name_of)
def test_a_change_leaves_an_entry_that_says_who_what_and_to_what(place: Place) -> None:
    tried, world = TRIES[name_of(place)], World()
    tried.prepare(world)
    before = world.entries()
    address = place.address.replace("/rules/one", f"/rules/{RULE}")
    answer = world.send(place, replace(tried, address=tried.address or address))
    assert answer.status_code < 400, answer.text[-3000:]
    world.work()
    fresh = {id: body for id, body in world.entries().items() if id not in before}
    assert fresh, (answer.status_code, answer.headers.get("Location"), answer.text[-1500:])
    caller = tried.by or ("admin token" if place.address.startswith("/api/") else "local operator")
    mine = [body for body in fresh.values() if body["actor"] == caller and tried.verb in ("", body["verb"])]
    assert mine, fresh
    for id, body in fresh.items():
        assert body["verb"], body
        assert body["about"], body
        assert body["at"], body
        assert is_whole(id, body), body
        assert body["hash"] == entry_hash(body)
    holds_nothing(fresh.values())


# ---- the command line -----------------------------------------------------------------------------------------------
CLI: Mapping[str, tuple[str, Prepare]] = {
    "rules import {file}": ("save draft", lambda world: None),
    f"rules publish {RULE} --note why": ("publish", World.draft),
    f"rules publish {RULE} --note why --at 2027-01-11T09:00": ("plan", World.draft),
    f"rules withdraw {RULE} --note why": ("withdraw plan", World.planned),
    f"rules pause {RULE} --note why": ("pause", World.live),
    f"rules resume {RULE} --note why": ("resume", paused),
    f"rules archive {RULE} --note why": ("archive", World.live),
    f"rules rollback {RULE} 1 --note why": ("roll back", two),
    "runs act {run} cancel --why why --yes": ("cancel run", World.run),
    "runs many cancel --state waiting --why why --yes": ("cancel many runs", World.run),
    "runs exclude cus_1 --why why": ("exclude customer", lambda world: None),
    "replay evt_dead --why why": ("replay event", World.dead),
    "discard evt_dead --why why": ("discard event", World.dead),
    "proposals decline {proposal} --note why": ("decline", World.asked),
    "proposals withdraw {proposal} --note why": ("withdraw", World.asked_on_the_command_line),
    "import-events {events}": ("import events", lambda world: None),
    "fetch --no-wait": ("import history", lambda world: None),
    "scores import {scores}": ("set score", World.scored),
    "scores delete one --note why": ("delete score", World.scored),
    "members add eve@example.com --roles viewer": ("add member", lambda world: None),
    "members change dan@example.com --roles author": ("", World.member),
    "members disable dan@example.com": ("", World.member),
    "members sign-out dan@example.com": ("", World.member),
    "tokens make nightly --rights read": ("make token", lambda world: None),
    "tokens revoke {token}": ("revoke token", World.token),
}
LOOKS = "it looks, and changes nothing"
RUNS_IT = "it runs the installation: what happens in it leaves its own entries"
MOVES = "it moves the whole installation, the audit log with it"
NO_COMMAND: Mapping[str, str] = {
    **dict.fromkeys(("audit export", "audit head", "audit verify", "backtest", "dead-letters", "doctor", "explain",
                     "facts", "members list", "proposals list", "proposals show", "quarantine list", "rules check",
                     "rules export", "rules lint", "rules list", "rules show", "rules test", "runs list", "runs show",
                     "rules plan", "schemas diff", "schemas list", "schemas show", "scores list", "starters", "token",
                     "tokens list", "trace", "vault status"), LOOKS),
    **dict.fromkeys(("serve", "web", "work", "tick", "demo"), RUNS_IT),
    **dict.fromkeys(("export", "import"), MOVES),
    "provision": "it makes what Google keeps, and Google's own audit log says who did",
    **dict.fromkeys(("erase", "quarantine discard", "quarantine replay"),
                    "it asks for the same job as the page and the API, which are driven above, and waits for its end"),
    "vault rotate": "it needs a vault that seals, which memory has not; its entry is held with the vaults",
    "members enable": "the other side of `members disable`, by the same function",
    "members password": "it asks for the password at the terminal; held in the tests of members",
    "proposals approve": "it takes a token of a second member; the use case is held in test_approvals",
    "proposals acknowledge": "it takes a token of a second member; the use case is held in test_approvals",
}  # fmt: skip


def commands(parser: argparse.ArgumentParser, name: tuple[str, ...] = ()) -> Iterator[str]:
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield " ".join(name)
    for action in below:
        for word, found in action.choices.items():
            yield from commands(found, (*name, word))


def test_every_command_is_driven_here_or_says_why_it_leaves_no_entry() -> None:
    there = set(commands(main.parser()))
    driven = {command for command in there for line in CLI if f"{line} ".startswith(f"{command} ")}
    assert there - driven - set(NO_COMMAND) == set()
    assert set(NO_COMMAND) - there == set()
    assert not driven & set(NO_COMMAND)


@pytest.mark.parametrize("line", CLI)
def test_a_command_that_changes_something_leaves_an_entry(line: str, tmp_path: Path) -> None:
    verb, prepare = CLI[line]
    world = World()
    prepare(world)
    files = {"file": json.dumps(ready()), "events": json.dumps(envelope("evt_9")), "scores": "customer,one\ncus_1,5"}
    for name, text in files.items():
        (tmp_path / f"{name}.json").write_text(text + "\n")
    paths = {name: tmp_path / f"{name}.json" for name in files}
    arguments = main.parser().parse_args(line.format(**world.names, **paths).split())
    before = world.entries()
    assert not arguments.body(arguments, world.services)
    fresh = [body for id, body in world.entries().items() if id not in before]
    mine = [body for body in fresh if body["actor"] == "command line" and verb in ("", body["verb"])]
    assert mine, fresh
    holds_nothing(fresh)


# ---- what an entry never holds --------------------------------------------------------------------------------------
SECRETS = ("whsec_", PASSWORD, "sbx_", "sk_test_made_up", ADMIN_TOKEN)
STAFF = ("dan@example.com", "eve@example.com")  # who did it, and members, are named: that is what the log is for
PERSONAL = ("ada@example.com", "Ada Example")
SENDER = "a@example.com"  # of the connection by mail


def holds_nothing(entries: Iterable[Mapping[str, Any]]) -> None:
    """No secret, no value of the customers above, and no address but those of members and of our own sender."""
    for body in entries:
        text = json.dumps(body)
        assert not [secret for secret in SECRETS if secret in text], body
        assert not [value for value in PERSONAL if value in text], body
        told = json.dumps([body["from"], body["to"], body["why"], body["about"]])
        assert set(addresses(told)) <= {*STAFF, SENDER}, body


@given(
    local=st.text("abcdefghij.+-_0123456789", min_size=1, max_size=20).map(lambda text: "a" + text.strip(".")),
    domain=st.sampled_from(("acme.com", "mail.example.org", "exa-mple.co.uk")),
    around=st.tuples(st.text(" ,;:()<>", min_size=1, max_size=3), st.text(" ,;()<>", min_size=1, max_size=3)),
)
def test_an_address_that_is_typed_freely_never_gets_into_the_log(
    local: str, domain: str, around: tuple[str, str]
) -> None:
    typed = f"called{around[0]}{local}@{domain}{around[1]}back"
    free = {"note": typed, "deep": [{"reason": typed}]}
    body = entry(NOON, "ann", "assign", "run:run_1", free, free, typed).body
    assert not set(addresses(json.dumps([body["why"], body["from"], body["to"]])))
    assert f"{local}@{domain}" not in json.dumps(body)
    assert is_whole(entry_id(body), body)
