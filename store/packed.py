"""Many rows read for one purpose: what most of their columns hold comes as one JSON array a row.

PyMySQL is written in Python and takes half a microsecond for each column of each row; reading an array takes a tenth.
SQLite reads the columns one by one.
"""

from collections import namedtuple
from collections.abc import Sequence
from json import loads
from typing import Any

from sqlalchemy import Column, Connection, Label, Select, func, select

AnyColumn = Column[Any] | Label[Any]


class Packed:
    """Columns to read. Long texts come `beside` the array, which has to fit into max_allowed_packet."""

    def __init__(self, short: Sequence[AnyColumn], beside: Sequence[AnyColumn]) -> None:
        self._short, self._beside = short, beside
        # Any: which names it has is known at run time only.
        self._row: Any = namedtuple("PackedRow", [column.key for column in (*short, *beside)])  # type: ignore[misc]
        # JSON knows no times: they come as the text that SQLite keeps, and are read as there.
        self._times = [
            (place, column.type) for place, column in enumerate(short) if hasattr(column.type, "process_result_value")
        ]

    def select(self, connection: Connection) -> Select[Any]:
        """Begin a query whose result `rows` reads."""
        if connection.dialect.name == "sqlite":
            return select(*self._short, *self._beside)
        return select(func.json_array(*self._short), *self._beside)

    def rows(self, connection: Connection, query: Select[Any]) -> list[Any]:
        """Run a query that `select` began; rows with an attribute for each column."""
        found = connection.execute(query).all()
        if connection.dialect.name == "sqlite":
            return [self._row._make(row) for row in found]
        return [self._unpack(row, connection) for row in found]

    def _unpack(self, row: Any, connection: Connection) -> Any:
        values = loads(row[0])
        for place, kind in self._times:
            if values[place] is not None:
                values[place] = kind.process_result_value(values[place], connection.dialect)
        return self._row._make((*values, *row[1:]))
