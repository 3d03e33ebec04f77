"""`task_extra_config`: WHAT a row does, validated. Unknown keys are errors that name the near miss."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from core import templates
from core.after import After, AfterFault, read_after
from core.expectations import Expect, ExpectationError, read_expect
from core.notifications import Event, NotifyFault, read_notify
from core.strict_json import JSONError, kind_of, read_object, shown

MAX_TIMEOUT = 7 * 24 * 3600
DEFAULT_QUEUE: Final = "priority_low"
DEFAULT_PRIORITY: Final = 5
QUEUE_NAME: Final = r"^[A-Za-z0-9_.\-]{1,64}$"

MAX_PROBLEMS = 10  # named one by one; a text with thousands of wrong keys must still fit into config_error
CACHED_CHARS = 4096  # longer texts are read anew each time: the cache must not hold megabytes
# Faults that are whole sentences already.
WORDED = (AfterFault, ExpectationError, NotifyFault, templates.TemplateFault)


class ConfigError(Exception):
    """`task_extra_config` cannot be run as it stands; the message says which key, why and the mend."""


def _no_flag(value: object) -> object:
    """Refuse true and false, which Python takes for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("not a number")
    return value


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Whole = Annotated[int, BeforeValidator(_no_flag)]
Seconds = Annotated[float, BeforeValidator(_no_flag)]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[^\r\n\x00]*$")]

TEXT = "text that is not empty"


class CommonConfig(BaseModel):
    """The keys every task type has. A field's description is what an error tells to use instead."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    queue: Annotated[
        str,
        StringConstraints(pattern=QUEUE_NAME),
        Field(description="up to 64 letters, digits, '_', '.' and '-'"),
    ] = DEFAULT_QUEUE
    priority: Annotated[Whole, Field(ge=0, le=9, description="a whole number from 0 to 9, 9 the most urgent")] = (
        DEFAULT_PRIORITY
    )
    timeout: Annotated[
        Seconds,
        Field(
            gt=0,
            le=MAX_TIMEOUT,
            validation_alias=AliasChoices("timeout", "task_timeout"),
            description=f"seconds above 0, at most {MAX_TIMEOUT} (7 days)",
        ),
    ] = 300
    max_retries: Annotated[Whole, Field(ge=0, le=100, description="a whole number from 0 to 100")] = 0
    retry_backoff: Annotated[Seconds, Field(ge=0, le=86400, description="seconds from 0 to 86400")] = 2
    retry_backoff_max: Annotated[Seconds, Field(ge=0, le=86400, description="seconds from 0 to 86400")] = 600
    endpoint: Annotated[Text | None, Field(description="the name of a row in agent_endpoint")] = None
    options: Annotated[dict[str, Any], Field(description='an object such as {"temperature": 0.2}')] = Field(
        default_factory=dict
    )
    expect: Annotated[Expect | None, PlainValidator(read_expect), Field(description="an object of checks")] = None
    notify: Annotated[
        Mapping[Event, tuple[str, ...]], PlainValidator(read_notify), Field(description="names of channels")
    ] = Field(default_factory=dict)
    template: Annotated[Literal[False], Field(description="false: only agent and workflow rows have templates")] = False
    after: Annotated[After | None, PlainValidator(read_after), Field(description="the name of a row")] = None

    @model_validator(mode="after")
    def _check_after(self) -> Self:
        if self.after is not None and self.after.pass_as is not None:
            if not isinstance(self, CeleryConfig):
                raise AfterFault("after.pass_as is for task_type celery; others name {{ after.result }} in a template")
            if self.after.pass_as in self.kwargs:
                raise AfterFault(f"after.pass_as and kwargs both name {self.after.pass_as}; keep one")
        return self


class ConversationConfig(CommonConfig):
    """What agents and workflows share."""

    user: Annotated[Text, Field(validation_alias=AliasChoices("user", "user_name"), description=TEXT)] = "system"
    conversation: Annotated[
        Text,
        Field(
            validation_alias=AliasChoices("conversation", "conversation_id", "thread_id"),
            description='"new", "sticky" or the id of a conversation',
        ),
    ] = "new"
    template: Annotated[StrictBool, Field(description="true or false")] = False  # type: ignore[assignment]

    @model_validator(mode="after")
    def _check_templates(self) -> Self:
        for key in ("message", "inputs") if self.template else ():
            for text in templates.texts_in(getattr(self, key, "")):
                try:
                    templates.check(text)
                except templates.TemplateFault as fault:
                    raise templates.TemplateFault(f"{key} is no template that can be used: {fault}") from None
        return self


class AgentConfig(ConversationConfig):
    """An agent and the message it gets."""

    task_type: Literal["agent"]
    agent_id: Annotated[Text, Field(description=TEXT)]
    message: Annotated[Text, Field(description=TEXT)]


class WorkflowConfig(ConversationConfig):
    """A workflow and its inputs."""

    task_type: Literal["workflow"]
    workflow_id: Annotated[Text, Field(description=TEXT)]
    inputs: Annotated[dict[str, Any], Field(description='an object such as {"name": "value"}')] = Field(
        default_factory=dict
    )


class HttpConfig(CommonConfig):
    """One HTTP request to a host in HTTP_ALLOWED_HOSTS."""

    task_type: Literal["http"]
    url: Annotated[
        str,
        StringConstraints(strip_whitespace=True, pattern=r"^https?://[^\s/]+"),
        Field(description="an address such as https://host/path"),
    ]
    method: Annotated[
        Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"],
        Field(description="GET, POST, PUT, PATCH, DELETE or HEAD, in capitals"),
    ] = "POST"
    headers: Annotated[
        dict[HeaderName, HeaderValue],
        Field(description='one line of text by name, such as {"Accept": "application/json"}'),
    ] = Field(default_factory=dict)
    body: Any = None


class CeleryConfig(CommonConfig):
    """A Celery task registered by a pack or by TASK_MODULES."""

    task_type: Literal["celery"]
    task: Annotated[Text, Field(description="the name of a registered task")]
    args: Annotated[list[Any], Field(description='a list such as ["a", 1]')] = Field(default_factory=list)
    kwargs: Annotated[dict[str, Any], Field(description='an object such as {"name": "value"}')] = Field(
        default_factory=dict
    )


TaskConfig = Annotated[AgentConfig | WorkflowConfig | HttpConfig | CeleryConfig, Field(discriminator="task_type")]
AnyConfig = AgentConfig | WorkflowConfig | HttpConfig | CeleryConfig
MODELS: Final[dict[str, type[AnyConfig]]] = {
    "agent": AgentConfig,
    "workflow": WorkflowConfig,
    "http": HttpConfig,
    "celery": CeleryConfig,
}
_ADAPTER: TypeAdapter[AnyConfig] = TypeAdapter(TaskConfig)


# Free-form keys may hold secrets, so an error names their kind and not their value.
FREE_FORM = ("options", "inputs", "headers", "args", "kwargs")


def parse_task_config(text: str) -> AnyConfig:
    """Read `task_extra_config`. Raises ConfigError, with one sentence for each thing that is wrong."""
    return _cached(text) if len(text) <= CACHED_CHARS else _parse(text)


def readable_config(text: str) -> AnyConfig | None:
    """Read a run's config; None for one this version cannot read: a downgrade, a newer release, an edit by hand."""
    try:
        return parse_task_config(text)
    except ConfigError:
        return None


