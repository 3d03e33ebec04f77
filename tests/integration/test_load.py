"""The load of the coming days, and a collision spread: measured on what really fires, and undone to the letter."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Event
from zoneinfo import ZoneInfo

import pytest
from fastapi import Response

from api.access import Caller, Role
from api.bulk import MOST_IDS, BulkOrder, TaskSelection, change_many, one_change, undo
from api.load import SpreadOrder, Stretch, coming_load, spread_minute
from api.services import Services, build_services
from api.task_models import TaskChange
from core.refused import Refused
from scheduler import DatabaseScheduler
from store.tasks import EDITABLE
from tests.integration.engine import Ledger, agent, settings_for
from web.load import LoadLook, hours_from

ROWS = 1000
MEI = Caller("mei", Role.OPERATOR, "session")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def ours(ledger: Ledger) -> Iterator[Services]:
    services = build_services(settings_for(ledger))
    yield services
    services.close()


def armed(ledger: Ledger, beat: DatabaseScheduler) -> None:
    while beat.arm():
        pass


def tomorrow_at_nine(ledger: Ledger) -> datetime:
    return (ledger.now() + timedelta(days=1)).replace(hour=9, minute=0, second=0, microsecond=0)


def planted(ledger: Ledger, beat: DatabaseScheduler, count: int = ROWS, **columns: object) -> None:
    """Rows that all fire at nine, and a few that fire elsewhere."""
    config = agent()
    rows = [{"name": f"报表 {n}", "crontab": "0 9 * * *", "task_extra_config": config, **columns} for n in range(count)]
    ledger.insert_many(rows)
    ledger.insert("another", crontab="30 10 * * *")
    armed(ledger, beat)


def fullest_minute(ledger: Ledger) -> int:
    moments = [
        row.next_run_at for row in ledger.sql("SELECT next_run_at FROM periodic_task WHERE next_run_at IS NOT NULL")
    ]
    return max(Counter(str(moment)[:16] for moment in moments).values())


def what_operators_wrote(ledger: Ledger) -> list[tuple[object, ...]]:
    return [tuple(row) for row in ledger.sql(f"SELECT id, {', '.join(EDITABLE)} FROM periodic_task ORDER BY id")]


def test_a_collision_of_1000_rows_is_spread_fivefold_and_undone_exactly(
    ledger: Ledger, beat: DatabaseScheduler, ours: Services
) -> None:
    planted(ledger, beat)
    before, moments = what_operators_wrote(ledger), fullest_minute(ledger)

    found = spread_minute(ours, MEI, Response(), SpreadOrder(minute=tomorrow_at_nine(ledger)))
    armed(ledger, beat)

    assert found.change is not None
    assert (found.rows, found.before, found.change.changed) == (ROWS, ROWS, ROWS)
    assert fullest_minute(ledger) == found.after  # what was foretold is what comes
    assert fullest_minute(ledger) * 5 <= moments == ROWS

    undone = undo(ours, MEI, str(found.change.id))
    armed(ledger, beat)

    assert (undone.changed, undone.left) == (ROWS, 0)
    assert what_operators_wrote(ledger) == before
    assert fullest_minute(ledger) == ROWS


def test_what_was_edited_in_between_stays_edited_and_the_rest_is_given_back(
    ledger: Ledger, beat: DatabaseScheduler, ours: Services
) -> None:
    planted(ledger, beat, 30, jitter_seconds=2)
    ids = [row.id for row in ledger.sql("SELECT id FROM periodic_task ORDER BY id")]
    found = spread_minute(ours, MEI, Response(), SpreadOrder(minute=tomorrow_at_nine(ledger)))
    ledger.sql("UPDATE periodic_task SET jitter_seconds = 7 WHERE id = :id", id=ids[0])
    ledger.sql("UPDATE periodic_task SET crontab = '5 9 * * *' WHERE id = :id", id=ids[1])
    ledger.sql("DELETE FROM periodic_task WHERE id = :id", id=ids[2])

    assert found.change is not None
    undone = undo(ours, MEI, str(found.change.id))

    assert (undone.changed, undone.left) == (28, 2)
    left = ledger.sql("SELECT id, crontab, jitter_seconds FROM periodic_task WHERE name LIKE '报表%' ORDER BY id")
    assert [tuple(row) for row in left] == [
        (ids[0], "0 9 * * *", 7),
        (ids[1], "5 9 * * *", 2),
        *((task_id, "0 9 * * *", 2) for task_id in ids[3:30]),
    ]


def test_what_is_beyond_one_spread_is_counted_where_it_stays(
    ledger: Ledger, beat: DatabaseScheduler, ours: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.load.MOST_SPREAD", 40)
    planted(ledger, beat, 100)

    found = spread_minute(ours, MEI, Response(), SpreadOrder(minute=tomorrow_at_nine(ledger)))
    armed(ledger, beat)

    assert (found.rows, found.before) == (40, 100)
    assert found.after == fullest_minute(ledger) >= 60


def test_a_change_of_as_many_rows_as_are_allowed_is_written_down(ours: Services) -> None:
    ids = list(range(10**17, 10**17 + MOST_IDS))

    change = change_many(
        ours, MEI, Response(), BulkOrder(select=TaskSelection(ids=ids), change=TaskChange(jitter_seconds=1))
    )

    assert one_change(ours, str(change.id)).selection == {"ids": f"10,000 ids from {ids[0]} to {ids[-1]}"}


def test_a_change_during_the_making_of_a_forecast_has_it_made_again(
    ours: Services, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.load.BEAT_READS", 0.0)
    look, now, made_again = LoadLook(ours), ledger.now(), Event()
    look.forget()

    look._make(now, hours_from(now, ZoneInfo("UTC")))  # it had begun before the change
    monkeypatch.setattr(look, "_make", lambda *_: made_again.set())
    look.ask(now)

    assert made_again.wait(10)
    assert look.moves


def test_a_dry_run_foretells_and_changes_nothing(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    planted(ledger, beat, 60)
    before, response = what_operators_wrote(ledger), Response()

    found = spread_minute(ours, MEI, response, SpreadOrder(minute=tomorrow_at_nine(ledger), dry_run=True))

    assert (found.rows, found.before, found.change, response.status_code) == (60, 60, None, 200)
    assert found.after * 5 <= 60
    assert what_operators_wrote(ledger) == before


def test_rows_that_come_again_soon_stay_where_they_are(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    planted(ledger, beat, 60)
    often = ledger.insert("often", crontab="*/5 * * * *")
    wide = ledger.insert("wide", crontab="0 9 * * *", jitter_seconds=1)
    armed(ledger, beat)

    found = spread_minute(ours, MEI, Response(), SpreadOrder(minute=tomorrow_at_nine(ledger)))

    assert (found.rows, found.left) == (61, 1)
    assert ledger.task(often).jitter_seconds == 0
    assert ledger.task(wide).jitter_seconds == found.jitter_seconds


@pytest.mark.parametrize("away", [timedelta(hours=3), timedelta(days=-2), timedelta(days=30)])
def test_a_minute_with_nothing_to_spread_is_refused(
    ledger: Ledger, beat: DatabaseScheduler, ours: Services, away: timedelta
) -> None:
    planted(ledger, beat, 3)

    with pytest.raises(Refused, match="minute"):
        spread_minute(ours, MEI, Response(), SpreadOrder(minute=tomorrow_at_nine(ledger) + away))


def test_the_load_of_a_week_is_exact_for_what_is_walked(
    ledger: Ledger, beat: DatabaseScheduler, ours: Services
) -> None:
    planted(ledger, beat, 40)
    ledger.insert("often", crontab="*/2 * * * *")
    armed(ledger, beat)

    found = coming_load(ours, MEI, Stretch(days=7))

    nine = [hour for hour in found.hours if hour.hour.astimezone(UTC).hour == 9]
    assert len(found.hours) == 7 * 24
    assert {hour.fullest for hour in nine if hour.hour > ledger.now()} <= {
        41,
        40.5,
    }  # every other minute is half a row a minute, later on
    assert found.peaks[0].rows == 41
    assert (found.walked, found.thinned, found.once, found.more) == (41, 1, 0, False)
    assert found.hours[-1].rows == pytest.approx(30, abs=42)


def test_jitter_is_spread_over_the_minutes_it_may_take(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    planted(ledger, beat, 100, jitter_seconds=600)

    found = coming_load(ours, MEI, Stretch(days=3))

    assert found.peaks[0].rows == 10
    assert sum(hour.rows for hour in found.hours) == pytest.approx(3 * 101, abs=102)
