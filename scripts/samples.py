"""The sample tasks of `make run`, put into the database the way an operator would: by SQL.

They are inserted if their name is absent, and never changed when an operator has made them his own: only the demo
agent's port follows it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, select, text

from core.lifecycle import FINAL, State
from models import PeriodicTask, TaskRun

NO_DEMO_AGENT: Final = "AGENT_API_BASE_URL is set: the demo agent does not answer this task"
_PORT: Final = re.compile(r"127\.0\.0\.1:\d+")


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample task. `calls_agent`: it needs the demo agent as the default endpoint."""

    name: str
    description: str
    interval_seconds: int
    config: Mapping[str, Any]
    calls_agent: bool


def samples(demo_address: str) -> tuple[Sample, ...]:
    """One of each kind that needs no pack."""
    return (
        Sample(
            "sample agent",
            "Asks the demo agent a question / 向演示智能体提问",
            20,
            {
                "task_type": "agent",
                "agent_id": "demo",
                "message": "用一句话问候今天值班的同事 (Greet today's operators in one sentence)",
                "user": "sample",
                "queue": "priority_high",
                "timeout": 60,
            },
            calls_agent=True,
        ),
        Sample(
            "sample workflow",
            "Runs a workflow of the demo agent / 运行演示工作流",
            30,
            {
                "task_type": "workflow",
                "workflow_id": "demo-report",
                "inputs": {"topic": "日报"},
                "user": "sample",
                "timeout": 60,
            },
            calls_agent=True,
        ),
        Sample(
            "sample http",
            "Calls a web address / 调用网址",
            60,
            {
                "task_type": "http",
                "url": f"http://{demo_address}/echo",
                "method": "POST",
                "body": {"report": "日报"},
                "timeout": 10,
            },
            calls_agent=False,
        ),
    )


@dataclass(frozen=True, slots=True)
class Latest:
    """A run as the table shows it."""

    name: str
    state: str
    took: str
    answer: str

    @property
    def is_final(self) -> bool:
        """It will not change any more."""
        return self.state in FINAL


def put_in(engine: Engine, wanted: tuple[Sample, ...], *, agent_is_demo: bool) -> str:
    """Insert what is absent and ask for a run of each now; return the newest run id of before."""
    with engine.begin() as connection:
        before = connection.execute(select(func.max(TaskRun.id))).scalar() or ""
        for sample in wanted:
            _insert_if_absent(connection, sample)
            _follow_port(connection, sample)
            if sample.calls_agent:
                _pause_or_resume(connection, sample.name, agent_is_demo)
        connection.execute(
            text("UPDATE periodic_task SET run_now = 1 WHERE name = :name AND enabled = 1"),
            [{"name": sample.name} for sample in wanted],
        )
    return before


def expected(engine: Engine, wanted: tuple[Sample, ...]) -> list[str]:
    """Name the samples that are switched on."""
    enabled = select(PeriodicTask.name).where(
        PeriodicTask.name.in_([one.name for one in wanted]), PeriodicTask.enabled == 1
    )
    with engine.connect() as connection:
        return list(connection.execute(enabled.order_by(PeriodicTask.id)).scalars())


def config_errors(engine: Engine, names: list[str]) -> dict[str, str]:
    """What the scheduler holds against a sample."""
    wrong = select(PeriodicTask.name, PeriodicTask.config_error).where(
        PeriodicTask.name.in_(names), PeriodicTask.config_error.is_not(None)
    )
    with engine.connect() as connection:
        return {name: str(error) for name, error in connection.execute(wrong)}


def runs_since(engine: Engine, before: str, names: list[str]) -> list[Latest]:
    """The first run of each task after `before`, in the order of `names`."""
    columns = (TaskRun.task_name, TaskRun.state, TaskRun.started_at, TaskRun.finished_at, TaskRun.result, TaskRun.error)
    query = select(*columns).where(TaskRun.id > before, TaskRun.task_name.in_(names)).order_by(TaskRun.id)
    first: dict[str, Latest] = {}
    with engine.connect() as connection:
        for row in connection.execute(query.limit(100)):
            first.setdefault(row.task_name, _shown(row))
    return [first[name] for name in names if name in first]


def latest_runs(engine: Engine, limit: int = 10) -> list[Latest]:
    """The newest runs of any task."""
    columns = (TaskRun.task_name, TaskRun.state, TaskRun.started_at, TaskRun.finished_at, TaskRun.result, TaskRun.error)
    with engine.connect() as connection:
        return [_shown(row) for row in connection.execute(select(*columns).order_by(TaskRun.id.desc()).limit(limit))]


def _shown(row: Any) -> Latest:
    took = f"{(row.finished_at - row.started_at).total_seconds():.1f} s" if row.finished_at and row.started_at else ""
    answer = row.result if row.state == State.SUCCESS else row.error
    return Latest(row.task_name, row.state, took, (answer or "")[:400])


def _insert_if_absent(connection: Connection, sample: Sample) -> None:
    connection.execute(
        text(
            "INSERT INTO periodic_task (name, description, interval_seconds, task_extra_config, create_by) "
            "SELECT :name, :description, :seconds, :config, 'make run' "
            "WHERE NOT EXISTS (SELECT 1 FROM periodic_task WHERE name = :name)"
        ),
        {
            "name": sample.name,
            "description": sample.description,
            "seconds": sample.interval_seconds,
            "config": json.dumps(sample.config, ensure_ascii=False),
        },
    )


def _follow_port(connection: Connection, sample: Sample) -> None:
    stored = connection.execute(
        text("SELECT task_extra_config FROM periodic_task WHERE name = :name"), {"name": sample.name}
    ).scalar()
    wanted = json.dumps(sample.config, ensure_ascii=False)
    if stored != wanted and _PORT.sub("", stored or "") == _PORT.sub("", wanted):
        connection.execute(
            text("UPDATE periodic_task SET task_extra_config = :config WHERE name = :name"),
            {"name": sample.name, "config": wanted},
        )


def _pause_or_resume(connection: Connection, name: str, agent_is_demo: bool) -> None:
    statement = (
        "UPDATE periodic_task SET enabled = 1, pause_reason = NULL WHERE name = :name AND pause_reason = :reason"
        if agent_is_demo
        else "UPDATE periodic_task SET enabled = 0, pause_reason = :reason WHERE name = :name AND enabled = 1"
    )
    connection.execute(text(statement), {"name": name, "reason": NO_DEMO_AGENT})
