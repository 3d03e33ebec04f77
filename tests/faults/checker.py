"""The independent judge: reads the agent's own logs and the database, and never the product's code.

It computes by itself which moments each row owed, and asks of every one: exactly one run, or a skip that explains it?
Of every run: did it end, step by step as the state machine allows, with no more calls than its policy grants, and
where it says SUCCESS, did the agent give exactly that answer? What it finds wrong is a list of `Violation`.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import nlargest
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

from pymysql.cursors import Cursor

FINAL: Final = frozenset({"SUCCESS", "FAILURE", "REVOKED", "SKIPPED", "REQUIRES_ACTION"})
STEPS: Final = {
    None: {"PENDING", "SKIPPED"},
    "PENDING": {"QUEUED", "STARTED", "REVOKED"},
    "QUEUED": {"STARTED", "REVOKED"},
    "RETRY": {"QUEUED", "STARTED", "REVOKED"},
    "STARTED": {"SUCCESS", "FAILURE", "REQUIRES_ACTION", "RETRY", "REVOKED"},
}
#: What no fault of ours may lead to: an error of these kinds is the product's own.
NEVER: Final = frozenset({"internal", "config", "auth", "not_found", "invalid", "quota", "cancelled"})
OUTSIDE_FAULTS: Final = frozenset(
    {"worker_lost", "timeout", "connect", "unavailable", "outcome_unknown", "remote_failed", "empty", "protocol"}
)
OVERLAP_SLACK: Final = timedelta(seconds=10)  # a run may end between the reading of what is active and the commit
ON_TIME: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Row:
    """What the harness knows about a row it inserted: moments `start`, `start + every`, …, up to `end`, in UTC."""

    name: str
    every: float
    start: datetime
    end: datetime
    max_retries: int = 0
    overlap: str = "allow"
    catch_up: str = "all"

    def moments(self) -> list[datetime]:
        count = int((self.end - self.start) / timedelta(seconds=self.every))
        return [self.start + timedelta(seconds=n * self.every) for n in range(count + 1)]


@dataclass(frozen=True, slots=True)
class Violation:
    rule: str
    detail: str


@dataclass(slots=True)
class Run:
    """A row of task_run with what the witnesses say about it."""

    id: str
    task_name: str
    moment: datetime
    state: str
    attempt: int
    error_kind: str | None
    error: str | None
    result: str | None
    result_data: str | None
    finished_at: datetime | None
    steps: list[tuple[str | None, str, datetime]] = field(default_factory=list)
    calls: int = 0
    answers: list[str] = field(default_factory=list)

    @property
    def created(self) -> datetime:
        return self.steps[0][2]

    @property
    def ended(self) -> datetime | None:
        return next((at for _, new, at in self.steps if new in FINAL), None)

    @property
    def started(self) -> datetime | None:
        return next((at for _, new, at in self.steps if new == "STARTED"), None)


@dataclass(slots=True)
class Report:
    """The verdict and the figures."""

    violations: list[Violation] = field(default_factory=list)
    fires: int = 0
    states: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    late: list[float] = field(default_factory=list)
    """Seconds from a moment to its row in the ledger."""
    begun: list[float] = field(default_factory=list)
    """Seconds from a moment to the first start of its run."""
    calls: int = 0
    slowest: list[tuple[float, str]] = field(default_factory=list)
    """The runs that started last after their moment, with their steps: where to look for what held them up."""

    def blame(self, rule: str, detail: str) -> None:
        self.violations.append(Violation(rule, detail))

    def count(self, *rules: str) -> int:
        return sum(violation.rule in rules for violation in self.violations)


def check(
    cursor: Cursor,
    requests: Path,
    answers: Path,
    rows: Sequence[Row],
    *,
    may_fail_with: frozenset[str] = OUTSIDE_FAULTS,
    late_at_most: float | None = None,
) -> Report:
    """Judge everything that happened. `late_at_most`: where nothing broke, the median of seconds to a run's start."""
    report = Report()
    called = _ids(requests)  # before the ledger is read, and answers after: what still goes on then accuses nobody
    runs = _read(cursor, report)
    _hear(called, answers, runs, report)
    by_row: dict[str, list[Run]] = defaultdict(list)
    for run in runs.values():
        by_row[run.task_name].append(run)
    for row in rows:
        mine = by_row.pop(row.name, [])
        _every_moment_once(row, mine, report)
        _skips_explained(row, mine, report)
        if row.overlap != "allow":
            _one_at_a_time(row, mine, report)
        for run in mine:
            _one_run(row, run, may_fail_with, report)
    for name in by_row:
        report.blame("unknown", f"runs of {name!r}, a row that nobody inserted")
    _run_counts(cursor, rows, runs.values(), report)
    report.slowest = nlargest(20, report.slowest)
    if late_at_most is not None and report.begun and (usual := median(report.begun)) > late_at_most:
        report.blame("late", f"half of the runs started more than {usual:.1f} s after their moment, and nothing broke")
    return report


