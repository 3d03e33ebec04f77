"""The tables, as the code sees them. The schema itself is made by `migrations/`; a test keeps both equal.

All system times are UTC. `WallClock` columns hold an operator's local time in the row's zone.
"""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, ClassVar

from sqlalchemy import BigInteger, Computed, Date, Dialect, Integer, Numeric, SmallInteger, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

DATETIME6 = mysql.DATETIME(fsp=6)
LongText = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")


def read_time(value: Any) -> Any:
    """Read what a driver returns for a DATETIME. Text that is no time (SQLite keeps anything) comes back as it is."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return value
    return value


def write_time(value: datetime | None, dialect: Dialect) -> Any:
    """Give SQLite one fixed-width text, so that its text comparison is a comparison of times."""
    if value is None or dialect.name != "sqlite":
        return value
    return value.isoformat(sep=" ", timespec="microseconds")


class UtcTime(TypeDecorator[datetime]):
    """A moment: aware UTC in Python, DATETIME(6) in MySQL, text in SQLite."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Use DATETIME(6) where there is one."""
        return dialect.type_descriptor(String(26) if dialect.name == "sqlite" else DATETIME6)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Store without the zone."""
        return write_time(value if value is None else value.astimezone(UTC).replace(tzinfo=None), dialect)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Give the zone back. A time with an offset of its own (SQLite) is converted."""
        value = read_time(value)
        if not isinstance(value, datetime):
            return value
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class WallClock(TypeDecorator[datetime]):
    """An operator's local time in the row's zone: naive in Python."""

    impl = String
    cache_ok = True

    load_dialect_impl = UtcTime.load_dialect_impl

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Store as written."""
        return write_time(value, dialect)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Read as written."""
        return read_time(value)


