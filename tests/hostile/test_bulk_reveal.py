"""Nobody empties the vault one value at a time: so many are shown to one person, and then none for a while."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from app.access import attempts
from app.personal.revealing import show
from app.receive.webhook import event_of
from rules.ports import ABSENT, Put, Refused
from tests.builders import NOON, TENANT, envelope, services_in_memory

MOST = attempts.MOST["reveal"]


class Page:
    """An event with personal values, and people who look at them."""

    def __init__(self) -> None:
        self.services = services_in_memory()
        s = self.services
        event = event_of(envelope("evt_1"), "default", s.vault, NOON)
        body = {"event": event.to_cloudevent(), "customer": "cus_1"}
        known = {"type": event.type, "created": event.created, "recorded": "2026", "keys": [], "correlation": "",
                 "trace": "", "fired": False, "origin": "webhook", "decision": None}  # fmt: skip
        s.store.commit(TENANT, None, [Put("event", "evt_1", {**body, **known}, ABSENT)])
        self.token = str(event.data["data"]["object"]["customer_email"])

    def looks(self, who: str, after: timedelta = timedelta()) -> Any:
        s = self.services
        try:
            return show(s.store, s.vault, TENANT, "event", "evt_1", self.token, who, "a question", NOON + after).value
        except Refused as refused:
            return str(refused)


def test_after_so_many_values_none_is_shown_to_the_same_person_for_a_while() -> None:
    page = Page()
    assert all("@" in page.looks("olga") for _ in range(MOST))
    assert f"{MOST} values" in page.looks("olga")
    assert "@" in page.looks("otto")
    assert "@" in page.looks("olga", attempts.WINDOW + timedelta(seconds=1))
