"""Every event that an example is built of is like Stripe's own: its type, its subjects, its times, its tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.sample_data import skeletons as making
from rules import skeletons
from rules.catalogue import Catalogue
from rules.personal import TOKEN, addresses, places
from rules.subjects import PREFIX, carried_by, keys_of
from tests.builders import SHARED

AT = 1_800_000_000
SUBJECTS = {subject: f"{id}_2" for subject, id in skeletons.STAND_INS.items()}


def test_there_is_one_for_every_type_that_stripe_has_a_fixture_of() -> None:
    known = {type.name for type in Catalogue.load().event_types()}
    assert len(skeletons.types()) == 265
    assert set(skeletons.types()) <= known


@pytest.mark.parametrize("name", [None, *SUBJECTS])
def test_an_event_is_about_the_subjects_that_it_is_told(name: str | None) -> None:
    catalogue = Catalogue.load()
    wanted = {name: SUBJECTS[name]} if name else {}
    ids = {**skeletons.STAND_INS, **wanted}
    for type in skeletons.types():
        keys = keys_of(skeletons.envelope("evt_1", type, AT, wanted), "")
        carried = [subject for subject in carried_by(catalogue, type) if subject in ids]
        if type == "invoice.upcoming":  # a preview, which has no id yet
            carried.remove("invoice")
        assert {f"{PREFIX[subject]}:{ids[subject]}" for subject in carried} <= set(keys), type
        assert not [key for key in keys if key.partition(":")[2] not in ids.values()], type


def test_its_times_are_near_its_own() -> None:
    event = skeletons.envelope("evt_1", "customer.subscription.trial_will_end", AT, {})
    assert event["created"] == AT
    assert event["data"]["object"]["trial_end"] == AT + 3 * 86400


def test_every_personal_value_of_one_is_a_token() -> None:
    for type in skeletons.types():
        event = skeletons.envelope("evt_1", type, AT, {})
        for container, key in places(event):
            assert TOKEN.fullmatch(str(container[key])), (type, key)
        assert list(addresses(json.dumps(event))) == [], type


def test_each_event_is_a_copy_of_its_own() -> None:
    first = skeletons.envelope("evt_1", "invoice.paid", AT, {})
    skeletons.put(first, ("data", "object", "lines", "data", "0", "amount"), 5)
    again = skeletons.envelope("evt_1", "invoice.paid", AT, {})
    assert first["data"]["object"]["lines"]["data"][0]["amount"] == 5
    assert again["data"]["object"]["lines"]["data"][0]["amount"] != 5


def test_what_is_not_there_is_made_where_it_is_put() -> None:
    event = {"data": {"object": {"parent": None, "items": {"data": []}}}}
    skeletons.put(event, ("data", "object", "parent", "type"), "quote_details")
    skeletons.put(event, ("data", "object", "items", "data", "1", "quantity"), 2)
    assert event["data"]["object"] == {"parent": {"type": "quote_details"}, "items": {"data": [{}, {"quantity": 2}]}}


def test_they_are_what_is_made_of_the_story_and_the_fixtures(tmp_path: Path) -> None:
    target = tmp_path / "skeletons.json.gz"
    making.main(str(SHARED / "data"), target)
    assert target.read_bytes() == skeletons.DATA.read_bytes()
