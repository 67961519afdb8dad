"""Business hours: the next opening is the first moment at which the wall clock of the zone is within them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.backtest import backtest
from rules.channels import channels_of
from rules.english import read_back
from rules.event import iso, seconds
from rules.hours import next_open, of_account
from rules.model import Do, Hours, RuleVersion, Wait
from rules.rule import check, parse
from rules.workflow import start, stopped
from tests.rules.world import DAY, START, TENANT, event, rule, told

WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ZONES = ("account", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo")
MINUTE = timedelta(minutes=1)
SLOW = settings(max_examples=60, deadline=None)


def hours(start: str, end: str, zone: str, days: tuple[str, ...] = WEEK) -> Hours:
    return Hours(days, start, end, zone, ("crm",))


def is_open(one: Hours, instant: datetime) -> bool:
    local = instant.astimezone(ZoneInfo("UTC" if one.zone == "account" else one.zone))
    return WEEK[local.weekday()] in one.days and one.start <= local.strftime("%H:%M") < one.end


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@st.composite
def some_hours(draw: st.DrawFn) -> Hours:
    times = st.times().map(lambda time: f"{time:%H:%M}")
    first, last = sorted(draw(st.lists(times, min_size=2, max_size=2, unique=True)))
    days = draw(st.sets(st.sampled_from(WEEK), min_size=1))
    return hours(first, last, draw(st.sampled_from(ZONES)), tuple(day for day in WEEK if day in days))


def _between(first: str, last: str) -> st.SearchStrategy[datetime]:
    return st.integers(int(at(first).timestamp()), int(at(last).timestamp())).map(seconds)


# around the days on which a clock is moved somewhere, and any others
MOMENTS = st.one_of(
    _between("2026-03-27", "2026-04-07"), _between("2026-10-03", "2026-11-03"), _between("2018-02-10", "2030-01-01")
)


@SLOW
@given(some_hours(), MOMENTS)
def test_the_next_opening_is_open_and_not_before(one: Hours, instant: datetime) -> None:
    found = next_open(one, instant)
    assert is_open(one, found)
    assert (found == instant) == is_open(one, instant)
    assert found >= instant
    assert next_open(one, found) == found


@SLOW
@given(some_hours(), MOMENTS)
def test_nothing_is_open_before_the_next_opening(one: Hours, instant: datetime) -> None:
    found = next_open(one, instant)
    moment = instant
    while moment < found:
        assert not is_open(one, moment)
        moment += 7 * MINUTE
    assert found == instant or not is_open(one, found - MINUTE)


@SLOW
@given(some_hours(), MOMENTS, st.timedeltas(timedelta(0), timedelta(days=9)))
def test_waiting_longer_never_opens_earlier(one: Hours, instant: datetime, more: timedelta) -> None:
    assert next_open(one, instant) <= next_open(one, instant + more)


def test_the_account_is_in_utc() -> None:
    assert next_open(hours("09:00", "18:00", "account"), at("2026-11-23T08:59:59")) == at("2026-11-23T09:00")


def test_the_end_is_closed_and_the_start_is_open() -> None:
    one = hours("09:00", "18:00", "Europe/Berlin")
    assert next_open(one, at("2026-11-23T17:59:59", "Europe/Berlin")) == at("2026-11-23T17:59:59", "Europe/Berlin")
    assert next_open(one, at("2026-11-23T18:00", "Europe/Berlin")) == at("2026-11-24T09:00", "Europe/Berlin")
    assert next_open(one, at("2026-11-24T09:00", "Europe/Berlin")) == at("2026-11-24T09:00", "Europe/Berlin")


def test_friday_evening_waits_for_monday() -> None:
    one = hours("09:00", "18:00", "America/New_York", WEEK[:5])
    assert next_open(one, at("2026-11-27T18:00", "America/New_York")) == at("2026-11-30T09:00", "America/New_York")


def test_one_day_a_week_waits_a_week() -> None:
    one = hours("09:00", "10:00", "UTC", ("wed",))
    assert next_open(one, at("2026-11-25T10:00")) == at("2026-12-02T09:00")


@pytest.mark.parametrize(("day", "opens"), [("2026-03-27", 8), ("2026-03-28", 8), ("2026-03-29", 7), ("2026-10-25", 8)])
def test_the_office_opens_by_the_clock_on_the_wall_when_it_is_moved(day: str, opens: int) -> None:
    morning = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
    assert next_open(hours("09:00", "17:00", "Europe/Berlin"), morning) == morning + timedelta(hours=opens)


def test_a_time_that_the_clock_skips_opens_when_it_is_past() -> None:
    one = hours("02:30", "04:00", "America/New_York")
    assert next_open(one, at("2026-03-08T06:59")) == at("2026-03-08T07:00")


def test_hours_that_the_clock_skips_whole_do_not_open_that_day() -> None:
    one = hours("02:00", "03:00", "America/New_York", ("sun",))
    assert next_open(one, at("2026-03-08T06:00")) == at("2026-03-15T06:00")


def test_an_hour_that_the_clock_shows_twice_is_open_twice() -> None:
    one = hours("01:00", "01:30", "America/New_York")
    assert next_open(one, at("2026-11-01T05:30")) == at("2026-11-01T06:00")


def test_a_day_that_a_country_left_out_does_not_open() -> None:
    one = hours("09:00", "10:00", "Pacific/Apia", ("fri",))  # Samoa had no 30 December 2011
    assert next_open(one, at("2011-12-29T22:00")) == at("2012-01-06T09:00", "Pacific/Apia")


def test_what_makes_stripe_write_to_the_customer_is_an_email() -> None:
    assert "email" in channels_of("stripe.send_invoice")
    assert "email" not in channels_of("stripe.change_plan")


# ---- in a run -------------------------------------------------------------------------------------------------------
NIGHT = START + 15 * 3600  # the tests' histories begin at 08:00 UTC; this is 23:00
OPENS = START + 25 * 3600
OFFICE = hours("09:00", "18:00", "account")
TELL = Do("tell", "crm.notify", {"connection": "crm"})


def test_a_command_is_due_when_the_office_opens_and_the_story_says_so() -> None:
    one = rule(steps=(TELL,), hours=OFFICE)
    trigger = event("evt_1", at=NIGHT - START)
    advance = start(RuleVersion(TENANT, one, 1, "live", ""), trigger, "cus:cus_1", ("evt_1",), seconds(NIGHT))
    (command,) = advance.commands
    assert command.due_at == iso(seconds(OPENS))
    assert "tell: waits for business hours until " in told(advance.run)
    assert command.outcome["message"].startswith("Waits for business hours until ")
    assert stopped(advance.run, "invoice.paid", seconds(NIGHT + 1)).run.state == "stopped"


def test_an_action_of_another_kind_does_not_wait() -> None:
    one = rule(steps=(Do("free", "stripe.change_plan", {"price": "price_free"}),), hours=OFFICE)
    version = RuleVersion(TENANT, one, 1, "live", "")
    advance = start(version, event("evt_1", at=NIGHT - START), "cus:cus_1", ("evt_1",), seconds(NIGHT))
    assert advance.commands[0].due_at == iso(seconds(NIGHT))


def test_a_backtest_waits_for_the_office_and_counts_what_follows_from_there() -> None:
    steps = (TELL, Wait("pause", seconds=DAY), Do("again", "crm.notify", {}))
    version = RuleVersion(TENANT, rule(steps=steps, hours=OFFICE), 1, "live", "")
    (row,) = backtest([version], [event("evt_1", at=NIGHT - START)])
    assert [(step["name"], step["at"]) for step in row["steps"]] == [
        ("tell", iso(seconds(OPENS))),
        ("pause", iso(seconds(OPENS + DAY))),
        ("again", iso(seconds(OPENS + DAY))),
    ]
    assert row["state"] == "done"


# ---- days of pause, and waits that last until the hours open --------------------------------------------------------
def test_on_a_day_of_pause_the_hours_do_not_open() -> None:
    hours = Hours(("mon", "tue", "wed", "thu", "fri"), "09:00", "18:00", "Europe/Berlin", ("email",), ("2026-12-25",))
    before = datetime(2026, 12, 24, 16, 59, tzinfo=UTC)
    assert next_open(hours, before) == before
    assert next_open(hours, before + timedelta(minutes=1)) == datetime(2026, 12, 28, 8, 0, tzinfo=UTC)


def test_a_year_of_pauses_still_finds_the_opening_behind_it() -> None:
    days = tuple((date(2026, 1, 1) + timedelta(days=n)).isoformat() for n in range(365))
    hours = Hours(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), "09:00", "18:00", "UTC", ("email",), days)
    assert next_open(hours, datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2027, 1, 1, 9, tzinfo=UTC)


def test_a_wait_that_is_over_at_night_lasts_until_the_hours_open() -> None:
    office = Hours(("mon", "tue", "wed", "thu", "fri"), "09:00", "18:00", "Europe/Berlin", ("email",), ("2026-11-25",))
    tell = Do("tell", "crm.notify", {"connection": "crm"})
    for in_hours, due in ((False, "2026-11-25T12:00"), (True, "2026-11-26T08:00")):
        wait = Wait("two-days", seconds=48 * 3600, in_hours=in_hours)
        one = rule(steps=(wait, tell), hours=office)
        at = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
        run = start(RuleVersion(TENANT, one, 1, "live", ""), event("evt_1"), "cus:cus_1", ("evt_1",), at).run
        assert (run.due_at or "")[:16] == due


def test_a_wait_for_a_time_that_has_passed_lasts_until_the_hours_open_from_now_on() -> None:
    office = Hours(("mon", "tue", "wed", "thu", "fri"), "09:00", "18:00", "UTC", ("email",))
    wait = Wait("wait", until="2026-11-23T10:00:00Z", in_hours=True)
    one = rule(steps=(wait, Do("tell", "crm.notify", {"connection": "crm"})), hours=office)
    night = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
    run = start(RuleVersion(TENANT, one, 1, "live", ""), event("evt_1"), "cus:cus_1", ("evt_1",), night).run
    assert (run.state, (run.due_at or "")[:16]) == ("waiting", "2026-11-24T09:00")


def test_a_wait_until_the_hours_open_needs_hours_and_days_of_pause_are_days() -> None:
    hours = {"days": ["mon"], "from": "09:00", "to": "18:00", "zone": "UTC", "applies_to": ["email"]}
    wait = {"name": "wait", "wait": {"for": "P1D", "in_hours": True}}
    when = {"event": ["invoice.paid"], "same": "customer"}
    document = {"id": "r", "name": "R", "when": when, "steps": [wait]}
    assert [problem.path for problem in check(document, None, None)] == ["hours"]
    assert check({**document, "hours": {**hours, "not_on": ["2026-12-25"]}}, None, None) == []
    wrong = {**document, "hours": {**hours, "not_on": ["25.12.2026"]}}
    assert [problem.path for problem in check(wrong, None, None)] == ["hours.not_on[0]"]
    said = read_back(parse({**document, "hours": {**hours, "not_on": ["2026-12-25"]}}))
    assert "wait 24 hours, and then until the hours open" in said
    assert "in the time of “UTC”, and not on 2026-12-25." in said


def test_the_accounts_days_of_pause_close_every_rules_hours_and_the_rule_may_name_more() -> None:
    week = ("mon", "tue", "wed", "thu", "fri")
    own = rule(hours=Hours(week, "09:00", "18:00", "account", ("email",), ("2026-12-24",)))
    found = of_account(own, lambda: ("Europe/Berlin", ("2026-12-25", "2026-12-28")))
    assert found.hours is not None
    assert next_open(found.hours, datetime(2026, 12, 23, 17, 0, tzinfo=UTC)) == datetime(2026, 12, 29, 8, 0, tzinfo=UTC)
    zoned = rule(hours=Hours(week, "09:00", "18:00", "UTC", ("email",)))
    elsewhere = of_account(zoned, lambda: ("Europe/Berlin", ("2026-12-25",))).hours
    assert elsewhere is not None
    assert (elsewhere.zone, elsewhere.not_on) == ("UTC", ("2026-12-25",))
    assert of_account(rule(), lambda: ("Europe/Berlin", ("2026-12-25",))).hours is None
