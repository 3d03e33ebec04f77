"""Celery alone, for comparison: a task that makes the same HTTP call and records nothing.

    celery -A bench.bare_worker worker --pool threads --concurrency 100

BENCH_BROKER and BENCH_AGENT (an address) are its settings. Everything else is Celery's default.
"""

import os
import threading

import httpx
from celery import Celery

app = Celery("bare", broker=os.environ["BENCH_BROKER"])
app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)
AGENT = os.environ["BENCH_AGENT"]
_own = threading.local()


@app.task(name="bare.call")
def call(message: str) -> int:
    """Ask the agent as the product's worker does; a client for each thread, since a shared one is slower."""
    if not hasattr(_own, "client"):
        _own.client = httpx.Client(timeout=600, limits=httpx.Limits(max_keepalive_connections=0))
    return len(_own.client.post(f"{AGENT}/v1/chat/threads/t/completion", json={"query": message}).text)
