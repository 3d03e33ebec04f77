"""The crontab column: what each field means, what is refused, and in which words."""

from datetime import UTC, datetime, timedelta
from time import process_time

import pytest

from core.cadence import FIELDS, MACROS, CadenceError, parse_crontab

MONDAY = datetime(2026, 6, 1, 0, 0, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

MEANINGS = {
    "30 9 * * *": "2026-06-01 09:30:00",
    "  30\t9 *  * * ": "2026-06-01 09:30:00",
    "30 9 * * 1-5": "2026-06-01 09:30:00",
    "30 9 * * 2-5": "2026-06-02 09:30:00",
    "0 9 * * sat": "2026-06-06 09:00:00",
    "0 9 * * 0": "2026-06-07 09:00:00",
    "0 9 * * 7": "2026-06-07 09:00:00",
    "0 9 * * 5-7": "2026-06-05 09:00:00",
    "0 9 * * SUN": "2026-06-07 09:00:00",
    "*/15 * * * *": "2026-06-01 00:15:00",
    "5/20 * * * *": "2026-06-01 00:05:00",
    "10-50/20 * * * *": "2026-06-01 00:10:00",
    "1,2,58 * * * *": "2026-06-01 00:01:00",
    "0 */6 * * *": "2026-06-01 06:00:00",
    "0 0 * jul *": "2026-07-01 00:00:00",
    "0 0 1 1 *": "2027-01-01 00:00:00",
    "0 0 31 * *": "2026-07-31 00:00:00",
    "0 0 29 2 *": "2028-02-29 00:00:00",
    "0 0 L * *": "2026-06-30 00:00:00",
    "0 0 L 2 *": "2027-02-28 00:00:00",
    "0 0 LW 5 *": "2027-05-31 00:00:00",  # 31 May 2027 is a Monday
    "0 0 LW 8 *": "2026-08-31 00:00:00",
    "0 0 LW 1 *": "2027-01-29 00:00:00",  # the 31st is a Sunday
    "0 0 * * 5#2": "2026-06-12 00:00:00",
    "0 0 * * 1#5": "2026-06-29 00:00:00",
    "0 0 * * 5L": "2026-06-26 00:00:00",
    "0 12 13 * 5": "2026-06-05 12:00:00",  # the 13th, or a Friday
    "0 12 */13 * 5": "2026-08-14 12:00:00",  # the 1st, 14th or 27th, and a Friday
    "0 12 13 * */5": "2026-09-13 12:00:00",  # the 13th, and a Sunday or a Friday
    "30 0 9 * * *": "2026-06-01 09:00:30",
    "*/10 * * * * *": "2026-06-01 00:00:10",
    "* * * * * *": "2026-06-01 00:00:01",
    "59 59 23 31 12 *": "2026-12-31 23:59:59",
}


@pytest.mark.parametrize(("text", "expected"), MEANINGS.items())
def test_each_field_means_what_debian_cron_says(text: str, expected: str) -> None:
    found = parse_crontab(text, "UTC").after(MONDAY)

    assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", MEANINGS)
def test_the_search_back_finds_what_the_search_forward_found(text: str) -> None:
    cron = parse_crontab(text, "UTC")
    found = cron.after(MONDAY)
    assert found is not None

    assert cron.latest(found) == found
    assert cron.latest(found + MICROSECOND) == found
    assert cron.after(found - MICROSECOND) == found
    before = cron.latest(found - MICROSECOND)
    assert before is not None
    assert before <= MONDAY
    assert cron.after(before) == found


@pytest.mark.parametrize(("macro", "text"), MACROS.items())
def test_a_macro_means_its_five_fields_in_any_case(macro: str, text: str) -> None:
    for written in (macro, macro.upper(), f"  {macro} "):
        assert parse_crontab(written, "UTC") == parse_crontab(text, "UTC")


def test_a_crontab_is_read_in_its_zone() -> None:
    nine_in_shanghai = parse_crontab("0 9 * * *", "Asia/Shanghai").after(MONDAY)

    assert nine_in_shanghai == datetime(2026, 6, 1, 1, 0, tzinfo=UTC)


@pytest.mark.parametrize("micros", [1, 499_999, 500_000, 999_999])
def test_a_fraction_of_a_second_neither_loses_nor_repeats_a_moment(micros: int) -> None:
    every_minute, minute = parse_crontab("* * * * *", "UTC"), timedelta(minutes=1)
    fraction = timedelta(microseconds=micros)

    assert every_minute.after(MONDAY + fraction) == MONDAY + minute
    assert every_minute.latest(MONDAY + fraction) == MONDAY
    assert every_minute.after(MONDAY + minute - fraction) == MONDAY + minute
    assert every_minute.latest(MONDAY + minute - fraction) == MONDAY


NEVER = [
    "0 0 30 2 *", "0 0 31 2 *", "0 0 31 4 *", "0 0 31 2,4,6,9,11 *", "0 0 31 9 */2", "0 0 30-31 2 *",
    "0 0 */29 2 MON#5", "0 0 */30 2 0#5", "0 0 0 31 2 *",
]  # fmt: skip


@pytest.mark.parametrize("text", NEVER)
def test_a_date_that_never_comes_is_told(text: str) -> None:
    with pytest.raises(CadenceError, match="names a date that never comes"):
        parse_crontab(text, "UTC")


def test_a_date_that_seems_never_to_come_but_does_is_kept() -> None:
    # With both day fields restricted either is enough: the Mondays of February.
    assert parse_crontab("0 0 30 2 1", "UTC").after(MONDAY) == datetime(2027, 2, 1, tzinfo=UTC)
    # 29 February on a Sunday, once in 28 years, and 40 years apart around 2100.
    assert parse_crontab("0 0 29 2 */7", "UTC").after(MONDAY) == datetime(2032, 2, 29, tzinfo=UTC)


GARBAGE = {
    "": "has 0 fields",
    "   ": "has 0 fields",
    "* * * *": "has 4 fields",
    "0 0 12 ? * MON 2026-2028": "seventh field; leave the field out and set start_time and end_time",
    "0 9 ? * MON-FRI *": "the first of six fields is for seconds; leave out the year",
    "0 9 1 * ? 2026": "the first of six fields is for seconds; leave out the year",
    "* * * * * * * *": "has 8 fields",
    "every day": "has 2 fields",
    "0,9,*,*,*": "has 1 fields",
    "@dayly": "unknown name; use one of @hourly",
    "@reboot": "unknown name",
    "@every 5m": "unknown name",
    "@": "unknown name",
    "60 * * * *": "minute '60' (use 0-59)",
    "-1 * * * *": "minute '-1'",
    "*/0 * * * *": "minute '*/0'",
    "*/ * * * *": "minute '*/'",
    "/5 * * * *": "minute '/5'",
    "1/2/3 * * * *": "minute '1/2/3'",
    "5-1 * * * *": "minute '5-1'",
    "1- * * * *": "minute '1-'",
    "1,,2 * * * *": "minute '1,,2'",
    ", * * * *": "minute ','",
    "1.5 * * * *": "minute '1.5'",
    "** * * * *": "minute '**'",
    "?? * * * *": "minute '??'",
    "0 24 * * *": "hour '24' (use 0-23)",
    "0 9am * * *": "hour '9am'",
    "0 0 0 * *": "day '0' (use 1-31, L or LW)",
    "0 0 32 * *": "day '32'",
    "0 0 L-3 * *": "day 'L-3'",
    "0 0 15W * *": "day '15W'",
    "0 0 * 0 *": "month '0' (use 1-12 or JAN-DEC)",
    "0 0 * 13 *": "month '13'",
    "0 0 * JANUARY *": "month 'JANUARY'",
    "0 0 * * 8": "weekday '8'",
    "0 ? * * *": "hour '?' (use 0-23)",
    "0 0 * * MON-SUN": "MON-SUN is 1-7",
    "0 0 * * 周一": "weekday '周一'",
    "0 0 * * L": "weekday 'L'",
    "0 0 * * MON#6": "weekday 'MON#6'",
    "0 0 * * MON#": "weekday 'MON#'",
    "0 0 * * ²L": "weekday '²L'",
    "60 0 0 * * *": "second '60' (use 0-59)",
    "０ ９ * * *": "minute '０' (use 0-59), hour '９' (use 0-23)",
    "0 9 * * *;DROP": "weekday '*;DROP'",
    "0 9 * * \x00": "weekday '\\x00'",
    "61 25 32 13 8": "minute '61'",
    "9" * 200 + " * * * *": "minute '999",
    "*/" + "9" * 200 + " * * * x": "weekday 'x'",
    "1," * 150 + "1 * * * *": "is 309 characters long; use at most 255",
    "9" * 5000 + " * * * *": "is 5008 characters long",
    "* " * 200_000: "is 400000 characters long",
}


@pytest.mark.parametrize(("text", "told"), GARBAGE.items(), ids=[text[:20] for text in GARBAGE])
def test_garbage_is_told_by_field_value_and_mend(text: str, told: str) -> None:
    with pytest.raises(CadenceError) as refused:
        parse_crontab(text, "UTC")

    assert str(refused.value).startswith("crontab ")
    assert told in str(refused.value)
    assert len(str(refused.value)) < 1500


def test_every_wrong_field_is_told_at_once() -> None:
    with pytest.raises(CadenceError) as refused:
        parse_crontab("60 60 24 32 13 8", "UTC")

    assert all(f"{name} " in str(refused.value) for name in FIELDS)


RARE = ["0 0 29 2 */7", "0 0 * 2 MON#5", "59 59 23 31 12 *", "0 0 29 2 *", "0 0 L 2 0#5", "0 0 13 1 5#2"]


@pytest.mark.parametrize("text", [*GARBAGE, *NEVER, *RARE, "1," * 120 + "1 * * * *"], ids=lambda text: text[:20])
def test_no_expression_takes_long_to_read_and_to_search_both_ways(text: str) -> None:
    def read_and_search(round_: int) -> float:
        started = process_time()
        try:
            cron = parse_crontab(text, f"Etc/GMT-{round_}")  # a zone of its own: nothing is remembered
            cron.after(MONDAY)
            cron.latest(MONDAY)
        except CadenceError:
            pass
        return process_time() - started

    assert min(read_and_search(round_) for round_ in range(1, 4)) < 0.05
