"""What a row of celery_periodic_task_configs did, as `task_extra_config` of this system."""

import re
from collections.abc import Mapping
from typing import Any, Final

from core.legacy.endpoints import Endpoint, EndpointNames
from core.legacy.rows import Problem, Translation, read_json, read_whole, shown
from core.task_config import DEFAULT_QUEUE, MAX_TIMEOUT

FIELD: Final = "task_extra_config"
DEFAULT_MESSAGE: Final = "执行定时任务"
OLD_QUEUES: Final = frozenset({"system", "priority_high", "priority_low"})
SECRET_NAME: Final = re.compile(
    r"(?i)authorization|cookie|secret|passw|pwd|credential|(?:^|[_-])(?:token|key)$|api[_-]?key|access[_-]?key|auth$"
)

_COMMON: Final = frozenset({"task_type", "queue", "timeout", "task_timeout", "max_retries"})
_AGENT: Final = _COMMON | {
    "agent_id", "message", "user", "user_name", "conversation_id", "thread_id", "agent_url", "agent_key"
}  # fmt: skip
_HTTP: Final = _COMMON | {"url", "method", "headers", "data"}

RETRIES: Final = "max_retries above 0: the old retries expired before they ran; here each one is a further call"
HTTP_WAS_A_STUB: Final = "the old system never really sent http tasks; here they are sent once enabled"
REGISTER: Final = "their Celery task must be registered in our workers: name its module in TASK_MODULES"


def translate_task(row: Mapping[str, Any], into: Translation, endpoints: EndpointNames) -> tuple[Any, Endpoint | None]:
    """Say what the row did; return its config and the endpoint it needs. Raises Problem."""
    extra: dict[str, Any] = read_json(FIELD, row.get("task_extra_config"), dict)
    kind = extra.get("task_type") or "http"  # the old default
    if kind == "agent":
        return _agent(row, extra, into, endpoints)
    if kind == "http":
        return _http(row, extra, into), None
    return _celery(row, extra, into), None


def _agent(
    row: Mapping[str, Any], extra: dict[str, Any], into: Translation, endpoints: EndpointNames
) -> tuple[dict[str, Any], Endpoint | None]:
    config = {"task_type": "agent", "agent_id": _text(extra, "agent_id")}
    if not config["agent_id"]:
        raise Problem(f"{FIELD}.agent_id", "is missing", "name the agent in the old row")
    config["message"] = _text(extra, "message") or DEFAULT_MESSAGE
    if config["message"] == DEFAULT_MESSAGE:
        into.notes.append(f"no message was given: the old system's {DEFAULT_MESSAGE!r} is written out")
    endpoint = None
    has_key = bool(extra.get("agent_key"))
    if has_key and extra.get("agent_url"):
        endpoint = endpoints.endpoint_for(extra["agent_url"], extra["agent_key"])
        config["endpoint"] = endpoint.name
        into.notes.append(f"agent_url and agent_key are not copied: enter the endpoint {endpoint.name!r}, see the end")
    elif has_key or extra.get("agent_url"):
        into.notes.append(
            "agent_url or agent_key alone was never used and is not copied: the default endpoint is called"
        )
    # The version with a key for each row called the agent as the row's creator.
    creator = row.get("create_by") if has_key else None
    config["user"] = _text(extra, "user") or _text(extra, "user_name") or str(creator or "system")
    conversation = _text(extra, "thread_id") or _text(extra, "conversation_id")
    if conversation:
        config["conversation"] = conversation
    return _completed(config, extra, _AGENT, into), endpoint


