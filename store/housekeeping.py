"""Retention: final runs older than RUN_RETENTION_DAYS, and entries of the audit older than AUDIT_RETENTION_DAYS.

They are deleted in small batches.
"""

import uuid
from datetime import datetime

from sqlalchemy import Connection, Engine, Table, bindparam, delete, select

from core.lifecycle import FINAL
from models import BulkChange
from store import audit
from store.audit import Actor, Change
from store.database import transaction
from store.runs import TABLE, R

BULK: Table = BulkChange.__table__  # type: ignore[assignment]

BATCH = 500
SYSTEM = Actor("retention", "system")


def first_id_at(moment: datetime) -> str:
    """Name the smallest UUIDv7 of a moment: ids sort by creation, so the primary key is the time index."""
    milliseconds = int(moment.timestamp() * 1000)
    return str(uuid.UUID(int=(milliseconds << 80) | (0x7 << 76) | (0b10 << 62)))


def has_runs_before(connection: Connection, moment: datetime) -> bool:
    """Tell whether there is anything to delete. Primary key."""
    return connection.execute(select(R.id).where(R.id < first_id_at(moment)).limit(1)).first() is not None


def purge_runs(engine: Engine, before: datetime) -> int:
    """Delete final runs created before a moment, locked ones left for later; return how many.

    Primary key, 500 rows a transaction.
    """
    deleted, last, end = 0, "", first_id_at(before)
    while True:
        with transaction(engine) as tx:
            page = select(R.id, R.state).where(R.id > last, R.id < end).order_by(R.id).limit(BATCH)
            found = tx.execute(page.with_for_update(skip_locked=True)).all()
            if not found:
                return deleted
            last = found[-1].id
            final = [{"run_id": row.id} for row in found if row.state in FINAL]
            if final:
                # One by one: MySQL would rather scan for a long IN list, and a scan waits for every locked row.
                tx.execute(delete(TABLE).where(R.id == bindparam("run_id")), final)
                deleted += len(final)


def has_audit_before(connection: Connection, moment: datetime) -> bool:
    """Tell whether the audit's first entry is older. Primary key."""
    first = connection.execute(select(audit.A.create_time).order_by(audit.A.id).limit(1)).scalar()
    return isinstance(first, datetime) and first < moment


def purge_audit(engine: Engine, before: datetime) -> int:
    """Delete entries made before a moment, and bulk changes that cannot be undone without them; count the entries.

    Primary key, 500 rows a transaction, from the oldest to the first that stays. What was deleted is entered.
    """
    deleted = 0
    while True:
        with transaction(engine) as tx:
            page = select(audit.A.id, audit.A.create_time).order_by(audit.A.id).limit(BATCH)
            found = tx.execute(page.with_for_update(skip_locked=True)).all()
            old = [{"entry_id": row.id} for row in found if row.create_time < before]
            if old:
                tx.execute(delete(audit.TABLE).where(audit.A.id == bindparam("entry_id")), old)
                deleted += len(old)
                continue
            tx.execute(delete(BULK).where(BULK.c.create_time < before))
            if deleted:
                told = {"entries": deleted, "before": before}
                audit.record(tx, SYSTEM, Change(action="audit.purge", subject="audit_log", after=told))
            return deleted