# -- the witnesses ------------------------------------------------------------------------------------------


def _read(cursor: Cursor, report: Report) -> dict[str, Run]:
    cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
    cursor.execute(
        "SELECT id, task_name, scheduled_for, state, attempt, error_kind, error, result, result_data, finished_at "
        "FROM task_run WHERE origin = 'schedule'"
    )
    runs = {values[0]: Run(*values) for values in cursor.fetchall()}
    cursor.execute(
        "SELECT run_id, old_state, new_state, old_attempt, new_attempt, content_changed, at FROM run_audit ORDER BY seq"
    )
    for run_id, old, new, old_attempt, new_attempt, changed, at in cursor.fetchall():
        run = runs.get(run_id)
        if run is None:
            report.blame("vanished", f"run {run_id} was {new} and is not in the ledger")
            continue
        what = f"{_name(run)}: {old} attempt {old_attempt} became {new} attempt {new_attempt} at {at}"
        if old in FINAL and (new != old or changed):
            report.blame("final changed", what)
        elif old != new and new not in STEPS.get(old, set()):
            report.blame("illegal step", what)
        if new_attempt != (old_attempt or 0) + (new == "STARTED" and old != new):
            report.blame("attempts", what)
        if old != new:
            run.steps.append((old, new, at))
    for run in list(runs.values()):
        if not run.steps:
            report.blame("unaudited", f"{_name(run)} came into the ledger unseen")
            del runs[run.id]
    return runs


def _ids(log: Path) -> Counter[str]:
    return Counter(run_id for _, run_id, _ in _lines(log))


def _hear(called: Counter[str], answers: Path, runs: dict[str, Run], report: Report) -> None:
    report.calls = called.total()
    for run_id, times in called.items():
        if run_id in runs:
            runs[run_id].calls = times
        else:
            report.blame("call without run", f"the agent was called for {run_id}, which is not in the ledger")
    for _, run_id, text in _lines(answers):
        if run_id in runs:
            runs[run_id].answers.append(text)


def _lines(log: Path) -> Iterator[tuple[str, str, str]]:
    if not log.exists():
        return
    with log.open() as lines:
        for line in lines:
            parts = line.rstrip("\n").split(" ", 2)
            if len(parts) == 3:  # a killed agent may leave half a line
                yield parts[0], parts[1], parts[2]


# -- the rules ----------------------------------------------------------------------------------------------


def _every_moment_once(row: Row, runs: Sequence[Run], report: Report) -> None:
    owed = row.moments()
    report.fires += len(owed)
    found: Counter[datetime] = Counter()
    for run in runs:
        covered = _covered(run, owed)
        found.update(covered)
        if (
            run.result_data
            and run.state == "SKIPPED"
            and json.loads(run.result_data)["count"] not in (None, len(covered))
        ):
            report.blame("skip count", f"{_name(run)} says {run.result_data}, {len(covered)} moments were owed")
        report.late.append((run.created - run.moment).total_seconds())
        if run.started:
            report.begun.append((run.started - run.moment).total_seconds())
            report.slowest.append((report.begun[-1], f"{_name(run)} {run.steps}"))
    for moment in owed:
        if found[moment] == 0:
            report.blame("lost", f"{row.name!r} {moment}: neither a run nor a skip")
        elif found[moment] > 1:
            ids = [run.id for run in runs if moment in _covered(run, owed)]
            report.blame("doubled", f"{row.name!r} {moment}: {found[moment]} times: {ids}")
    for moment in found.keys() - set(owed):
        report.blame("not owed", f"{row.name!r} {moment}: no moment of this row")


