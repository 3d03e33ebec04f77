"""Queries that find due rows which other sessions hold, and those sessions. MySQL and MariaDB only."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, select, text

from store.notices import Session
from store.schedules import DUE_INDEX, TABLE, T, runnable

LIMIT: Final = 10_000
PAGE: Final = 500
PRIMARY: Final = "FORCE INDEX (PRIMARY)"  # a scan would lock what it reads

# Only a lock that somebody waits for is listed. `trx_started` is in the zone of the server's system.
_HOLDERS: Final = """
SELECT DISTINCT holder.trx_mysql_thread_id AS id, person.user, person.host, person.command,
  TIMESTAMPDIFF(SECOND, holder.trx_started, CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', 'SYSTEM')) AS age_seconds,
  holder.trx_rows_locked AS rows_locked
FROM {waits} wait
JOIN information_schema.INNODB_TRX waiter ON waiter.trx_id = wait.{waiting}
JOIN information_schema.PROCESSLIST ours ON ours.id = waiter.trx_mysql_thread_id AND ours.db = DATABASE()
JOIN information_schema.INNODB_TRX holder ON holder.trx_id = wait.{holding} AND holder.trx_state <> 'LOCK WAIT'
LEFT JOIN information_schema.PROCESSLIST person ON person.id = holder.trx_mysql_thread_id
HAVING age_seconds >= :age
"""
HOLDERS_MARIADB: Final = text(
    _HOLDERS.format(
        waits="information_schema.INNODB_LOCK_WAITS", waiting="requesting_trx_id", holding="blocking_trx_id"
    )
)
# By MySQL's manual; this one was never run.
HOLDERS_MYSQL: Final = text(
    _HOLDERS.format(
        waits="performance_schema.data_lock_waits",
        waiting="REQUESTING_ENGINE_TRANSACTION_ID",
        holding="BLOCKING_ENGINE_TRANSACTION_ID",
    )
)


def overdue(connection: Connection, before: datetime) -> dict[int, datetime]:
    """Name the rows that were due before a moment and have not fired, oldest first, with their moments; at most LIMIT.

    Index ix_periodic_task_due. Takes no lock.
    """
    query = select(T.id, T.next_run_at).with_hint(TABLE, DUE_INDEX, "mysql")
    rows = connection.execute(query.where(runnable(None), T.next_run_at < before).order_by(T.next_run_at).limit(LIMIT))
    return {row.id: row.next_run_at for row in rows}


def lockable(connection: Connection, task_ids: Sequence[int]) -> set[int]:
    """Tell which of these rows nobody holds. Primary key; a lock that is taken for that lasts one statement."""
    query = select(T.id).with_hint(TABLE, PRIMARY, "mysql").with_for_update(skip_locked=True)
    found: set[int] = set()
    for start in range(0, len(task_ids), PAGE):
        found.update(connection.execute(query.where(T.id.in_(task_ids[start : start + PAGE]))).scalars())
    return found


def wait_for(connection: Connection, task_id: int) -> None:
    """Wait for a row's lock and let it go at once. Raises a lock wait timeout. Primary key."""
    query = select(T.id).with_hint(TABLE, PRIMARY, "mysql").where(T.id == bindparam("task_id")).with_for_update()
    connection.execute(query, {"task_id": task_id})


def holders(connection: Connection, age_seconds: int) -> list[Session]:
    """Name the sessions, in a transaction for so long, whose locks sessions of this database wait for just now.

    Needs the PROCESS privilege, on MySQL also SELECT on performance_schema.data_lock_waits.
    """
    query = HOLDERS_MARIADB if getattr(connection.dialect, "is_mariadb", False) else HOLDERS_MYSQL
    rows = connection.execute(query, {"age": age_seconds}).mappings()
    return [Session(**row) for row in rows]
