"""Which endpoint a run goes to: by name from `agent_endpoint`, else the default of the settings."""

from collections.abc import Mapping
from typing import Any

from config import Settings, read_credential
from core.outcome import AgentError, ErrorKind
from core.task_config import AnyConfig, CeleryConfig, HttpConfig
from providers import registry
from providers.base import Endpoint
from providers.options import near_miss

DEFAULT = "default"


def resolve(config: AnyConfig, known: Mapping[str, Any], settings: Settings) -> Endpoint:
    """Find the endpoint of a run, its key included. Raises AgentError CONFIG with what to set."""
    if config.endpoint is not None:
        row = known.get(config.endpoint)
        if row is None:
            hint = near_miss(config.endpoint, known) if known else "; enter it in the table agent_endpoint"
            raise AgentError(ErrorKind.CONFIG, f"endpoint {config.endpoint!r} is unknown{hint}")
        try:
            key = read_credential(row.credential_env) if row.credential_env else ""
        except ValueError as error:
            raise AgentError(ErrorKind.CONFIG, f"endpoint {row.name!r}: {error}") from error
        if row.credential_env and not key:
            raise AgentError(
                ErrorKind.CONFIG, f"endpoint {row.name!r}: the environment variable {row.credential_env} is not set"
            )
        return Endpoint(row.name, row.provider, row.base_url, key)
    if isinstance(config, HttpConfig):
        return Endpoint("http", "http_json", config.url)
    if not settings.agent_api_base_url:
        raise AgentError(ErrorKind.CONFIG, "no endpoint: set AGENT_API_BASE_URL, or name an `endpoint` in the row")
    key = settings.agent_api_key.get_secret_value()
    return Endpoint(DEFAULT, settings.agent_api_provider, settings.agent_api_base_url, key)


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
