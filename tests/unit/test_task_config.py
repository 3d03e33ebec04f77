"""task_extra_config: every key with good and bad values, and errors in an operator's words."""

import json
import re
from typing import Any

import pytest

from core.task_config import (
    MODELS,
    AgentConfig,
    CeleryConfig,
    ConfigError,
    HttpConfig,
    WorkflowConfig,
    parse_task_config,
)

AGENT = {"task_type": "agent", "agent_id": "daily-report", "message": "写今天的日报"}
WORKFLOW = {"task_type": "workflow", "workflow_id": "close-of-day"}
HTTP = {"task_type": "http", "url": "https://hooks.example.com/run"}
CELERY = {"task_type": "celery", "task": "packs.trading.data_tasks.sync_daily_stock_data"}
EVERY_TYPE = [AGENT, WORKFLOW, HTTP, CELERY]


def parse(base: dict[str, Any], **keys: Any) -> Any:
    return parse_task_config(json.dumps({**base, **keys}, ensure_ascii=False))


def refusal(base: dict[str, Any], **keys: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        parse(base, **keys)
    return str(refused.value)


# -- what is accepted -------------------------------------------------------------------------------


def test_each_task_type_needs_only_its_own_keys_and_has_the_documented_defaults() -> None:
    kinds = [type(parse(base)) for base in EVERY_TYPE]

    assert kinds == [AgentConfig, WorkflowConfig, HttpConfig, CeleryConfig]
    for base in EVERY_TYPE:
        config = parse(base)
        common = (config.queue, config.priority, config.timeout, config.max_retries, config.endpoint, config.template)
        assert common == ("priority_low", 5, 300, 0, None, False)
        assert (config.retry_backoff, config.retry_backoff_max, config.options) == (2, 600, {})
    assert (parse(AGENT).user, parse(AGENT).conversation) == ("system", "new")
    assert (parse(WORKFLOW).user, parse(WORKFLOW).inputs) == ("system", {})
    assert (parse(HTTP).method, parse(HTTP).headers, parse(HTTP).body) == ("POST", {}, None)
    assert (parse(CELERY).args, parse(CELERY).kwargs) == ([], {})


GOOD: list[tuple[dict[str, Any], str, Any, Any]] = [
    (AGENT, "queue", "system", "system"),
    (AGENT, "queue", "data.eu-1_x", "data.eu-1_x"),
    (AGENT, "queue", "q" * 64, "q" * 64),
    (AGENT, "priority", 0, 0),
    (AGENT, "priority", 9, 9),
    (AGENT, "priority", "7", 7),
    (AGENT, "priority", 7.0, 7),
    (AGENT, "timeout", 0.001, 0.001),
    (AGENT, "timeout", 604800, 604800),
    (AGENT, "timeout", "1800", 1800),
    (AGENT, "task_timeout", 60, 60),
    (AGENT, "max_retries", 0, 0),
    (AGENT, "max_retries", 100, 100),
    (AGENT, "retry_backoff", 0, 0),
    (AGENT, "retry_backoff", 86400, 86400),
    (AGENT, "retry_backoff_max", 0.5, 0.5),
    (AGENT, "endpoint", "siliconflow", "siliconflow"),
    (AGENT, "endpoint", None, None),
    (AGENT, "options", {"temperature": 0.2, "深": [1, {"嵌": None}]}, {"temperature": 0.2, "深": [1, {"嵌": None}]}),
    (AGENT, "template", False, False),
    (AGENT, "user", " ops ", "ops"),
    (AGENT, "user_name", "张三", "张三"),
    (AGENT, "user", 10086, "10086"),
    (AGENT, "conversation", "sticky", "sticky"),
    (AGENT, "conversation_id", "c-1", "c-1"),
    (AGENT, "thread_id", "t-1", "t-1"),
    (AGENT, "agent_id", 42, "42"),
    (AGENT, "message", "👩‍🚀 第一行\n第二行\t{{ date }}", "👩‍🚀 第一行\n第二行\t{{ date }}"),
    (AGENT, "message", "长" * 1_000_000, "长" * 1_000_000),
    (WORKFLOW, "inputs", {"a": 1, "b": None, "c": [True]}, {"a": 1, "b": None, "c": [True]}),
    (HTTP, "url", " http://127.0.0.1:8000/x?a=b ", "http://127.0.0.1:8000/x?a=b"),
    (HTTP, "method", "GET", "GET"),
    (HTTP, "headers", {"X-Trace-Id": "1", "Accept": ""}, {"X-Trace-Id": "1", "Accept": ""}),
    (HTTP, "headers", {"X-Count": 3}, {"X-Count": "3"}),
    (HTTP, "body", [1, "a", None], [1, "a", None]),
    (HTTP, "body", "raw text", "raw text"),
    (CELERY, "args", [1, {"a": []}], [1, {"a": []}]),
    (CELERY, "kwargs", {"day": "2026-06-01"}, {"day": "2026-06-01"}),
]
FIELD = {"task_timeout": "timeout", "user_name": "user", "conversation_id": "conversation", "thread_id": "conversation"}


@pytest.mark.parametrize(("base", "key", "value", "read"), GOOD, ids=[f"{g[1]}-{g[2]!r:.20}" for g in GOOD])
def test_a_good_value_is_read(base: dict[str, Any], key: str, value: object, read: object) -> None:
    assert getattr(parse(base, **{key: value}), FIELD.get(key, key)) == read


def test_escaped_and_plain_text_are_the_same() -> None:
    assert parse_task_config(json.dumps(AGENT, ensure_ascii=True)) == parse_task_config(
        json.dumps(AGENT, ensure_ascii=False, indent=4)
    )


def test_an_escaped_emoji_is_one_character_again() -> None:
    config = parse_task_config(r'{"task_type": "agent", "agent_id": "a", "message": "\ud83d\udcc8"}')

    assert isinstance(config, AgentConfig)
    assert config.message == "📈"


# -- what is refused --------------------------------------------------------------------------------

PRIORITY = "use a whole number from 0 to 9, 9 the most urgent"
TIMEOUT = "use seconds above 0, at most 604800 (7 days)"
RETRIES = "use a whole number from 0 to 100"
BACKOFF = "use seconds from 0 to 86400"
QUEUE = "use up to 64 letters, digits, '_', '.' and '-'"
TEXT = "use text that is not empty"
HEADERS = 'use one line of text by name, such as {"Accept": "application/json"}'
BAD: list[tuple[dict[str, Any], str, Any, str]] = [
    (AGENT, "priority", True, f"priority is true; {PRIORITY}"),
    (AGENT, "priority", False, f"priority is false; {PRIORITY}"),
    (AGENT, "priority", -1, f"priority is -1; {PRIORITY}"),
    (AGENT, "priority", 10, f"priority is 10; {PRIORITY}"),
    (AGENT, "priority", 5.5, f"priority is 5.5; {PRIORITY}"),
    (AGENT, "priority", "high", f'priority is "high"; {PRIORITY}'),
    (AGENT, "priority", "", f'priority is ""; {PRIORITY}'),
    (AGENT, "priority", None, f"priority is null; {PRIORITY}"),
    (AGENT, "priority", [5], f"priority is [5]; {PRIORITY}"),
    (AGENT, "priority", 10**99, f"priority is 1{'0' * 78}…; {PRIORITY}"),
    (AGENT, "timeout", 0, f"timeout is 0; {TIMEOUT}"),
    (AGENT, "timeout", -5, f"timeout is -5; {TIMEOUT}"),
    (AGENT, "timeout", 604801, f"timeout is 604801; {TIMEOUT}"),
    (AGENT, "timeout", True, f"timeout is true; {TIMEOUT}"),
    (AGENT, "timeout", "5m", f'timeout is "5m"; {TIMEOUT}'),
    (AGENT, "timeout", "nan", f'timeout is "nan"; {TIMEOUT}'),
    (AGENT, "timeout", "inf", f'timeout is "inf"; {TIMEOUT}'),
    (AGENT, "timeout", 10**99, f"timeout is 1{'0' * 78}…; {TIMEOUT}"),
    (AGENT, "timeout", None, f"timeout is null; {TIMEOUT}"),
    (AGENT, "task_timeout", "x", f'task_timeout is "x"; {TIMEOUT}'),
    (AGENT, "max_retries", -1, f"max_retries is -1; {RETRIES}"),
    (AGENT, "max_retries", 101, f"max_retries is 101; {RETRIES}"),
    (AGENT, "max_retries", True, f"max_retries is true; {RETRIES}"),
    (AGENT, "max_retries", 1.5, f"max_retries is 1.5; {RETRIES}"),
    (AGENT, "retry_backoff", -0.1, f"retry_backoff is -0.1; {BACKOFF}"),
    (AGENT, "retry_backoff", True, f"retry_backoff is true; {BACKOFF}"),
    (AGENT, "retry_backoff_max", 86401, f"retry_backoff_max is 86401; {BACKOFF}"),
    (AGENT, "queue", "", f'queue is ""; {QUEUE}'),
    (AGENT, "queue", "my queue", f'queue is "my queue"; {QUEUE}'),
    (AGENT, "queue", "优先", f'queue is "优先"; {QUEUE}'),
    (AGENT, "queue", "q\n", f'queue is "q\\n"; {QUEUE}'),
    (AGENT, "queue", "q" * 65, f'queue is "{"q" * 65}"; {QUEUE}'),
    (AGENT, "queue", None, f"queue is null; {QUEUE}"),
    (AGENT, "queue", True, f"queue is true; {QUEUE}"),
    (AGENT, "endpoint", "", 'endpoint is ""; use the name of a row in agent_endpoint'),
    (AGENT, "endpoint", {}, "endpoint is {}; use the name of a row in agent_endpoint"),
    (AGENT, "options", None, 'options is null; use an object such as {"temperature": 0.2}'),
    (AGENT, "options", "temperature=0.2", 'options is text; use an object such as {"temperature": 0.2}'),
    (AGENT, "options", [], 'options is a list; use an object such as {"temperature": 0.2}'),
    (HTTP, "template", True, "template is true; use false: only agent and workflow rows have templates"),
    (AGENT, "template", "no", 'template is "no"; use true or false'),
    (AGENT, "template", 1, "template is 1; use true or false"),
    (AGENT, "expect", 1, 'expect is 1; use an object such as {"non_empty": true, "contains": "total"}'),
    (CELERY, "expect", {"a": 1}, "expect has the unknown check \"a\"; known: non_empty, min_length, max_length, "
     "contains, not_contains, matches, json_schema, json_path, differs_from_last"),
    (AGENT, "notify", 1, "notify is 1; use names of channels (letters, digits, '_', '.', '-'), such as "
     '["ops"] or {"failure": ["ops"], "change": ["team"]}'),
    (CELERY, "notify", {"failed": ["ops"]}, "notify has the unknown event \"failed\"; did you mean 'failure'?"),
    (AGENT, "notify", "json://x/y", "notify holds an address; use the name of a channel, which scripts.channels keeps"),
    (AGENT, "user", "", f'user is ""; {TEXT}'),
    (AGENT, "user", "  ", f'user is "  "; {TEXT}'),
    (AGENT, "user", True, f"user is true; {TEXT}"),
    (AGENT, "user_name", None, f"user_name is null; {TEXT}"),
    (AGENT, "conversation", [], 'conversation is []; use "new", "sticky" or the id of a conversation'),
    (AGENT, "thread_id", "", 'thread_id is ""; use "new", "sticky" or the id of a conversation'),
    (AGENT, "agent_id", "", f'agent_id is ""; {TEXT}'),
    (AGENT, "message", " \n\t ", f'message is " \\n\\t "; {TEXT}'),
    (AGENT, "message", ["长" * 500], f'message is ["{"长" * 77}…; {TEXT}'),
    (AGENT, "message", None, f"message is null; {TEXT}"),
    (WORKFLOW, "workflow_id", {}, f"workflow_id is {{}}; {TEXT}"),
    (WORKFLOW, "inputs", [], 'inputs is a list; use an object such as {"name": "value"}'),
    (HTTP, "url", "", 'url is ""; use an address such as https://host/path'),
    (HTTP, "url", "ftp://host/x", 'url is "ftp://host/x"; use an address such as https://host/path'),
    (HTTP, "url", "example.com/x", 'url is "example.com/x"; use an address such as https://host/path'),
    (HTTP, "url", "http:///x", 'url is "http:///x"; use an address such as https://host/path'),
    (HTTP, "url", None, "url is null; use an address such as https://host/path"),
    (HTTP, "method", "post", 'method is "post"; use GET, POST, PUT, PATCH, DELETE or HEAD, in capitals'),
    (HTTP, "method", "TRACE", 'method is "TRACE"; use GET, POST, PUT, PATCH, DELETE or HEAD, in capitals'),
    (HTTP, "headers", "Accept: x", f"headers is text; {HEADERS}"),
    (HTTP, "headers", {"Authorization": ["Bearer s3cret"]}, f"headers.Authorization is a list; {HEADERS}"),
    (HTTP, "headers", {"Authorization": True}, f"headers.Authorization is true; {HEADERS}"),
    (HTTP, "headers", {"Authorization": "Bearer s3cret\r\nX-Evil: 1"}, f"headers.Authorization is text; {HEADERS}"),
    (HTTP, "headers", {"Authorization": "Bearer s3cret\n"}, f"headers.Authorization is text; {HEADERS}"),
    (HTTP, "headers", {"X Y": "1"}, f"headers.X Y is text; {HEADERS}"),
    (HTTP, "headers", {"标题": "1"}, f"headers.标题 is text; {HEADERS}"),
    (CELERY, "task", "", 'task is ""; use the name of a registered task'),
    (CELERY, "args", {}, 'args is an object; use a list such as ["a", 1]'),
    (CELERY, "kwargs", "x=1", 'kwargs is text; use an object such as {"name": "value"}'),
]  # fmt: skip


@pytest.mark.parametrize(("base", "key", "value", "told"), BAD, ids=[f"{b[1]}-{b[2]!r:.20}" for b in BAD])
def test_a_bad_value_is_told_with_its_key_and_the_mend(
    base: dict[str, Any], key: str, value: object, told: str
) -> None:
    assert refusal(base, **{key: value}) == told


@pytest.mark.parametrize("field", sorted({(m, f) for m, model in MODELS.items() for f in model.model_fields}))
def test_every_key_that_can_be_wrong_says_what_to_use(field: tuple[str, str]) -> None:
    task_type, name = field
    if name not in {"task_type", "body"}:
        assert MODELS[task_type].model_fields[name].description


@pytest.mark.parametrize("base", EVERY_TYPE, ids=lambda base: str(base["task_type"]))
def test_a_missing_key_is_named(base: dict[str, Any]) -> None:
    for key in base.keys() - {"task_type"}:
        rest = {name: value for name, value in base.items() if name != key}
        assert refusal(rest) == f"{key} is missing from task_extra_config"


UNKNOWN = [
    (AGENT, "mesage", "task_extra_config has the unknown key \"mesage\"; did you mean 'message'?"),
    (AGENT, "Queue", "task_extra_config has the unknown key \"Queue\"; did you mean 'queue'?"),
    (AGENT, "time_out", "task_extra_config has the unknown key \"time_out\"; did you mean 'timeout'?"),
    (AGENT, "task_time_out", "task_extra_config has the unknown key \"task_time_out\"; did you mean 'task_timeout'?"),
    (AGENT, "username", "task_extra_config has the unknown key \"username\"; did you mean 'user_name'?"),
    (AGENT, "retries", "task_extra_config has the unknown key \"retries\"; did you mean 'max_retries'?"),
    (AGENT, "备注", 'task_extra_config has the unknown key "备注"'),
    (AGENT, "", 'task_extra_config has the unknown key ""'),
    (AGENT, "1", 'task_extra_config has the unknown key "1"'),
    (AGENT, "task_type ", "task_extra_config has the unknown key \"task_type \"; did you mean 'task_type'?"),
    (AGENT, "inputs", "the key inputs belongs to task_type workflow, and this is task_type agent"),
    (WORKFLOW, "message", "the key message belongs to task_type agent, and this is task_type workflow"),
    (HTTP, "user", "the key user belongs to task_type agent or workflow, and this is task_type http"),
    (CELERY, "url", "the key url belongs to task_type http, and this is task_type celery"),
    (AGENT, "k" * 100_000, f'task_extra_config has the unknown key "{"k" * 78}…'),
]


@pytest.mark.parametrize(("base", "key", "told"), UNKNOWN, ids=[u[1][:20] for u in UNKNOWN])
def test_an_unknown_key_is_told_with_the_near_miss(base: dict[str, Any], key: str, told: str) -> None:
    assert refusal(base, **{key: 1}) == told


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"timeout": 1, "task_timeout": 2}, "timeout and task_timeout mean the same; keep one"),
        ({"task_timeout": 1, "timeout": 1}, "timeout and task_timeout mean the same; keep one"),
        ({"user": "a", "user_name": "a"}, "user and user_name mean the same; keep one"),
        ({"conversation_id": "a", "thread_id": "b"}, "conversation_id and thread_id mean the same; keep one"),
        (
            {"thread_id": "a", "conversation": "b", "conversation_id": "c"},
            "conversation and conversation_id and thread_id mean the same; keep one",
        ),
    ],
)
def test_two_spellings_at_once_are_refused_rather_than_one_chosen(keys: dict[str, Any], told: str) -> None:
    assert refusal(AGENT, **keys) == told


