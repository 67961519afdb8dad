"""What quarantine promises on every backend: nothing lost, nothing twice, no value outside the vault."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from app import jobs
from app.adapters.stripe_verifier import StripeVerifier
from app.receive import quarantine, quarantine_job
from app.receive.quarantine import Keeper, Which
from app.receive.webhook import Receipt, receive
from rules.conforming import Fault
from rules.event import iso
from rules.ports import Bus, Delivery, Disposition, Inbox, Store, Unavailable, Vault
from rules.steps import NotPossible
from tests.builders import NOON, TENANT, WEBHOOK_SECRET, body_of, envelope, invoice, signed

OTHER = "default/live"
ADA = "ada@example.com"
CAUSE = "data.object.amount_due: text stands where a whole number belongs"


class Crash(BaseException):
    """The process ends here."""


@dataclass
class World:
    """A web process on some backend. said: what the topic was told."""

    store: Store
    vault: Vault
    bus: Bus
    inbox: Inbox
    topic: Callable[[str, Any], None] | None = None
    said: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def keeper(self) -> Keeper:
        return Keeper(self.store, self.vault, self.tell)

    def tell(self, tenant: str, entry: Any) -> None:
        self.said.append((tenant, dict(entry)))
        if self.topic:
            self.topic(tenant, entry)

    def send(self, body: dict[str, Any], minutes: int = 0) -> Receipt:
        raw, now = body_of(body), NOON + timedelta(minutes=minutes)
        verifier = StripeVerifier(lambda: {"default": (WEBHOOK_SECRET,)})

        def keep(*about: Any) -> str:
            return quarantine.keep(self.keeper, *about)

        return receive(signed(raw, now), raw, self.bus, self.vault, verifier, now, quarantine=keep)

    def published(self) -> list[str]:
        taken: list[str] = []

        def take(batch: list[Delivery]) -> list[Disposition]:
            taken.extend(delivery.event.id for delivery in batch)
            return [Disposition("done")] * len(batch)

        while self.inbox.drain(take, NOON + timedelta(hours=1)):
            pass
        return taken

    def entry(self, id: str = "evt_1", tenant: str = TENANT) -> Any:
        return quarantine.one(self.store, tenant, id)

    def audit(self) -> list[str]:
        return sorted(one.body["verb"] for one in self.store.find(TENANT, "audit", order="at").items)

    def replay(self, id: str = "evt_1", **more: Any) -> Any:
        return quarantine.replay(self.keeper, self.bus, TENANT, id, "kim", "it is mended", NOON, **more)


def bad(id: str = "evt_1", amount: Any = "much", **more: Any) -> dict[str, Any]:
    """An invoice whose amount is a text."""
    return envelope(id, object=invoice(amount_due=amount), **more)


class QuarantineContract:
    """Subclasses give a fixture `world`."""

    def test_two_tenants_share_nothing(self, world: World) -> None:
        world.send(bad(livemode=False))
        world.send(bad(livemode=True))
        assert (quarantine.count(world.store, TENANT), quarantine.count(world.store, OTHER)) == (1, 1)
        quarantine.discard(world.keeper, TENANT, "evt_1", "kim", "nonsense", NOON)
        assert (quarantine.count(world.store, TENANT), quarantine.count(world.store, OTHER)) == (0, 1)
        assert world.entry(tenant=OTHER)["state"] == "waiting"

    def test_what_does_not_conform_is_a_200_an_entry_and_no_event(self, world: World) -> None:
        assert world.send(bad()) == Receipt(200, event_id="evt_1")
        assert world.published() == []
        entry = world.entry()
        assert (entry["state"], entry["type"], entry["deliveries"]) == ("waiting", "invoice.payment_failed", 1)
        assert entry["errors"] == [
            {"path": "data.object.amount_due", "problem": "text stands where a whole number belongs"}
        ]
        assert entry["cause"] == CAUSE
        assert entry["customers"] == ["cus_1"]
        assert world.said == [(TENANT, entry)]

    def test_what_conforms_is_published_and_leaves_no_entry(self, world: World) -> None:
        assert world.send(envelope("evt_1")) == Receipt(200, event_id="evt_1")
        assert world.published() == ["evt_1"]
        assert quarantine.count(world.store, TENANT) == 0

    def test_the_entry_holds_no_value_and_the_vault_the_whole_body(self, world: World) -> None:
        world.send(bad(amount=ADA))
        document = world.store.get(TENANT, "quarantine", "evt_1")
        assert document is not None
        assert "Ada" not in json.dumps(dict(document.body))
        assert ADA not in json.dumps(dict(document.body))
        assert quarantine.body_of(world.vault, TENANT, document, "kim", "looking") == body_of(bad(amount=ADA))

    def test_the_same_delivered_again_is_one_entry_that_counts(self, world: World) -> None:
        for minute in range(3):
            assert world.send(bad(), minute).status == 200
        assert quarantine.count(world.store, TENANT) == 1
        entry = world.entry()
        assert (entry["deliveries"], entry["received_at"]) == (3, iso(NOON))
        assert entry["last_at"] == iso(NOON + timedelta(minutes=2))
        assert len(world.said) == 1

    def test_another_body_of_the_same_event_takes_the_place_of_the_first(self, world: World) -> None:
        world.send(bad())
        world.send(bad(amount=[]), 1)
        entry = world.entry()
        assert (entry["deliveries"], entry["received_at"]) == (2, iso(NOON))
        assert entry["cause"].endswith("a list stands where a whole number belongs")
        document = world.store.get(TENANT, "quarantine", "evt_1")
        assert document is not None
        assert quarantine.body_of(world.vault, TENANT, document, "kim", "looking") == body_of(bad(amount=[]))

    def test_a_large_body_is_kept_whole(self, world: World) -> None:
        noise = base64.b64encode(random.Random(7).randbytes(700_000)).decode()
        body = envelope(object=invoice(amount_due="much", description=noise))
        assert world.send(body).status == 200
        document = world.store.get(TENANT, "quarantine", "evt_1")
        assert document is not None
        assert quarantine.body_of(world.vault, TENANT, document, "kim", "looking") == body_of(body)

    def test_what_no_store_would_keep_is_quarantined_too_and_nobody_can_force_it(self, world: World) -> None:
        world.send(
            envelope("evt_1", type="invoice.unheard_of", object={"object": "thing", "customer": "cus_" + "1" * 400})
        )
        dice, printable = random.Random(7), [chr(code) for code in range(35, 127) if chr(code) not in "\\@"]
        parts = {str(n): "".join(dice.choices(printable, k=10_000)) for n in range(103)}
        assert world.send(envelope("evt_2", object=invoice(metadata=parts))).status == 200
        assert {world.entry(id)["cause"] for id in ("evt_1", "evt_2")} == {
            "the event: one of its ids has more than 300 characters",
            "the event: is larger than can be kept",
        }
        assert world.replay("evt_1", as_it_is=True)["state"] == "waiting"
        assert world.published() == []

    def test_one_that_still_does_not_conform_stays_and_counts_the_try(self, world: World) -> None:
        world.send(bad())
        entry = world.replay()
        assert (entry["state"], entry["tries"], entry["cause"]) == ("waiting", 1, CAUSE)
        assert world.published() == []

    def test_a_person_may_take_it_as_it_is_and_the_body_leaves_the_vault(self, world: World) -> None:
        world.send(bad())
        document = world.store.get(TENANT, "quarantine", "evt_1")
        assert world.replay(as_it_is=True)["state"] == "replayed"
        assert world.published() == ["evt_1"]
        assert "replay quarantined payload as it is" in world.audit()
        assert document is not None
        assert world.vault.reveal(TENANT, document.body["pieces"][0], "kim", "looking") is None

    def test_what_conforms_by_now_is_replayed_once(self, world: World) -> None:
        mended(world)
        assert world.replay()["state"] == "replayed"
        with pytest.raises(NotPossible, match="replayed already"):
            world.replay()
        assert world.published() == ["evt_1"]
        assert world.audit().count("replay quarantined payload") == 1

    def test_a_settled_entry_counts_further_deliveries_and_stays_settled(self, world: World) -> None:
        world.send(bad())
        quarantine.discard(world.keeper, TENANT, "evt_1", "kim", "nonsense", NOON)
        world.send(bad(), 5)
        entry = world.entry()
        assert (entry["state"], entry["deliveries"]) == ("discarded", 2)

    def test_discarding_needs_a_reason_and_clears_the_body(self, world: World) -> None:
        world.send(bad())
        document = world.store.get(TENANT, "quarantine", "evt_1")
        assert document is not None
        with pytest.raises(NotPossible, match="say why"):
            quarantine.discard(world.keeper, TENANT, "evt_1", "kim", " ", NOON)
        assert quarantine.discard(world.keeper, TENANT, "evt_1", "kim", "nonsense", NOON)["state"] == "discarded"
        assert world.vault.reveal(TENANT, document.body["pieces"][0], "kim", "looking") is None
        assert world.audit().count("discard quarantined payload") == 1

    def test_erasing_a_customer_reaches_every_body_that_names_them(self, world: World) -> None:
        world.send(bad("evt_1"))
        world.send(envelope("evt_2", object=invoice(customer=7, on_behalf_of="cus_1", metadata={"cus": "cus_2"})))
        world.send(envelope("evt_3", object=invoice(customer="cus_3", amount_due="much")))
        pieces = {id: world.store.get(TENANT, "quarantine", id).body["pieces"] for id in ("evt_1", "evt_2", "evt_3")}  # type: ignore[union-attr]
        assert quarantine.forget(world.store, world.vault, TENANT, "cus_1", "kim", "asked to", NOON) == 2
        left = {id for id, found in pieces.items() if world.vault.reveal(TENANT, found[0], "kim", "looking")}
        assert left == {"evt_3"}
        assert [world.entry(id)["state"] for id in pieces] == ["erased", "erased", "waiting"]
        with pytest.raises(NotPossible):
            world.replay()
        assert quarantine.forget(world.store, world.vault, TENANT, "cus_1", "kim", "asked to", NOON) == 0

    def test_naming_many_others_hides_no_body_from_the_erasure_of_its_own_customer(self, world: World) -> None:
        others = {f"seat {number}": f"cus_{number:04}" for number in range(quarantine.MOST_CUSTOMERS)}
        world.send(envelope("evt_1", object=invoice(customer="cus_zoe", amount_due="much", metadata=others)))
        assert quarantine.forget(world.store, world.vault, TENANT, "cus_zoe", "kim", "asked to", NOON) == 1

    def test_many_are_counted_then_replayed_or_discarded_by_filter(self, world: World) -> None:
        for n in range(3):
            world.send(bad(f"evt_{n}"), n)
        world.send(envelope("evt_x", object=invoice(amount_paid="much")), 4)
        which = Which(cause=CAUSE)
        assert quarantine.count(world.store, TENANT, which) == 3
        largest = quarantine.causes(world.store, TENANT)[0]
        assert (largest["cause"], largest["count"]) == (CAUSE, 3)
        later = NOON + timedelta(minutes=10)
        begun = quarantine_job.start(world.store, TENANT, "replay", which, "kim", "it is mended", later, True)
        assert begun["count"] == 3
        types = {quarantine_job.JOB: quarantine_job.job(world.keeper, world.bus)}
        while jobs.run_one(world.store, types, later):
            pass
        found = world.store.get(TENANT, "job", begun["id"])
        assert found is not None
        assert (found.body["state"], found.body["summary"]["done"]) == ("done", 3)
        assert sorted(world.published()) == ["evt_0", "evt_1", "evt_2"]
        assert quarantine.count(world.store, TENANT) == 1

    def test_a_crash_at_any_place_loses_nothing_and_doubles_nothing(self, world: World) -> None:
        for at in range(20):
            id = f"evt_{at}"
            crashing = Crashing(world, at)
            try:
                crashing.send(bad(id))
                crashing.replay(id, as_it_is=True)
                break
            except Crash:
                pass
            if quarantine.count(world.store, TENANT) == 0 and not exists(world, id):
                assert world.send(bad(id)).status == 200  # Stripe had no answer and sends it again
            if world.entry(id)["state"] == "waiting":
                world.replay(id, as_it_is=True)
            quarantine.clear_settled(world.keeper, TENANT)
            document = world.store.get(TENANT, "quarantine", id)
            assert document is not None
            assert (document.body["state"], document.body["pieces"]) == ("replayed", [])
        assert at >= 6
        assert sorted(set(world.published())) == sorted(f"evt_{n}" for n in range(at + 1))
        assert world.audit().count("replay quarantined payload as it is") == at + 1

    def test_what_could_not_be_kept_is_a_503(self, world: World) -> None:
        def unavailable(tenant: str, entry: Any) -> None:
            raise Unavailable("the topic does not answer")

        world.topic = unavailable
        assert world.send(bad()).status == 503
        assert quarantine.count(world.store, TENANT) == 0
        world.topic = None
        assert world.send(bad()).status == 200
        assert quarantine.count(world.store, TENANT) == 1


def exists(world: World, id: str) -> bool:
    return world.store.get(TENANT, "quarantine", id) is not None


def mended(world: World) -> None:
    """An entry whose body conforms: what an older release took for damaged."""
    body = envelope("evt_1")
    quarantine.keep(world.keeper, body, "default", body_of(body), [Fault("data.object", "was not known")], NOON)


class Crashing:
    """The world of a process that ends at the n-th thing it does to the outside."""

    def __init__(self, world: World, at: int) -> None:
        self.left = at
        self.world = World(
            store=_Counted(world.store, self.step, ("commit",)),  # type: ignore[arg-type]
            vault=_Counted(world.vault, self.step, ("tokenise", "flush", "erase")),  # type: ignore[arg-type]
            bus=_Counted(world.bus, self.step, ("publish",)),  # type: ignore[arg-type]
            inbox=world.inbox,
        )

    def step(self) -> None:
        if self.left == 0:
            raise Crash
        self.left -= 1

    def send(self, body: dict[str, Any]) -> None:
        self.world.send(body)

    def replay(self, id: str, **more: Any) -> None:
        self.world.replay(id, **more)


class _Counted:
    """A port that says when it is used: before and after."""

    def __init__(self, port: Any, step: Callable[[], None], names: tuple[str, ...]) -> None:
        self._port, self._step, self._names = port, step, names

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name not in self._names:
            return found

        def call(*args: Any, **more: Any) -> Any:
            self._step()
            answer = found(*args, **more)
            self._step()
            return answer

        return call
