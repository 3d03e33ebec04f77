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


def rearm_after_changes(engine: Engine, default_zone: str) -> int:
    """Send the rows concerned back to arming, in small transactions; return how many.

    Beat runs this in a thread: it waits for rows that an operator's open transaction holds, and firing must not.
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
