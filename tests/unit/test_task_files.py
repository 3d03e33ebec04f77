"""YAML files of tasks: read task by task, and never more than is bounded."""

from itertools import islice

import pytest

from api.exchange import MOST_TASKS, MOST_VALUES, _read_yaml
from core.refused import Refused

TASK = "- name: a\n  task_extra_config: {task_type: agent, message: 你好}\n"


def test_tasks_are_read_one_by_one() -> None:
    assert list(_read_yaml(TASK + "- name: b\n  enabled: false\n")) == [
        {"name": "a", "task_extra_config": {"task_type": "agent", "message": "你好"}},
        {"name": "b", "enabled": False},
    ]
    assert list(_read_yaml("[]\n")) == []
    assert list(_read_yaml("--- [{name: a}]\n...\n")) == [{"name": "a"}]


def test_what_is_not_asked_for_is_not_read() -> None:
    text = TASK * 3 + "- [this is: no YAML }"

    assert len(list(islice(_read_yaml(text), 3))) == 3
    with pytest.raises(Refused, match="no YAML that can be read"):
        list(_read_yaml(text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no list of tasks"),
        ("name: a\n", "no list of tasks"),
        ("just text", "no list of tasks"),
        ("- a\n--- \n- b\n", "more than one document"),
        ("- &x {name: a}\n- *x\n", "aliases"),
        ("- name: [" + "1, " * MOST_VALUES + "1]\n", "a task has more than 20,000 values"),
        ("- " + "[" * 3000 + "]" * 3000, "no YAML that can be read"),
        ("- !!python/object:os.system {}\n", "no YAML that can be read"),
        ("!!python/object/apply:os.system ['true']", "no YAML that can be read"),
        ("- {a: \x00}", "no YAML that can be read"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(text: str, told: str) -> None:
    with pytest.raises(Refused) as refused:
        list(_read_yaml(text))

    assert told in str(refused.value)


def test_a_long_file_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.exchange.READ_SECONDS", -1.0)

    with pytest.raises(Refused, match="send fewer tasks"):
        list(_read_yaml(TASK))


def test_as_many_values_as_a_task_may_have_are_its_own() -> None:
    assert (
        len(list(_read_yaml("- [" + "1, " * (MOST_VALUES - 10) + "]\n- [" + "1, " * (MOST_VALUES - 10) + "]\n"))) == 2
    )
    assert MOST_TASKS == 10_000
