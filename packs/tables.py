"""Tables that the packs share, and what they are made with."""

from datetime import datetime
from typing import Any, ClassVar, Final

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from column_types import LongText, UtcTime

#: SQLite counts up an INTEGER only.
Id: Final = BigInteger().with_variant(Integer(), "sqlite")
#: For every table of a pack, here and in its migrations.
OPTIONS: Final[dict[str, Any]] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_unicode_520_ci",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_unicode_520_ci",
}


class PackBase(DeclarativeBase):
    """The packs' tables are no part of the ledger's metadata."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UtcTime}


class PackSchedule(PackBase):
    """A row of `periodic_task` as a pack installed it: what differs since is an operator's edit."""

    __tablename__ = "pack_schedule"

    pack: Mapped[str] = mapped_column(String(32), primary_key=True)
    entry: Mapped[str] = mapped_column(String(100), primary_key=True)
    periodic_task_id: Mapped[int] = mapped_column(BigInteger)
    installed: Mapped[str] = mapped_column(LongText)
    install_time: Mapped[datetime]
