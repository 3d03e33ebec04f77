"""One look at the broker: does it answer, what waits on it, and what each queue serves next."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from re import fullmatch
from typing import Any, Final

from broker import Channel
from config import Settings
from logger import redact
from tasks import celery_app

#: A look is over soon, whatever the broker does: no retries, and short waits.
IMPATIENT: Final = {"max_retries": 0, "socket_connect_timeout": 1.5, "socket_timeout": 1.5}

logger = logging.getLogger("api")


@dataclass(frozen=True, slots=True)
class BrokerLook:
    """What was seen. `depths` is empty where the broker is no Redis; `heads` are the run ids served next."""

    problem: str | None = None
    depths: Mapping[str, int] = field(default_factory=dict)
    heads: Sequence[str] = ()


def look_at_broker(settings: Settings) -> BrokerLook:
    """Connect, look, hang up. Raises nothing."""
    try:
        with celery_app.connection_for_write(settings.broker_url, transport_options=IMPATIENT) as connection:
            channel = connection.default_channel
            return _look(channel, settings.queues) if isinstance(channel, Channel) else BrokerLook()
    except Exception as error:  # an edge: whatever kombu's transports raise, the broker does not serve
        return BrokerLook(problem=redact(str(error)))


def _look(channel: Channel, queues: Sequence[str]) -> BrokerLook:
    """Ask for the length and the next message of every lane in one round trip."""
    steps = channel.priority_steps
    with channel.conn_or_acquire() as client:
        pipeline = client.pipeline(transaction=False)
        for queue in queues:
            for step in steps:
                pipeline.llen(channel.key_of(queue, step))
                pipeline.lindex(channel.key_of(queue, step), -1)
        answers: list[Any] = pipeline.execute()
    lanes = 2 * len(steps)
    depths = {queue: sum(answers[at * lanes : (at + 1) * lanes : 2]) for at, queue in enumerate(queues)}
    heads = [run_id for message in answers[1::2] if message is not None and (run_id := _run_id(message))]
    return BrokerLook(depths=depths, heads=heads)


def _run_id(message: bytes | str) -> str | None:
    """Read the run id out of a message; None where somebody else wrote it."""
    try:
        run_id = json.loads(message)["headers"]["id"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return run_id if isinstance(run_id, str) and fullmatch(r"[!-~]{1,36}", run_id) else None
