"""One UPDATE for many rows that each get values of their own."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table, TextClause, bindparam, func, text, update

from store.database import largest_statement

BYTES_A_CHARACTER = 4  # of UTF-8; a quote that is escaped takes fewer


def update_by_id(
    tx: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    types: Mapping[str, str],
    kept_if_none: Collection[str] = (),
) -> None:
    """Set the columns named in `types` on each row's `id`. Every row must have them all; None sets NULL, but leaves
    a column of `kept_if_none` as it is.

    MySQL and MariaDB get one statement that joins the values as JSON_TABLE: 1,000 single UPDATEs are
    1,000 round trips, and a long CASE compares every row with every value. `types` are SQL types; a VARCHAR,
    not TEXT, keeps MariaDB's temporary table in memory, and longer text is cut to it. More rows than
    max_allowed_packet admits take several statements.
    """
    if not rows:
        return
    if tx.dialect.name == "sqlite":
        values: dict[str, Any] = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in types}
        values |= {name: func.coalesce(values[name], table.c[name]) for name in kept_if_none}
        statement = update(table).where(table.c.id == bindparam("row_id")).values(values)
        tx.execute(statement, [{"row_id": row["id"], **{f"new_{n}": row[n] for n in types}} for row in rows])
        return
    values_of = {name: f"COALESCE(v.`{name}`, t.`{name}`)" if name in kept_if_none else f"v.`{name}`" for name in types}
    assignments = ", ".join(f"t.`{name}` = {value}" for name, value in values_of.items())
    # Only names of tables and columns from our own code are put into the text.
    joined = text(
        f"UPDATE {json_table({'id': 'BIGINT', **types})} v "
        # In a small table the optimizer would rather scan, and a scan locks and waits for every row.
        f"STRAIGHT_JOIN {table.name} t FORCE INDEX (PRIMARY) ON t.id = v.id SET {assignments}"
    )
    send_rows(tx, joined, [[row["id"], *(row[name] for name in types)] for row in rows])


def send_rows(tx: Connection, statement: TextClause, rows: Sequence[Sequence[Any]]) -> None:
    """Run a statement over `json_table`, in as many parts as max_allowed_packet asks for."""
    parameter = json.dumps([[plain(value) for value in row] for row in rows], ensure_ascii=False)
    limit = largest_statement(tx)
    if len(rows) == 1 or limit is None or BYTES_A_CHARACTER * len(parameter) <= limit:
        tx.execute(statement, {"rows": parameter})
        return
    middle = len(rows) // 2
    send_rows(tx, statement, rows[:middle])
    send_rows(tx, statement, rows[middle:])


def json_table(types: Mapping[str, str]) -> str:
    """Write the parameter `rows`, a JSON array of arrays, as a table with these columns, in this order."""
    columns = ", ".join(f"`{name}` {sql} PATH '$[{i}]'" for i, (name, sql) in enumerate(types.items()))
    return f"JSON_TABLE(:rows, '$[*]' COLUMNS ({columns}))"


def plain(value: Any) -> Any:
    """Make a value JSON can hold; a moment becomes the text of a DATETIME(6) in UTC."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    return value
