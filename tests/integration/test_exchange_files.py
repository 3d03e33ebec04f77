"""core/exchanges/ against the library it was made from: every exchange, every day, every session."""

import warnings
from collections.abc import Iterator
from datetime import date, timedelta
from importlib import import_module
from typing import Any

import pytest

from core.calendar_data import exchange_names
from core.calendars import load
from scripts.build_calendars import FIRST, LAST, LISTED_UNTIL

FIRST_COMPARED, LAST_COMPARED = date(2023, 1, 1), date(2028, 12, 31)
COMPARED_WHOLLY = {"XSHG", "XHKG", "XNYS"}  # all of them take a minute and a half


@pytest.fixture(scope="module")
def library() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield import_module("exchange_calendars")


def test_every_exchange_of_the_library_has_a_file(library: Any) -> None:
    assert exchange_names() == {code.upper() for code in library.get_calendar_names(include_aliases=False)}


@pytest.mark.parametrize("name", sorted(exchange_names()))
def test_the_file_says_what_the_library_says(library: Any, name: str) -> None:
    calendar, code = load(name), {"US_FUTURES": "us_futures"}.get(name, name)
    first, last = (FIRST, LAST) if name in COMPARED_WHOLLY else (FIRST_COMPARED, LAST_COMPARED)
    until = min(calendar.known_until, last)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schedule = library.get_calendar(code, start=str(first), end=str(until)).schedule
    published = {label.date(): row for label, row in schedule.iterrows()}

    days = [first + timedelta(days=n) for n in range((until - first).days + 1)]
    assert [day for day in days if calendar.is_open(day)] == [day for day in published if day <= until]
    previous_close = None
    for day, row in published.items():
        sessions = calendar.sessions(day)
        edges = [edge for session in sessions for edge in session]
        columns = [row[column] for column in ("open", "break_start", "break_end", "close")]
        assert edges == [column.to_pydatetime() for column in columns if str(column) != "NaT"], day
        assert edges == sorted(edges)
        assert previous_close is None or previous_close <= edges[0], "sessions overlap"
        previous_close = edges[-1]


@pytest.mark.parametrize(("name", "year"), LISTED_UNTIL.items())
def test_lists_that_end_unannounced_end_in_the_file(name: str, year: int) -> None:
    assert load(name).known_until == date(year, 12, 31)
