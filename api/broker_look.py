"""One look at the broker: does it answer, what waits on it, and what each queue serves next."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from re import fullmatch
from time import monotonic
from typing import Any, Final

from redis.exceptions import TimeoutError as RedisTimeoutError

from broker import Channel
from config import Settings
from logger import redact
from tasks import celery_app

#: A look is over soon, whatever the broker does: no retries, and short waits.
IMPATIENT: Final = {"max_retries": 0, "socket_connect_timeout": 1.5, "socket_timeout": 1.5}

KEPT_SECONDS: Final = 30.0  # a broker that takes no new connections is found out after as long

logger = logging.getLogger("api")


@dataclass(frozen=True, slots=True)
class BrokerLook:
    """What was seen. `depths` is empty where the broker is no Redis; `heads` are the run ids served next."""

    problem: str | None = None
    depths: Mapping[str, int] = field(default_factory=dict)
    heads: Sequence[str] = ()


class BrokerLooker:
    """Looks at the broker over a connection of its own; to open one for each look would cost six times the look.

    Not for several threads at once.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: Any = None
        self._opened_at = 0.0

    def look(self) -> BrokerLook:
        """Look once; where the kept connection is broken, over a new one. Raises nothing."""
        try:
            return self._look()
        except Exception as error:  # an edge: whatever kombu's transports raise, the broker does not serve
            self.close()
            return BrokerLook(problem=redact(str(error)))

    def close(self) -> None:
        """Hang up; the next look connects again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()

    def _look(self) -> BrokerLook:
        if self._connection is not None and monotonic() - self._opened_at < KEPT_SECONDS:
            try:
                return _look(self._connection.default_channel, self._settings.queues)
            except RedisTimeoutError:  # a second try would wait as long
                raise
            except Exception as error:  # the broker may have been started anew since
                logger.debug("the broker is asked again over a new connection: %s", redact(str(error)))
        self.close()
        self._connection = celery_app.connection_for_write(self._settings.broker_url, transport_options=IMPATIENT)
        self._opened_at = monotonic()
        return _look(self._connection.default_channel, self._settings.queues)


def _look(channel: Any, queues: Sequence[str]) -> BrokerLook:
    """Ask for the length and the next message of every lane in one round trip."""
    if not isinstance(channel, Channel):
        return BrokerLook()
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