@pytest.mark.parametrize(
    ("task_type", "told"),
    [
        ("Agent", "task_type \"Agent\" is unknown; use one of agent, workflow, http, celery; did you mean 'agent'?"),
        ("workflows", "did you mean 'workflow'?"),
        ("cron", 'task_type "cron" is unknown; use one of agent, workflow, http, celery'),
        (None, "task_type null is unknown"),
        (True, "task_type true is unknown"),
        (1, "task_type 1 is unknown"),
        (["agent"], 'task_type ["agent"] is unknown'),
        ({}, "task_type {} is unknown"),
        ("x" * 100_000, "is unknown; use one of agent"),
    ],
)
def test_an_unknown_task_type_is_told_with_the_known_ones(task_type: object, told: str) -> None:
    text = refusal(AGENT, task_type=task_type)

    assert told in text
    assert len(text) < 300


def test_all_that_is_wrong_is_told_at_once() -> None:
    told = refusal({"task_type": "agent"}, priority=99, timeout="x", foo=1)

    for part in ("agent_id is missing", "message is missing", "priority is 99", 'timeout is "x"', 'unknown key "foo"'):
        assert part in told


def test_of_thousands_of_problems_ten_are_told_and_the_others_counted() -> None:
    told = refusal(AGENT, **{f"key{n}": n for n in range(5000)})

    assert told.endswith("; and 4990 more problems")
    assert told.count("unknown key") == 10


