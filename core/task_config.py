"""`task_extra_config`: WHAT a row does, validated. Unknown keys are errors that name the near miss."""

import json
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

MAX_TIMEOUT = 7 * 24 * 3600
DEFAULT_QUEUE: Final = "priority_low"
DEFAULT_PRIORITY: Final = 5

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class ConfigError(Exception):
    """`task_extra_config` cannot be run as it stands; the message says which key, why and the mend."""


class CommonConfig(BaseModel):
    """The keys every task type has."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    queue: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-]{1,64}$")] = DEFAULT_QUEUE
    priority: Annotated[int, Field(ge=0, le=9)] = DEFAULT_PRIORITY
    timeout: Annotated[float, Field(gt=0, le=MAX_TIMEOUT, validation_alias=AliasChoices("timeout", "task_timeout"))] = (
        300
    )
    max_retries: Annotated[int, Field(ge=0, le=100)] = 0
    retry_backoff: Annotated[float, Field(ge=0, le=86400)] = 2
    retry_backoff_max: Annotated[float, Field(ge=0, le=86400)] = 600
    endpoint: Text | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    template: Literal[False] = False


class ConversationConfig(CommonConfig):
    """What agents and workflows share."""

    user: Annotated[Text, Field(validation_alias=AliasChoices("user", "user_name"))] = "system"
    conversation: Annotated[
        Text, Field(validation_alias=AliasChoices("conversation", "conversation_id", "thread_id"))
    ] = "new"


class AgentConfig(ConversationConfig):
    """An agent and the message it gets."""

    task_type: Literal["agent"]
    agent_id: Text
    message: Text


class WorkflowConfig(ConversationConfig):
    """A workflow and its inputs."""

    task_type: Literal["workflow"]
    workflow_id: Text
    inputs: dict[str, Any] = Field(default_factory=dict)


class HttpConfig(CommonConfig):
    """One HTTP request to a host in HTTP_ALLOWED_HOSTS."""

    task_type: Literal["http"]
    url: Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^https?://[^\s/]+")]
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"] = "POST"
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = None


class CeleryConfig(CommonConfig):
    """A Celery task registered by a pack or by TASK_MODULES."""

    task_type: Literal["celery"]
    task: Text
    args: list[Any] = Field(default_factory=list)
    kwargs: dict[str, Any] = Field(default_factory=dict)


TaskConfig = Annotated[AgentConfig | WorkflowConfig | HttpConfig | CeleryConfig, Field(discriminator="task_type")]
AnyConfig = AgentConfig | WorkflowConfig | HttpConfig | CeleryConfig
MODELS: Final[dict[str, type[AnyConfig]]] = {
    "agent": AgentConfig,
    "workflow": WorkflowConfig,
    "http": HttpConfig,
    "celery": CeleryConfig,
}
_ADAPTER: TypeAdapter[AnyConfig] = TypeAdapter(TaskConfig)


# A herd of rows often shares its text; unique ones cost about 10 microseconds each.
@lru_cache(maxsize=4096)
def parse_task_config(text: str) -> AnyConfig:
    """Read `task_extra_config`. Raises ConfigError, with one sentence for each thing that is wrong."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" at line {error.lineno} column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ConfigError(f"task_extra_config is not valid JSON{where}: {error.args[0]}") from error
    if not isinstance(raw, dict):
        raise ConfigError('task_extra_config must be a JSON object such as {"task_type": "agent", …}')
    try:
        return _ADAPTER.validate_python(raw)
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(issue, raw) for issue in error.errors(include_url=False))) from error


def _sentence(issue: Any, raw: dict[str, Any]) -> str:
    """Put one of pydantic's findings into words for an operator."""
    kinds = ", ".join(MODELS)
    if issue["type"] == "union_tag_not_found":
        return f"task_extra_config has no task_type; use one of {kinds}"
    if issue["type"] == "union_tag_invalid":
        given = raw.get("task_type")
        return f"task_type {given!r} is unknown; use one of {kinds}{_near(given, list(MODELS))}"
    path = [str(part) for part in issue["loc"][1:]]
    name = ".".join(path)
    if issue["type"] == "missing":
        return f"{name} is missing from task_extra_config"
    if issue["type"] == "extra_forbidden":
        known = _known_keys(MODELS[raw["task_type"]])
        return f"task_extra_config has the unknown key {name!r}{_near(name, known)}"
    if name == "template":
        return "template: message templates are not supported by this version; leave the key out"
    return f"{name}: {issue['msg']} (it is {_short(issue['input'])})"


def _known_keys(model: type[BaseModel]) -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        keys += [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [name]
    return keys


def _near(name: object, known: list[str]) -> str:
    near = get_close_matches(str(name), known, 1, 0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "…"
