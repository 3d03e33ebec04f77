"""Which platforms there are. Importing this loads no adapter and no HTTP library: beat validates rows with it."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from core.outcome import AgentError, ErrorKind
from providers.options import near_miss

if TYPE_CHECKING:
    from providers.base import Provider


BEARER_HEADER: Final = "authorization"


class Entry(NamedTuple):
    """Where an adapter lives, the kinds of task it runs, and the header that carries its endpoints' keys."""

    module: str
    attribute: str
    kinds: frozenset[str]
    key_header: str = BEARER_HEADER
    """It carries `Bearer <key>`, any other header the bare key."""


PROVIDERS: Final[Mapping[str, Entry]] = {
    "agent_platform": Entry("providers.agent_platform", "AgentPlatform", frozenset({"agent", "workflow"})),
    "openai_chat": Entry("providers.openai_chat", "OpenAIChat", frozenset({"agent"})),
    "openai_responses": Entry("providers.openai_responses", "OpenAIResponses", frozenset({"agent"})),
    "anthropic": Entry("providers.anthropic", "Anthropic", frozenset({"agent"}), "x-api-key"),
    "a2a": Entry("providers.a2a", "A2A", frozenset({"agent"})),
    "dify": Entry("providers.dify", "Dify", frozenset({"agent", "workflow"})),
    "coze": Entry("providers.coze", "Coze", frozenset({"agent", "workflow"})),
    "fastgpt": Entry("providers.fastgpt", "FastGPT", frozenset({"agent", "workflow"})),
    "langgraph": Entry("providers.langgraph", "LangGraph", frozenset({"agent", "workflow"}), "x-api-key"),
    "n8n": Entry("providers.n8n", "N8n", frozenset({"agent", "workflow"}), "x-n8n-api-key"),
    "flowise": Entry("providers.flowise", "Flowise", frozenset({"agent", "workflow"})),
    "nexusai": Entry("providers.nexusai", "NexusAI", frozenset({"agent", "workflow"})),
    "http_json": Entry("providers.http_json", "HttpJson", frozenset({"agent", "workflow", "http"})),
}


@cache
def get(name: str) -> "Provider":
    """The adapter of this name; adapters are stateless, so there is one of each. Raises AgentError CONFIG."""
    entry = _entry(name)
    provider: Provider = getattr(import_module(entry.module), entry.attribute)()
    return provider


def kinds(name: str) -> frozenset[str]:
    """The kinds of task that this platform runs. Raises AgentError CONFIG."""
    return _entry(name).kinds


def key_header(name: str) -> str:
    """The header that carries the key of an endpoint of this platform; the usual one where nobody knows it."""
    entry = PROVIDERS.get(name)
    return entry.key_header if entry else BEARER_HEADER


def check(name: str, kind: str, options: Mapping[str, Any]) -> None:
    """Raise AgentError CONFIG where this platform cannot run such a task with such options. Sends nothing."""
    if kind not in kinds(name):
        supported = " and ".join(sorted(kinds(name)))
        raise AgentError(ErrorKind.CONFIG, f"provider {name!r} runs no {kind} tasks, only {supported}")
    if options:
        get(name).check_options(kind, options)


def check_url(url: str, allowed_hosts: Sequence[str]) -> None:
    """Raise AgentError CONFIG for a URL that an `http` task may not call. Sends nothing."""
    import_module("providers.http_json").check_allowed(url, allowed_hosts)


def _entry(name: str) -> Entry:
    try:
        return PROVIDERS[name]
    except KeyError:
        raise AgentError(ErrorKind.CONFIG, f"there is no provider {name!r}{near_miss(name, PROVIDERS)}") from None
