"""The tables, as the code sees them. The schema itself is made by `migrations/`; a test keeps both equal.

All system times are UTC. `WallClock` columns hold an operator's local time in the row's zone.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar

from sqlalchemy import BigInteger, Computed, Date, Integer, Numeric, SmallInteger, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from column_types import LongText, UtcTime, WallClock


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
    rendered: Mapped[str | None] = mapped_column(LongText)
    after_run: Mapped[str | None] = mapped_column(String(36))


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
    """A platform a row may name by `endpoint`. Its key is encrypted, or in the environment variable that is named."""

    __tablename__ = "agent_endpoint"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    provider: Mapped[str] = mapped_column(String(32))
    base_url: Mapped[str] = mapped_column(String(500))
    credential_env: Mapped[str | None] = mapped_column(String(64))
    create_time: Mapped[datetime]
    update_time: Mapped[datetime]
    credential: Mapped[str | None] = mapped_column(Text)
    max_concurrency: Mapped[int | None] = mapped_column(Integer)
    requests_per_minute: Mapped[int | None] = mapped_column(Integer)
    tokens_per_minute: Mapped[int | None] = mapped_column(BigInteger)
    input_price: Mapped[Decimal | None] = mapped_column(Numeric(20, 8))
    output_price: Mapped[Decimal | None] = mapped_column(Numeric(20, 8))
    currency: Mapped[str | None] = mapped_column(String(3))


class AgentLimit(Base):
    """Limits of one agent at an endpoint, or (`*`) of each that has no line of its own."""

    __tablename__ = "agent_limit"

    endpoint: Mapped[str] = mapped_column(String(64), primary_key=True)
    agent: Mapped[str] = mapped_column(String(191), primary_key=True)
    max_concurrency: Mapped[int | None] = mapped_column(Integer)
    requests_per_minute: Mapped[int | None] = mapped_column(Integer)
    tokens_per_minute: Mapped[int | None] = mapped_column(BigInteger)


class Budget(Base):
    """The most that an endpoint's or a task's runs may cost within a window that ends now."""

    __tablename__ = "budget"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    endpoint: Mapped[str | None] = mapped_column(String(64))
    periodic_task_id: Mapped[int | None] = mapped_column(BigInteger)
    amount: Mapped[Decimal] = mapped_column(Numeric(20, 8))
    unit: Mapped[str] = mapped_column(String(8))
    window_seconds: Mapped[int] = mapped_column(Integer)
    at_limit: Mapped[str] = mapped_column(String(8))
    reserve: Mapped[Decimal | None] = mapped_column(Numeric(20, 8))
    reached_at: Mapped[datetime | None]
    create_time: Mapped[datetime]


class BudgetUse(Base):
    """An attempt whose cost is in no slice yet."""

    __tablename__ = "budget_use"

    budget_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    run_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)


class BudgetSlice(Base):
    """What was spent in a sixtieth of a budget's window."""

    __tablename__ = "budget_slice"

    budget_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    unit: Mapped[str] = mapped_column(String(8), primary_key=True)
    starts_at: Mapped[datetime] = mapped_column(UtcTime, primary_key=True)
    amount: Mapped[Decimal] = mapped_column(Numeric(20, 8))
    dearest: Mapped[Decimal] = mapped_column(Numeric(20, 8))
    answers: Mapped[int] = mapped_column(Integer)
    unknown: Mapped[int] = mapped_column(Integer)


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


class ApiUser(Base):
    """A person who may log in; the password as an argon2id hash."""

    __tablename__ = "api_user"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(16))
    password_hash: Mapped[str] = mapped_column(String(255))
    disabled_at: Mapped[datetime | None]
    last_login_at: Mapped[datetime | None]
    create_time: Mapped[datetime]
    update_time: Mapped[datetime]
    create_by: Mapped[str | None] = mapped_column(String(100))
    update_by: Mapped[str | None] = mapped_column(String(100))


class ApiToken(Base):
    """A token for scripts, as its SHA-256."""

    __tablename__ = "api_token"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    digest: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(16))
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    create_time: Mapped[datetime]
    create_by: Mapped[str | None] = mapped_column(String(100))


class ApiSession(Base):
    """A browser that has logged in; the cookie as its SHA-256."""

    __tablename__ = "api_session"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime]
    create_time: Mapped[datetime]


