"""A row that cannot run says why, and disturbs no other."""

from scheduler import DatabaseScheduler
from tests.broken_rows import BROKEN_ROWS, BrokenRow
from tests.integration.conftest import NewBeat
from tests.integration.engine import EVERY_MINUTE, MINUTE, YEARLY, Ledger, agent


def insert_broken(ledger: Ledger, broken: BrokenRow, **columns: object) -> None:
    values = {"name": broken.name, "crontab": YEARLY, "task_extra_config": agent(), **broken.columns, **columns}
    names, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
    ledger.sql(f"INSERT INTO periodic_task ({names}) VALUES ({marks})", **values)


def test_each_broken_row_says_what_is_wrong_and_good_ones_beside_them_run(
    ledger: Ledger, beat: DatabaseScheduler
) -> None:
    for number, broken in enumerate(BROKEN_ROWS):
        insert_broken(ledger, broken)
        ledger.insert(f"good {number}", crontab=EVERY_MINUTE)

    beat.arm()
    ledger.sql("UPDATE periodic_task SET next_run_at = '2026-01-01' WHERE next_run_at IS NOT NULL")
    beat.fire()

    rows = {row.name: row for row in ledger.sql("SELECT name, config_error, next_run_at FROM periodic_task")}
    silent = [f"{row.name}: {rows[row.name].config_error}" for row in BROKEN_ROWS if not _says(rows[row.name], row)]
    assert silent == []
    assert all(rows[broken.name].next_run_at is None for broken in BROKEN_ROWS)
    good = {name for name in rows if name.startswith("good ")}
    assert {run.task_name for run in ledger.runs()} == good
    assert all(rows[name].config_error is None for name in good)


def _says(row: object, broken: BrokenRow) -> bool:
    error = getattr(row, "config_error", None)
    return error is not None and broken.says in error and len(error) <= 4000


def test_fifty_kinds_are_known() -> None:
    assert len({row.name for row in BROKEN_ROWS}) == len(BROKEN_ROWS) >= 50


def test_a_broken_row_asked_to_run_now_is_skipped_aloud_and_good_ones_run(
    ledger: Ledger, beat: DatabaseScheduler
) -> None:
    for broken in BROKEN_ROWS:
        insert_broken(ledger, broken, run_now=1)
    ledger.insert("good", run_now=1)

    beat.fire_manual()

    skipped = {run.task_name: run.error for run in ledger.runs() if run.state == "SKIPPED"}
    assert set(skipped) == {row.name for row in BROKEN_ROWS}
    assert all(error.startswith("run_now on a broken row: ") for error in skipped.values())
    assert [run.task_name for run in ledger.runs() if run.state == "PENDING"] == ["good"]
    assert ledger.value("SELECT count(*) FROM periodic_task WHERE run_now > 0") == 0


def test_rows_broken_while_they_are_due_do_not_hold_their_neighbours(ledger: Ledger, beat: DatabaseScheduler) -> None:
    good = ledger.insert("good")
    ledger.insert_many({"name": row.name, "crontab": YEARLY, "task_extra_config": agent()} for row in BROKEN_ROWS)
    beat.arm()
    ledger.sql("UPDATE periodic_task SET next_run_at = '2026-01-01'")
    for broken in BROKEN_ROWS:
        changes = ", ".join(f"{column} = :{column}" for column in broken.columns)
        ledger.sql(f"UPDATE periodic_task SET {changes} WHERE name = :name", **broken.columns, name=broken.name)

    beat.fire()
    beat.arm()

    assert {run.periodic_task_id for run in ledger.runs()} == {good}
    assert ledger.value("SELECT count(*) FROM periodic_task WHERE config_error IS NULL") == 1


def test_a_due_row_whose_queue_went_away_is_marked_and_its_neighbours_run(ledger: Ledger, new_beat: NewBeat) -> None:
    good, bad = ledger.insert("good"), ledger.insert("bad", task_extra_config=agent(queue="gpu"))
    new_beat(task_queues=("gpu",)).arm()
    ledger.owe(bad)
    ledger.owe(good)
    beat = new_beat()

    beat.fire()
    beat.arm()

    assert ledger.states(good) == {"PENDING": 1}
    assert ledger.states(bad) == {}
    assert "queue 'gpu' is unknown" in ledger.task(bad).config_error


def test_a_repaired_row_runs_from_now_on(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = ledger.insert(crontab="61 * * * *")
    beat.arm()

    ledger.edit(task, crontab=EVERY_MINUTE)
    beat.arm()

    row = ledger.task(task)
    assert row.config_error is None
    assert row.rearm_at is None
    assert ledger.now() < row.next_run_at <= ledger.now() + MINUTE


def test_a_broken_row_is_tried_again_after_a_minute_and_not_before(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = ledger.insert(task_extra_config=agent(endpoint="moon"))
    beat.arm()
    ledger.sql("INSERT INTO agent_endpoint (name, provider, base_url) VALUES ('moon', 'agent_platform', 'http://m/')")

    assert beat.arm() == 0
    assert ledger.now() < ledger.task(task).rearm_at <= ledger.now() + MINUTE
    ledger.edit(task, rearm_at=ledger.now())
    assert beat.arm() == 1

    assert ledger.task(task).config_error is None
    assert ledger.task(task).next_run_at is not None


def test_a_queue_that_is_configured_later_repairs_the_row(ledger: Ledger, new_beat: NewBeat) -> None:
    task = ledger.insert(task_extra_config=agent(queue="gpu"))
    new_beat().arm()
    assert "queue 'gpu' is unknown" in ledger.task(task).config_error

    ledger.edit(task, rearm_at=ledger.now())
    new_beat(task_queues=("gpu",)).arm()

    assert ledger.task(task).config_error is None


def test_a_skipped_run_keeps_a_long_reason_whole(ledger: Ledger, beat: DatabaseScheduler) -> None:
    task = ledger.insert(
        crontab="q" * 255, calendar="QQQ", overlap="no", catch_up="no", task_extra_config="[", run_now=1
    )
    beat.arm()

    beat.fire_manual()

    (run,) = ledger.runs()
    assert len(run.error) > 500
    assert run.error == f"run_now on a broken row: {ledger.task(task).config_error}"
