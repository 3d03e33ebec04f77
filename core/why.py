"""Why did a task not run at a moment? One cause out of what the ledger, the row and its history say.

Pure: `store/why.py` reads the evidence. What a run itself tells comes first, then the row as it was at the moment,
then its rule; where the rule names the moment and nothing stands for it, who should have fired it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from core.arming import Surroundings, cadence_of, upstream_of, what_is_wrong
from core.cadence import Bounded, Cadence, CadenceError, Jittered
from core.calendars import local_day, next_open, previous_open
from core.holds import MARK
from core.legacy.rows import as_row
from core.lifecycle import State
from core.on_calendar import OnCalendar, Roll

WAITS: Final = "waits: "
CREATED: Final = "task.create"
DELETED: Final = "task.delete"
SKIPS: Final = (
    # How the `error` of a SKIPPED run begins -> the cause.
    ("overlap=", "overlap"),
    ("catch_up=none: more than", "too_late"),
    ("catch_up=none: a later", "replaced"),
    ("catch_up=latest: a later", "replaced"),
    ("catch_up=latest: more than", "outside_window"),
    ("catch_up=all: older", "outside_window"),
    ("--skip-missed", "skip_missed"),
    (MARK, "held_skipped"),
    ("budget ", "budget"),
)


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the task for the moment, or one that stands for a range of skipped moments."""

    id: str
    scheduled_for: datetime
    state: str
    ready_at: datetime | None
    queue: str
    attempt: int
    started_at: datetime | None
    finished_at: datetime | None
    error_kind: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Edit:
    """An entry of the audit about the task."""

    at: datetime
    actor: str
    action: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that is known; moments in UTC."""

    asked: datetime
    gap: bool = False
    """It was asked for by a time that the clocks of the zone left out."""
    now: datetime
    row: Mapping[str, Any] | None
    """As it is now; None: deleted."""
    edits: tuple[Edit, ...] = ()
    """Since the moment, the newest first; and the one that last switched the row off before it, if any."""
    run: Run | None = None
    newest_tick: datetime | None = None
    beat_age: timedelta = timedelta(seconds=30)
    """How old a living beat's last tick may be."""
    workers: Mapping[str, int] = field(default_factory=dict)
    """Living workers by the queue they serve."""
    retention: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause: a key of the catalogue in `why_words.py`, and what its sentence names."""

    key: str
    values: Mapping[str, Any] = field(default_factory=dict)
    run_id: str | None = None


def why(seen: Evidence, around: Surroundings) -> Cause:
    """Name the cause. Total: where nothing explains it, that is said."""
    if seen.run is not None:
        return _of_run(seen, seen.run)
    then = row_at(seen, seen.asked)
    if then is None:
        return _not_there(seen)
    if seen.asked <= seen.now and not then.get("enabled"):
        return _switched_off(seen, then)
    row = as_row(dict(then), seen.now)
    problems = what_is_wrong(row, around)
    if problems:
        return Cause("broken", {"problem": problems[0]})
    if (upstream := upstream_of(row)) is not None:
        return Cause("follows", {"upstream": str(upstream)})
    try:
        return _by_rule(seen, then, cadence_of(row, around.zone, around.overrides), around)
    except CadenceError as error:
        return Cause("broken", {"problem": str(error)})


def put_off(row: Mapping[str, Any], moment: datetime, around: Surroundings) -> datetime:
    """Say when a moment of the rule runs with its jitter; the moment itself where it is none, or has none."""
    try:
        cadence = cadence_of(as_row(dict(row), moment), around.zone, around.overrides)
        is_named = isinstance(cadence, Jittered) and cadence.inner.latest(moment) == moment
        return cadence.put_off(moment) if isinstance(cadence, Jittered) and is_named else moment
    except CadenceError:
        return moment


def meant(row: Mapping[str, Any], moment: datetime, around: Surroundings) -> datetime:
    """Find what somebody means who names a full minute: the rule's first moment in it; the minute where it has none."""
    try:
        cadence = cadence_of(as_row(dict(row), moment), around.zone, around.overrides)
        nominal = cadence.inner if isinstance(cadence, Jittered) else cadence
        if moment.second or moment.microsecond or moment in (nominal.latest(moment), cadence.latest(moment)):
            return moment
        found = cadence.after(moment)
    except CadenceError:
        return moment
    return found if found is not None and found < moment + timedelta(minutes=1) else moment


