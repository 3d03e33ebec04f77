-- Rows that start after another: which row each follows, whose runs are to be looked at, and what a run followed.
-- On a ledger of any size this changes the dictionary only. A CHECK of the table could not be changed so: that copies
-- every run, while nothing fires. MariaDB takes one of a new column at once; MySQL knows none that names another column,
-- and leaves `origin` to the program.

ALTER TABLE task_run DROP CONSTRAINT ck_task_run_origin;

ALTER TABLE task_run ADD COLUMN after_run CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NULL
  COMMENT 'the run whose end started this one' /*M! CHECK (origin IN ('schedule', 'manual', 'api', 'backfill', 'after')) */;

-- Written by arming, from the key `after` of task_extra_config.
CREATE TABLE task_after (
  periodic_task_id BIGINT NOT NULL COMMENT 'the row that follows',
  upstream_id BIGINT NOT NULL,
  upstream_name VARCHAR(200) NOT NULL COMMENT 'as the row calls it',
  outcome VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  PRIMARY KEY (periodic_task_id),
  KEY ix_task_after_upstream (upstream_id),
  CONSTRAINT ck_task_after_outcome CHECK (outcome IN ('succeeded', 'failed', 'ended') AND RIGHT(outcome, 1) <> ' '),
  CONSTRAINT ck_task_after_self CHECK (upstream_id <> periodic_task_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

-- Runs of rows that others follow: entered just before their end is written, gone once what follows is in the ledger.
CREATE TABLE after_due (
  run_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  PRIMARY KEY (run_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;
