"""Runs the statements of a file in migrations/sql/."""

from pathlib import Path

from alembic import op

SQL = Path(__file__).resolve().parent / "sql"


def run_file(name: str) -> None:
    """Run a file's statements; each ends with a semicolon before a blank line, comments stand on lines of their own."""
    for statement in (SQL / name).read_text(encoding="utf-8").split(";\n\n"):
        lines = [line for line in statement.strip().rstrip(";").splitlines() if not line.startswith("--")]
        if "".join(lines).strip():
            end = "; END" if lines[-1].endswith("; END") else ""
            op.get_bind().exec_driver_sql("\n".join(lines).removesuffix(end) + end)