def row_at(seen: Evidence, moment: datetime) -> dict[str, Any] | None:
    """Undo every edit since; None where the row did not exist then, or its deletion was not entered."""
    row = None if seen.row is None else dict(seen.row)
    for edit in seen.edits:
        if edit.at <= moment:
            break
        if edit.action == CREATED:
            return None
        if edit.before is not None:
            row = dict(edit.before) if row is None else row | {k: v for k, v in edit.before.items() if k in row}
    created = None if row is None else row.get("create_time")
    return None if isinstance(created, datetime) and created > moment else row


def _not_there(seen: Evidence) -> Cause:
    created = next((edit for edit in seen.edits if edit.action == CREATED), None)
    at = created.at if created is not None else (seen.row or {}).get("create_time")
    if isinstance(at, datetime) and at > seen.asked:
        return Cause("created_later", {"at": at, "actor": created.actor if created is not None else ""})
    return Cause("deleted", {"at": seen.edits[0].at, "actor": seen.edits[0].actor} if seen.edits else {})


def _switched_off(seen: Evidence, then: Mapping[str, Any]) -> Cause:
    off = next(
        (
            edit
            for edit in seen.edits
            if edit.at <= seen.asked and edit.after is not None and not edit.after.get("enabled", 1)
        ),
        None,
    )
    reason = then.get("pause_reason") or ""
    if off is None:
        return Cause("disabled", {"reason": reason})
    return Cause("disabled_by", {"at": off.at, "actor": off.actor, "reason": reason})


def _of_run(seen: Evidence, run: Run) -> Cause:
    said = run.error or ""
    found: dict[str, Any] = {"scheduled": run.scheduled_for, "error": said[:300]}
    match run.state:
        case State.SKIPPED:
            key = next((key for start, key in SKIPS if said.startswith(start)), "skipped")
            return Cause(key, found, run.id)
        case State.REVOKED:
            return Cause("cancelled", found, run.id)
        case State.FAILURE:
            key = "worker_lost" if run.error_kind == "worker_lost" else "failed"
            return Cause(key, found | {"started": run.started_at}, run.id)
        case State.PENDING | State.QUEUED | State.RETRY:
            return _of_waiting(seen, run, found)
        case State.STARTED:
            return Cause("running", found | {"started": run.started_at}, run.id)
    if run.scheduled_for != seen.asked:
        seconds = round((run.scheduled_for - seen.asked).total_seconds())
        return Cause("ran_jitter", found | {"seconds": seconds, "state": run.state}, run.id)
    return Cause("ran", found | {"started": run.started_at, "state": run.state}, run.id)


def _of_waiting(seen: Evidence, run: Run, found: dict[str, Any]) -> Cause:
    """A run that has not started: what it says, then who is there to start it."""
    if run.state == State.PENDING and run.ready_at is None:
        return Cause("buffered", found, run.id)
    if run.state == State.RETRY:
        return Cause("retrying", found | {"ready": run.ready_at}, run.id)
    reason = (run.error or "").removeprefix(WAITS)
    if (run.error or "").startswith(WAITS) and run.ready_at is not None and run.ready_at > seen.now:
        key = "held" if reason.startswith(MARK) else "budget_waits" if reason.startswith("budget ") else "limit"
        return Cause(key, found | {"error": reason[:300]}, run.id)
    if run.state == State.PENDING and not _beats(seen):
        return Cause("no_beat", found | _last_tick(seen), run.id)
    if not seen.workers.get(run.queue):
        return Cause("no_worker", found | {"queue": run.queue}, run.id)
    return Cause("queued", found | {"queue": run.queue, "workers": seen.workers[run.queue]}, run.id)


