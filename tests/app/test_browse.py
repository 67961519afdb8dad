"""What the pages and the API may ask of the store."""

from datetime import timedelta

import pytest

from app import browse
from app.adapters.memory import MemoryBus, MemoryStore
from rules.event import iso, trace_id
from rules.ports import Disposition, Put
from tests.builders import NOON, TENANT, event, invoice
from tests.records import keep_command, keep_event, keep_rule, keep_run, run, story

LATER = NOON + timedelta(minutes=10)
OTHER = "acct_2/live"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus(lambda: NOON)


# ---- isolation first ------------------------------------------------------------------------------------------------
def test_a_tenant_sees_nothing_of_another_that_shares_every_id(store: MemoryStore, bus: MemoryBus) -> None:
    _, made, _ = story(store, OTHER)
    assert browse.events(store, TENANT)["items"] == []
    assert browse.runs(store, TENANT)["items"] == []
    assert browse.commands(store, TENANT)["items"] == []
    assert browse.customers(store, TENANT)["items"] == []
    assert browse.journeys(store, TENANT)["items"] == []
    assert browse.find(store, TENANT, "evt_2")["to"] is None
    assert browse.overview(store, bus, TENANT, LATER)["empty"]
    for look in (browse.event, browse.run, browse.journey, browse.customer, browse.command):
        with pytest.raises(LookupError):
            look(store, TENANT, made.id)


class StrictStore(MemoryStore):
    """Refuses a question that no index could answer in order, or that has no end."""

    def find(self, tenant, kind, where=(), order=None, after=None, limit=100):  # type: ignore[no-untyped-def]
        assert order, f"{kind} {where}: without an order the rows are read by id until some fit"
        assert limit <= 500
        return super().find(tenant, kind, where, order, after, limit)


def test_every_question_names_its_order_and_an_end_so_that_no_page_scans(bus: MemoryBus) -> None:
    store = StrictStore()
    trigger, made, acted = story(store)
    browse.overview(store, bus, TENANT, LATER)
    browse.event(store, TENANT, trigger.id)
    browse.run(store, TENANT, made.id)
    browse.customer(store, TENANT, "cus_1")
    browse.journey(store, TENANT, trace_id(TENANT, "in_1"))
    browse.audit(store, TENANT)
    for look in (browse.events, browse.runs, browse.commands, browse.customers, browse.journeys):
        look(store, TENANT)
    for q in (trigger.id, made.id, acted.id, "cus_1", "in_1", "sub_1", "nothing", trace_id(TENANT, "in_1")):
        browse.find(store, TENANT, q)


# ---- events ---------------------------------------------------------------------------------------------------------
def test_the_log_is_newest_first_by_stripes_time_and_goes_on_from_its_cursor(store: MemoryStore) -> None:
    for number in range(5):
        keep_event(store, event(f"evt_{number}", time=NOON + timedelta(minutes=number)))
    first = browse.events(store, TENANT, limit=3)
    rest = browse.events(store, TENANT, limit=3, after=first["next"])
    assert [row["id"] for row in first["items"] + rest["items"]] == ["evt_4", "evt_3", "evt_2", "evt_1", "evt_0"]
    assert rest["next"] is None


def test_the_log_is_searched_by_type_by_key_by_time_and_by_whether_a_rule_fired(store: MemoryStore) -> None:
    keep_event(store, event("evt_1"), fired=True)
    keep_event(store, event("evt_2", "invoice.paid", time=NOON + timedelta(hours=1)))
    keep_event(store, event("evt_3", object=invoice("in_9", "cus_9", "sub_9"), time=NOON + timedelta(hours=2)))

    def ids(**filters: object) -> list[str]:
        return [row["id"] for row in browse.events(store, TENANT, **filters)["items"]]  # type: ignore[arg-type]

    assert ids(type="invoice.paid") == ["evt_2"]
    assert ids(key="cus_9") == ids(key="sub:sub_9") == ids(key="in_9") == ["evt_3"]
    assert ids(key="cus_1", type="invoice.payment_failed") == ["evt_1"]
    assert ids(fired=True) == ["evt_1"]
    assert ids(fired=False, key="cus_1") == ["evt_2"]
    assert ids(before=NOON + timedelta(minutes=90)) == ["evt_2", "evt_1"]


