"""Times in results."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from config import get_settings


def timestamp() -> str:
    """Write this moment in TIMEZONE, as results of tasks have it: 2025-01-15T10:30:00+08:00."""
    return datetime.now(UTC).astimezone(ZoneInfo(get_settings().timezone)).isoformat(timespec="seconds")
