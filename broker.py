"""The broker side: strict queue order on Redis, and sending many run ids in one round trip.

A message carries a run id and nothing else. Any kombu transport works; Redis gets the strict order and
the pipelined sending.
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache
from time import monotonic
from typing import Any

import kombu
from celery import Celery
from kombu.transport import redis as kombu_redis
from redis.exceptions import ConnectionError as RedisConnectionError
from uuid_utils import uuid7

from config import RUN_TASKS
from core.task_config import DEFAULT_PRIORITY, readable_config
from store.database import AnyRow
from store.runs import NewRun, Sendable

LOWEST, HIGHEST = 0, 9
RECONNECT_SECONDS = 4
CONNECTION_MAX_AGE = 300.0  # seconds; a failed-over Redis is found again even where the old socket stays silent


class Channel(kombu_redis.Channel):
    """Serves queues strictly by rank, and priority 9 before 0 inside a queue.

    kombu's own order is priority-major, so one urgent message of the lowest queue would overtake the highest.
    """

    _kept_client: Any = None

    @property
    def rank(self) -> Sequence[str]:
        """Every known queue, highest first: the `queue_order` transport option."""
        options: dict[str, Any] = self.connection.client.transport_options  # type: ignore[union-attr, assignment]
        return tuple(options.get("queue_order", ()))

    def key_of(self, queue: str, step: int) -> str:
        """Name the Redis list of a queue's priority step."""
        return str(self._q_for_pri(queue, step))  # type: ignore[attr-defined]

    def serving_order(self) -> list[str]:
        """Name the queues this channel consumes, in the order the next BRPOP asks for them."""
        rank = {name: position for position, name in enumerate(self.rank)}
        return sorted(set(self.active_queues), key=lambda name: (rank.get(name, len(rank)), name))

    def _connparams(self, asynchronous: bool = False) -> Any:
        """Fail as a lost connection does where kombu closed ours already, while it restores unacked messages.

        Its AttributeError is no connection error, and would end the worker with the calls it carries.
        """
        if getattr(self.connection, "client", None) is None:
            raise RedisConnectionError("the connection to the broker is closed")
        return super()._connparams(asynchronous=asynchronous)  # type: ignore[misc]

    def _create_client(self, asynchronous: bool = False) -> Any:
        """Keep one client a pool. kombu makes one for every command, a seventh of a busy worker's time."""
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[misc]
        if self._kept_client is None or self._kept_client.connection_pool is not self.pool:
            self._kept_client = super()._create_client()  # type: ignore[misc]
        return self._kept_client

    def _brpop_start(self, timeout: float | None = None) -> None:
        queues = self.serving_order()
        if not queues:
            return
        keys = [self.key_of(queue, step) for queue in queues for step in self.priority_steps]
        self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()
        command = ["BRPOP", *keys, self.brpop_timeout if timeout is None else timeout]
        if self.global_keyprefix:
            command = self.client._prefix_args(command)
        self.client.connection.send_command(*command)

    def _get_message_priority(self, message: dict[str, Any], reverse: bool = False) -> int:
        priority = message.get("properties", {}).get("priority")
        return wire_step(DEFAULT_PRIORITY if priority is None else priority)


class Connection(kombu.Connection):
    """Tries again every few seconds, however long the broker was away; kombu's pause grows to half a minute."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Connect, or raise after `max_retries`."""
        return super().ensure_connection(*args, **{"interval_max": RECONNECT_SECONDS, **kwargs})


class Transport(kombu_redis.Transport):
    """kombu's Redis transport with our channel; named by the `broker_transport` setting of Celery."""

    Channel = Channel


def wire_step(priority: int) -> int:
    """Map 9 = most urgent to Redis's step 0, which is served first."""
    return HIGHEST - max(LOWEST, min(HIGHEST, int(priority)))


class Sender:
    """Puts run ids on the broker. Not for several threads at once; reconnects by itself."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self._connection: Any = None
        self._opened_at = 0.0

    def send(self, runs: Sequence[Sendable]) -> None:
        """Send all of them, or raise one of `errors`; then some may have been sent, which is harmless."""
        channel = self._channel()
        if not isinstance(channel, Channel):
            for run in runs:
                self.app.send_task(
                    RUN_TASKS[run.kind], (run.id,), task_id=run.id, queue=run.queue, priority=run.priority
                )
            return
        lanes: dict[str, list[str]] = {}
        for run in runs:
            lanes.setdefault(channel.key_of(run.queue, wire_step(run.priority)), []).append(envelope(run))
        with channel.conn_or_acquire() as client:
            pipeline = client.pipeline(transaction=False)
            for key, messages in lanes.items():
                pipeline.lpush(key, *messages)
            pipeline.execute()

    def next_run(self, queue: str, priority: int) -> str | None:
        """Name the run that this lane serves next: what was sent before it is gone from the broker."""
        channel = self._channel()
        if not isinstance(channel, Channel):
            return None
        with channel.conn_or_acquire() as client:
            message = client.lindex(channel.key_of(queue, wire_step(priority)), -1)
        return None if message is None else str(json.loads(message)["headers"].get("id"))

    def depth(self, queue: str) -> int:
        """Count the messages of a queue, all priorities. Raises one of `errors`."""
        channel = self._channel()
        if not isinstance(channel, Channel):
            return 0
        with channel.conn_or_acquire() as client:
            pipeline = client.pipeline(transaction=False)
            for step in channel.priority_steps:
                pipeline.llen(channel.key_of(queue, step))
            return sum(pipeline.execute())

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What a broker that is away raises."""
        connection = self.app.connection_for_write()
        return (*connection.connection_errors, *connection.channel_errors, OSError)

    def close(self) -> None:
        """Drop the connection; the next use opens a new one."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def _channel(self) -> Any:
        if self._connection is not None and monotonic() - self._opened_at > CONNECTION_MAX_AGE:
            self.close()
        if self._connection is None:
            connection = self.app.connection_for_write()
            connection.connect()  # once, with the transport's own error; kombu's retries would take seconds
            self._connection, self._opened_at = connection, monotonic()
        return self._connection.default_channel


def envelope(run: Sendable) -> str:
    """Write the message Celery's `apply_async` would, protocol 2, without its 400 microseconds of set-up."""
    body = b64encode(_BODY.replace("%id%", run.id).encode()).decode()
    filled = _template(run.kind, run.queue, run.priority).replace("%body%", body)
    return filled.replace("%tag%", str(uuid7())).replace("%id%", run.id)


_BODY = json.dumps([["%id%"], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])


@lru_cache(maxsize=1024)
def _template(kind: str, queue: str, priority: int) -> str:
    return json.dumps(
        {
            "body": "%body%",
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": RUN_TASKS[kind],
                "id": "%id%",
                "root_id": "%id%",
                "parent_id": None,
                "group": None,
                "eta": None,
                "expires": None,
                "retries": 0,
                "timelimit": [None, None],
                "argsrepr": "('%id%',)",
                "kwargsrepr": "{}",
                "origin": "beat",
                "ignore_result": False,
            },
            "properties": {
                "correlation_id": "%id%",
                "reply_to": "",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": priority,
                "body_encoding": "base64",
                "delivery_tag": "%tag%",
            },
        }
    )


def sendable(run: AnyRow | NewRun) -> Sendable:
    """Read from a run where its message goes. Whatever task carries an unreadable run ends it honestly."""
    config = readable_config(run.config)
    return Sendable(run.id, run.queue, run.priority, run.attempt, config.task_type if config else "agent")
