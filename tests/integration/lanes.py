"""Consumes every message of a broker one by one and prints the run ids: `python -m tests.integration.lanes URL COUNT`.

A process of its own, since the order must not depend on PYTHONHASHSEED.
"""

import sys
from typing import Any

from kombu import Consumer

from config import Settings
from tasks import make_app


def consumed(broker_url: str, count: int, task_queues: tuple[str, ...] = ()) -> list[str]:
    """Take `count` messages as a worker with one slot does: prefetch 1, acknowledged one by one."""
    settings = Settings(_env_file=None, celery_broker_url=broker_url, task_queues=task_queues)
    app = make_app(settings)
    order: list[str] = []

    def take(_: Any, message: Any) -> None:
        order.append(message.headers["id"])
        message.ack()

    with app.connection_for_read() as connection, connection.channel() as channel:
        queues = list(app.amqp.queues.values())
        with Consumer(channel, queues, callbacks=[take], accept=["json"], prefetch_count=1):
            while len(order) < count:
                connection.drain_events(timeout=10)
    return order


if __name__ == "__main__":
    sys.stdout.write("\n".join(consumed(sys.argv[1], int(sys.argv[2]), ("gpu",))))