def _beats(seen: Evidence) -> bool:
    return seen.newest_tick is not None and seen.now - seen.newest_tick <= seen.beat_age


def _last_tick(seen: Evidence) -> dict[str, Any]:
    return {"tick": seen.newest_tick}


def _by_rule(seen: Evidence, then: Mapping[str, Any], cadence: Cadence, around: Surroundings) -> Cause:
    """The row stood there, sound and enabled: did its rule name the moment?"""
    nominal = cadence.inner if isinstance(cadence, Jittered) else cadence
    zone = str(then.get("timezone") or around.zone)
    if seen.gap:
        return Cause("dst_gap", {"zone": zone, "policy": then.get("dst_policy") or "cron"})
    if nominal.latest(seen.asked) != seen.asked and cadence.latest(seen.asked) != seen.asked:
        return _not_named(seen, nominal, zone)
    if seen.asked > seen.now:
        return Cause("future", {"at": put_off(then, seen.asked, around)})
    if seen.retention is not None and seen.now - seen.asked > seen.retention:
        return Cause("purged", {"days": seen.retention.days})
    row = seen.row or {}
    if row.get("max_runs") is not None and (row.get("run_count") or 0) >= row["max_runs"]:
        return Cause("max_runs", {"max_runs": row["max_runs"]})
    due = row.get("next_run_at")
    is_owed = isinstance(due, datetime) and due <= put_off(then, seen.asked, around)
    if (is_owed or row.get("needs_arming")) and not _beats(seen):
        return Cause("no_beat", _last_tick(seen))
    if is_owed or row.get("needs_arming"):
        return Cause("owed", {"due": due})
    return Cause("no_trace", {})


def _not_named(seen: Evidence, nominal: Cadence, zone: str) -> Cause:
    """The rule of that time did not name the moment: because of its bounds, its calendar, or not at all."""
    rule = nominal.inner if isinstance(nominal, Bounded) else nominal
    if isinstance(nominal, Bounded) and rule.latest(seen.asked) == seen.asked:
        if nominal.start is not None and seen.asked < nominal.start:
            return Cause("before_start", {"bound": nominal.start})
        if nominal.end is not None and seen.asked > nominal.end:
            return Cause("after_end", {"bound": nominal.end})
    if isinstance(rule, OnCalendar) and rule.inner.latest(seen.asked) == seen.asked:
        return _closed(seen.asked, rule)
    edit = next((edit for edit in seen.edits if edit.at > seen.asked and _moves(edit)), None)
    values = {"before": rule.latest(seen.asked), "after": rule.after(seen.asked), "zone": zone}
    if edit is not None:
        return Cause("edited_later", values | {"at": edit.at, "actor": edit.actor})
    return Cause("not_a_moment", values)


def _closed(moment: datetime, rule: OnCalendar) -> Cause:
    day = local_day(moment, ZoneInfo(rule.zone))
    if rule.calendar.is_open(day):
        return Cause("outside_session", {"calendar": rule.calendar.name})
    if rule.roll is Roll.SKIP:
        return Cause("closed", {"day": day, "calendar": rule.calendar.name})
    find = next_open if rule.roll is Roll.NEXT else previous_open
    return Cause("rolled", {"day": day, "calendar": rule.calendar.name, "to": find(rule.calendar, day)})


SCHEDULE: Final = (
    "crontab", "interval_seconds", "rrule", "run_at", "timezone", "dst_policy", "calendar", "calendar_roll",
    "start_time", "end_time", "jitter_seconds",
)  # fmt: skip


def _moves(edit: Edit) -> bool:
    """Tell whether an edit changed when the row runs."""
    before, after = edit.before or {}, edit.after or {}
    return any(name in after and before.get(name) != after[name] for name in SCHEDULE)
