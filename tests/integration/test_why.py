"""Why did it not run? Every cause planted where it can be by the engine itself, and named."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import HTTPException

from api.services import Services, build_services
from api.task_actions import PreviewPage, preview_task
from api.why import Why, explained
from beat.rescue import rescue
from core.lifecycle import State
from core.refused import Refused
from core.why_words import SENTENCES
from scheduler import DatabaseScheduler
from store import audit, leases
from store.audit import Actor, Change
from store.database import transaction
from tests.integration.engine import EVERY_MINUTE, MINUTE, Ledger, agent, settings_for
from tests.integration.test_admission import Door, budget, limit
from tests.integration.test_holds import hold

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
EARLY = datetime(2026, 1, 5, tzinfo=UTC)
SEEN: set[str] = set()


@pytest.fixture(scope="module")
def ours(migrated_url: str) -> Iterator[Services]:
    ledger = Ledger(migrated_url)
    services = build_services(settings_for(ledger))
    yield services
    services.close()
    ledger.close()


@pytest.fixture
def door(ledger: Ledger, empty_broker_url: str) -> Iterator[Door]:
    door = Door(ledger, empty_broker_url)
    yield door
    door.admission.close()


def asked(ours: Services, task: int, moment: datetime | str) -> Why:
    """The answer, which both languages must be able to say."""
    found = explained(ours, task, moment if isinstance(moment, str) else moment.isoformat())
    assert "{" not in found.en + found.zh
    SEEN.add(found.key)
    return found


def aged(ledger: Ledger, task: int, since: datetime = EARLY) -> int:
    """Let a row have been there for long."""
    ledger.sql("UPDATE periodic_task SET create_time = :at WHERE id = :id", at=naive(since), id=task)
    ledger.sql("UPDATE audit_log SET create_time = :at WHERE subject = :id", at=naive(since), id=str(task))
    return task


def naive(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


def changed(ledger: Ledger, task: int, before: dict[str, Any], after: dict[str, Any], at: datetime) -> None:
    """An edit by the API at a time of the test's choosing."""
    with transaction(ledger.engine) as tx, audit.silence_triggers(tx):
        audit.record(
            tx, Actor("mei", "session"), Change(action="task.update", subject=task, before=before, after=after)
        )
    ledger.sql(
        "UPDATE audit_log SET create_time = :at WHERE id = :id",
        at=naive(at),
        id=ledger.value("SELECT MAX(id) FROM audit_log"),
    )


def beat_lives(ledger: Ledger) -> None:
    with transaction(ledger.engine) as tx:
        leases.beat_alive(tx, "beat")


def worker_lives(ledger: Ledger, queues: str = "priority_low") -> None:
    with transaction(ledger.engine) as tx:
        leases.register_worker(tx, "w1", pid=1, queues=queues, concurrency=1, lease=HOUR)


def fired(ledger: Ledger, beat: DatabaseScheduler, **columns: Any) -> tuple[int, datetime]:
    """A row whose moment has just become a run."""
    task = ledger.insert(crontab=EVERY_MINUTE, **columns)
    beat.arm()
    moment = ledger.owe(task)
    beat.fire()
    return task, moment


# -- a run tells it ---------------------------------------------------------------------------------


