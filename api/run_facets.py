"""How many runs have which value: counted for everybody who asks the same within a second."""

from datetime import datetime
from typing import Final

from pydantic import BaseModel
from sqlalchemy import Engine

from api.remembered import RememberedEach
from store import run_search
from store.database import autocommit
from store.run_search import Wanted

REMEMBERED_SECONDS: Final = 1.0
MOST_REMEMBERED: Final = 100  # filters


class TaskFacet(BaseModel):
    """How many of the runs that were looked at belong to a task."""

    periodic_task_id: int | None
    task_name: str
    runs: int


class Facets(BaseModel):
    """How many runs have which value, among the newest ones that meet the filter; up to `examined` were looked at."""

    state: dict[str, int]
    origin: dict[str, int]
    queue: dict[str, int]
    error_kind: dict[str, int]
    tasks: list[TaskFacet]
    examined: int
    reaches_to: datetime | None
    """Older runs were not looked at; null: there are none."""


def remembered_facets(engine: Engine) -> RememberedEach[Wanted, Facets]:
    """Make what counts the newest runs: the database reads 10,000 rows twice for it."""

    def count(wanted: Wanted) -> Facets:
        with autocommit(engine) as connection:
            found = run_search.facets(connection, wanted)
        return Facets(
            **{name: dict(counter.most_common()) for name, counter in found.counts.items()},
            tasks=[TaskFacet.model_validate(row, from_attributes=True) for row in found.tasks],
            examined=found.examined,
            reaches_to=run_search.created_at(found.reaches_to) if found.reaches_to else None,
        )

    return RememberedEach(count, REMEMBERED_SECONDS, MOST_REMEMBERED)
