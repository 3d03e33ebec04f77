"""Rows are armed again when what their moments depend on changed: the default zone, tzdata, a calendar's days."""

import json
import logging
from functools import cache
from time import sleep

import tzdata
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from core.calendar_data import data_versions
from store import calendar_days, leases, schedules
from store.database import autocommit, is_contention, transaction

logger = logging.getLogger("rearm")

LOCK_PAUSE = 0.5


class Rearming:
    """Looks whether something changed. Zone and tzdata are this process's for good: a further look needs new days."""

    def __init__(self, engine: Engine, default_zone: str) -> None:
        self._engine = engine
        self._default_zone = default_zone
        self._done_for: dict[str, str] | None = None

    def look(self) -> int:
        """Send rows back to arming where the days of calendars changed since the last look; return how many."""
        with autocommit(self._engine) as connection:
            versions = calendar_days.versions(connection)
        if versions == self._done_for:
            return 0
        sent = rearm_after_changes(self._engine, self._default_zone)
        self._done_for = versions
        return sent


def rearm_after_changes(engine: Engine, default_zone: str) -> int:
    """Send the rows concerned back to arming, in small transactions; return how many.

    A job of beat: it waits for rows that an operator's open transaction holds, and firing must not.
    The new value is stored last, so a crash in between makes the next look do it again.
    """
    with autocommit(engine) as connection:
        days = json.dumps(calendar_days.versions(connection), sort_keys=True)
    sent = 0
    for name, value in (
        ("default_zone", default_zone),
        ("tzdata", str(tzdata.IANA_VERSION)),
        ("calendars", f"{published_calendars()}; {days}"),
    ):
        with autocommit(engine) as connection:
            before = leases.read_state(connection, name)
        if before == value:
            continue
        if before is not None:
            rows = _rearm(engine, name)
            logger.warning("%s changed from %s to %s: %d rows are armed again", name, before, value, rows)
            sent += rows
        with transaction(engine) as tx:
            leases.write_state(tx, name, value)
    return sent


@cache
def published_calendars() -> str:
    """Identify the calendar data this process has; it cannot change while it runs."""
    return data_versions()


def _rearm(engine: Engine, concern: str) -> int:
    sent, last = 0, 0
    while True:
        try:
            with transaction(engine) as tx:
                ids = schedules.armed_after(tx, last, concern)
                if not ids:
                    return sent
                schedules.mark_for_arming(tx, ids)
        except DBAPIError as error:
            if not is_contention(error):
                raise
            sleep(LOCK_PAUSE)
            continue
        sent, last = sent + len(ids), ids[-1]
