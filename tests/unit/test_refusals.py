"""What the API refuses is said in the reader's language where its sentence is known, and stays as it is where not."""

import time
from decimal import Decimal

import pytest
from pydantic import ValidationError

from api.task_models import NewTask
from core.budget import Budget
from core.holds import Hold, Mode, Scope
from core.task_config import ConfigError, parse_task_config
from edits.budgets import NewBudget
from edits.endpoints import AgentLimits
from web.refusals import said
from web.wording import Words, catalogue

ZH, EN = Words("zh"), Words("en")


def is_said(text: str) -> bool:
    """True where no English sentence is left of it."""
    found = said(ZH, text)
    return found != text and not any(f" {word} " in f" {found} " for word in ("is", "should", "has", "the", "use"))


@pytest.mark.parametrize(
    "config",
    [
        '{"agent_id": "a"}',
        '{"task_type": "agnt"}',
        '{"task_type": "agent", "agent_id": "a"}',
        '{"task_type": "agent", "agent_id": "", "message": "x"}',
        '{"task_type": "agent", "agent_id": "a", "message": "x", "mesage": "y"}',
        '{"task_type": "agent", "agent_id": "a", "message": "x", "zzz": 1}',
        '{"task_type": "agent", "agent_id": "a", "message": "x", "url": 1, "timeout": 0, "priority": 10}',
        '{"task_type": "agent",',
    ],
)
def test_what_is_wrong_with_a_config_is_said_sentence_by_sentence(config: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_task_config(config)

    assert is_said(str(caught.value)), said(ZH, str(caught.value))


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (AgentLimits, {"agent": "", "max_concurrency": "many", "requests_per_minute": 0, "other": 1}),
        (AgentLimits, {}),
        (NewBudget, {"amount": "x", "unit": "dollar", "window_seconds": "59", "at_limit": "shout"}),
        (NewBudget, {"amount": "1e30", "window_seconds": 1e9}),
        (NewTask, {"name": "n" * 201, "enabled": "perhaps", "jitter_seconds": "1"}),
    ],
)
def test_what_a_field_is_refused_for_is_said_with_its_name_kept(model: type[AgentLimits], values: object) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(values)

    for issue in caught.value.errors():
        field, message = str(issue["loc"][0]), issue["msg"]
        assert is_said(message), message
        assert said(ZH, f"{field}: {message}") == f"{field}：{said(ZH, message)}"


def test_a_sentence_in_a_sentence_is_said_too_and_names_stay() -> None:
    hold = Hold(3, Scope.ENDPOINT, "model <1>", Mode.WAIT, "quiet", None)
    budget = Budget(7, "模型", None, Decimal(5), "CNY", 3600, "skip", None)

    assert (
        said(ZH, f"The call is not made: {hold.told}.") == "没有发起调用：被暂停 3 拦住（endpoint model <1>）：quiet。"
    )
    assert "端点 '模型' 的预算 7" in said(ZH, f"The call is not made: {budget} is used up.")
    assert said(ZH, "This needs the role admin, and 'eve' has the role viewer; ask an admin.").startswith(
        "此操作需要管理员"
    )


@pytest.mark.parametrize("text", ["", "nobody knows this; at all", "x" * 5000, "a: b", "; ; ;", "{name} {0}"])
def test_what_no_file_has_stays_as_it_is(text: str) -> None:
    assert said(ZH, text) == said(EN, text) == text
    assert said(ZH, None) == ""


def test_every_sentence_is_found_by_itself_and_none_hides_another() -> None:
    for key, text in catalogue("en").items():
        if key.startswith("refusals.") and not key.startswith(("refusals.word.", "refusals.join", "refusals.of_field")):
            sentence = text.format_map(_Marked())
            assert said(ZH, sentence) == catalogue("zh")[key].format_map(_Marked()), key


class _Marked(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return f"«{name}»"


def test_hostile_text_costs_little() -> None:
    begin = time.process_time()

    said(ZH, "crontab " * 60 + "; " * 5 + "use use of (in is " * 20)

    assert time.process_time() - begin < 0.5
