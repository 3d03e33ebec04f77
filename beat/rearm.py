"""Rows are armed again when what they are judged by changed: the default zone, tzdata, a calendar's days, channels."""

import json
import logging
from collections.abc import Callable, Sequence
from functools import cache
from time import sleep
from typing import TypeAlias

import tzdata
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from core.calendar_data import data_versions
from store import calendar_days, leases, notifications, schedules
from store.database import autocommit, is_contention, transaction

logger = logging.getLogger("rearm")

LOCK_PAUSE = 0.5

Find: TypeAlias = Callable[[Connection, int], Sequence[int]]
"""Names the next rows concerned, beyond an id."""


class Rearming:
    """Looks whether something changed. Zone and tzdata are this process's for good: a further look needs new days."""

    def __init__(self, engine: Engine, default_zone: str) -> None:
        self._engine = engine
        self._default_zone = default_zone
        self._done_for: dict[str, str] | None = None
        self._channels: frozenset[str] | None = None

    def look(self) -> int:
        """Send rows back to arming where calendars or channels changed since the last look; return how many."""
        with autocommit(self._engine) as connection:
            versions, channels = calendar_days.versions(connection), notifications.channel_names(connection)
        sent = 0
        if versions != self._done_for:
            sent += rearm_after_changes(self._engine, self._default_zone)
            self._done_for = versions
        if channels != self._channels:
            sent += check_after_channels(self._engine, channels)
            self._channels = channels
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


def check_after_channels(engine: Engine, channels: frozenset[str]) -> int:
    """Let rows be judged again that name a channel in vain, or one that is gone; return how many. Moments stay."""
    with autocommit(engine) as connection:
        before = leases.read_state(connection, "channels")
    value = json.dumps(sorted(channels))
    if before == value:
        return 0
    removed = frozenset(json.loads(before or "[]")) - channels

    def find(tx: Connection, last: int) -> Sequence[int]:
        return schedules.armed_for_channels(tx, last, removed)

    sent = _sent_back(engine, find, schedules.mark_for_checking)
    with transaction(engine) as tx:
        leases.write_state(tx, "channels", value)
    if sent:
        logger.info("channels changed: %d rows are judged again", sent)
    return sent


@cache
def published_calendars() -> str:
    """Identify the calendar data this process has; it cannot change while it runs."""
    return data_versions()


def _rearm(engine: Engine, concern: str) -> int:
    return _sent_back(engine, lambda tx, last: schedules.armed_after(tx, last, concern), schedules.mark_for_arming)


def _sent_back(engine: Engine, find: Find, mark: Callable[[Connection, Sequence[int]], None]) -> int:
    sent, last = 0, 0
    while True:
        try:
            with transaction(engine) as tx:
                ids = find(tx, last)
                if not ids:
                    return sent
                mark(tx, ids)
        except DBAPIError as error:
            if not is_contention(error):
                raise
            sleep(LOCK_PAUSE)
            continue
        sent, last = sent + len(ids), ids[-1]