def _http(row: Mapping[str, Any], extra: dict[str, Any], into: Translation) -> dict[str, Any]:
    url = _text(extra, "url")
    if not url:
        without = (
            "has no url"
            if extra.get("task_type")
            else "has no task_type, which the old system took as http, and no url"
        )
        path = row.get("task_path")
        mend = f'if the Celery task {shown(path)} is meant, write {{"task_type": "system"}}' if path else "write a url"
        raise Problem(FIELD, without, mend)
    if "@" in url.partition("://")[2].partition("/")[0]:
        mend = "enter an endpoint with the key, then write this row by hand"
        raise Problem(f"{FIELD}.url", "holds a user name or a password, which is not copied", mend)
    config: dict[str, Any] = {"task_type": "http", "url": url, "method": (_text(extra, "method") or "GET").upper()}
    headers = extra.get("headers") or {}
    if not isinstance(headers, dict):
        raise Problem(f"{FIELD}.headers", "is no object", 'write {"name": "value"}')
    secret = sorted(name for name in headers if SECRET_NAME.search(name))
    if secret:
        mend = "enter an endpoint with the key, or add them by hand"
        into.notes.append(f"headers that may hold a secret are not copied: {', '.join(secret)}; {mend}")
    if len(headers) > len(secret):
        config["headers"] = {name: str(value) for name, value in headers.items() if name not in secret}
    if extra.get("data") not in (None, "", {}, []):
        config["body"] = extra["data"]
    into.remarks.append(HTTP_WAS_A_STUB)
    return _completed(config, extra, _HTTP, into)


def _celery(row: Mapping[str, Any], extra: dict[str, Any], into: Translation) -> dict[str, Any]:
    path = row.get("task_path")
    if not isinstance(path, str) or not path.strip():
        raise Problem("task_path", "is empty", "name the Celery task in the old row")
    config: dict[str, Any] = {"task_type": "celery", "task": path.strip()}
    with into.collecting():
        config["args"] = read_json("task_args", row.get("task_args"), list)
    with into.collecting():
        config["kwargs"] = read_json("task_kwargs", row.get("task_kwargs"), dict)
    # The old scheduler merged the whole of task_extra_config into the keyword arguments.
    merged = {
        name: value
        for name, value in extra.items()
        if name not in _COMMON and name not in ("agent_url", "agent_key") and not SECRET_NAME.search(name)
    }
    if merged:
        config["kwargs"] = {**config.get("kwargs", {}), **merged}
        into.notes.append(f"passed on as keyword arguments, as before: {', '.join(sorted(merged))}")
    into.remarks.append(REGISTER)
    return _completed(config, extra, _COMMON.union(merged), into)


def _completed(
    config: dict[str, Any], extra: dict[str, Any], known: frozenset[str], into: Translation
) -> dict[str, Any]:
    """Add what every type has, and name the keys that go no further."""
    left_out = sorted(str(name) for name in extra if name not in known)
    if left_out:
        into.notes.append(f"left out of task_extra_config: {', '.join(left_out)}")
    config["queue"] = _queue(extra, into)
    with into.collecting():
        # task_timeout is the key that was read; timeout is the one that was documented.
        for key in ("task_timeout", "timeout"):
            if extra.get(key) not in (None, ""):
                config["timeout"] = read_whole(f"{FIELD}.{key}", extra[key], 1, MAX_TIMEOUT)
                break
    with into.collecting():
        retries = read_whole(f"{FIELD}.max_retries", extra.get("max_retries") or 0, 0, 100)
        if retries:
            config["max_retries"] = retries
            into.remarks.append(RETRIES)
    return config


def _queue(extra: dict[str, Any], into: Translation) -> str:
    queue = extra.get("queue") or DEFAULT_QUEUE
    if isinstance(queue, str) and queue in OLD_QUEUES:
        return queue
    into.notes.append(
        f"queue {shown(queue)} was unknown to the old system, which used {DEFAULT_QUEUE}: so does the row"
    )
    return DEFAULT_QUEUE


def _text(extra: dict[str, Any], key: str) -> str:
    """Read a key that holds text, or a number meant as text. Raises Problem."""
    value = extra.get(key)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Problem(f"{FIELD}.{key}", "is no text", "write text in quotes")
    return str(value).strip()
