"""Crontab against two oracles that share no code with it: cron's own way of running, and croniter."""

from datetime import UTC, datetime, timedelta
from typing import Any

from croniter import CroniterBadDateError, croniter
from hypothesis import assume, example, given
from hypothesis import strategies as st

from core.cadence import MICROSECOND, CadenceError, Cron, parse_crontab
from core.clock_change import DstPolicy
from tests.property.crontab_oracle import (
    EVERY_DAY,
    EVERY_MONTH,
    EVERY_WEEKDAY,
    MINUTE,
    ZONES,
    Change,
    Field,
    Rule,
    changes,
    debian_walk,
    is_known_to_croniter,
    rules,
)

INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def parsed(rule: Rule, zone: str, policy: DstPolicy = DstPolicy.CRON) -> Cron:
    try:
        return parse_crontab(str(rule), zone, policy)
    except CadenceError as error:
        assume("never comes" not in str(error))
        raise


def between(cron: Cron, start: datetime, end: datetime) -> list[datetime]:
    found, moment = [], cron.after(start - MICROSECOND)
    while moment is not None and moment <= end:
        found.append(moment)
        moment = cron.after(moment)
    return found


def between_backward(cron: Cron, start: datetime, end: datetime) -> list[datetime]:
    found, moment = [], cron.latest(end)
    while moment is not None and moment >= start:
        found.append(moment)
        moment = cron.latest(moment - MICROSECOND)
    return found[::-1]


def daily(minute: str, minutes: set[int], hour: str, hours: set[int]) -> Rule:
    fields = Field(minute, frozenset(minutes)), Field(hour, frozenset(hours))
    return Rule(None, *fields, EVERY_DAY, EVERY_MONTH, EVERY_WEEKDAY)


LORD_HOWE = Change("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC))
TROLL = Change("Antarctica/Troll", datetime(2026, 10, 25, 1, tzinfo=UTC))


@given(rules(), st.sampled_from(changes()))
@example(daily("*/10", set(range(0, 60, 10)), "3", {3}), LORD_HOWE)
@example(daily("0", {0}, "1-3", {1, 2, 3}), TROLL)
def test_around_every_clock_change_the_moments_are_crons_own(rule: Rule, change: Change) -> None:
    cron = parsed(rule, change.zone)
    start, end = change.moment - timedelta(hours=5), change.moment + timedelta(hours=5)

    expected = list(debian_walk(rule, change.zone, start, end, change.moment))

    assert between(cron, start, end) == expected
    assert between_backward(cron, start, end) == expected


@given(rules(with_seconds=True), st.sampled_from(changes()), st.sampled_from([-1, 0, 1]))
def test_with_a_field_for_seconds_too(rule: Rule, change: Change, side: int) -> None:
    cron = parsed(rule, change.zone)
    middle = change.moment + side * change.size
    start, end = middle - 2 * MINUTE, middle + 2 * MINUTE

    expected = list(debian_walk(rule, change.zone, start, end, change.moment))

    assert between(cron, start, end) == expected
    assert between_backward(cron, start, end) == expected


@given(rules(), st.sampled_from(changes()), st.integers(-5 * 3600, 5 * 3600), st.integers(0, 999_999))
def test_from_any_instant_near_a_change_both_neighbours_are_crons_own(
    rule: Rule, change: Change, seconds: int, micros: int
) -> None:
    cron = parsed(rule, change.zone)
    t = change.moment + timedelta(seconds=seconds, microseconds=micros)
    start, end = change.moment - timedelta(hours=6), change.moment + timedelta(hours=6)

    moments = list(debian_walk(rule, change.zone, start, end, change.moment))

    later, earlier = [m for m in moments if m > t], [m for m in moments if m <= t]
    after, latest = cron.after(t), cron.latest(t)
    assert after == later[0] if later else after is None or after > end
    assert latest == earlier[-1] if earlier else latest is None or latest < start


@given(rules().filter(is_known_to_croniter), INSTANTS)
def test_where_no_clock_changes_croniter_agrees_both_ways(rule: Rule, t: datetime) -> None:
    cron = parsed(rule, "UTC")
    oracle: Any = croniter(str(rule), t, implement_cron_bug=True)

    after = latest = t
    for _ in range(3):
        try:
            expected = oracle.get_next(datetime)
        except CroniterBadDateError:
            assume(False)
        after = cron.after(after) or t
        assert after == expected
    oracle.set_current(t + MICROSECOND)
    latest = t + MICROSECOND
    for _ in range(3):
        latest = cron.latest(latest - MICROSECOND) or t
        assert latest == oracle.get_prev(datetime)


WEEKDAY_FORMS = st.builds(
    lambda weekday, nth: (f"{weekday}#{nth}", f"{weekday}#{nth}"), st.integers(0, 6), st.integers(1, 5)
) | st.builds(lambda weekday: (f"{weekday}L", f"L{weekday}"), st.integers(0, 6))


@given(WEEKDAY_FORMS, INSTANTS)
def test_the_nth_and_the_last_weekday_of_a_month_are_croniters(forms: tuple[str, str], t: datetime) -> None:
    ours, theirs = forms
    oracle: Any = croniter(f"30 9 * * {theirs}", t)

    assert parse_crontab(f"30 9 * * {ours}", "UTC").after(t) == oracle.get_next(datetime)


@given(INSTANTS, st.integers(1, 12))
def test_the_last_day_of_a_month_is_the_day_before_the_first(t: datetime, month: int) -> None:
    cron = parse_crontab(f"0 0 L {month} *", "UTC")
    found = cron.after(t)

    assert found is not None
    assert found.month == month
    assert (found + timedelta(days=1)).day == 1
    assert found - t <= timedelta(days=366)


@given(rules(), st.sampled_from(ZONES), INSTANTS, st.integers(0, 10**6), st.sampled_from(DstPolicy))
def test_next_is_later_and_constant_until_it_comes(
    rule: Rule, zone: str, t: datetime, share: int, policy: DstPolicy
) -> None:
    cron = parsed(rule, zone, policy)
    after = cron.after(t)
    assume(after is not None)
    assert after is not None

    assert after > t
    inside = t + (after - t) * (share / 10**6)
    assert inside >= after or cron.after(inside) == after
    assert cron.after(after - MICROSECOND) == after


@given(rules(), st.sampled_from(ZONES), INSTANTS, st.sampled_from(DstPolicy))
def test_latest_and_next_enclose_an_instant_with_nothing_between(
    rule: Rule, zone: str, t: datetime, policy: DstPolicy
) -> None:
    cron = parsed(rule, zone, policy)
    latest, after = cron.latest(t), cron.after(t)
    assume(latest is not None)
    assume(after is not None)
    assert latest is not None
    assert after is not None

    assert latest <= t < after
    assert cron.after(latest) == after
    assert cron.latest(after - MICROSECOND) == latest
    assert cron.latest(latest) == latest
    assert cron.latest(after) == after
