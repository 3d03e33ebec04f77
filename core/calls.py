"""What a task asks of its platform, as the adapters take it."""

from core.outcome import AgentRequest
from core.task_config import AgentConfig, HttpConfig, WorkflowConfig


def request_of(
    config: AgentConfig | WorkflowConfig | HttpConfig,
    run_id: str,
    *,
    conversation_id: str | None = None,
    timeout: float | None = None,
) -> AgentRequest:
    """Make the request of a run. `timeout`, in seconds, is the task's own where none is given."""
    timeout = config.timeout if timeout is None else timeout
    if isinstance(config, HttpConfig):
        return AgentRequest(
            kind="http", target=config.url, run_id=run_id, timeout=timeout, method=config.method,
            headers=config.headers, body=config.body, options=config.options,
        )  # fmt: skip
    if isinstance(config, AgentConfig):
        return AgentRequest(
            kind="agent", target=config.agent_id, run_id=run_id, timeout=timeout, message=config.message,
            user=config.user, conversation_id=conversation_id, options=config.options,
        )  # fmt: skip
    return AgentRequest(
        kind="workflow", target=config.workflow_id, run_id=run_id, timeout=timeout, inputs=config.inputs,
        user=config.user, conversation_id=conversation_id, options=config.options,
    )  # fmt: skip
