"""One UPDATE for many rows that each get values of their own."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table, bindparam, text, update


def update_by_id(tx: Connection, table: Table, rows: Sequence[Mapping[str, Any]], types: Mapping[str, str]) -> None:
    """Set the columns named in `types` on each row's `id`. Every row must have them all.

    MySQL and MariaDB get one statement that joins the values as JSON_TABLE: 1,000 single UPDATEs are
    1,000 round trips, and a long CASE compares every row with every value. `types` are SQL types; a VARCHAR,
    not TEXT, keeps MariaDB's temporary table in memory, and longer text is cut to it.
    """
    if not rows:
        return
    if tx.dialect.name == "sqlite":
        values = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in types}
        statement = update(table).where(table.c.id == bindparam("row_id")).values(values)
        tx.execute(statement, [{"row_id": row["id"], **{f"new_{n}": row[n] for n in types}} for row in rows])
        return
    columns = ", ".join(f"`{name}` {sql} PATH '$[{i}]'" for i, (name, sql) in enumerate(types.items(), start=1))
    assignments = ", ".join(f"t.`{name}` = v.`{name}`" for name in types)
    tx.execute(
        text(
            # Only names of tables and columns from our own code are put into the text.
            f"UPDATE JSON_TABLE(:rows, '$[*]' COLUMNS (id BIGINT PATH '$[0]', {columns})) v "
            # In a small table the optimizer would rather scan, and a scan locks and waits for every row.
            f"STRAIGHT_JOIN {table.name} t FORCE INDEX (PRIMARY) ON t.id = v.id SET {assignments}"
        ),
        {"rows": json.dumps([[row["id"], *(_plain(row[n]) for n in types)] for row in rows], ensure_ascii=False)},
    )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    return value
