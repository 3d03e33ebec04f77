"""Notices a worker that receives nothing though it could: messages wait, slots are free, and nobody comes.

Celery and kombu reconnect by themselves after every fault we know of. This is for those we do not know.
"""

import contextlib
import logging
import os
import signal
import socket
from collections.abc import Sequence
from threading import Thread
from time import monotonic
from typing import Any

from celery import bootsteps
from celery.worker import state

from broker import Sender
from worker.runtime import WorkerRuntime

logger = logging.getLogger("consumer_watch")

LOOK_SECONDS = 2.0
RECONNECT_AFTER = 10.0  # above the 5 s in which kombu itself notices a half-open socket
STOP_AFTER = 30.0


class ConsumerWatch:
    """Watches one Celery consumer: cuts its connections, and where that does not help stops the process in order."""

    def __init__(self, consumer: Any, queues: Sequence[str], worker: WorkerRuntime) -> None:
        self._consumer, self._queues, self._worker = consumer, queues, worker
        self._broker = Sender(consumer.app)
        self._received = -1
        self._stuck_since = monotonic()
        self._has_reconnected = False

    def start(self) -> None:
        """Look every two seconds, for as long as the worker takes messages."""
        Thread(target=self._run, name="consumer watch", daemon=True).start()

    def _run(self) -> None:
        while not self._worker.draining.wait(LOOK_SECONDS):
            try:
                stuck = self._is_stuck()
            except self._broker.errors as error:
                logger.debug("the broker is away: %s", error)
                self._broker.close()
                stuck = False
            if self._consumer.controller.blueprint.state != bootsteps.RUN:  # type: ignore[attr-defined]
                self._worker.drain()  # stopping for a reason that no signal told, such as `celery control shutdown`
            elif not stuck:
                self._stuck_since, self._has_reconnected = monotonic(), False
            else:
                self._mend(monotonic() - self._stuck_since)

    def _is_stuck(self) -> bool:
        received, self._received = self._received, state.all_total_count[0]
        if received != self._received or len(state.reserved_requests) >= self._consumer.pool.num_processes:
            return False
        return any(self._broker.depth(queue) for queue in self._queues)

    def _mend(self, seconds: float) -> None:
        if seconds > STOP_AFTER:
            logger.critical("messages wait and none came for %.0f s: the worker stops, to be started again", seconds)
            self._worker.drain()
            os.kill(os.getpid(), signal.SIGTERM)
        elif seconds > RECONNECT_AFTER and not self._has_reconnected:
            logger.error("messages wait and none came for %.0f s: the worker connects to the broker again", seconds)
            self._has_reconnected = True
            self._cut_connections()

    def _cut_connections(self) -> None:
        """Shut the sockets down, from outside the thread that waits on them: it then meets an error it can handle."""
        connection = self._consumer.connection
        for channel in list(connection.transport.channels) if connection else []:
            for client in (channel.__dict__.get("client"), channel.__dict__.get("subclient")):
                held = getattr(getattr(client, "connection", None), "_sock", None)
                if held is not None:
                    with contextlib.suppress(OSError):
                        held.shutdown(socket.SHUT_RDWR)
