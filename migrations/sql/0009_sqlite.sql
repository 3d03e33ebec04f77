-- The same for SQLite, which changes a CHECK by making the table anew.

DROP VIEW task_run_local;

CREATE TABLE task_run_new (
  id CHAR(36) NOT NULL,
  periodic_task_id BIGINT NULL,
  task_name VARCHAR(200) NOT NULL,
  origin VARCHAR(16) NOT NULL,
  scheduled_for DATETIME(6) NOT NULL,
  ready_at DATETIME(6) NULL,
  state VARCHAR(16) NOT NULL DEFAULT 'PENDING',
  queue VARCHAR(64) NOT NULL,
  priority TINYINT NOT NULL DEFAULT 5,
  attempt INT NOT NULL DEFAULT 0,
  config LONGTEXT NOT NULL,
  retry_of CHAR(36) NULL,
  worker VARCHAR(191) NULL,
  queued_at DATETIME(6) NULL,
  started_at DATETIME(6) NULL,
  deadline_at DATETIME(6) NULL,
  finished_at DATETIME(6) NULL,
  result LONGTEXT NULL,
  result_data LONGTEXT NULL,
  error_kind VARCHAR(32) NULL,
  error LONGTEXT NULL,
  http_status SMALLINT NULL,
  conversation_id VARCHAR(255) NULL,
  remote_handle TEXT NULL,
  request_id VARCHAR(255) NULL,
  input_tokens BIGINT NULL,
  output_tokens BIGINT NULL,
  cost DECIMAL(20, 8) NULL,
  currency CHAR(3) NULL,
  active_task_id BIGINT GENERATED ALWAYS AS (CASE WHEN state IN ('PENDING', 'QUEUED', 'STARTED', 'RETRY')
    AND origin <> 'backfill' THEN periodic_task_id END) STORED,
  rendered LONGTEXT NULL,
  after_run CHAR(36) NULL,
  PRIMARY KEY (id),
  CONSTRAINT ck_task_run_origin CHECK (origin IN ('schedule', 'manual', 'api', 'backfill', 'after')),
  CONSTRAINT ck_task_run_state CHECK (state IN
    ('PENDING', 'QUEUED', 'STARTED', 'RETRY', 'SUCCESS', 'FAILURE', 'REVOKED', 'SKIPPED', 'REQUIRES_ACTION')),
  CONSTRAINT ck_task_run_priority CHECK (priority BETWEEN 0 AND 9),
  CONSTRAINT ck_task_run_attempt CHECK (attempt >= 0),
  CONSTRAINT ck_task_run_started CHECK (state <> 'STARTED' OR (worker IS NOT NULL AND deadline_at IS NOT NULL)),
  CONSTRAINT ck_task_run_failure CHECK (state NOT IN ('FAILURE', 'SKIPPED') OR error IS NOT NULL),
  CONSTRAINT ck_task_run_ready_at CHECK (ready_at IS NULL OR
    IFNULL(strftime('%Y-%m-%d %H:%M:%S', substr(ready_at, 1, 19)) GLOB substr(ready_at, 1, 19) || '*', 0)
    AND ltrim(substr(ready_at, 20), '.0123456789') = ''));

INSERT INTO task_run_new (
  id, periodic_task_id, task_name, origin, scheduled_for, ready_at, state, queue, priority, attempt, config,
  retry_of, worker, queued_at, started_at, deadline_at, finished_at, result, result_data, error_kind, error,
  http_status, conversation_id, remote_handle, request_id, input_tokens, output_tokens, cost, currency, rendered)
SELECT
  id, periodic_task_id, task_name, origin, scheduled_for, ready_at, state, queue, priority, attempt, config,
  retry_of, worker, queued_at, started_at, deadline_at, finished_at, result, result_data, error_kind, error,
  http_status, conversation_id, remote_handle, request_id, input_tokens, output_tokens, cost, currency, rendered
FROM task_run;

DROP TABLE task_run;

ALTER TABLE task_run_new RENAME TO task_run;

CREATE UNIQUE INDEX uq_task_run_moment ON task_run (periodic_task_id, origin, scheduled_for);

CREATE INDEX ix_task_run_ready ON task_run (state, ready_at);

CREATE INDEX ix_task_run_active ON task_run (active_task_id);

CREATE VIEW task_run_local AS
SELECT id, periodic_task_id, task_name, origin, state,
  strftime('%Y-%m-%d %H:%M:%f', scheduled_for, 'localtime') AS scheduled_for,
  strftime('%Y-%m-%d %H:%M:%f', ready_at, 'localtime') AS ready_at,
  strftime('%Y-%m-%d %H:%M:%f', queued_at, 'localtime') AS queued_at,
  strftime('%Y-%m-%d %H:%M:%f', started_at, 'localtime') AS started_at,
  strftime('%Y-%m-%d %H:%M:%f', finished_at, 'localtime') AS finished_at,
  queue, priority, attempt, worker, result, result_data, error_kind, error, http_status, conversation_id,
  request_id, input_tokens, output_tokens, cost, currency, config, retry_of
FROM task_run;

CREATE TABLE task_after (
  periodic_task_id BIGINT NOT NULL,
  upstream_id BIGINT NOT NULL,
  upstream_name VARCHAR(200) NOT NULL,
  outcome VARCHAR(16) NOT NULL,
  PRIMARY KEY (periodic_task_id),
  CONSTRAINT ck_task_after_outcome CHECK (outcome IN ('succeeded', 'failed', 'ended')),
  CONSTRAINT ck_task_after_self CHECK (upstream_id <> periodic_task_id));

CREATE INDEX ix_task_after_upstream ON task_after (upstream_id);

CREATE TABLE after_due (
  run_id CHAR(36) NOT NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  PRIMARY KEY (run_id));
