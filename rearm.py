"""Rows are armed again when what their moments depend on changed between two starts: the default zone, tzdata."""

import logging
from time import sleep

import tzdata
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from store import leases, schedules
from store.database import autocommit, is_contention, transaction

logger = logging.getLogger("rearm")

LOCK_PAUSE = 0.5


def rearm_after_changes(engine: Engine, default_zone: str) -> int:
    """Send the rows concerned back to arming, in small transactions; return how many.

    Beat runs this in a thread: it waits for rows that an operator's open transaction holds, and firing must not.
    The new value is stored last, so a crash in between makes the next start do it again.
    """
    sent = 0
    for name, value, only_default_zone in (
        ("default_zone", default_zone, True),
        ("tzdata", str(tzdata.IANA_VERSION), False),
    ):
        with autocommit(engine) as connection:
            before = leases.read_state(connection, name)
        if before == value:
            continue
        if before is not None:
            rows = _rearm(engine, only_default_zone=only_default_zone)
            logger.warning("%s changed from %s to %s: %d rows are armed again", name, before, value, rows)
            sent += rows
        with transaction(engine) as tx:
            leases.write_state(tx, name, value)
    return sent


def _rearm(engine: Engine, *, only_default_zone: bool) -> int:
    sent, last = 0, 0
    while True:
        try:
            with transaction(engine) as tx:
                ids = schedules.armed_after(tx, last, only_default_zone=only_default_zone)
                if not ids:
                    return sent
                schedules.mark_for_arming(tx, ids)
        except DBAPIError as error:
            if not is_contention(error):
                raise
            sleep(LOCK_PAUSE)
            continue
        sent, last = sent + len(ids), ids[-1]