def test_a_rare_match_costs_no_scan_but_a_page_that_comes_up_short(store: MemoryStore) -> None:
    for number in range(30):
        keep_event(store, event(f"evt_{number:02}", time=NOON + timedelta(minutes=number)), fired=number == 0)
    page = browse.events(store, TENANT, type="invoice.payment_failed", fired=True, limit=5)
    assert page["items"] == []
    assert page["next"]
    assert [row["id"] for row in _all(store, fired=True)] == ["evt_00"]


def _all(store: MemoryStore, fired: bool) -> list[dict]:
    rows, after = [], None
    while True:
        page = browse.events(store, TENANT, type="invoice.payment_failed", fired=fired, limit=5, after=after)
        rows += page["items"]
        after = page["next"]
        if after is None:
            return rows


def test_an_event_tells_what_it_is_about_in_money_and_words(store: MemoryStore) -> None:
    keep_event(store, event("evt_1", previous={"status": "draft", "number": None}))
    row = browse.events(store, TENANT)["items"][0]
    assert row["money"] == {"minor": 4900, "currency": "usd"}
    assert row["words"] == ["open", "attempt 1", "subscription cycle"]
    assert row["changed"] == ["number", "status"]
    assert row["object"] == "in_1"


def test_one_event_leads_to_its_runs_its_actions_and_the_rest_of_its_transaction(store: MemoryStore) -> None:
    trigger, made, acted = story(store)
    found = browse.event(store, TENANT, trigger.id)
    assert found["payload"]["id"] == trigger.id
    assert [row["id"] for row in found["runs"]] == [made.id]
    assert [row["id"] for row in found["commands"]] == [acted.id]
    assert [row["id"] for row in found["transaction"]] == ["evt_1"]
    assert found["trace"] == trace_id(TENANT, "in_1")


def test_a_thin_event_is_shown_by_what_it_is_related_to(store: MemoryStore) -> None:
    thin = event("evt_thin", "v1.customer.subscription.past_due")
    data = {"id": "evt_thin", "object": "v2.core.event", "related_object": {"id": "sub_1", "type": "subscription"}}
    keep_event(store, type(thin)(**{**_fields(thin), "data": data}))
    assert browse.events(store, TENANT)["items"][0]["object"] == "sub_1"


def _fields(one: object) -> dict:
    return {name: getattr(one, name) for name in one.__slots__}  # type: ignore[attr-defined]


# ---- runs -----------------------------------------------------------------------------------------------------------
def test_runs_are_filtered_by_state_rule_and_customer(store: MemoryStore) -> None:
    _, made, _ = story(store)
    assert [row["id"] for row in browse.runs(store, TENANT, state="waiting")["items"]] == [made.id]
    assert [row["id"] for row in browse.runs(store, TENANT, rule="two-failed", state="waiting")["items"]] == [made.id]
    assert [row["id"] for row in browse.runs(store, TENANT, customer="cus_1", state="waiting")["items"]] == [made.id]
    assert browse.runs(store, TENANT, customer="cus_1", state="done")["items"] == []
    assert browse.runs(store, TENANT, state="done")["items"] == []


def test_a_run_shows_every_step_of_its_version_those_still_to_come_included(store: MemoryStore) -> None:
    _, made, _ = story(store)
    found = browse.run(store, TENANT, made.id)
    assert [(step["name"], step["state"]) for step in found["steps"]] == [
        ("downgrade", "done"),
        ("pause", "waiting"),
        ("tell-crm", "to come"),
    ]
    tries = found["steps"][0]["command"]["attempts"]
    assert [one["outcome"] for one in tries] == ["retry", "done"]
    assert tries[0]["response"]["status"] == 503
    assert found["steps"][0]["command"]["idempotency_key"] == f"{made.id}/downgrade/0"


