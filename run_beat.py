"""Start the scheduler: python run_beat.py [--once] [--skip-missed], or --mode once|daemon [--interval S]."""

import argparse
import logging
import sys
from typing import Any, Final

import collector
import preflight
from config import Settings
from logger import setup_logging

logger = logging.getLogger("beat")

NEW_OBJECTS: Final = 20_000  # before the collector of cycles looks again: a few hundred fires


def main(arguments: list[str] | None = None) -> int:
    """Run Celery Beat with our scheduler, or one pass. Exit codes: 0 done, 1 the pass failed, 2 a check failed."""
    options = _parser().parse_args(arguments)
    settings = preflight.check()
    if options.interval is not None:
        settings = settings.model_copy(update={"beat_poll_interval": options.interval})
    setup_logging("beat")
    if options.once or options.mode == "once":
        return _one_pass(settings, skip_missed=options.skip_missed)
    return _daemon(settings, skip_missed=options.skip_missed)


def _daemon(settings: Settings, *, skip_missed: bool) -> int:
    from scheduler import DatabaseScheduler
    from tasks import celery_app

    def make(*args: Any, **kwargs: Any) -> DatabaseScheduler:
        scheduler = DatabaseScheduler(*args, settings=settings, **kwargs)
        if skip_missed:
            scheduler.skip_missed()
        return scheduler

    collector.spare(NEW_OBJECTS)
    beat: Any = celery_app.Beat
    beat(scheduler_cls=make, max_interval=settings.poll_seconds, loglevel=settings.celery_log_level, quiet=True).run()
    return 0


def _one_pass(settings: Settings, *, skip_missed: bool) -> int:
    from scheduler import DatabaseScheduler
    from tasks import celery_app

    scheduler = DatabaseScheduler(celery_app, settings=settings)
    try:
        if skip_missed:
            scheduler.skip_missed()
        counts = scheduler.run_once()
    except Exception:  # the edge of the command: cron reads the exit code
        logger.exception("the pass failed")
        return 1
    finally:
        scheduler.close()
    names = ("armed", "manual", "fired", "rescued", "released", "backfilled", "sent")
    print(", ".join(f"{name} {counts[name]}" for name in names))  # noqa: T201 - the command's answer
    if counts["sent"] and not counts["workers"]:
        print("warning: runs were queued, but no worker holds a lease; start one: python run_worker.py")  # noqa: T201
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Turn due rows of periodic_task into runs.")
    parser.add_argument("--once", action="store_true", help="one pass, print the counts, exit; for cron")
    parser.add_argument("--mode", choices=["once", "daemon"], default="daemon", help="a synonym; default: daemon")
    parser.add_argument("--interval", type=float, help="seconds between looks, instead of BEAT_POLL_INTERVAL")
    parser.add_argument("--skip-missed", action="store_true", help="owe nothing from before the start")
    return parser


if __name__ == "__main__":
    sys.exit(main())
