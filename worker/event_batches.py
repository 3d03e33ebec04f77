"""Sends a worker's task events a few times a second. Celery does so after every message: a fifth of all it does."""

from typing import Any

from celery import bootsteps
from celery.worker.consumer.connection import Connection

EVERY_SECONDS = 0.25  # Flower shows seconds; a full buffer, and the end of the worker, do not wait for it


class EventBatches(bootsteps.StartStopStep):
    """A step of Celery's consumer, between its connection and its events."""

    requires = (Connection,)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timer: Any = None
        if consumer.hub is not None:  # without one events are not buffered
            consumer.on_send_event_buffered = _leave_it_to_the_timer

    def start(self, consumer: Any) -> None:
        """Begin to flush; again after each new connection."""
        if consumer.hub is not None:
            self._timer = consumer.hub.call_repeatedly(EVERY_SECONDS, consumer._flush_events)

    def stop(self, consumer: Any) -> None:
        """The worker ends, or the connection is gone: send what is buffered, or hand it to the next connection."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            consumer._flush_events()


def _leave_it_to_the_timer() -> None:
    """Do nothing when an event is buffered."""