def test_a_runs_time_line_shows_its_events_its_tries_and_its_wait_with_idle_time_drawn_short(
    store: MemoryStore,
) -> None:
    _, made, _ = story(store)
    line = browse.run(store, TENANT, made.id)["timeline"]
    assert [(row["kind"], row["name"]) for row in line["rows"]] == [
        ("event", "invoice.payment_failed"),
        ("event", "invoice.payment_failed"),
        ("try", "downgrade, try 1"),
        ("try", "downgrade, try 2"),
        ("wait", "pause"),
    ]
    assert all(row["left"] >= 0 and row["left"] + row["width"] <= 1000.1 for row in line["rows"])
    assert max(gap["seconds"] for gap in line["gaps"]) == 3 * 86400


@pytest.mark.parametrize(
    ("changes", "can"),
    [
        ({"state": "waiting", "position": (1,)}, ["skip", "cancel"]),
        ({"state": "acting", "position": (0,)}, ["cancel"]),
        ({"state": "parked", "position": (0,)}, ["release", "cancel"]),
        ({"state": "needs_person", "position": (0,)}, ["retry", "again", "skip", "cancel"]),
        ({"state": "failed", "position": (0,)}, ["retry", "again"]),
        ({"state": "needs_person", "position": (3,)}, ["approve", "decline", "cancel"]),
        ({"state": "done", "position": (4,)}, []),
        ({"state": "waiting", "position": (-1,)}, ["skip", "cancel"]),
    ],
)
def test_a_run_offers_what_its_state_allows(store: MemoryStore, changes: dict, can: list[str]) -> None:
    from tests.records import RULE

    steps = [*RULE["steps"], {"name": "ask", "approve": {"role": "approver"}}]
    keep_rule(store, document={**RULE, "steps": steps})
    made = keep_run(store, run(keep_event(store, event()), **changes))
    assert browse.run(store, TENANT, made.id)["can"] == can


def test_a_run_whose_version_and_trigger_are_gone_is_still_shown(store: MemoryStore) -> None:
    made = keep_run(store, run(event()))
    found = browse.run(store, TENANT, made.id)
    assert found["steps"] == []
    assert found["verdict"] is None


# ---- customers ------------------------------------------------------------------------------------------------------
def test_a_customer_page_holds_events_runs_and_actions_in_the_order_of_time(store: MemoryStore) -> None:
    story(store)
    found = browse.customer(store, TENANT, "cus_1")
    assert [row["kind"] for row in found["history"]] == ["command", "run", "event", "event"]
    assert found["owed"] == {"usd": 4900}
    assert found["keys"]["sub"] == ["sub_1"]


def test_a_customer_is_known_from_its_newest_customer_event(store: MemoryStore) -> None:
    for day, name in ((1, "tok_old"), (2, "tok_new")):
        thing = {"id": "cus_1", "object": "customer", "name": name, "delinquent": False, "metadata": {"tier": "gold"}}
        keep_event(store, event(f"evt_{day}", "customer.updated", thing, NOON + timedelta(days=day)))
    facts = browse.customer(store, TENANT, "cus_1")["facts"]
    assert facts["name"] == "tok_new"
    assert facts["event"] == "evt_2"
    assert facts["metadata"] == {"tier": "gold"}


def test_what_we_did_stands_on_the_page_of_the_events_of_its_time(store: MemoryStore) -> None:
    for number in range(150):
        keep_event(store, event(f"evt_{number:03}", time=NOON + timedelta(hours=number)))
    old = keep_run(store, run(event("evt_000")))
    first = browse.customer(store, TENANT, "cus_1")
    second = browse.customer(store, TENANT, "cus_1", after=first["next"])
    assert old.id not in [row["id"] for row in first["history"]]
    assert old.id in [row["id"] for row in second["history"]]


