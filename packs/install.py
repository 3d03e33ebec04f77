"""Puts a pack's schedules into `periodic_task`, as often as it is asked, and never over an operator's edit.

What was installed is remembered in `pack_schedule`. A row that is still as installed follows the pack; one that
differs, was deleted, or was there before belongs to the operator.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib import import_module
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, update

from packs.schedule import Schedule
from packs.tables import PackSchedule
from packs.upsert import in_transaction
from store import tasks
from store.database import AnyRow, utc_now

P = PackSchedule


class Done(StrEnum):
    """What became of a schedule."""

    INSTALLED = "installed"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    EDITED = "edited by an operator, left alone"
    DELETED = "deleted by an operator, left out"
    TAKEN = "another row has this name, left alone"


@dataclass(frozen=True, slots=True)
class Step:
    """One schedule, what was done, and why."""

    entry: str
    done: Done
    why: str = ""


def schedules_of(pack: str) -> Sequence[Schedule]:
    """Read what a pack installs."""
    found: Sequence[Schedule] = import_module(f"packs.{pack}.schedules").SCHEDULES
    return found


def install(engine: Engine, pack: str, *, restore: bool = False) -> Iterator[Step]:
    """Insert and update the pack's rows, each in a transaction of its own, and say what was done.

    `restore`: rows that an operator deleted come back.
    """
    for schedule in schedules_of(pack):
        yield in_transaction(engine, partial(_install, pack=pack, schedule=schedule, restore=restore))


def _install(tx: Connection, pack: str, schedule: Schedule, restore: bool) -> Step:
    wanted = schedule.columns(pack)
    key = (P.pack == pack, P.entry == schedule.entry)
    known = tx.execute(select(P.periodic_task_id, P.installed).where(*key).with_for_update()).one_or_none()
    if known is not None:
        row = tasks.lock(tx, [known.periodic_task_id]).get(known.periodic_task_id)
        if row is not None:
            return _follow(tx, pack, schedule.entry, row, json.loads(known.installed), wanted)
        if not restore:
            return Step(schedule.entry, Done.DELETED, "--restore brings it back")
        tx.execute(delete(P).where(*key))
    try:
        row = tasks.add(tx, {**wanted, "create_by": f"packs install {pack}"})
    except tasks.NameTaken:
        if tx.execute(select(P.pack).where(*key)).one_or_none() is not None:
            return Step(schedule.entry, Done.UNCHANGED, "another process has just installed it")
        return Step(schedule.entry, Done.TAKEN, f"rename the row {wanted['name']!r} and install again")
    tx.execute(
        insert(P).values(
            pack=pack, entry=schedule.entry, periodic_task_id=row.id, installed=_text(wanted), install_time=utc_now()
        )
    )
    return Step(schedule.entry, Done.INSTALLED)


def _follow(
    tx: Connection, pack: str, entry: str, row: AnyRow, installed: Mapping[str, Any], wanted: dict[str, Any]
) -> Step:
    edited = [name for name, value in installed.items() if _differs(name, getattr(row, name), value)]
    if edited:
        return Step(entry, Done.EDITED, ", ".join(edited))
    changed = [name for name, value in wanted.items() if _differs(name, installed.get(name), value)]
    if not changed:
        return Step(entry, Done.UNCHANGED)
    tasks.change(tx, [row.id], {name: wanted[name] for name in changed})
    key = (P.pack == pack, P.entry == entry)
    tx.execute(update(P).where(*key).values(installed=_text(wanted), install_time=utc_now()))
    return Step(entry, Done.UPDATED, ", ".join(changed))


def _differs(name: str, found: Any, wanted: Any) -> bool:
    """Compare two values of a column; JSON by what it says."""
    if name == "task_extra_config" and found and wanted:
        try:
            return bool(json.loads(found) != json.loads(wanted))
        except ValueError:
            return True
    return bool(found != wanted)


def _text(columns: Mapping[str, Any]) -> str:
    return json.dumps(columns, ensure_ascii=False)