class Base(DeclarativeBase):
    """Column types by annotation."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UtcTime}


class PeriodicTask(Base):
    """WHEN and WHAT: the rows operators edit."""

    __tablename__ = "periodic_task"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    description: Mapped[str | None] = mapped_column(Text)
    owner: Mapped[str | None] = mapped_column(String(100))
    tags: Mapped[str | None] = mapped_column(String(500))
    enabled: Mapped[int] = mapped_column(SmallInteger)
    pause_reason: Mapped[str | None] = mapped_column(String(500))
    crontab: Mapped[str | None] = mapped_column(String(255))
    interval_seconds: Mapped[int | None] = mapped_column(Integer)
    rrule: Mapped[str | None] = mapped_column(Text)
    run_at: Mapped[datetime | None] = mapped_column(WallClock)
    timezone: Mapped[str | None] = mapped_column(String(64))
    dst_policy: Mapped[str | None] = mapped_column(String(32))
    calendar: Mapped[str | None] = mapped_column(String(64))
    calendar_roll: Mapped[str] = mapped_column(String(16))
    start_time: Mapped[datetime | None] = mapped_column(WallClock)
    end_time: Mapped[datetime | None] = mapped_column(WallClock)
    max_runs: Mapped[int | None] = mapped_column(Integer)
    jitter_seconds: Mapped[int] = mapped_column(Integer)
    catch_up: Mapped[str] = mapped_column(String(16))
    catch_up_window_seconds: Mapped[int] = mapped_column(Integer)
    overlap: Mapped[str] = mapped_column(String(16))
    task_extra_config: Mapped[str | None] = mapped_column(LongText)
    run_now: Mapped[int] = mapped_column(SmallInteger)
    next_run_at: Mapped[datetime | None]
    last_run_at: Mapped[datetime | None]
    last_run_state: Mapped[str | None] = mapped_column(String(16))
    run_count: Mapped[int] = mapped_column(BigInteger)
    consecutive_failures: Mapped[int] = mapped_column(Integer)
    config_error: Mapped[str | None] = mapped_column(Text)
    hint: Mapped[str | None] = mapped_column(Text)
    armed_for: Mapped[str | None] = mapped_column(String(65))
    rearm_at: Mapped[datetime | None]
    schedule_fingerprint: Mapped[str] = mapped_column(String(32), Computed(""))
    checked_fingerprint: Mapped[str] = mapped_column(String(32), Computed(""))
    needs_arming: Mapped[int] = mapped_column(SmallInteger, Computed(""))
    create_time: Mapped[datetime]
    update_time: Mapped[datetime]
    create_by: Mapped[str | None] = mapped_column(String(100))
    update_by: Mapped[str | None] = mapped_column(String(100))


class TaskRun(Base):
    """The ledger: one row for every run of every task."""

    __tablename__ = "task_run"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    periodic_task_id: Mapped[int | None] = mapped_column(BigInteger)
    task_name: Mapped[str] = mapped_column(String(200))
    origin: Mapped[str] = mapped_column(String(16))
    scheduled_for: Mapped[datetime]
    ready_at: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(String(16))
    queue: Mapped[str] = mapped_column(String(64))
    priority: Mapped[int] = mapped_column(SmallInteger)
    attempt: Mapped[int] = mapped_column(Integer)
    config: Mapped[str] = mapped_column(LongText)
    retry_of: Mapped[str | None] = mapped_column(String(36))
    worker: Mapped[str | None] = mapped_column(String(191))
    queued_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    result: Mapped[str | None] = mapped_column(LongText)
    result_data: Mapped[str | None] = mapped_column(LongText)
    error_kind: Mapped[str | None] = mapped_column(String(32))
    error: Mapped[str | None] = mapped_column(LongText)
    http_status: Mapped[int | None] = mapped_column(SmallInteger)
    conversation_id: Mapped[str | None] = mapped_column(String(255))
    remote_handle: Mapped[str | None] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(String(255))
    input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    output_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cost: Mapped[Decimal | None] = mapped_column(Numeric(20, 8))
    currency: Mapped[str | None] = mapped_column(String(3))
    active_task_id: Mapped[int | None] = mapped_column(BigInteger, Computed(""))


class WorkerLease(Base):
    """One row for each living worker process, renewed every few seconds."""

    __tablename__ = "worker_lease"

    id: Mapped[str] = mapped_column(String(191), primary_key=True)
    pid: Mapped[int] = mapped_column(Integer)
    queues: Mapped[str] = mapped_column(String(1000))
    concurrency: Mapped[int] = mapped_column(Integer)
    started_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class BeatHeartbeat(Base):
    """One row for each beat process, with the time of its last tick."""

    __tablename__ = "beat_heartbeat"

    id: Mapped[str] = mapped_column(String(191), primary_key=True)
    started_at: Mapped[datetime]
    last_tick_at: Mapped[datetime]


class SchedulerState(Base):
    """What several beats share: fingerprints of the surroundings, turns at housekeeping."""

    __tablename__ = "scheduler_state"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str | None] = mapped_column(Text)
    update_time: Mapped[datetime]


class AgentEndpoint(Base):
    """A platform a row may name by `endpoint`. The key itself is never in here: only the variable's name."""

    __tablename__ = "agent_endpoint"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    provider: Mapped[str] = mapped_column(String(32))
    base_url: Mapped[str] = mapped_column(String(500))
    credential_env: Mapped[str | None] = mapped_column(String(64))
    create_time: Mapped[datetime]
    update_time: Mapped[datetime]


class CalendarDay(Base):
    """What an operator says about one day of a calendar, before the published data."""

    __tablename__ = "calendar_day"

    calendar: Mapped[str] = mapped_column(String(64), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    open: Mapped[int] = mapped_column(SmallInteger)
    note: Mapped[str | None] = mapped_column(String(500))
    create_time: Mapped[datetime]
    update_time: Mapped[datetime]


class Backfill(Base):
    """A range of past moments of one row that become runs, a few at a time."""

    __tablename__ = "backfill"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    periodic_task_id: Mapped[int] = mapped_column(BigInteger)
    task_name: Mapped[str] = mapped_column(String(200))
    from_moment: Mapped[datetime]
    until_moment: Mapped[datetime]
    at_a_time: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))
    next_moment: Mapped[datetime | None]
    created: Mapped[int] = mapped_column(BigInteger)
    left_out: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str | None] = mapped_column(String(1000))
    active_runs: Mapped[str] = mapped_column(Text)
    create_time: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    open_task_id: Mapped[int | None] = mapped_column(BigInteger, Computed(""))