class ApiRequest(Base):
    """A POST with an Idempotency-Key, and what it was answered."""

    __tablename__ = "api_request"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    body_digest: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None] = mapped_column(SmallInteger)
    answer: Mapped[str | None] = mapped_column(LongText)
    create_time: Mapped[datetime]


class AuditLog(Base):
    """One change: who, what, before, after. Rows are only ever added."""

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    create_time: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(191))
    via: Mapped[str] = mapped_column(String(16))
    action: Mapped[str] = mapped_column(String(64))
    subject_kind: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(String(191))
    old_value: Mapped[str | None] = mapped_column(LongText)
    new_value: Mapped[str | None] = mapped_column(LongText)
    note: Mapped[str | None] = mapped_column(String(1000))
    change_set: Mapped[str | None] = mapped_column(String(36))


class BulkChange(Base):
    """One change of many rows; the rows of `audit_log` with its id hold the values before."""

    __tablename__ = "bulk_change"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    create_time: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(191))
    selection: Mapped[str] = mapped_column(Text)
    change_to: Mapped[str] = mapped_column(LongText)
    changed: Mapped[int] = mapped_column(BigInteger)
    undone_at: Mapped[datetime | None]
    undone_by: Mapped[str | None] = mapped_column(String(191))


class Hold(Base):
    """Something that is stopped for a while: everything, a queue, a tag or an endpoint."""

    __tablename__ = "hold"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    scope: Mapped[str] = mapped_column(String(16))
    name: Mapped[str | None] = mapped_column(String(100))
    mode: Mapped[str] = mapped_column(String(8))
    reason: Mapped[str] = mapped_column(String(500))
    ends_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    create_time: Mapped[datetime]
    create_by: Mapped[str | None] = mapped_column(String(191))
    ended_by: Mapped[str | None] = mapped_column(String(191))


class NotifyChannel(Base):
    """Where notifications go. The Apprise address is encrypted, or in the environment variable `url_env`."""

    __tablename__ = "notify_channel"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    url_env: Mapped[str | None] = mapped_column(String(64))
    url: Mapped[str | None] = mapped_column(Text)
    enabled: Mapped[int] = mapped_column(SmallInteger)
    ready_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(Integer)
    last_error: Mapped[str | None] = mapped_column(String(500))
    last_sent_at: Mapped[datetime | None]
    sent: Mapped[str] = mapped_column(Text)
    create_time: Mapped[datetime]


class NotifyDue(Base):
    """A run whose end is to be told."""

    __tablename__ = "notify_due"

    run_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    create_time: Mapped[datetime]


class NotifyState(Base):
    """What a channel knows of a task, or of an alarm."""

    __tablename__ = "notify_state"

    channel: Mapped[str] = mapped_column(String(64), primary_key=True)
    subject: Mapped[str] = mapped_column(String(191), primary_key=True)
    failing: Mapped[int] = mapped_column(SmallInteger)
    answer: Mapped[str | None] = mapped_column(String(32))
    update_time: Mapped[datetime]


class NotifyMessage(Base):
    """What waits to be sent to a channel, grouped by cause."""

    __tablename__ = "notify_message"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    channel: Mapped[str] = mapped_column(String(64))
    event: Mapped[str] = mapped_column(String(16))
    cause: Mapped[str] = mapped_column(String(32))
    text: Mapped[str] = mapped_column(String(1000))
    pending: Mapped[int] = mapped_column(Integer)
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    tasks: Mapped[str] = mapped_column(Text)
    run_id: Mapped[str | None] = mapped_column(String(36))
    due_at: Mapped[datetime]
    gap_seconds: Mapped[int | None] = mapped_column(Integer)


class TaskAfter(Base):
    """A row that starts after another: the system's, read from its `task_extra_config` by arming."""

    __tablename__ = "task_after"

    periodic_task_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    upstream_id: Mapped[int] = mapped_column(BigInteger)
    upstream_name: Mapped[str] = mapped_column(String(200))
    outcome: Mapped[str] = mapped_column(String(16))


class AfterDue(Base):
    """A run whose end others follow."""

    __tablename__ = "after_due"

    run_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    create_time: Mapped[datetime]