def _parse(text: str) -> AnyConfig:
    try:
        raw = read_object(text)
    except JSONError as error:
        raise ConfigError(f"task_extra_config {error}") from error
    try:
        return _ADAPTER.validate_python(raw)
    except RecursionError as error:  # how deep is too deep depends on who asks
        raise ConfigError("task_extra_config is nested too deeply; simplify it") from error
    except ValidationError as error:
        issues = error.errors(include_url=False)
        sentences = list(dict.fromkeys(_sentence(issue, raw) for issue in issues[:MAX_PROBLEMS]))
        if len(issues) > MAX_PROBLEMS:
            sentences.append(f"and {len(issues) - MAX_PROBLEMS} more problems")
        raise ConfigError("; ".join(sentences)) from error


# A herd of rows often shares its text; unique ones cost some 10 microseconds each.
_cached = lru_cache(maxsize=4096)(_parse)


def _sentence(issue: Any, raw: dict[str, Any]) -> str:
    """Put one of pydantic's findings into words for an operator."""
    kinds = ", ".join(MODELS)
    if issue["type"] == "union_tag_not_found":
        return f"task_extra_config has no task_type; use one of {kinds}"
    if issue["type"] == "union_tag_invalid":
        given = raw.get("task_type")
        return f"task_type {shown(given)} is unknown; use one of {kinds}{_near(given, list(MODELS))}"
    if isinstance(fault := issue.get("ctx", {}).get("error"), WORDED):
        return str(fault)
    path = [str(part) for part in issue["loc"][1:] if part != "[key]"]
    field, name = path[0] if path else "", shown(".".join(path))[1:-1]
    model = MODELS[raw["task_type"]]
    if issue["type"] == "missing":
        return f"{name} is missing from task_extra_config"
    spellings = _spellings(model)
    if issue["type"] == "extra_forbidden":
        return _unwanted(field, raw, spellings)
    if field not in spellings:
        return "task_extra_config has a key that is no readable text"
    value = kind_of(issue["input"]) if field in FREE_FORM else shown(issue["input"])
    return f"{name} is {value}; use {model.model_fields[spellings[field]].description}"


def _unwanted(key: str, raw: dict[str, Any], spellings: dict[str, str]) -> str:
    """Say why a key must not be there."""
    if key in spellings:
        twins = [other for other in spellings if other in raw and spellings[other] == spellings[key]]
        return f"{' and '.join(twins)} mean the same; keep one"
    owners = [task_type for task_type, model in MODELS.items() if key in _spellings(model)]
    if owners:
        return f"the key {key} belongs to task_type {' or '.join(owners)}, and this is task_type {raw['task_type']}"
    return f"task_extra_config has the unknown key {shown(key)}{_near(key, list(spellings))}"


@lru_cache
def _spellings(model: type[BaseModel]) -> dict[str, str]:
    """Map every key a task type takes, old spellings included, to the field it sets."""
    found = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        found.update(
            {str(choice): name for choice in alias.choices} if isinstance(alias, AliasChoices) else {name: name}
        )
    return found


def _near(name: object, known: list[str]) -> str:
    near = get_close_matches(str(name)[:64], known, 1, 0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
