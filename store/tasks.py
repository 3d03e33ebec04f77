"""Queries of the API on `periodic_task`: pages with filters, one row whole, and edits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, func, insert, literal, select, update
from sqlalchemy.exc import IntegrityError

from store.database import AnyRow, is_duplicate
from store.overview import TASK
from store.schedules import TABLE, T

#: What operators own; the rest of a row is the system's.
EDITABLE: Final = (
    "name", "description", "owner", "tags", "enabled", "pause_reason", "crontab", "interval_seconds", "rrule",
    "run_at", "timezone", "dst_policy", "calendar", "calendar_roll", "start_time", "end_time", "max_runs",
    "jitter_seconds", "catch_up", "catch_up_window_seconds", "overlap", "task_extra_config",
)  # fmt: skip


#: Written once: to write a statement of so many columns anew costs as much as to read ten rows.
_PAGE: Final = select(*TASK).where(T.id > bindparam("after")).order_by(T.id).limit(bindparam("rows"))
_WHOLE: Final = select(*TASK, T.needs_arming)
_BY_ID: Final = _WHOLE.where(T.id == bindparam("task_id"))
_BY_NAME: Final = _WHOLE.where(T.name == bindparam("name"))


class NameTaken(Exception):
    """Another row has the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows; None: whatever it is. Names and tags are compared as the database's collation does."""

    ids: tuple[int, ...] | None = None
    name_prefix: str | None = None
    name_contains: str | None = None
    tag: str | None = None
    owner: str | None = None
    enabled: bool | None = None
    state: str | None = None
    """Of the last run."""
    broken: bool | None = None

    @property
    def is_everything(self) -> bool:
        """True where it leaves nothing out."""
        return self == Selection()


def where(selection: Selection) -> list[ColumnElement[bool]]:
    """Say a selection in SQL."""
    found: list[ColumnElement[bool]] = []
    if selection.ids is not None:
        found.append(T.id.in_(selection.ids))
    if selection.name_prefix is not None:
        found.append(T.name.startswith(selection.name_prefix, autoescape=True))
    if selection.name_contains is not None:
        found.append(T.name.contains(selection.name_contains, autoescape=True))
    if selection.tag is not None:
        spaced = literal(",").concat(func.replace(func.replace(T.tags, ", ", ","), " ,", ",")).concat(",")
        found.append(spaced.contains(f",{selection.tag.strip()},", autoescape=True))
    if selection.owner is not None:
        found.append(T.owner == selection.owner)
    if selection.enabled is not None:
        found.append(T.enabled == int(selection.enabled))
    if selection.state is not None:
        found.append(T.last_run_state == selection.state)
    if selection.broken is not None:
        found.append(T.config_error.is_not(None) if selection.broken else T.config_error.is_(None))
    return found


def page(connection: Connection, selection: Selection, after: int, limit: int) -> Sequence[AnyRow]:
    """Page through the selected rows by id. Primary key, from `after` on.

    An owner's rows are found by ix_periodic_task_owner, a prefix by uq_periodic_task_name, ids by the primary key;
    the other conditions are compared row by row until the page is full. Ids come first: a row that is passed over
    would else be read whole, too, which doubles the cost of a filter that few rows meet.
    """
    if selection.is_everything:
        return connection.execute(_PAGE, {"after": after, "rows": limit}).all()
    found = _ids(selection, after, limit).subquery()
    query = select(*TASK).select_from(found).join(TABLE, T.id == found.c.id)
    return connection.execute(query.order_by(T.id)).all()


def count(connection: Connection, selection: Selection) -> int:
    """Count the selected rows."""
    return connection.execute(select(func.count()).select_from(TABLE).where(*where(selection))).scalar_one()


def ids_after(connection: Connection, selection: Selection, after: int, limit: int) -> Sequence[int]:
    """Name selected rows in order. As `page`."""
    return connection.execute(_ids(selection, after, limit)).scalars().all()


def _ids(selection: Selection, after: int, limit: int) -> Select[tuple[Any]]:
    return select(T.id).where(T.id > after, *where(selection)).order_by(T.id).limit(limit)


def read(connection: Connection, task_id: int) -> AnyRow | None:
    """Read one row whole. Primary key."""
    return connection.execute(_BY_ID, {"task_id": task_id}).one_or_none()


def by_name(connection: Connection, name: str) -> AnyRow | None:
    """Read one row whole. Index uq_periodic_task_name."""
    return connection.execute(_BY_NAME, {"name": name}).one_or_none()


def lock(tx: Connection, task_ids: Sequence[int], selection: Selection | None = None) -> dict[int, AnyRow]:
    """Lock rows that are (still) selected and read them whole, by id; beat passes over them meanwhile. Primary key."""
    conditions = [T.id.in_(task_ids), *where(selection or Selection())]
    query = _WHOLE.where(*conditions).order_by(T.id).with_for_update()
    return {row.id: row for row in tx.execute(query)}


def add(tx: Connection, values: Mapping[str, Any]) -> AnyRow:
    """Insert a row and read it back. Raises NameTaken."""
    try:
        with tx.begin_nested():
            key = tx.execute(insert(TABLE).values(dict(values))).inserted_primary_key
    except IntegrityError as error:
        if is_duplicate(error):
            raise NameTaken from error
        raise
    assert key is not None  # noqa: S101 - narrows the type only
    return tx.execute(_BY_ID, {"task_id": key[0]}).one()


def change(tx: Connection, task_ids: Sequence[int], values: Mapping[str, Any]) -> None:
    """Write the same values into rows. Raises NameTaken. Primary key."""
    try:
        with tx.begin_nested():
            tx.execute(update(TABLE).where(T.id.in_(task_ids)).values(dict(values)))
    except IntegrityError as error:
        if is_duplicate(error):
            raise NameTaken from error
        raise


def remove(tx: Connection, task_id: int) -> None:
    """Delete a row; its runs stay. Primary key."""
    tx.execute(delete(TABLE).where(T.id == task_id))


def note_start(tx: Connection, task_id: int, now: Any) -> None:
    """Show on a row that a run of it was made. Primary key."""
    tx.execute(update(TABLE).where(T.id == task_id).values(last_run_at=now))


def editable(row: AnyRow) -> dict[str, Any]:
    """Take an operator's columns out of a row."""
    return {name: getattr(row, name) for name in EDITABLE}
