"""What rows are judged by, read from the database: endpoints, channels, what operators say about single days."""

from sqlalchemy import Connection

from config import Settings
from core.arming import Surroundings
from endpoints import what_is_wrong_with_target
from store import calendar_days, notifications, schedules


def read_surroundings(connection: Connection, settings: Settings) -> Surroundings:
    """Read what beat judges rows by."""
    known = schedules.endpoints(connection)
    return Surroundings(
        settings.timezone,
        frozenset(settings.queues),
        calendar_days.read(connection),
        lambda config: what_is_wrong_with_target(config, known, settings),
        channels=notifications.channel_names(connection),
    )
