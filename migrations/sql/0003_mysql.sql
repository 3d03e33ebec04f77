-- Backfills: ranges of past moments that beat turns into runs, `at_a_time` of them at once.

CREATE TABLE backfill (
  id BIGINT NOT NULL AUTO_INCREMENT,
  periodic_task_id BIGINT NOT NULL,
  task_name VARCHAR(200) NOT NULL,
  from_moment DATETIME(6) NOT NULL COMMENT 'UTC, itself included, as until_moment',
  until_moment DATETIME(6) NOT NULL,
  at_a_time INT NOT NULL DEFAULT 1,
  state VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'RUNNING',
  next_moment DATETIME(6) NULL COMMENT 'where it goes on; NULL: every run is made',
  created BIGINT NOT NULL DEFAULT 0,
  left_out BIGINT NOT NULL DEFAULT 0,
  reason VARCHAR(1000) NULL COMMENT 'why it waits, or why it ended',
  active_runs TEXT NOT NULL DEFAULT ('[]') COMMENT 'JSON: the ids of its runs that had not ended at the last look' INVISIBLE,
  create_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  finished_at DATETIME(6) NULL,
  open_task_id BIGINT GENERATED ALWAYS AS (CASE WHEN finished_at IS NULL THEN periodic_task_id END) STORED INVISIBLE,
  PRIMARY KEY (id),
  UNIQUE KEY uq_backfill_open (open_task_id),
  CONSTRAINT ck_backfill_range CHECK (from_moment <= until_moment),
  CONSTRAINT ck_backfill_at_a_time CHECK (at_a_time BETWEEN 1 AND 100),
  CONSTRAINT ck_backfill_state CHECK (state IN ('RUNNING', 'PAUSED', 'CANCELLED', 'DONE') AND RIGHT(state, 1) <> ' '),
  CONSTRAINT ck_backfill_finished CHECK (finished_at IS NULL OR state IN ('CANCELLED', 'DONE'))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;
