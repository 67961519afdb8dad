"""A rule flags something for a person: it stands under Needs you with whose it is and by when, until it is closed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app import browse, operate
from app.operate import cases, reviews
from app.services import Services
from app.web import create_app
from rules.event import iso
from rules.ports import Conflict
from tests.builders import DAY, NOON, TENANT, services_in_memory
from tests.stories.world import ACTOR, World, failed, paid, twice_in_a_week
from tests.web.html import form

FLAG = {
    "name": "flag",
    "do": "review.flag",
    "with": {"text": "Look at {{ data.object.id }}", "owner": "mia", "days": 2},
}
UNDO = {"on": ["invoice.paid"], "same": "invoice", "within": "P60D"}


def flagged(mode: str = "live", **more: object) -> World:
    world = World()
    document = twice_in_a_week([FLAG], undo=UNDO)
    document["when"] = {"event": ["invoice.payment_failed"], "same": "subscription"}
    world.publish({**document, **more}, "watch" if mode == "watch" else "live")
    world.live(NOON + timedelta(hours=1), (NOON, failed(1, NOON)))
    return world


def standing(world: World) -> list[dict[str, object]]:
    found = browse.needs_you(world.durable, world.services.inbox, TENANT, world.clock.now())
    return [one for group in found["groups"] if group["kind"] == "review" for one in group["items"]]


def test_it_stands_under_needs_you_with_text_owner_and_due_and_nothing_is_sent() -> None:
    world = flagged()
    (row,) = standing(world)
    assert row["text"] == "Look at in_1"
    assert row["case"]["owner"] == "mia"  # type: ignore[index]
    assert row["case"]["due"] == iso(NOON + 2 * DAY)[:10] + row["case"]["due"][10:]  # type: ignore[index]
    assert browse.waiting(world.durable, world.services.inbox, TENANT) == 1
    assert world.outside.requests == []
    assert [run["state"] for run in world.runs()] == ["done"]


def test_an_undo_closes_it() -> None:
    world = flagged()
    world.live(NOON + DAY, (NOON + DAY / 2, paid(NOON + DAY / 2)))
    assert standing(world) == []
    (run,) = world.runs()
    assert run["undo"]["state"] == "done"


def test_a_person_closes_it_once_with_a_reason_that_is_kept() -> None:
    world = flagged()
    (row,) = standing(world)
    closed = reviews.close(world.durable, TENANT, str(row["id"]), ACTOR, "the card was replaced", NOON)
    assert (closed["state"], closed["closed_by"], closed["closed_why"]) == ("closed", ACTOR, "the card was replaced")
    assert standing(world) == []
    with pytest.raises(Conflict, match="closed already by ada"):
        reviews.close(world.durable, TENANT, str(row["id"]), ACTOR, "again", NOON)
    told = [(one["verb"], one["why"]) for one in browse.audit(world.durable, TENANT)["items"]]
    assert ("close review", "the card was replaced") in told


def test_a_crash_at_any_point_flags_once() -> None:
    clean = flagged()
    for at in range(1, clean.points.seen + 1):
        world = World(crash_at=at)
        document = twice_in_a_week([FLAG])
        document["when"] = {"event": ["invoice.payment_failed"], "same": "subscription"}
        world.publish(document)
        world.live(NOON + timedelta(hours=1), (NOON, failed(1, NOON)))
        assert len(standing(world)) == 1, at
        assert [run["state"] for run in world.runs()] == ["done"], at


def test_a_watching_rule_flags_nothing() -> None:
    assert standing(flagged("watch")) == []


def test_what_is_wrong_with_the_days_asks_a_person() -> None:
    world = World()
    wrong = {**FLAG, "with": {"text": "x", "days": 4000}}
    document = twice_in_a_week([wrong])
    document["when"] = {"event": ["invoice.payment_failed"], "same": "subscription"}
    world.publish(document)
    world.live(NOON + timedelta(hours=1), (NOON, failed(1, NOON)))
    assert [run["state"] for run in world.runs()] == ["needs_person"]


def test_it_is_closed_and_handed_over_on_the_page() -> None:
    world = flagged()
    services: Services = world.services
    (row,) = standing(world)
    cases.assign(world.durable, TENANT, [str(row["about"])], {"owner": "ben"}, ACTOR, NOON)
    with create_app(services).test_client() as browser:
        page = browser.get("/needs-you").text
        assert "Flagged for review" in page
        assert "ben" in page
        link = f"/needs-you/close?id={row['id']}"
        assert link in page
        asked = form(browser.get(link).text, "/needs-you/close")
        assert browser.post(asked.action, data=asked.sent(reason="seen")).status_code == 303
        assert "Flagged for review" not in browser.get("/needs-you").text
    assert services_in_memory().connectors["review.flag"].title == "Flag for manual review"
    assert operate.switches(world.durable, TENANT)["all"] is False
