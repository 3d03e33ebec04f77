"""What living workers answer when Celery asks them. Empty where none answers in time: the ledger knows who lives."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from kombu.exceptions import OperationalError

from api.broker_look import IMPATIENT
from config import Settings
from logger import redact
from tasks import celery_app

ANSWER_SECONDS: Final = 1.0
QUESTIONS: Final = ("active", "registered", "stats")

logger = logging.getLogger("api")

#: By question, then by worker.
Answers = dict[str, dict[str, Any]]


def inspect_workers(settings: Settings, expected: int) -> Answers:
    """Ask every worker what it runs, knows and counts, all at once; done when `expected` have answered. At most 4 s."""
    if not expected:
        return {question: {} for question in QUESTIONS}
    with ThreadPoolExecutor(len(QUESTIONS), thread_name_prefix="inspect") as pool:
        return dict(zip(QUESTIONS, pool.map(lambda name: _ask(settings, name, expected), QUESTIONS), strict=True))


def _ask(settings: Settings, question: str, expected: int) -> dict[str, Any]:
    connection = celery_app.connection_for_write(settings.broker_url, transport_options=IMPATIENT)
    try:
        inspect = celery_app.control.inspect(timeout=ANSWER_SECONDS, limit=expected, connection=connection)
        return dict(getattr(inspect, question)() or {})
    except (OperationalError, OSError) as error:
        logger.warning("workers cannot be asked: %s", redact(str(error)))
        return {}
    finally:
        connection.release()


def shut_down(settings: Settings, workers: list[str]) -> None:
    """Tell workers to end what they run and stop. Raises OperationalError where the broker is away."""
    connection = celery_app.connection_for_write(settings.broker_url, transport_options=IMPATIENT)
    try:
        celery_app.control.broadcast("shutdown", destination=workers, connection=connection)
    finally:
        connection.release()
