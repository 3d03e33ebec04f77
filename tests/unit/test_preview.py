"""The preview: effective fires, and every moment of the rule that does not run, with its reason."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from time import process_time
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from core.arming import Surroundings, cadence_of, what_is_wrong
from core.calendars import Overrides
from core.preview import LOOKED_AT, MAX_FIRES, TOO_LONG, Fire, LeftOut, Preview, preview
from tests.unit.rows import AROUND, NOW, QUEUES, row

NEW_YORK = "America/New_York"


def look(since: str | datetime = NOW, count: int = 10, around: Surroundings = AROUND, **columns: Any) -> Preview:
    moment = datetime.fromisoformat(since).replace(tzinfo=UTC) if isinstance(since, str) else since
    return preview(row(**columns), around, moment, count)


def local(found: Preview) -> list[str]:
    return [f"{fire.moment.astimezone(ZoneInfo(found.zone)):%m-%d %H:%M}" for fire in found.fires]


def left_out(found: Preview) -> list[LeftOut]:
    return [entry for entry in found.entries if isinstance(entry, LeftOut)]


def reasons(found: Preview) -> list[str]:
    return [entry.reason for entry in left_out(found)]


def test_the_fires_are_those_of_the_row() -> None:
    columns: dict[str, Any] = {
        "crontab": "*/7 3,4 * * *",
        "calendar": "XSHG",
        "jitter_seconds": 90,
        "timezone": NEW_YORK,
    }

    found = look(count=25, **columns)

    cadence, moment, expected = cadence_of(row(**columns), AROUND.zone), NOW, []
    for _ in range(25):
        moment = cadence.after(moment) or NOW
        expected.append(moment)
    assert [fire.moment for fire in found.fires] == expected


def test_a_holiday_week_is_told_day_by_day() -> None:
    found = look("2026-09-29 16:00", 2, crontab="30 16 * * *", calendar="XSHG")

    assert local(found) == ["09-30 16:30", "10-08 16:30"]
    assert [entry.reason for entry in found.entries if isinstance(entry, LeftOut)] == [
        f"2026-10-0{day} is closed in XSHG" for day in range(1, 8)
    ]
    assert isinstance(found.entries[0], Fire)
    assert isinstance(found.entries[-1], Fire)


@pytest.mark.parametrize(("roll", "day"), [("next", "2026-10-08"), ("previous", "2026-09-30")])
def test_a_rolled_moment_says_where_it_went(roll: str, day: str) -> None:
    found = look("2026-09-29 16:00", 2, crontab="30 16 * * *", calendar="XSHG", calendar_roll=roll)

    assert local(found) == ["09-30 16:30", "10-08 16:30"]
    assert reasons(found)[0] == f"2026-10-01 is closed in XSHG, rolled to {day}"


def test_an_override_of_the_operators_counts() -> None:
    around = Surroundings("Asia/Shanghai", QUEUES, Overrides({"XSHG": {date(2026, 6, 2): False}}))

    found = look(around=around, count=2, crontab="30 16 * * *", calendar="XSHG")

    assert local(found) == ["06-03 16:30", "06-04 16:30"]
    assert reasons(found) == ["2026-06-02 is closed in XSHG"]


def test_a_long_stretch_is_one_entry_and_its_count_is_left_open() -> None:
    lunch = look("2026-06-01 03:29", 3, crontab="*/2 * * * *", calendar="XSHG:open")
    night = look("2026-06-01 06:59", 2, crontab="* * * * *", calendar="XSHG:open")

    assert [(entry.count, entry.reason) for entry in left_out(lunch)] == [(44, "outside the sessions of XSHG")]
    (stretch,) = left_out(night)
    assert (stretch.first.isoformat(), stretch.last.isoformat(), stretch.count) == (
        "2026-06-01T15:01:00", "2026-06-02T09:29:00", None,
    )  # fmt: skip


def test_every_moment_of_the_rule_is_a_fire_or_left_out() -> None:
    found = look("2026-09-20", 30, crontab="0 9 * * *", calendar="XSHG")

    told = {fire.moment.astimezone(ZoneInfo(found.zone)).replace(tzinfo=None) for fire in found.fires}
    told |= {entry.first for entry in left_out(found)}
    first = datetime.fromisoformat("2026-09-20 09:00")
    assert told == {first + timedelta(days=n) for n in range((max(told) - first).days + 1)}


# -- clock changes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "fire", "instead"),
    [(None, "03-08 03:00", "; runs at 03:00 instead"), ("shift", "03-08 03:30", "; runs at 03:30 instead"),
     ("skip", "03-09 02:30", "")],
)  # fmt: skip
def test_a_time_that_the_clocks_leave_out_is_told(policy: str | None, fire: str, instead: str) -> None:
    found = look("2026-03-08 00:00", 1, crontab="30 2 * * *", timezone=NEW_YORK, dst_policy=policy)

    (gap,) = left_out(found)
    assert local(found) == [fire]
    assert (gap.first.isoformat(), gap.count) == ("2026-03-08T02:30:00", 1)
    assert gap.reason == "the clocks are set forward from 02:00 to 03:00" + instead


def test_a_rule_of_every_ten_minutes_has_none_in_the_gap() -> None:
    found = look("2026-03-08 06:51", 2, crontab="*/10 * * * *", timezone=NEW_YORK)

    assert local(found) == ["03-08 03:00", "03-08 03:10"]
    assert [(entry.count, entry.reason) for entry in left_out(found)] == [
        (6, "the clocks are set forward from 02:00 to 03:00")
    ]


def test_a_gap_on_a_closed_day_promises_no_run() -> None:
    found = look("2026-03-07 00:00", 1, crontab="30 2 * * *", timezone=NEW_YORK, calendar="XNYS")
    dense = look("2026-03-08 06:59:59", 1, crontab="* * * * * *", timezone=NEW_YORK)

    assert local(found) == ["03-09 02:30"]
    assert [(f"{entry.first:%m-%d %H:%M}", entry.reason) for entry in left_out(found)] == [
        ("03-07 02:30", "2026-03-07 is closed in XNYS"),
        ("03-08 02:30", "the clocks are set forward from 02:00 to 03:00"),
        ("03-08 03:00", "2026-03-08 is closed in XNYS"),
    ]
    assert [(f"{entry.last:%H:%M:%S}", entry.count) for entry in left_out(dense)] == [("02:59:59", None)]


def test_a_time_that_the_clocks_show_twice_says_which_one_it_is() -> None:
    once = look("2026-11-01 00:00", 1, crontab="30 1 * * *", timezone=NEW_YORK)
    twice = look("2026-11-01 05:00", 2, crontab="30 * * * *", timezone=NEW_YORK)

    assert [fire.note for fire in once.fires] == ["the clocks show this time twice: the first time"]
    assert [fire.note.rpartition(": ")[2] for fire in twice.fires] == ["the first time", "the second time"]


# -- jitter and bounds ------------------------------------------------------------------------------


def test_jitter_is_shown_beside_the_moment_it_puts_off() -> None:
    found = look(count=20, crontab="0 * * * *", jitter_seconds=1800)

    delays = [fire.moment - fire.nominal for fire in found.fires]
    assert all(fire.nominal.minute == 0 for fire in found.fires)
    assert all(timedelta() <= delay < timedelta(minutes=30) for delay in delays)
    assert len(set(delays)) > 10
    assert all(later - earlier == timedelta(hours=1) for earlier, later in pairwise(f.nominal for f in found.fires))


@pytest.mark.parametrize(
    ("columns", "fires", "ended"),
    [
        ({"max_runs": 5, "run_count": 2}, 3, "max_runs=5 is reached"),
        ({"max_runs": 2, "run_count": 2}, 0, "max_runs=2 is reached"),
        ({"end_time": datetime.fromisoformat("2026-06-01 22:30")}, 2, "no further moment within its bounds"),
        ({"run_at": datetime.fromisoformat("2026-06-02 09:00")}, 1, "no further moment within its bounds"),
        ({"run_at": datetime.fromisoformat("2026-05-02 09:00")}, 0, "no further moment within its bounds"),
        ({}, 10, None),
    ],
)
def test_a_row_that_ends_says_why(columns: dict[str, Any], fires: int, ended: str | None) -> None:
    found = look(**columns)

    assert (len(found.fires), found.ended) == (fires, ended)


def test_a_moment_set_by_hand_comes_first_and_the_schedule_goes_on_after_it() -> None:
    by_hand = NOW + timedelta(hours=3, minutes=10)

    found = look(count=3, next_run_at=by_hand)
    usual = look(count=3, next_run_at=NOW + timedelta(hours=1))

    assert [(fire.moment, fire.note) for fire in found.fires] == [
        (by_hand, "next_run_at, set by hand"), (NOW + timedelta(hours=4), ""), (NOW + timedelta(hours=5), ""),
    ]  # fmt: skip
    assert [fire.note for fire in usual.fires] == ["", "", ""]


# -- what is wrong or doubtful ----------------------------------------------------------------------


def test_a_broken_draft_gets_the_sentences_of_config_error() -> None:
    columns: dict[str, Any] = {"crontab": "61 * * * *", "timezone": "Asia/Shangai", "calendar": "XSGH"}

    found = look(**columns)

    assert found.problems == what_is_wrong(row(**columns), AROUND)
    assert len(found.problems) == 3
    assert found.entries == []


def test_a_disabled_row_shows_what_would_come() -> None:
    found = look(enabled=0, count=2)

    assert len(found.fires) == 2
    assert found.warnings == ["enabled is 0: none of this runs before it is 1"]


def test_fires_past_the_calendars_data_are_marked() -> None:
    known = look("2026-06-01", 5, crontab="30 16 * * *", calendar="XSHG")
    unknown = look("2036-06-01", 5, crontab="30 16 * * *", calendar="XSHG")

    assert not any("its data ends" in warning for warning in known.warnings)
    assert any("its data ends" in warning for warning in unknown.warnings)


def test_hints_of_the_row_are_shown() -> None:
    found = look(catch_up="all", overlap="skip")

    assert any("catch_up=all" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    "columns",
    [
        {"crontab": "0 0 29 2 1#5", "calendar": "XSHG"},
        {"crontab": "* * * * * *", "calendar": "XSHG:open"},
        {"rrule": "FREQ=MINUTELY", "calendar": "CN", "calendar_roll": "next"},
        {"interval_seconds": 1, "calendar": "XNYS:open", "jitter_seconds": 3600},
    ],
)
def test_the_work_is_bounded_however_sparse_or_dense_the_rule(columns: dict[str, Any]) -> None:
    found = look(count=100, **columns)

    assert (found.problems, len(found.fires)) == ([], 100)
    assert len(found.entries) <= 100 * (LOOKED_AT + 1)


def test_no_more_fires_are_named_than_the_bound() -> None:
    assert len(look(count=10 * MAX_FIRES, interval_seconds=1).fires) == MAX_FIRES


# -- rules that are hard to search ------------------------------------------------------------------

HOURS, MINUTES = ",".join(map(str, range(24))), ",".join(map(str, range(60)))
EVERY_SECOND = f"BYHOUR={HOURS};BYMINUTE={MINUTES};BYSECOND={MINUTES}"
MOST_SECONDS = 5.0  # of the processor; without a bound the first two take 20 and 30
HARD: dict[str, dict[str, Any]] = {
    "every second of a year": {"rrule": f"FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;{EVERY_SECOND}"},
    "each second of days that are closed": {"rrule": f"FREQ=WEEKLY;BYDAY=SU;{EVERY_SECOND}", "calendar": "XSHG"},
    "one second of a year": {"rrule": f"FREQ=YEARLY;{EVERY_SECOND};BYSETPOS=-1", "calendar": "XSHG"},
    "never open": {"rrule": "FREQ=MINUTELY;BYDAY=SU;BYHOUR=3;BYMINUTE=7", "calendar": "XSHG", "jitter_seconds": 3600},
    "29 February under a calendar": {"crontab": "0 0 29 2 *", "calendar": "XSHG", "jitter_seconds": 86400},
    "a thousand that are left out": {
        "rrule": f"DTSTART:{NOW:%Y%m%d}T000000\nRRULE:FREQ=MINUTELY;BYHOUR=3;BYMINUTE=7\nEXDATE:"
        + ",".join(f"{NOW + timedelta(days=day):%Y%m%dT030700}" for day in range(3000)),
    },
}  # fmt: skip


@pytest.mark.parametrize("columns", HARD.values(), ids=HARD)
def test_a_search_that_is_hard_ends_all_the_same(columns: dict[str, Any]) -> None:
    began = process_time()

    found = look(count=100, **columns)

    assert process_time() - began < MOST_SECONDS
    assert found.fires or found.problems
    assert len(found.fires) in (0, 100) or found.ended or found.warnings[0] == TOO_LONG


def test_what_was_found_before_the_search_became_too_long_is_shown() -> None:
    rule = "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29;BYDAY=SA"

    found = look(count=100, rrule=rule, calendar="XSHG", calendar_roll="next")

    assert [fire.moment.year for fire in found.fires[:3]] == [2048, 2076, 2116]
    assert (found.problems, found.ended, found.warnings[0]) == ([], None, TOO_LONG)


def test_a_year_by_the_minute_is_searched_to_its_last_day() -> None:
    every_minute = f"FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYHOUR={HOURS};BYMINUTE={MINUTES}"

    found = look("2028-12-31 15:57", 4, rrule=every_minute, timezone="Asia/Shanghai")

    assert local(found) == ["12-31 23:57", "12-31 23:58", "12-31 23:59", "01-01 00:00"]
