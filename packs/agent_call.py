"""A call of an agent or a model from within a task: through the provider layer, cut when its run is cancelled."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection

from config import Settings, read_credential
from core.budget import Prices, priced, prices_of
from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind
from endpoints import DEFAULT, key_of, without_key
from packs.task import AnyTask
from providers import registry
from providers.base import CallContext, Endpoint
from providers.call import call
from providers.http import client_for
from providers.options import near_miss
from store import endpoints, schedules
from worker.runtime import current_runtime

#: Model services that need no row in agent_endpoint: provider, address, and the variable with the key.
PRESETS: Final = {
    "dashscope": ("openai_chat", "https://dashscope.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
    "deepseek": ("openai_chat", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
}


def endpoint_named(connection: Connection, name: str, settings: Settings) -> tuple[Endpoint, Prices | None]:
    """Find an endpoint and its prices: a row of agent_endpoint, the settings' own for `default`, else a preset.

    Raises AgentError CONFIG with what to set.
    """
    if (row := endpoints.read(connection, name)) is not None:
        return Endpoint(row.name, row.provider, row.base_url, key_of(row, settings)), prices_of(row)
    if name == DEFAULT:
        if not settings.agent_api_base_url:
            raise AgentError(ErrorKind.CONFIG, "no endpoint: set AGENT_API_BASE_URL, or name another one")
        key = settings.agent_api_key.get_secret_value()
        return Endpoint(DEFAULT, settings.agent_api_provider, settings.agent_api_base_url, key), None
    if name not in PRESETS:
        known: Mapping[str, Any] = {**PRESETS, **schedules.endpoints(connection), DEFAULT: None}
        raise AgentError(ErrorKind.CONFIG, f"endpoint {name!r} is unknown{near_miss(name, known)}")
    provider, address, variable = PRESETS[name]
    if not (key := read_credential(variable)):
        mend = f"set the environment variable {variable}, or enter {name} in agent_endpoint"
        raise AgentError(ErrorKind.CONFIG, f"{name} has no key: {mend}")
    return Endpoint(name, provider, address, key), None


def ask(
    task: AnyTask, endpoint: Endpoint, request: AgentRequest, settings: Settings, prices: Prices | None = None
) -> AgentResult:
    """Make one attempt and return its answer, priced, the key taken out.

    Raises AgentError; CallCancelled where the worker that carries the run was told that it is cancelled.
    """

    async def attempt() -> AgentResult:
        async with client_for(endpoint, allowed_networks=settings.endpoint_allowed_networks) as client:
            context = CallContext(client, endpoint, settings.result_max_bytes)
            return await call(registry.get(endpoint.provider), context, request)

    worker, run_id = current_runtime(), task.request.id
    if worker is None or run_id is None:  # outside of a run
        answer = asyncio.run(attempt())
    else:
        answer = worker.call(run_id, attempt(), request.timeout)
    answer = without_key(answer, endpoint.api_key)
    return replace(answer, usage=priced(answer.usage, prices))
