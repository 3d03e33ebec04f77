"""The missed-fire watchdog: python -m missed_fires. It names schedules that should have fired and have not.

A process of its own that shares nothing with beats but the database: dead, frozen or stuck beats cannot silence it.
An alarm goes to the log, to ALERT_URLS, and through `scheduler_state` to `/metrics`, at most 40 s after the moment.
"""

import argparse
import logging
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from time import monotonic
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

import preflight
from config import Settings, SettingsError, get_settings
from logger import redact, setup_logging
from notify import ChannelFault, deliver
from store import missed_fires
from store.database import autocommit, connect, in_words, transaction
from store.missed_fires import OVERDUE, Sight
from trouble import Trouble

LOOK_SECONDS: Final = 5.0
SILENT_BEATS_SECONDS: Final = 60.0  # above the longest BEAT_POLL_INTERVAL, after which a beat without work ticks
DATABASE_SECONDS: Final = 30.0  # a restart is no alarm
REMIND_SECONDS: Final = 600.0
NAMED: Final = 10
DATABASE_WAIT: Final = 10.0

logger = logging.getLogger("missed_fires")

#: Sends title and text; raises ChannelFault.
Alert = Callable[[str, str], None]


class Watch:
    """Looks, tells, and reminds. `alert` None: the log is told alone."""

    def __init__(self, engine: Engine, alert: Alert | None) -> None:
        self.engine = engine
        self._trouble = Trouble(logger, "every schedule fires again", logging.CRITICAL)
        self._away = Trouble(logger, "the database answers again")
        self._away_since: float | None = None
        self._alarm = Alarm(alert)

    def look(self) -> None:
        """Look once, and tell what changed."""
        try:
            with autocommit(self.engine) as connection:
                sight = missed_fires.look(connection, OVERDUE, NAMED)
        except SQLAlchemyError as error:
            self._tell_away(redact(in_words(error)))
            return
        self._away_since = None
        self._away.is_over()
        told = in_short(sight)
        if told is None:
            self._trouble.is_over()
        else:
            self._trouble.goes_on(told, tuple(each.id for each in sight.worst))
        self._alarm.tell(told)
        try:
            with transaction(self.engine) as tx:
                missed_fires.note(tx, sight)
        except SQLAlchemyError as error:
            logger.warning("what was seen cannot be noted for /metrics: %s", redact(in_words(error)))

    def _tell_away(self, why: str) -> None:
        self._away_since = self._away_since or monotonic()
        self._away.goes_on(f"the database cannot be asked: {why}")
        if monotonic() - self._away_since >= DATABASE_SECONDS:
            self._alarm.tell(f"the database cannot be asked for {DATABASE_SECONDS:.0f} s, so nothing fires: {why}")

    def close(self) -> None:
        """Let go of the connections."""
        self._alarm.close()
        self.engine.dispose()


class Alarm:
    """Sends a message when something begins, every REMIND_SECONDS while it lasts, and when it is over.

    One message at a time, beside the looks; one that cannot be sent is tried again at the next look.
    """

    def __init__(self, alert: Alert | None) -> None:
        self._alert = alert
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="alert")
        self._sending: Future[bool] | None = None
        self._sent_at: float | None = None
        self._will_be: float | None = None

    def tell(self, what: str | None) -> None:
        """Say what is the matter now; None: nothing."""
        if self._alert is None or not self._settled():
            return
        if what is not None and (self._sent_at is None or monotonic() - self._sent_at >= REMIND_SECONDS):
            self._send("Schedules do not fire", what, monotonic())
        elif what is None and self._sent_at is not None:
            self._send("Schedules fire again", "Nothing is overdue any more.", None)

    def _settled(self) -> bool:
        """True once the last message is sent, or has failed."""
        if self._sending is None:
            return True
        if not self._sending.done():
            return False
        if self._sending.result():
            self._sent_at = self._will_be
        self._sending = None
        return True

    def _send(self, title: str, text: str, then_sent_at: float | None) -> None:
        self._will_be = then_sent_at
        self._sending = self._pool.submit(self._try, title, text)

    def _try(self, title: str, text: str) -> bool:
        assert self._alert is not None  # noqa: S101 - narrows the type only
        try:
            self._alert(title, text)
        except ChannelFault as fault:
            logger.error("ALERT_URLS are not told, and are tried again: %s", fault)
            return False
        logger.info("ALERT_URLS are told: %s", title)
        return True

    def close(self) -> None:
        """Let a message under way be sent."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def in_short(sight: Sight) -> str | None:
    """Put what is wrong into a line; None: nothing is."""
    beats = "no beat has ever ticked" if sight.tick_age is None else f"a beat last ticked {sight.tick_age:.0f} s ago"
    if sight.rows:
        more = f" and {sight.rows - len(sight.worst)} more" if sight.rows > len(sight.worst) else ""
        named = ", ".join(str(each) for each in sight.worst)
        return f"overdue: {named}{more}; {beats}"
    if sight.tick_age is not None and sight.tick_age > SILENT_BEATS_SECONDS:
        return f"nothing is overdue yet, but {beats}: start one (python run_beat.py)"
    return None


def main(arguments: list[str] | None = None) -> int:
    """Watch until a signal comes. Exit codes: 0 told to stop, 2 settings or database refused."""
    parser = argparse.ArgumentParser(prog="python -m missed_fires", description="Name schedules that do not fire.")
    parser.parse_args(arguments)
    try:
        settings = get_settings()
    except SettingsError as error:
        preflight.fail(str(error))
    preflight.check_database(settings)
    setup_logging("missed_fires")
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watch = Watch(connect(settings.database_url, pool_size=1, silence=DATABASE_WAIT), alert_of(settings))
    logger.info("watching for schedules that are overdue by more than %.0f s", OVERDUE.total_seconds())
    while True:
        watch.look()
        if stop.wait(LOOK_SECONDS):
            watch.close()
            return 0


def alert_of(settings: Settings) -> Alert | None:
    """Make what sends to ALERT_URLS; None where there are none."""
    urls = settings.alert_urls.get_secret_value()
    if not urls:
        return None
    return lambda title, text: deliver(urls, title, text, "failure")


if __name__ == "__main__":
    sys.exit(main())
