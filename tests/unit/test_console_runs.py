"""The address of the list of runs says the same from one page to the next."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest

from web.pages.runs_asked import RunsAsked

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize("first", ["2026-05-30T09:00", "2026-05-30T09:00:30", "2026-05-30T09:00+00:00"])
def test_a_link_to_the_next_page_keeps_every_filter_to_the_second_and_its_offset(first: str) -> None:
    asked = RunsAsked(
        span="own", first=first, state=["FAILURE"], task="每日 & 报告", task_id=7, origin="api", queue="celery",
        error_kind="timeout",
    )  # fmt: skip

    asked_again = RunsAsked.model_validate(
        {name: value if name == "state" else value[0] for name, value in _query(asked, before="x").items()}
    )

    assert asked_again.filter(NOW, SHANGHAI) == asked.filter(NOW, SHANGHAI)
    assert asked_again.before == "x"


@pytest.mark.parametrize(
    ("first", "shown"),
    [("2026-05-30T09:00", "2026-05-30T09:00"), ("2026-05-30T09:00+00:00", "2026-05-30T17:00"), ("", "")],
)
def test_the_field_shows_a_time_on_the_installations_clock(first: str, shown: str) -> None:
    asked = RunsAsked.model_validate({"first": first})

    assert asked.on_clock(asked.first, SHANGHAI) == shown


def _query(asked: RunsAsked, **changed: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(asked.address("/runs", **changed)).query)
