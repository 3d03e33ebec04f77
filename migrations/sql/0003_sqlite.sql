-- The same for SQLite.

CREATE TABLE backfill (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  periodic_task_id BIGINT NOT NULL,
  task_name VARCHAR(200) NOT NULL,
  from_moment DATETIME(6) NOT NULL,
  until_moment DATETIME(6) NOT NULL,
  at_a_time INT NOT NULL DEFAULT 1,
  state VARCHAR(16) NOT NULL DEFAULT 'RUNNING',
  next_moment DATETIME(6) NULL,
  created BIGINT NOT NULL DEFAULT 0,
  left_out BIGINT NOT NULL DEFAULT 0,
  reason VARCHAR(1000) NULL,
  active_runs TEXT NOT NULL DEFAULT '[]',
  create_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  finished_at DATETIME(6) NULL,
  open_task_id BIGINT GENERATED ALWAYS AS (CASE WHEN finished_at IS NULL THEN periodic_task_id END) STORED,
  CONSTRAINT ck_backfill_range CHECK (from_moment <= until_moment),
  CONSTRAINT ck_backfill_at_a_time CHECK (at_a_time BETWEEN 1 AND 100),
  CONSTRAINT ck_backfill_state CHECK (state IN ('RUNNING', 'PAUSED', 'CANCELLED', 'DONE')),
  CONSTRAINT ck_backfill_finished CHECK (finished_at IS NULL OR state IN ('CANCELLED', 'DONE')));

CREATE UNIQUE INDEX uq_backfill_open ON backfill (open_task_id);
