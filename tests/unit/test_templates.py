"""`template`: what is found before a template is ever rendered, what it renders to, and that no bomb harms."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.expectations import Answer
from core.task_config import AgentConfig, ConfigError, WorkflowConfig, parse_task_config
from core.templates import TemplateFault, check, replace_texts, texts_in
from tests.integration.engine import agent
from worker.bounded import Helper, TooMuch

VARIABLES: dict[str, Any] = {
    "last": {"result": "昨天的日报", "state": "SUCCESS", "finished_at": None},
    "scheduled_for": {"moment": "2026-01-05T01:00:00+00:00", "zone": "Asia/Shanghai"},
    "task": {"name": "日报"},
    "run": {"id": "run-1"},
    "attempt": 1,
}


@pytest.fixture(scope="module")
def helper() -> Iterator[Helper]:
    helper = Helper(cpu_seconds=0.3)
    yield helper
    helper.close()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ lst.result }}", "line 1: 'lst' is unknown; did you mean 'last'?"),
        ("\n{{ last.reslt }}", "line 2: last.reslt is unknown; there is last.result, last.state, last.finished_at"),
        ("{{ now }}", "'now' is unknown; known: last.result, last.state, last.finished_at, scheduled_for, task.name"),
        ("{{ last.result", "line 1: unexpected end of template"),
        ("{% if %}", "line 1: Expected an expression"),
        ("{{ 'a'|uper }}", "there is no filter 'uper'; did you mean 'upper'?"),
        ("{{ [1]|random }}", "there is no filter 'random'"),
        ("{{ 1 is evn }}", "there is no test 'evn'; did you mean 'even'?"),
        ("{% include '/etc/passwd' %}", "nothing that it could include"),
        ("{{ " + "(" * 5000, "nested too deeply"),
    ],
)
def test_a_template_that_cannot_be_used_says_where_and_the_mend(source: str, said: str) -> None:
    with pytest.raises(TemplateFault) as fault:
        check(source)

    assert said in str(fault.value)


@pytest.mark.parametrize(
    "source",
    [
        "{% for line in last.result.splitlines() %}{{ loop.index }} {{ line }}{% endfor %}",
        "{% set n = 1 %}{{ n }}{% macro m(x) %}{{ x }}{% endmacro %}{{ m(2) }}{{ namespace(a=1).a }}",
        "{{ 'x'|center(10**10) }}",  # never computed where it is checked
    ],
)
def test_a_template_that_can_be_used_is_left_alone(source: str) -> None:
    check(source)


@pytest.mark.parametrize(
    ("source", "rendered"),
    [
        ("{{ last.result }}", "昨天的日报"),
        ("[{{ last.finished_at }}]", "[]"),
        ("{{ scheduled_for.strftime('%Y年%m月%d日 %H:%M') }}", "2026年01月05日 09:00"),
        ("{{ scheduled_for }}", "2026-01-05 09:00:00+08:00"),
        ("{{ task.name }} {{ run.id }} {{ attempt + 1 }}\n", "日报 run-1 2\n"),
        ("{% if last.state == 'SUCCESS' %}{{ last.result[:2] }}{% endif %}", "昨天"),
        ("no template, {# note #}{{ '{{' }}", "no template, {{"),
    ],
)
def test_what_a_template_renders_to(helper: Helper, source: str, rendered: str) -> None:
    check(source)

    assert helper.render([source], VARIABLES) == [rendered]


BOMBS = {
    "a loop that says nothing": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "multiplication": "{{ 'x' * 10**10 }}",
    "a filter": "{{ 'x'|center(10**10) }}",
    "doubling": "{% set n = namespace(x='x') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
    "output": "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
    "recursion": "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(1) }}",
    "a number": "{{ (9**99999999) % 7 }}",
}


@pytest.mark.parametrize("source", BOMBS.values(), ids=BOMBS)
def test_a_bomb_ends_with_an_error_and_the_next_template_is_rendered(helper: Helper, source: str) -> None:
    with pytest.raises((TemplateFault, TooMuch)):
        helper.render([source], VARIABLES)

    assert helper.render(["{{ attempt }}"], VARIABLES) == ["1"]


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ self._TemplateReference__context }}",
        "{{ last.update({'result': 'x'}) }}",
        "{{ '{0.__class__}'.format(1) }}",
    ],
)
def test_a_template_does_not_get_out_of_its_sandbox(helper: Helper, source: str) -> None:
    with pytest.raises(TemplateFault):
        helper.render([source], VARIABLES)


@pytest.mark.parametrize(
    ("source", "said"), [("{{ 1 / 0 }}", "division by zero"), ("{{ last['none'].x }}", "has no attribute 'none'")]
)
def test_a_fault_while_rendering_says_what_it_was(helper: Helper, source: str, said: str) -> None:
    with pytest.raises(TemplateFault, match=said):
        helper.render([source], VARIABLES)


def test_a_schema_that_takes_exponential_time_is_cut(helper: Helper) -> None:
    rungs = {f"r{i}": {"anyOf": [{"$ref": f"#/$defs/r{i + 1}"}] * 2} for i in range(40)}
    bomb = {"json_schema": {"$ref": "#/$defs/r0", "$defs": {**rungs, "r40": {"type": "string"}}}}

    with pytest.raises(TooMuch, match="computing"):
        helper.failed(bomb, Answer("{}"))

    assert helper.failed({"matches": "a"}, Answer("a")) is None


def test_a_helper_that_was_killed_is_replaced(helper: Helper) -> None:
    helper.render(["x"], VARIABLES)
    first = helper._child
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    first.wait()

    assert helper.render(["{{ attempt }}"], VARIABLES) == ["1"]


def test_the_helper_ends_with_its_parent() -> None:
    helper = Helper()
    helper.render(["x"], VARIABLES)
    child = helper._child
    assert child is not None
    assert child.stdin is not None
    child.stdin.close()  # what the end of a process does

    assert child.wait(20) == 0
    helper.close()


def test_the_helper_sees_none_of_our_environment(helper: Helper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "planted-secret-0")
    own = Helper()
    own.render(["x"], VARIABLES)
    assert own._child is not None
    environment = Path(f"/proc/{own._child.pid}/environ")
    seen = environment.read_bytes() if environment.exists() else b""
    own.close()

    assert b"planted-secret-0" not in seen


def test_a_machine_that_is_busy_fails_no_template() -> None:
    helper = Helper(cpu_seconds=0.3)
    try:
        helper.render(["x"], VARIABLES)
        assert helper._child is not None
        os.kill(helper._child.pid, signal.SIGSTOP)
        child = helper._child.pid
        started = time.monotonic()
        goes_on = threading.Timer(1, os.kill, (child, signal.SIGCONT))
        goes_on.start()
        assert helper.render(["{{ attempt }}"], VARIABLES) == ["1"]
        assert time.monotonic() - started > 0.9
        goes_on.join()
    finally:
        helper.close()


def test_every_text_of_inputs_is_found_and_put_back_in_its_place() -> None:
    inputs = {"a": "1", "b": ["2", 3, {"c": "4", "5": None}], "d": True}
    texts = iter([text + "!" for text in texts_in(inputs)])

    assert replace_texts(inputs, lambda: next(texts)) == {"a": "1!", "b": ["2!", 3, {"c": "4!", "5": None}], "d": True}


def test_arming_finds_a_broken_template_in_a_message_and_in_inputs() -> None:
    with pytest.raises(ConfigError, match="message is no template that can be used: line 1"):
        parse_task_config(agent("{{ x", template=True))
    with pytest.raises(ConfigError, match="inputs is no template that can be used: line 1: 'lst' is unknown"):
        parse_task_config(
            '{"task_type": "workflow", "workflow_id": "w", "inputs": {"a": ["{{ lst }}"]}, "template": true}'
        )


def test_a_message_is_plain_text_unless_a_template_is_asked_for() -> None:
    config = parse_task_config(agent("{{#1711.text#}} {% raw"))

    assert isinstance(config, AgentConfig)
    assert (config.template, config.message) == (False, "{{#1711.text#}} {% raw")


def test_only_agent_and_workflow_rows_have_templates() -> None:
    workflow = parse_task_config('{"task_type": "workflow", "workflow_id": "w", "template": true}')
    assert isinstance(workflow, WorkflowConfig)
    assert workflow.template

    with pytest.raises(ConfigError, match="only agent and workflow rows have templates"):
        parse_task_config('{"task_type": "http", "url": "https://a/b", "template": true}')


def test_one_that_takes_long_holds_up_the_others_for_a_while_only() -> None:
    helper = Helper(cpu_seconds=60, wall_seconds=60, turn_seconds=0.2)
    bomb = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"

    def long() -> None:
        with pytest.raises((TemplateFault, TooMuch)):
            helper.render([bomb], VARIABLES)

    thread = threading.Thread(target=long)
    thread.start()
    while helper._child is None:
        time.sleep(0.01)
    begin = time.monotonic()
    with pytest.raises(TooMuch, match=r"waited 0\.2 s for its turn"):
        helper.render(["{{ attempt }}"], VARIABLES)
    waited = time.monotonic() - begin
    helper._child.kill()
    thread.join()

    assert waited < 30
    assert helper.render(["{{ attempt }}"], VARIABLES) == ["1"]
    helper.close()
