"""The rules of due rows. Rows whose columns say the same share one, and it is read and built once."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from core.arming import Surroundings, cadence_of
from core.cadence import Cadence, CadenceError
from store import schedules
from store.database import AnyRow

logger = logging.getLogger("cadences")

KEPT = 10_000  # rules; a crontab with its zone takes 2 KiB


class Cadences:
    """What is known of rows' rules. Two threads may ask at once: each at worst builds what the other builds too."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, datetime | None, int | None], Cadence] = {}
        self._built_for: object = None

    def of(self, tx: Connection, rows: Sequence[AnyRow], around: Surroundings) -> Mapping[int, Cadence]:
        """Find the rule of each due row, by its id; one whose columns name none is left out.

        A row counts as armed for what its `armed_for` says, so that its fingerprint tells its columns. What it does
        not cover is beside it in the key: the anchor of rules without a start, and the id that jitter derives from.
        """
        built_for = (around.zone, around.overrides)
        if self._built_for != built_for or len(self._known) > KEPT:
            self._known, self._built_for = {}, built_for
        known = self._known
        keys = {
            row.id: (row.armed_for.rpartition(":")[0], row.create_time, row.id if row.jitter_seconds else None)
            for row in rows
        }
        missing = {key: task_id for task_id, key in keys.items() if key not in known}
        for row in schedules.read_many(tx, list(missing.values())) if missing else ():
            try:
                known[keys[row.id]] = cadence_of(row, around.zone, around.overrides)
            except CadenceError as error:
                logger.warning("row %s %r: %s", row.id, row.name, error)
        return {task_id: known[key] for task_id, key in keys.items() if key in known}