def test_the_list_of_customers_names_each_once_with_its_latest_event(store: MemoryStore) -> None:
    story(store)
    keep_event(store, event("evt_9", object=invoice("in_9", "cus_9", "sub_9"), time=NOON + timedelta(hours=1)))
    rows = browse.customers(store, TENANT)["items"]
    assert [(row["id"], row["latest"]["id"], row["events"]) for row in rows] == [
        ("cus_9", "evt_9", 1),
        ("cus_1", "evt_2", 2),
    ]


# ---- journeys -------------------------------------------------------------------------------------------------------
def test_a_journey_is_found_by_its_transaction_and_by_its_trace_id(store: MemoryStore) -> None:
    story(store)
    assert browse.journey(store, TENANT, "in_1") == browse.journey(store, TENANT, trace_id(TENANT, "in_1"))


def test_a_journey_nests_each_station_under_its_cause(store: MemoryStore) -> None:
    story(store)
    rows = browse.journey(store, TENANT, "in_1")["rows"]
    assert [(row["name"], row["depth"]) for row in rows] == [
        ("receive", 0),
        ("handle", 1),
        ("receive", 0),
        ("handle", 1),
        ("perform", 2),
        ("perform", 2),
    ]
    assert rows[4]["about"]["kind"] == "command"


def test_a_journey_shrinks_the_days_between_its_stations(store: MemoryStore) -> None:
    story(store)
    found = browse.journey(store, TENANT, "in_1")
    assert found["seconds"] > 2 * 86400
    assert len(found["gaps"]) == 5


def test_recent_journeys_are_listed_once_each(store: MemoryStore) -> None:
    story(store)
    (row,) = browse.journeys(store, TENANT)["items"]
    assert row["correlation"] == "in_1"
    assert row["fired"]
    assert row["events"] == ["invoice.payment_failed", "invoice.payment_failed"]


# ---- find -----------------------------------------------------------------------------------------------------------
def test_find_leads_straight_to_what_has_one_page(store: MemoryStore) -> None:
    trigger, made, acted = story(store)
    trace = trace_id(TENANT, "in_1")

    def to(q: str) -> str | None:
        return browse.find(store, TENANT, q)["to"]  # type: ignore[no-any-return]

    assert to(f"  {trigger.id} ") == "/events/evt_2"
    assert to(made.id) == f"/runs/{made.id}"
    assert to(acted.id) == to(acted.idempotency_key) == f"/runs/{made.id}#step-downgrade"
    assert to("cus_1") == "/customers/cus_1"
    assert to("two-failed") == "/rules/two-failed"
    assert to(trace) == to(f"00-{trace}-00f067aa0ba902b7-01") == f"/traces/{trace}"


def test_find_offers_the_pages_that_an_invoice_or_subscription_may_mean(store: MemoryStore) -> None:
    _, made, _ = story(store)
    of_invoice = browse.find(store, TENANT, "in_1")
    assert [(one["kind"], one["to"]) for one in of_invoice["choices"]] == [
        ("Journey", "/traces/in_1"),
        ("Customer", "/customers/cus_1"),
    ]
    assert [row["id"] for row in of_invoice["events"]] == ["evt_2", "evt_1"]
    of_subscription = browse.find(store, TENANT, "sub_1")
    assert ("Run", f"/runs/{made.id}") in [(one["kind"], one["to"]) for one in of_subscription["choices"]]


@pytest.mark.parametrize("q", ["", "   ", "nothing", "run_x/step", "a" * 5000, "../../etc/passwd", "cus_\x00", "'--"])
def test_find_answers_any_text_with_nothing_rather_than_an_error(store: MemoryStore, q: str) -> None:
    story(store)
    found = browse.find(store, TENANT, q)
    assert (found["to"], found["choices"], found["events"]) == (None, [], [])


