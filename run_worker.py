"""Start one worker process: python run_worker.py [--queues a,b] [--pool threads] [--concurrency n] [--name x]."""

import argparse
import sys
import uuid

import preflight
from logger import setup_logging


def main(arguments: list[str] | None = None) -> int:
    """Check what must hold, then hand over to Celery's worker. Exit code 2: a check failed."""
    options = _parser().parse_args(arguments)
    settings = preflight.check()
    queues = [name.strip() for name in options.queues.split(",")] if options.queues else list(settings.queues)
    unknown = [name for name in queues if name not in settings.queues]
    if unknown:
        preflight.fail(
            f"--queues: {', '.join(unknown)} unknown; known: {', '.join(settings.queues)}; TASK_QUEUES adds others"
        )
    setup_logging("worker")
    from tasks import celery_app

    celery_app.conf.worker_pool = options.pool  # Celery takes its own --pool=prefork for "nothing was said"
    # A name of its own at every start: a lease, a mailbox and Flower's row never belong to two processes.
    name = f"{options.name}-{uuid.uuid4().hex[:6]}@%h"
    celery_app.worker_main(
        [
            "worker",
            f"--hostname={name}",
            f"--queues={','.join(queues)}",
            f"--pool={options.pool}",
            f"--concurrency={options.concurrency or settings.worker_concurrency}",
            f"--loglevel={settings.celery_log_level}",
            "--without-gossip",
            "--without-mingle",
        ]
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run a worker that carries runs to their agents.")
    parser.add_argument("--queues", help="comma-separated; default: every configured queue, highest first")
    parser.add_argument("--pool", default="threads", choices=["threads", "prefork", "solo"], help="default: threads")
    parser.add_argument("--concurrency", type=_positive, help="calls at the same time; default: WORKER_CONCURRENCY")
    parser.add_argument("--name", default="worker", help="the first part of the node name; default: worker")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