def _covered(run: Run, owed: Sequence[datetime]) -> list[datetime]:
    """The moments a ledger row stands for: its own, or those of a long skip."""
    if run.state != "SKIPPED" or not run.result_data:
        return [run.moment]
    span = json.loads(run.result_data)
    first, last = (datetime.fromisoformat(span[key]).replace(tzinfo=None) for key in ("from", "to"))
    return [moment for moment in owed if first <= moment <= last]


def _skips_explained(row: Row, runs: Sequence[Run], report: Report) -> None:
    active = [(run.created, run.ended) for run in runs if run.state != "SKIPPED"]
    newest = max((run.moment for run in runs), default=row.start)
    for run in runs:
        if run.state != "SKIPPED":
            continue
        reason, decided = run.error or "", run.finished_at or run.created
        if reason.startswith("overlap=cancel_other") and row.overlap == "cancel_other":
            explained = newest > run.moment
        elif reason.startswith(f"overlap={row.overlap}") and row.overlap != "allow":
            explained = any(
                begin <= run.created + OVERLAP_SLACK and (end is None or end >= decided - OVERLAP_SLACK)
                for begin, end in active
            )
        elif reason.startswith(f"catch_up={row.catch_up}") and row.catch_up in ("latest", "none"):
            explained = newest > run.moment or decided - run.moment > ON_TIME
        else:
            explained = False
        if not explained:
            report.blame("unexplained skip", f"{_name(run)} skipped at {decided}: {reason!r}")


def _one_at_a_time(row: Row, runs: Sequence[Run], report: Report) -> None:
    """Of a row with any other overlap than `allow` no run starts before the one that started before it has ended."""
    started = sorted(((run.started, run) for run in runs if run.started), key=lambda pair: pair[0])
    for (_, before), (begun, run) in pairwise(started):
        if before.ended is None or begun < before.ended:
            report.blame("overlap", f"{_name(run)} began at {begun}, {before.id} ended at {before.ended}")


def _one_run(row: Row, run: Run, may_fail_with: frozenset[str], report: Report) -> None:
    report.states[run.state] += 1
    if run.state not in FINAL:
        report.blame("never ended", f"{_name(run)} is {run.state}, attempt {run.attempt}: {run.steps[-3:]}")
    if run.attempt > row.max_retries + 1:
        report.blame("policy", f"{_name(run)}: attempt {run.attempt} with max_retries={row.max_retries}")
    if run.calls > run.attempt:
        report.blame("policy", f"{_name(run)}: {run.calls} calls in {run.attempt} attempts")
    if run.state == "SUCCESS" and run.result not in run.answers:
        report.blame("false success", f"{_name(run)} says {run.result!r}, the agent said {run.answers}")
    if run.state == "FAILURE":
        report.failures[str(run.error_kind)] += 1
        if run.error_kind in NEVER or run.error_kind not in may_fail_with:
            report.blame("failed", f"{_name(run)}: {run.error_kind}: {run.error}")
    if run.state == "REVOKED" and row.overlap != "cancel_other":
        report.blame("revoked", f"{_name(run)}: nobody cancelled it: {run.error}")


def _run_counts(cursor: Cursor, rows: Sequence[Row], runs: Any, report: Report) -> None:
    made = Counter(run.task_name for run in runs if run.state != "SKIPPED")
    cursor.execute("SELECT name, run_count FROM periodic_task")
    counted = dict(cursor.fetchall())
    for row in rows:
        if counted.get(row.name) != made[row.name]:
            report.blame("run_count", f"{row.name!r}: run_count {counted.get(row.name)}, {made[row.name]} runs")


def _name(run: Run) -> str:
    return f"{run.task_name!r} {run.moment} run {run.id}"
