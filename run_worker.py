"""Start one worker process: python run_worker.py [--queues a,b] [--pool threads] [--concurrency n] [--name x]."""

import argparse
import signal
import sys
import uuid
from typing import Final

import preflight
from config import Settings
from logger import setup_logging

PACK_PROCESSES: Final = 4
RUNS_PER_PROCESS: Final = 100  # what libraries leak in a child goes with it


def main(arguments: list[str] | None = None) -> int:
    """Check what must hold, then hand over to Celery's worker. Exit code 2: a check failed."""
    options = _parser().parse_args(arguments)
    queues = _queues(options, preflight.read_settings())
    if not queues:
        return _wait_to_be_stopped()
    settings = preflight.check()
    unknown = [name for name in queues if name not in settings.queues]
    if unknown:
        preflight.fail(
            f"--queues: {', '.join(unknown)} unknown; known: {', '.join(settings.queues)}; TASK_QUEUES adds others"
        )
    setup_logging("worker")
    from tasks import celery_app

    of_packs = options.serve == "packs"
    pool = options.pool or ("prefork" if of_packs else "threads")
    celery_app.conf.worker_pool = pool  # Celery takes its own --pool=prefork for "nothing was said"
    # A name of its own at every start: a lease, a mailbox and Flower's row never belong to two processes.
    name = f"{options.name}-{uuid.uuid4().hex[:6]}@%h"
    celery_app.worker_main(
        [
            "worker",
            f"--hostname={name}",
            f"--queues={','.join(queues)}",
            f"--pool={pool}",
            f"--concurrency={options.concurrency or (PACK_PROCESSES if of_packs else settings.worker_concurrency)}",
            *([f"--max-tasks-per-child={RUNS_PER_PROCESS}"] if pool == "prefork" else []),
            f"--loglevel={settings.celery_log_level}",
            "--without-gossip",
            "--without-mingle",
        ]
    )
    return 0


def _wait_to_be_stopped() -> int:
    """Stand there for nothing: a supervisor would start a program that ends again and again."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    print("TASK_PACKS names no pack whose tasks need processes: nothing to serve, waiting to be stopped", flush=True)  # noqa: T201
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    return 0


def _queues(options: argparse.Namespace, settings: Settings) -> list[str]:
    """Name what this worker serves, highest rank first."""
    if options.queues:
        return [name.strip() for name in options.queues.split(",")]
    apart = settings.prefork_queues if options.serve == "agents" else ()
    return list(settings.prefork_queues) if options.serve == "packs" else [q for q in settings.queues if q not in apart]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run a worker that carries runs to their agents.")
    parser.add_argument("--queues", help="comma-separated; default: every configured queue, highest first")
    parser.add_argument(
        "--serve",
        default="all",
        choices=["all", "agents", "packs"],
        help="packs: the packs' queues whose tasks need the CPU, in processes; agents: every other queue; default: all",
    )
    parser.add_argument(
        "--pool", choices=["threads", "prefork", "solo"], help="default: threads; prefork for --serve packs"
    )
    parser.add_argument(
        "--concurrency",
        type=_positive,
        help=f"runs at the same time; default: WORKER_CONCURRENCY, {PACK_PROCESSES} for --serve packs",
    )
    parser.add_argument("--name", default="worker", help="the first part of the node name; default: worker")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
