"""One UPDATE for many rows that each get values of their own."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BindParameter, Connection, Table, TextClause, bindparam, text, update

from store.database import largest_statement

BYTES_A_BYTE = 2  # of a parameter: the driver writes bytes as X'…'


def update_by_id(tx: Connection, table: Table, rows: Sequence[Mapping[str, Any]], types: Mapping[str, str]) -> None:
    """Set the columns named in `types` on each row's `id`. Every row must have them all; None sets NULL.

    MySQL and MariaDB get one statement that joins the values as JSON_TABLE: 1,000 single UPDATEs are
    1,000 round trips, and a long CASE compares every row with every value. `types` are SQL types; a VARCHAR,
    not TEXT, keeps MariaDB's temporary table in memory, and longer text is cut to it. More rows than
    max_allowed_packet admits take several statements.
    """
    if not rows:
        return
    if tx.dialect.name == "sqlite":
        values: dict[str, Any] = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in types}
        statement = update(table).where(table.c.id == bindparam("row_id")).values(values)
        tx.execute(statement, [{"row_id": row["id"], **{f"new_{n}": row[n] for n in types}} for row in rows])
        return
    assignments = ", ".join(f"t.`{name}` = v.`{name}`" for name in types)
    send_rows(tx, updating(table, types, assignments), [[row["id"], *(row[name] for name in types)] for row in rows])


def updating(table: Table, types: Mapping[str, str], assignments: str) -> TextClause:
    """Write the UPDATE of a table `t` by rows `v` that begin with an id. Only names from our own code may be in it."""
    # In a small table the optimizer would rather scan, and a scan locks and waits for every row.
    rows = json_table({"id": "BIGINT", **types})
    return text(f"UPDATE {rows} v STRAIGHT_JOIN {table.name} t FORCE INDEX (PRIMARY) ON t.id = v.id SET {assignments}")


def send_rows(tx: Connection, statement: TextClause, rows: Sequence[Sequence[Any]], **constants: Any) -> None:
    """Run a statement over `json_table`, in as many parts as max_allowed_packet asks for."""
    written = json.dumps(rows, ensure_ascii=False, default=moment_text, separators=(",", ":"))
    # Bytes: text the driver would quote character by character, at 2 microseconds a row.
    parameter = written.encode("utf-8", "surrogateescape")
    limit = largest_statement(tx)
    if len(rows) == 1 or limit is None or BYTES_A_BYTE * len(parameter) <= limit:
        tx.execute(statement, {"rows": parameter, **constants})
        return
    middle = len(rows) // 2
    send_rows(tx, statement, rows[:middle], **constants)
    send_rows(tx, statement, rows[middle:], **constants)


def json_table(types: Mapping[str, str]) -> str:
    """Write the parameter `rows`, a JSON array of arrays, as a table with these columns, in this order."""
    columns = ", ".join(f"`{name}` {sql} PATH '$[{i}]'" for i, (name, sql) in enumerate(types.items()))
    return f"JSON_TABLE(_utf8mb4 :rows, '$[*]' COLUMNS ({columns}))"


def many(name: str) -> BindParameter[Any]:
    """Name the parameter of an `IN` that gets a thousand values: they are written as literals, quoted by their type.

    As parameters they cost thrice as much, each with a name of its own.
    """
    return bindparam(name, expanding=True, literal_execute=True)


def moment_text(moment: datetime) -> str:
    """Write a moment as the text of a DATETIME(6) in UTC."""
    return moment.astimezone(UTC).isoformat(" ", "microseconds")[:26]  # without +00:00