JARGON = re.compile(r"pydantic|regex|pattern|Input should|validation|\^|\[A-Z|dictionary|<class|NoneType|\bdict\b")


def test_no_error_speaks_pythons_language() -> None:
    cases = [(base, key, value) for base, key, value, _ in BAD] + [(base, key, 1) for base, key, _ in UNKNOWN]
    texts = [refusal(base, **{key: value}) for base, key, value in cases]

    assert [text for text in texts if JARGON.search(text)] == []


def test_half_of_a_character_is_told_and_every_message_can_be_stored() -> None:
    half = r"\ud83d"
    for broken in (
        f'{{"task_type": "agent", "agent_id": "a", "message": "{half}"}}',
        f'{{"task_type": "agent", "agent_id": "a", "message": "m", "{half}": 1}}',
        f'{{"task_type": "agent", "agent_id": "a", "message": "m", "priority": "{half}"}}',
        f'{{"task_type": "{half}", "agent_id": "a", "message": "m"}}',
        f'{{"task_type": "http", "url": "http://h", "headers": {{"{half}": "x"}}}}',
        f'{{"task_type": "http", "url": "http://h", "headers": {{"x": "{half}"}}}}',
        f'{{"{half}": 1, "{half}": 2}}',
    ):
        with pytest.raises(ConfigError) as refused:
            parse_task_config(broken)
        assert str(refused.value).encode()


def test_a_secret_in_a_free_form_key_is_never_repeated() -> None:
    for base, key, value in (
        (HTTP, "headers", {"Authorization": ["s3cret"]}),
        (HTTP, "headers", "Authorization: s3cret"),
        (AGENT, "options", "s3cret"),
        (WORKFLOW, "inputs", ["s3cret"]),
        (CELERY, "kwargs", "s3cret"),
        (CELERY, "args", "s3cret"),
    ):
        assert "s3cret" not in refusal(base, **{key: value})


def test_a_text_is_read_the_same_however_long_it_is() -> None:
    for length in (10, 4000, 5000, 100_000):
        assert parse(AGENT, message="m" * length).message == "m" * length
        assert "priority is 10" in refusal(AGENT, message="m" * length, priority=10)
