"""A witness inside the database: triggers note every step of every run, whoever makes it.

The trigger's time is that of the statement, by the database's clock. It belongs to the harness; the product knows
nothing of it. Imports nothing of the product.
"""

from typing import Final

from pymysql.cursors import Cursor

TABLE: Final = """
CREATE TABLE run_audit (
  seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  run_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  old_state VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NULL,
  new_state VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  old_attempt INT NULL,
  new_attempt INT NOT NULL,
  content_changed TINYINT(1) NOT NULL,
  at DATETIME(6) NOT NULL
)
"""
ON_INSERT: Final = """
CREATE TRIGGER run_audit_insert AFTER INSERT ON task_run FOR EACH ROW
INSERT INTO run_audit (run_id, old_state, new_state, old_attempt, new_attempt, content_changed, at)
VALUES (NEW.id, NULL, NEW.state, NULL, NEW.attempt, 0, UTC_TIMESTAMP(6))
"""
# Of a run that is final every update is noted, of another one only steps.
ON_UPDATE: Final = """
CREATE TRIGGER run_audit_update AFTER UPDATE ON task_run FOR EACH ROW
IF NEW.state <> OLD.state OR NEW.attempt <> OLD.attempt
   OR OLD.state IN ('SUCCESS', 'FAILURE', 'REVOKED', 'SKIPPED', 'REQUIRES_ACTION') THEN
  INSERT INTO run_audit (run_id, old_state, new_state, old_attempt, new_attempt, content_changed, at)
  VALUES (NEW.id, OLD.state, NEW.state, OLD.attempt, NEW.attempt,
          NOT (OLD.result <=> NEW.result) OR NOT (OLD.worker <=> NEW.worker), UTC_TIMESTAMP(6));
END IF
"""


def install(cursor: Cursor) -> None:
    """Begin to note; on a migrated database without runs."""
    for statement in (TABLE, ON_INSERT, ON_UPDATE):
        cursor.execute(statement)
