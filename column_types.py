"""Times and long texts, as each kind of database keeps them."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Dialect, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator

DATETIME6 = mysql.DATETIME(fsp=6)
LongText = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")


def read_time(value: Any) -> Any:
    """Read what a driver returns for a DATETIME. Text that is no time (SQLite keeps anything) comes back as it is."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return value
    return value


def write_time(value: datetime | None, dialect: Dialect) -> Any:
    """Give SQLite one fixed-width text, so that its text comparison is a comparison of times."""
    if value is None or dialect.name != "sqlite":
        return value
    return value.isoformat(sep=" ", timespec="microseconds")


class UtcTime(TypeDecorator[datetime]):
    """A moment: aware UTC in Python, DATETIME(6) in MySQL, text in SQLite."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Use DATETIME(6) where there is one."""
        return dialect.type_descriptor(String(26) if dialect.name == "sqlite" else DATETIME6)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Store without the zone."""
        return write_time(value if value is None else value.astimezone(UTC).replace(tzinfo=None), dialect)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Give the zone back. A time with an offset of its own (SQLite) is converted."""
        value = read_time(value)
        if not isinstance(value, datetime):
            return value
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class WallClock(TypeDecorator[datetime]):
    """An operator's local time in the row's zone: naive in Python."""

    impl = String
    cache_ok = True

    load_dialect_impl = UtcTime.load_dialect_impl

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Store as written."""
        return write_time(value, dialect)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Read as written."""
        return read_time(value)