def test_it_did_run(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    task, moment = fired(ledger, beat)
    (run,) = ledger.runs(task)
    ledger.set_run(run.id, state="SUCCESS")

    found = asked(ours, task, moment)

    assert (found.key, found.run, found.values["state"]) == ("ran", run.id, "SUCCESS")


def test_it_is_still_running(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    task, moment = fired(ledger, beat)
    running = {"state": "STARTED", "worker": "w1", "attempt": 1, "started_at": moment, "deadline_at": moment + DAY}
    ledger.set_run(ledger.runs(task)[0].id, **running)

    assert asked(ours, task, moment).key == "running"


def test_jitter_moved_it(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    task = aged(ledger, ledger.insert(crontab="0 * * * *", jitter_seconds=600))
    hour = ledger.now().replace(minute=0, second=0, microsecond=0) - 2 * HOUR
    (fire,) = preview_task(ours, task, PreviewPage(count=1, since=hour)).fires
    ledger.add_run(State.SUCCESS, periodic_task_id=task, scheduled_for=fire.scheduled_for)

    found = asked(ours, task, hour)

    assert fire.jitter_seconds > 0
    assert (found.key, found.values["seconds"]) == ("ran_jitter", round(fire.jitter_seconds))


def test_its_worker_was_lost(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    task, moment = fired(ledger, beat)
    (run,) = ledger.runs(task)
    ledger.set_run(run.id, state="STARTED", worker="gone", attempt=1, started_at=ledger.now(), deadline_at=moment + DAY)

    assert rescue(ledger.engine, judge_leases=True) == 1
    assert asked(ours, task, moment).key == "worker_lost"


def test_it_failed(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    task, moment = fired(ledger, beat)
    ledger.set_run(ledger.runs(task)[0].id, state="FAILURE", error_kind="server", error="the agent answered 500")

    found = asked(ours, task, moment)

    assert found.key == "failed"
    assert "the agent answered 500" in found.en


def test_it_was_cancelled(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    task, moment = fired(ledger, beat, overlap="cancel_other")
    ledger.owe(task)
    beat.fire()

    assert asked(ours, task, moment).key == "cancelled"


def test_an_earlier_run_was_still_going_on(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    task, _ = fired(ledger, beat, overlap="skip")
    moment = ledger.owe(task)
    beat.fire()

    assert asked(ours, task, moment).key == "overlap"


def test_it_waits_behind_an_earlier_run(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    task, _ = fired(ledger, beat, overlap="buffer_all")
    moment = ledger.owe(task)
    beat.fire()

    assert asked(ours, task, moment).key == "buffered"


@pytest.mark.parametrize(
    ("policy", "late", "key"),
    [
        ({"catch_up": "none"}, HOUR, "too_late"),
        ({"catch_up": "latest"}, 2 * HOUR, "outside_window"),
        ({"catch_up": "all", "catch_up_window_seconds": 60}, 2 * HOUR, "outside_window"),
    ],
)
def test_an_outage_cost_it(
    ledger: Ledger, beat: DatabaseScheduler, ours: Services, policy: dict[str, Any], late: timedelta, key: str
) -> None:
    task = ledger.insert(crontab="0 0 1 1 *", **policy)
    beat.arm()
    moment = ledger.owe(task, late)
    beat.fire()

    assert asked(ours, task, moment).key == key


def test_a_later_moment_ran_instead(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    task = ledger.insert(crontab=EVERY_MINUTE, catch_up="latest")
    beat.arm()
    first = ledger.owe_minutes(task, 3)
    beat.fire()

    assert asked(ours, task, first).key == "replaced"


def test_a_moment_inside_a_range_of_skipped_ones_is_found(
    ledger: Ledger, beat: DatabaseScheduler, ours: Services
) -> None:
    task = ledger.insert(crontab=EVERY_MINUTE, catch_up="latest")
    beat.arm()
    first = ledger.owe_minutes(task, 600)
    beat.fire()

    found = asked(ours, task, first + 17 * MINUTE)

    assert found.key == "replaced"
    assert found.run == ledger.runs(task)[0].id


def test_beat_was_told_to_skip_what_was_missed(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    task = aged(ledger, ledger.insert(crontab=EVERY_MINUTE))
    run = ledger.add_run(State.SKIPPED, periodic_task_id=task, error="--skip-missed: due before beat started")

    assert asked(ours, task, ledger.run(run).scheduled_for).key == "skip_missed"


def test_it_was_skipped_for_another_reason(ledger: Ledger, ours: Services) -> None:
    task = aged(ledger, ledger.insert(crontab=EVERY_MINUTE))
    run = ledger.add_run(State.SKIPPED, periodic_task_id=task, error="this run cannot be stored: too long")

    assert asked(ours, task, ledger.run(run).scheduled_for).key == "skipped"


@pytest.mark.parametrize(("mode", "key"), [("wait", "held"), ("skip", "held_skipped")])
def test_an_operator_holds_it(
    ledger: Ledger, beat: DatabaseScheduler, ours: Services, door: Door, mode: str, key: str
) -> None:
    task, moment = fired(ledger, beat)
    hold(ledger, mode=mode, reason="audit at the exchange")

    assert not door.start(ledger.runs(task)[0].id)

    found = asked(ours, task, moment)
    assert found.key == key
    assert "audit at the exchange" in found.zh


def test_its_budget_is_used_up(ledger: Ledger, beat: DatabaseScheduler, ours: Services, door: Door) -> None:
    limit(ledger)
    budget(ledger, "100")
    first, _ = fired(ledger, beat, name="first", task_extra_config=agent(endpoint="limited"))
    assert door.start(ledger.runs(first)[0].id)
    door.end(ledger.runs(first)[0].id)

    task, moment = fired(ledger, beat, task_extra_config=agent(endpoint="limited"))
    assert not door.start(ledger.runs(task)[0].id)

    assert asked(ours, task, moment).key == "budget"


def test_its_budget_may_be_used_up_by_what_goes_on(
    ledger: Ledger, beat: DatabaseScheduler, ours: Services, door: Door
) -> None:
    limit(ledger)
    budget(ledger, "100", reserve=100)
    first, _ = fired(ledger, beat, name="first", task_extra_config=agent(endpoint="limited"))
    assert door.start(ledger.runs(first)[0].id)

    task, moment = fired(ledger, beat, task_extra_config=agent(endpoint="limited"))
    assert not door.start(ledger.runs(task)[0].id)

    assert asked(ours, task, moment).key == "budget_waits"


def test_its_endpoint_bears_no_more(ledger: Ledger, beat: DatabaseScheduler, ours: Services, door: Door) -> None:
    limit(ledger, max_concurrency=1)
    first, _ = fired(ledger, beat, name="first", task_extra_config=agent(endpoint="limited"))
    assert door.start(ledger.runs(first)[0].id)

    task, moment = fired(ledger, beat, task_extra_config=agent(endpoint="limited"))
    assert not door.start(ledger.runs(task)[0].id)

    found = asked(ours, task, moment)
    assert found.key == "limit"
    assert "limited" in found.en


def test_it_is_tried_again_later(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    task, moment = fired(ledger, beat)
    ledger.set_run(ledger.runs(task)[0].id, state="RETRY", attempt=1, ready_at=ledger.now() + HOUR, error="timed out")

    assert asked(ours, task, moment).key == "retrying"


def test_nobody_is_there_to_send_it(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    task, moment = fired(ledger, beat)
    ledger.sql("DELETE FROM beat_heartbeat")

    assert asked(ours, task, moment).key == "no_beat"


def test_no_worker_serves_its_queue(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    task, moment = fired(ledger, beat)
    ledger.set_run(ledger.runs(task)[0].id, state="QUEUED", queued_at=ledger.now())
    worker_lives(ledger, queues="system,priority_high")

    found = asked(ours, task, moment)

    assert (found.key, found.values["queue"]) == ("no_worker", "priority_low")


def test_every_worker_is_busy(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    task, moment = fired(ledger, beat)
    ledger.set_run(ledger.runs(task)[0].id, state="QUEUED", queued_at=ledger.now())
    worker_lives(ledger)

    assert asked(ours, task, moment).key == "queued"


# -- the row as it was ------------------------------------------------------------------------------


def test_the_task_did_not_exist_yet(ledger: Ledger, ours: Services) -> None:
    task = ledger.insert(crontab="0 9 * * *")

    assert asked(ours, task, EARLY).key == "created_later"


def test_the_task_was_switched_off_and_by_whom(ledger: Ledger, ours: Services) -> None:
    task = aged(ledger, ledger.insert(crontab="0 9 * * *", pause_reason="rates changed"))
    off = EARLY + 10 * DAY
    changed(ledger, task, {"enabled": 1}, {"enabled": 0}, off)
    changed(ledger, task, {"enabled": 0}, {"enabled": 1}, off + 5 * DAY)

    found = asked(ours, task, off + 2 * DAY + 9 * HOUR)

    assert (found.key, found.values["actor"]) == ("disabled_by", "mei")
    assert "rates changed" in found.en
    assert asked(ours, task, off - DAY + 9 * HOUR).key != "disabled_by"
    assert asked(ours, task, off + 7 * DAY + 9 * HOUR).key != "disabled_by"


def test_an_edit_by_sql_is_known_too(ledger: Ledger, ours: Services) -> None:
    task = aged(ledger, ledger.insert(crontab="0 9 * * *"))
    ledger.sql("UPDATE periodic_task SET enabled = 0 WHERE id = :id", id=task)

    assert asked(ours, task, ledger.now()).key == "disabled_by"


def test_the_task_is_off_and_nobody_knows_since_when(ledger: Ledger, ours: Services) -> None:
    task = ledger.insert(crontab="0 9 * * *", enabled=0)
    aged(ledger, task)
    ledger.sql("DELETE FROM audit_log")

    assert asked(ours, task, EARLY + DAY + 9 * HOUR).key == "disabled"


def test_the_row_was_broken_then_and_is_mended_now(ledger: Ledger, ours: Services) -> None:
    task = aged(ledger, ledger.insert(crontab="0 9 * * *"))
    changed(ledger, task, {"crontab": "0 25 * * *"}, {"crontab": "0 9 * * *"}, EARLY + 10 * DAY)

    found = asked(ours, task, EARLY + 3 * DAY + 9 * HOUR)

    assert found.key == "broken"
    assert "0 25 * * *" in found.en


def test_the_task_was_deleted(ledger: Ledger, ours: Services) -> None:
    task = aged(ledger, ledger.insert(crontab="0 9 * * *"))
    ledger.sql("DELETE FROM periodic_task WHERE id = :id", id=task)

    assert asked(ours, task, ledger.now()).key == "deleted"


def test_another_rule_held_then(ledger: Ledger, ours: Services) -> None:
    task = aged(ledger, ledger.insert(crontab="0 9 * * *"))
    changed(ledger, task, {"crontab": "0 6 * * *"}, {"crontab": "0 9 * * *"}, EARLY + 10 * DAY)

    found = asked(ours, task, EARLY + 3 * DAY + 9 * HOUR)

    assert (found.key, found.values["actor"]) == ("edited_later", "mei")


def test_it_follows_another_task(ledger: Ledger, ours: Services) -> None:
    first = aged(ledger, ledger.insert("first", crontab="0 9 * * *"))
    task = aged(ledger, ledger.insert("second", crontab="0 9 * * *"))
    ledger.edit(task, crontab=None, task_extra_config=agent(after={"task": "first"}))
    aged(ledger, task)

    assert first
    assert asked(ours, task, EARLY + 3 * DAY + 9 * HOUR).key == "follows"


# -- the rule ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "moment", "key"),
    [
        ({"start_time": datetime(2026, 2, 1)}, "2026-01-20T09:00Z", "before_start"),  # noqa: DTZ001 - wall-clock
        ({"end_time": datetime(2026, 1, 10)}, "2026-01-20T09:00Z", "after_end"),  # noqa: DTZ001 - wall-clock
        ({}, "2026-01-20T09:07Z", "not_a_moment"),
        ({"calendar": "XNYS"}, "2026-01-19T09:00Z", "closed"),
        ({"calendar": "XNYS", "calendar_roll": "next"}, "2026-01-19T09:00Z", "rolled"),
        ({"crontab": "0 9,15 * * *", "calendar": "XNYS:open"}, "2026-01-20T09:00Z", "outside_session"),
        (
            {"crontab": "30 2 * * *", "timezone": "America/New_York", "dst_policy": "skip"},
            "2026-03-08 02:30",
            "dst_gap",
        ),
        ({}, "2100-01-20T09:00Z", "future"),
    ],
)
def test_its_rule_says_why(ledger: Ledger, ours: Services, columns: dict[str, Any], moment: str, key: str) -> None:
    task = aged(ledger, ledger.insert(**{"crontab": "0 9 * * *", **columns}))

    assert asked(ours, task, moment).key == key


def test_its_runs_are_all_made(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    task, moment = fired(ledger, beat, max_runs=1)
    aged(ledger, task)

    assert asked(ours, task, moment.replace(second=0, microsecond=0) - 5 * MINUTE).key == "max_runs"


def test_it_is_longer_ago_than_the_ledger_remembers(ledger: Ledger, ours: Services) -> None:
    task = aged(ledger, ledger.insert(crontab="0 9 * * *"), since=datetime(2020, 1, 1, tzinfo=UTC))

    assert asked(ours, task, datetime(2020, 5, 5, 9, tzinfo=UTC)).key == "purged"


def test_it_is_due_and_nobody_is_there_to_fire_it(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    task = aged(ledger, ledger.insert(crontab=EVERY_MINUTE))
    beat.arm()
    moment = ledger.owe_minutes(task, 1)

    assert asked(ours, task, moment).key == "no_beat"
    beat_lives(ledger)
    assert asked(ours, task, moment).key == "owed"


def test_where_nothing_explains_it_that_is_said(ledger: Ledger, beat: DatabaseScheduler, ours: Services) -> None:
    task = aged(ledger, ledger.insert(crontab="0 * * * *"))
    beat.arm()
    beat_lives(ledger)

    hour = ledger.now().replace(minute=0, second=0, microsecond=0)

    assert asked(ours, task, hour - 2 * HOUR).key == "no_trace"


# -- how it is asked --------------------------------------------------------------------------------


def test_a_time_without_an_offset_is_the_zones(ledger: Ledger, ours: Services) -> None:
    task = aged(ledger, ledger.insert(crontab="0 9 * * *", timezone="Asia/Tokyo"))

    found = asked(ours, task, "2100-01-20 09:00")

    assert found.key == "future"
    assert (found.at, found.zone) == (datetime(2100, 1, 20, 0, 0, tzinfo=UTC), "Asia/Tokyo")


def test_a_minute_is_enough_where_the_moment_has_seconds(
    ledger: Ledger, beat: DatabaseScheduler, ours: Services
) -> None:
    task = aged(ledger, ledger.insert(interval_seconds=3600), since=EARLY + timedelta(seconds=7, microseconds=5))
    ledger.add_run(
        State.SUCCESS, periodic_task_id=task, scheduled_for=EARLY + HOUR + timedelta(seconds=7, microseconds=5)
    )

    assert asked(ours, task, EARLY + HOUR).key == "ran"
    assert asked(ours, task, EARLY + HOUR + MINUTE).key == "not_a_moment"


@pytest.mark.parametrize("moment", ["", "yesterday", "1400-01-01", "9999-12-31T23:59"])
def test_what_is_no_moment_is_refused(ledger: Ledger, ours: Services, moment: str) -> None:
    task = ledger.insert()

    with pytest.raises(Refused, match="moment"):
        explained(ours, task, moment)


def test_an_unknown_task_is_not_there(ours: Services, ledger: Ledger) -> None:
    with pytest.raises(HTTPException, match="No task has the id 4711"):
        explained(ours, 4711, "2026-01-01")


def test_every_cause_of_the_catalogue_was_planted() -> None:
    """Runs after the others of this file; under a selection of them it has nothing to say."""
    if len(SEEN) > 20:
        assert SENTENCES.keys() - SEEN == set()
