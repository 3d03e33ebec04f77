"""Expectations and templates through the worker's own path: claim, call over HTTP, judge, end in the ledger."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from celery import shared_task
from celery.exceptions import Retry

import agent_tasks
from agent_tasks import (
    RunFailed,
    execute_agent_periodic_task,
    execute_celery_periodic_task,
    execute_workflow_periodic_task,
)
from core.lifecycle import State
from core.templates import TemplateFault
from store.database import AnyRow
from tests.integration.answering_agent import AnsweringAgent
from tests.integration.conftest import NewBeat, on_sqlite
from tests.integration.engine import Ledger, agent, settings_for
from tests.unit.test_expectations import KINDS
from worker import bounded
from worker.bounded import Helper
from worker.runtime import WorkerRuntime

Carry: TypeAlias = Callable[..., AnyRow]

TASKS = {
    "agent": execute_agent_periodic_task,
    "workflow": execute_workflow_periodic_task,
    "celery": execute_celery_periodic_task,
}
NAMES = [next(iter(kind[0])) for kind in KINDS]


@shared_task(name="tests.blank")
def blank() -> str:
    return " \n"


@pytest.fixture(scope="module")
def listening() -> Iterator[AnsweringAgent]:
    with AnsweringAgent() as agent:
        yield agent


@pytest.fixture
def carry(
    ledger: Ledger, listening: AnsweringAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Carry]:
    """Enter a run and carry it as a worker does; return its row."""
    worker = WorkerRuntime(
        "worker@host", ["celery"], 1, settings_for(ledger, agent_api_base_url=listening.url, log_dir=tmp_path)
    )
    monkeypatch.setattr("worker.runtime._runtime", worker)
    listening.heard.clear()

    def run(message: str = "hello", *, columns: dict[str, Any] | None = None, **config: Any) -> AnyRow:
        text = agent(message, **config) if "task_type" not in config else json.dumps(config)
        run_id = ledger.add_run(State.PENDING, config=text, **(columns or {}))
        task = TASKS[config.get("task_type", "agent")]
        with suppress(RunFailed, Retry):
            task(run_id)
        return ledger.run(run_id)

    yield run
    worker.close()


# -- expect -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("expect", "good", "bad", "said"), KINDS, ids=NAMES)
def test_each_kind_of_expect_fails_a_run_with_its_reason_and_keeps_the_answer(
    carry: Carry, ledger: Ledger, expect: dict[str, Any], good: str, bad: str, said: str
) -> None:
    if not bad.strip():  # an empty answer of an agent is a failure by itself, whatever is expected
        run = carry(task_type="celery", task=blank.name, expect=expect)
        assert (run.state, run.error_kind, run.result) == ("FAILURE", "expectation", " \n")
        assert said in run.error
        return
    task = ledger.insert()
    ledger.add_run(
        State.SUCCESS, periodic_task_id=task, result="the last", scheduled_for=ledger.now() - timedelta(days=1)
    )

    failed = carry(f"say {bad}", expect=expect, columns={"periodic_task_id": task})
    passed = carry(f"say {good}", expect=expect, columns={"periodic_task_id": task, "origin": "manual"})

    assert (failed.state, failed.error_kind, failed.result) == ("FAILURE", "expectation", bad)
    assert said in failed.error
    assert failed.attempt == 1  # it was paid for: no second call that nobody allowed
    assert (passed.state, passed.error, passed.result) == ("SUCCESS", None, good)


@on_sqlite
def test_a_failed_expectation_is_tried_again_only_where_the_row_allows_it(carry: Carry) -> None:
    run = carry("say short", expect={"min_length": 100}, max_retries=1, retry_backoff=60)

    assert (run.state, run.error_kind, run.result) == ("RETRY", "expectation", "short")


@on_sqlite
def test_differs_from_last_compares_with_the_last_success_and_no_other_run(carry: Carry, ledger: Ledger) -> None:
    task, other = ledger.insert(), ledger.insert("other")
    day = timedelta(days=1)
    for state, days, row, text in (
        (State.SUCCESS, 3, task, "same"),
        (State.SUCCESS, 2, task, "the last"),
        (State.FAILURE, 1, task, "same"),
        (State.SUCCESS, 1, other, "same"),
        (State.SUCCESS, -1, task, "same"),  # a later moment is not before this one
    ):
        ledger.add_run(state, periodic_task_id=row, result=text, scheduled_for=ledger.now() - days * day)

    run = carry("say same", expect={"differs_from_last": True}, columns={"periodic_task_id": task})

    assert run.state == "SUCCESS"


@on_sqlite
def test_checks_that_need_too_much_fail_the_run_and_not_the_worker(
    carry: Carry, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = Helper(cpu_seconds=0.2)
    monkeypatch.setattr(bounded, "_helper", helper)
    rungs = {f"r{i}": {"anyOf": [{"$ref": f"#/$defs/r{i + 1}"}] * 2} for i in range(40)}
    bomb = {"$ref": "#/$defs/r0", "$defs": {**rungs, "r40": {"type": "string"}}}

    run = carry("say {}", expect={"json_schema": bomb})
    helper.close()

    assert (run.state, run.error_kind, run.result) == ("FAILURE", "expectation", "{}")
    assert "takes more than 0.2 s of computing; make them simpler" in run.error


# -- template -----------------------------------------------------------------------------------------


def test_a_template_sees_the_last_run_and_what_was_sent_stays_readable(
    carry: Carry, ledger: Ledger, listening: AnsweringAgent
) -> None:
    task = ledger.insert("日报", timezone="Asia/Shanghai")
    good = {"periodic_task_id": task, "result": "昨天的日报", "finished_at": ledger.now() - timedelta(hours=2)}
    ledger.add_run(State.SUCCESS, **good, scheduled_for=ledger.now() - timedelta(hours=2))
    ledger.add_run(
        State.FAILURE, periodic_task_id=task, scheduled_for=ledger.now() - timedelta(hours=1), result="half",
        finished_at=ledger.now() - timedelta(hours=1),
    )  # fmt: skip

    run = carry(
        "{{ task.name }}|{{ last.result }}|{{ last.state }}|{{ scheduled_for.strftime('%H:%M %Z') }}|"
        "{{ run.id }}|{{ attempt }}",
        template=True,
        columns={"periodic_task_id": task, "task_name": "日报"},
    )

    clock = (run.scheduled_for + timedelta(hours=8)).strftime("%H:%M")
    sent = f"日报|昨天的日报|FAILURE|{clock} CST|{run.id}|1"
    assert listening.heard[-1]["query"] == sent
    assert (run.state, run.result) == ("SUCCESS", f"ok {sent}")
    assert json.loads(run.rendered) == {"message": sent}


@on_sqlite
def test_a_first_run_has_no_last_one(carry: Carry, ledger: Ledger) -> None:
    run = carry("[{{ last.result[:2000] }}{{ last.state.lower() }}{{ last.finished_at }}]", template=True)

    assert run.result == "ok []"


@on_sqlite
def test_every_text_inside_inputs_is_rendered(carry: Carry, listening: AnsweringAgent) -> None:
    inputs = {"day": "{{ attempt }}", "deep": [{"x": "{{ task.name }}"}, 7]}

    run = carry(task_type="workflow", workflow_id="w1", inputs=inputs, template=True, options={})

    assert json.loads(run.rendered) == {"inputs": {"day": "1", "deep": [{"x": "row"}, 7]}}


@on_sqlite
def test_without_template_braces_pass_untouched(carry: Carry, listening: AnsweringAgent) -> None:
    run = carry("{{#1711.text#}} {{ last.result }}")

    assert listening.heard[-1]["query"] == "{{#1711.text#}} {{ last.result }}"
    assert run.rendered is None


@on_sqlite
@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("{{ 1 / 0 }}", "the template in message cannot be rendered: ZeroDivisionError: division by zero"),
        ("{% if last.result %}x{% endif %}", "the template in message renders to nothing"),
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "it takes more than 0.2 s of computing",
        ),
    ],
)
def test_a_template_that_cannot_be_rendered_ends_the_run_without_a_call(
    carry: Carry, listening: AnsweringAgent, monkeypatch: pytest.MonkeyPatch, message: str, said: str
) -> None:
    helper = Helper(cpu_seconds=0.2)
    monkeypatch.setattr(bounded, "_helper", helper)

    run = carry(message, template=True, max_retries=3)
    helper.close()

    assert (run.state, run.error_kind) == ("FAILURE", "config")
    assert said in run.error
    assert listening.heard == []


def test_what_renders_to_more_than_a_packet_fails_and_says_what_to_change(
    carry: Carry, ledger: Ledger, listening: AnsweringAgent
) -> None:
    if ledger.is_sqlite:
        pytest.skip("SQLite takes a statement of any length")
    before = int(ledger.value("SELECT @@global.max_allowed_packet"))
    ledger.sql("SET GLOBAL max_allowed_packet = 1048576")
    ledger.engine.dispose()  # a connection keeps the limit that it began with
    try:
        run = carry("{{ '日' * 500000 }}", template=True, max_retries=3)
    finally:
        ledger.sql(f"SET GLOBAL max_allowed_packet = {before}")
        ledger.engine.dispose()

    assert (run.state, run.error_kind) == ("FAILURE", "config")
    assert "max_allowed_packet is 1,04" in run.error
    assert listening.heard == []


@on_sqlite
def test_a_run_that_goes_on_with_its_remote_run_renders_nothing(carry: Carry, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise TemplateFault("it was rendered")

    monkeypatch.setattr(Helper, "render", never)
    handle = '{"provider": "agent_platform", "ids": {}, "resumable": true}'

    run = carry("{{ attempt }}", template=True, columns={"remote_handle": handle})

    assert "it was rendered" not in (run.error or "")
    assert run.rendered is None


# -- what it costs those who use none of it -----------------------------------------------------------


@on_sqlite
def test_a_plain_row_reads_and_writes_nothing_more(
    carry: Carry, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a row without template, expect and notify asked for it")

    for place, name in ((agent_tasks, "judge_of"), (Helper, "_ask")):
        monkeypatch.setattr(place, name, never)
    monkeypatch.setattr("store.notifications.enter", never)
    monkeypatch.setattr("store.last_runs.last_runs", never)

    assert carry("hello").state == "SUCCESS"


def test_beat_and_worker_load_no_library_that_no_row_asks_for() -> None:
    import subprocess

    code = (
        "import sys, scheduler, agent_tasks, tasks; from core.task_config import parse_task_config as p;"
        'p(\'{"task_type": "agent", "agent_id": "a", "message": "{{ x }}"}\');'
        "print([m for m in ('jinja2', 'apprise', 'jsonschema_rs', 'jsonpath', 're2', 'requests') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@on_sqlite
def test_an_edit_of_expect_alone_is_armed_again_and_a_wrong_one_stops_the_row(
    new_beat: NewBeat, ledger: Ledger
) -> None:
    beat = new_beat()
    task = ledger.insert()
    beat.arm()
    ledger.edit(task, task_extra_config=agent(expect={"matches": "("}))
    beat.arm()

    row = ledger.task(task)
    assert row.next_run_at is None
    assert 'expect.matches "(" is no regular expression' in row.config_error
