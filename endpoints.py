"""Which endpoint a run goes to: by name from `agent_endpoint`, else the default of the settings."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any, Final

import credentials
from config import Settings, read_credential
from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, Usage
from core.task_config import AgentConfig, AnyConfig, CeleryConfig, HttpConfig, WorkflowConfig
from providers import registry
from providers.base import CallContext, Endpoint
from providers.call import call
from providers.http import client_for
from providers.options import near_miss
from providers.reach import REACH_SECONDS, reach
from store.runs import new_run_id

DEFAULT = "default"
OF_HTTP_TASKS: Final = "http"
OF_CELERY_TASKS: Final = "celery"
"""What limits of Celery tasks stand under in agent_limit, each with the task's name as its agent."""
SHORTEST_KEY: Final = 8  # hiding a shorter one everywhere would take ordinary answers apart
HIDDEN: Final = "***"


def name_of(config: AnyConfig) -> str | None:
    """Name the endpoint whose limits, prices and budgets count for a run; None for a Celery task, which has none."""
    if isinstance(config, CeleryConfig):
        return None
    return config.endpoint or (OF_HTTP_TASKS if isinstance(config, HttpConfig) else DEFAULT)


def agent_of(config: AnyConfig) -> str:
    """Name the agent or workflow that a run asks; empty where there is none."""
    if isinstance(config, AgentConfig):
        return config.agent_id
    return config.workflow_id if isinstance(config, WorkflowConfig) else ""


def resolve(config: AnyConfig, known: Mapping[str, Any], settings: Settings) -> Endpoint:
    """Find the endpoint of a run, its key included. Raises AgentError CONFIG with what to set."""
    if config.endpoint is not None:
        row = known.get(config.endpoint)
        if row is None:
            hint = near_miss(config.endpoint, known) if known else "; enter it in the table agent_endpoint"
            raise AgentError(ErrorKind.CONFIG, f"endpoint {config.endpoint!r} is unknown{hint}")
        return Endpoint(row.name, row.provider, row.base_url, key_of(row, settings))
    if isinstance(config, HttpConfig):
        return Endpoint("http", "http_json", config.url)
    if not settings.agent_api_base_url:
        raise AgentError(ErrorKind.CONFIG, "no endpoint: set AGENT_API_BASE_URL, or name an `endpoint` in the row")
    key = settings.agent_api_key.get_secret_value()
    return Endpoint(DEFAULT, settings.agent_api_provider, settings.agent_api_base_url, key)


def key_of(row: Any, settings: Settings) -> str:
    """Read the key of a row of `agent_endpoint`; empty where it has none. Raises AgentError CONFIG with what to set."""
    try:
        if row.credential is not None:
            return credentials.decrypt(row.credential, name=row.name, base_url=row.base_url, settings=settings)
        key = read_credential(row.credential_env) if row.credential_env else ""
    except (ValueError, credentials.CredentialError) as error:
        raise AgentError(ErrorKind.CONFIG, f"endpoint {row.name!r}: {error}") from error
    if row.credential_env and not key:
        raise AgentError(
            ErrorKind.CONFIG, f"endpoint {row.name!r}: the environment variable {row.credential_env} is not set"
        )
    return key


def without_key(answer: AgentResult, key: str) -> AgentResult:
    """Take an endpoint's key out of an answer, where the platform repeats what it was sent."""
    if len(key) < SHORTEST_KEY:
        return answer
    return replace(answer, text=answer.text.replace(key, HIDDEN), data=_without(answer.data, key))


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of trying an endpoint; nothing in it holds the key."""

    kind: ErrorKind | None
    """None: it worked."""
    detail: str
    seconds: float
    answer: str | None = None
    usage: Usage = field(default_factory=Usage)


def tried(row: Any, settings: Settings, *, agent: str | None, message: str, timeout: float) -> Trial:
    """Reach an endpoint; with an agent ask it something, which may cost money. Takes `timeout` and some seconds."""
    began, key = monotonic(), ""
    try:
        key = key_of(row, settings)
        endpoint = Endpoint(row.name, row.provider, row.base_url, key)
        if agent is None:
            detail = asyncio.run(reach(endpoint, settings.endpoint_allowed_networks, min(timeout, REACH_SECONDS)))
            return Trial(None, detail, monotonic() - began)
        request = AgentRequest(kind="agent", target=agent, run_id=new_run_id(), timeout=timeout, message=message)
        answer = without_key(asyncio.run(ask(endpoint, request, settings)), key)
    except AgentError as error:
        return Trial(error.kind, _hidden(error.message, key), monotonic() - began)
    return Trial(None, "it answered", monotonic() - began, answer.text, answer.usage)


async def ask(endpoint: Endpoint, request: AgentRequest, settings: Settings) -> AgentResult:
    """Make one call that belongs to no run. Raises AgentError."""
    async with client_for(endpoint, allowed_networks=settings.endpoint_allowed_networks) as client:
        hosts = settings.http_allowed_hosts
        context = CallContext(client, endpoint, settings.result_max_bytes, allowed_hosts=hosts)
        return await call(registry.get(endpoint.provider), context, request)


def _hidden(text: str, key: str) -> str:
    return text if len(key) < SHORTEST_KEY else text.replace(key, HIDDEN)


def _without(value: Any, key: str) -> Any:
    if isinstance(value, str):
        return value.replace(key, HIDDEN)
    if isinstance(value, Mapping):
        return {_without(name, key): _without(inner, key) for name, inner in value.items()}
    return [_without(inner, key) for inner in value] if isinstance(value, list | tuple) else value


def what_is_wrong_with_target(config: AnyConfig, known: Mapping[str, Any], settings: Settings) -> str | None:
    """Say why a row's endpoint or host cannot serve it; None when it can. Sends nothing.

    Keys are not looked at: they belong to the workers' environment, not to beat's.
    """
    if isinstance(config, CeleryConfig):
        return None
    try:
        if config.endpoint is not None and config.endpoint in known:
            provider = known[config.endpoint].provider
        else:
            provider = resolve(config, known, settings).provider
        registry.check(provider, config.task_type, config.options)
        if isinstance(config, HttpConfig):
            registry.check_url(config.url, settings.http_allowed_hosts)
    except AgentError as error:
        return error.message
    return None