# ---- overview and what needs a person -------------------------------------------------------------------------------
def test_the_overview_counts_today_and_the_week(store: MemoryStore, bus: MemoryBus) -> None:
    story(store)
    found = browse.overview(store, bus, TENANT, LATER)
    assert found["today"]["events"] == 1
    assert found["today"]["runs"] == {"waiting": 1}
    assert found["today"]["actions_done"] == 1
    assert [(rule["id"], rule["week"]) for rule in found["rules"]] == [("two-failed", 1)]
    assert [part["state"] for part in found["health"]] == ["good", "good", "good", "none"]


def test_an_event_that_waits_for_minutes_and_a_dead_letter_are_told_as_ill_health(
    store: MemoryStore, bus: MemoryBus
) -> None:
    bus.publish(event("evt_1"))
    health = browse.overview(store, bus, TENANT, LATER)["health"]
    assert (health[0]["state"], health[0]["seconds"]) == ("bad", 600)
    bus.drain(lambda batch: [Disposition("dead", "unreadable")] * len(batch), LATER)
    health = browse.overview(store, bus, TENANT, LATER)["health"]
    assert [part["state"] for part in health[:2]] == ["good", "bad"]
    (group,) = browse.needs_you(store, bus, TENANT, LATER)["groups"]
    assert (group["kind"], group["items"][0]["reason"]) == ("dead", "unreadable")
    assert [one["id"] for one in browse.dead_letters(store, bus, TENANT)["items"]] == [group["items"][0]["id"]]


def test_an_action_that_is_due_for_long_asks_whether_the_worker_runs(store: MemoryStore, bus: MemoryBus) -> None:
    from tests.records import command

    made = keep_run(store, run(keep_event(store, event())))
    keep_command(store, command(made))
    part = browse.overview(store, bus, TENANT, LATER)["health"][2]
    assert part["state"] == "warn"
    assert "worker" in part["text"]


def test_what_needs_a_person_is_grouped_with_what_can_be_done(store: MemoryStore, bus: MemoryBus) -> None:
    keep_rule(store)
    keep_run(store, run(keep_event(store, event("evt_1")), state="parked", reason="26th run of the day, limit 25"))
    keep_run(store, run(keep_event(store, event("evt_2")), state="needs_person", reason="downgrade: no such price"))
    failing = {"name": "crm", "type": "webhook", "state": "failing", "created_at": iso(NOON), "reason": "410 Gone"}
    store.commit(TENANT, None, [Put("connection", "crm", failing)])
    found = browse.needs_you(store, bus, TENANT, LATER)
    assert [group["kind"] for group in found["groups"]] == ["parked", "needs_person", "failing"]
    assert found["count"] == 3
    assert found["groups"][0]["items"][0]["can"] == ["release", "cancel"]
    assert found["groups"][1]["items"][0]["can"] == ["retry", "again", "skip", "cancel"]


def test_an_action_and_its_run_that_asks_are_one_matter(store: MemoryStore, bus: MemoryBus) -> None:
    from tests.records import command

    keep_rule(store)
    asking = keep_run(store, run(keep_event(store, event("evt_1")), state="needs_person"))
    gone = keep_run(store, run(keep_event(store, event("evt_2")), state="failed"))
    keep_command(store, command(asking, state="dead", due_at=None))
    keep_command(store, command(gone, state="dead", due_at=None))
    found = browse.needs_you(store, bus, TENANT, LATER)
    assert [(group["kind"], group["count"]) for group in found["groups"]] == [("needs_person", 1), ("dead", 1)]
    assert browse.waiting(store, bus, TENANT) == found["count"] == 2


def test_the_audit_log_is_read_newest_first_and_by_what_it_is_about(store: MemoryStore) -> None:
    from app.audit import entry

    for minute, about in ((1, "rule-a"), (2, "rule-b")):
        store.commit(TENANT, None, [entry(NOON + timedelta(minutes=minute), "ada", "pause", about, why="because")])
    assert [row["about"] for row in browse.audit(store, TENANT)["items"]] == ["rule-b", "rule-a"]
    assert [row["about"] for row in browse.audit(store, TENANT, about="rule-a")["items"]] == ["rule-a"]
