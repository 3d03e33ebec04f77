"""What a run's row says about the call beside the call itself: templates to fill in before it, checks after it."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from core import templates
from core.expectations import Answer, Expect, failed
from core.outcome import AgentError, AgentResult, ErrorKind, resumable_handle
from core.task_config import AgentConfig, WorkflowConfig
from core.zones import zone_names
from logger import run_prefix
from store import chains, last_runs
from store.database import largest_statement, size_in_statement
from store.runs import Claim
from worker.bounded import TooMuch, helper

logger = logging.getLogger("agent_tasks")

T = TypeVar("T")
C = TypeVar("C", AgentConfig, WorkflowConfig)


class OnLedger(Protocol):
    """Reads or writes the ledger for a run, however long it is away."""

    def __call__(self, act: Callable[[Connection], T], /) -> T: ...  # noqa: D102


def filled_in(config: C, run: Claim, on_ledger: OnLedger, default_zone: str) -> C:
    """Render the templates of a run and keep the result in its column `rendered`. Raises AgentError CONFIG.

    A run that goes on with its remote run sends nothing, so nothing is rendered for it.
    """
    if not config.template or resumable_handle(run.remote_handle) is not None:
        return config
    key = "message" if isinstance(config, AgentConfig) else "inputs"
    source: Any = getattr(config, key)
    variables = on_ledger(lambda connection: _variables(connection, run, default_zone))
    try:
        texts = iter(helper().render([*templates.texts_in(source)], variables))
    except (templates.TemplateFault, TooMuch) as fault:
        raise AgentError(ErrorKind.CONFIG, f"the template in {key} cannot be rendered: {fault}") from None
    rendered = templates.replace_texts(source, lambda: next(texts))
    if not rendered or (isinstance(rendered, str) and not rendered.strip()):
        raise AgentError(ErrorKind.CONFIG, f"the template in {key} renders to nothing, and there is nothing to send")
    text = json.dumps({key: rendered}, ensure_ascii=False).encode("utf-8", "replace").decode()
    on_ledger(lambda connection: _save(connection, run, key, text))
    logger.info("%s rendered %s: %d characters", run_prefix(run.id, run.task_name), key, len(text))
    return config.model_copy(update={key: rendered})


def _save(connection: Connection, run: Claim, key: str, text: str) -> None:
    # A server answers a packet that is too large by closing the connection, and so like one to wait for.
    size, limit = size_in_statement([text]), largest_statement(connection)
    if limit is not None and size > limit:
        raise AgentError(
            ErrorKind.CONFIG,
            f"the template in {key} renders to a statement of {size:,} bytes, and the database's max_allowed_packet is "
            f"{limit:,}: raise it, or let the template render less",
        )
    last_runs.save_rendered(connection, run, text)


def _variables(connection: Connection, run: Claim, default_zone: str) -> dict[str, Any]:
    zone = last_runs.zone_of(connection, run.periodic_task_id)
    last, upstream = last_runs.last_runs(connection, run), chains.upstream_of(connection, run.id)
    zone = zone if zone in zone_names() else default_zone

    def moment(value: datetime | None) -> dict[str, str] | None:
        return None if value is None else {"moment": value.astimezone(UTC).isoformat(), "zone": zone}

    return {
        "last": {"result": last.result or "", "state": last.state or "", "finished_at": moment(last.finished_at)},
        "after": {
            "result": (upstream.result if upstream else None) or "",
            "state": upstream.state if upstream else "",
            "error": (upstream.error if upstream else None) or "",
            "task": upstream.task_name if upstream else "",
            "run_id": upstream.id if upstream else "",
            "scheduled_for": moment(upstream.scheduled_for if upstream else None),
            "finished_at": moment(upstream.finished_at if upstream else None),
        },
        "scheduled_for": moment(run.scheduled_for),
        "task": {"name": run.task_name},
        "run": {"id": run.id},
        "attempt": run.attempt,
    }


def judge_of(expect: Expect, run: Claim, on_ledger: OnLedger) -> Callable[[AgentResult], AgentResult | AgentError]:
    """Make what judges an answer: it returns the answer, or the failure that keeps it.

    The ledger is read now, before the call: once there is an answer that was paid for, nothing may stand between it and
    its row.
    """
    last = on_ledger(lambda c: last_runs.last_runs(c, run)).result if expect.differs_from_last else None

    def judge(answer: AgentResult) -> AgentResult | AgentError:
        if answer.status != "succeeded":
            return answer
        given = Answer(answer.text, answer.data, last)
        try:
            why = failed(expect, given) if expect.is_simple else helper().failed(expect.raw, given)
        except (TooMuch, OSError) as limit:  # OSError: the machine has no room for another process
            why = f"the checks of expect cannot be made: {limit}; make them simpler"
        return answer if why is None else _unexpected(answer, why)

    return judge


def _unexpected(answer: AgentResult, why: str) -> AgentError:
    return AgentError(
        ErrorKind.EXPECTATION,
        why,
        http_status=answer.http_status,
        request_id=answer.request_id,
        conversation_id=answer.conversation_id,
        answer=answer,
    )
