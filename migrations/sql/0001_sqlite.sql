-- The first schema, for SQLite 3.37+ (the embedded default). Statements end with a semicolon before a blank line.
-- Every time is UTC in a DATETIME(6); only run_at, start_time and end_time are wall-clock times of the row's zone.
-- task_extra_config is text: broken JSON must reach the row and be explained there.
-- Times are compared as text, so those the system reads must be written as 2026-12-31 09:00:00; shorter is allowed.
-- HEX(NULL) is '' here, hence the IIF.

CREATE TABLE periodic_task (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  name VARCHAR(200) NOT NULL,
  description TEXT NULL,
  owner VARCHAR(100) NULL,
  tags VARCHAR(500) NULL,
  enabled TINYINT(1) NOT NULL DEFAULT 1,
  pause_reason VARCHAR(500) NULL,
  crontab VARCHAR(255) NULL,
  interval_seconds INT NULL,
  rrule TEXT NULL,
  run_at DATETIME(6) NULL,
  timezone VARCHAR(64) NULL,
  dst_policy VARCHAR(32) NULL,
  calendar VARCHAR(64) NULL,
  calendar_roll VARCHAR(16) NOT NULL DEFAULT 'skip',
  start_time DATETIME(6) NULL,
  end_time DATETIME(6) NULL,
  max_runs INT NULL,
  jitter_seconds INT NOT NULL DEFAULT 0,
  catch_up VARCHAR(16) NOT NULL DEFAULT 'latest',
  catch_up_window_seconds INT NOT NULL DEFAULT 3600,
  overlap VARCHAR(16) NOT NULL DEFAULT 'skip',
  task_extra_config LONGTEXT NULL,
  run_now TINYINT(1) NOT NULL DEFAULT 0,
  next_run_at DATETIME(6) NULL,
  last_run_at DATETIME(6) NULL,
  last_run_state VARCHAR(16) NULL,
  run_count BIGINT NOT NULL DEFAULT 0,
  consecutive_failures INT NOT NULL DEFAULT 0,
  config_error TEXT NULL,
  hint TEXT NULL,
  armed_for TEXT NULL,
  rearm_at DATETIME(6) NULL,
  schedule_fingerprint TEXT GENERATED ALWAYS AS (
    enabled || '|' || IIF(crontab IS NULL, '-', HEX(crontab)) || '|' || IIF(interval_seconds IS NULL, '-', HEX(interval_seconds)) || '|' ||
    IIF(rrule IS NULL, '-', HEX(rrule)) || '|' || IIF(run_at IS NULL, '-', HEX(run_at)) || '|' ||
    IIF(timezone IS NULL, '-', HEX(timezone)) || '|' || IIF(dst_policy IS NULL, '-', HEX(dst_policy)) || '|' ||
    IIF(calendar IS NULL, '-', HEX(calendar)) || '|' || HEX(calendar_roll) || '|' ||
    IIF(start_time IS NULL, '-', HEX(start_time)) || '|' || IIF(end_time IS NULL, '-', HEX(end_time)) || '|' ||
    IIF(max_runs IS NULL, '-', HEX(max_runs)) || '|' || jitter_seconds) VIRTUAL,
  checked_fingerprint TEXT GENERATED ALWAYS AS (
    IIF(task_extra_config IS NULL, '-', HEX(task_extra_config)) || '|' || HEX(catch_up) || '|' ||
    catch_up_window_seconds || '|' || HEX(overlap)) VIRTUAL,
  needs_arming TINYINT(1) GENERATED ALWAYS AS (CASE WHEN armed_for = (
    enabled || '|' || IIF(crontab IS NULL, '-', HEX(crontab)) || '|' || IIF(interval_seconds IS NULL, '-', HEX(interval_seconds)) || '|' ||
    IIF(rrule IS NULL, '-', HEX(rrule)) || '|' || IIF(run_at IS NULL, '-', HEX(run_at)) || '|' ||
    IIF(timezone IS NULL, '-', HEX(timezone)) || '|' || IIF(dst_policy IS NULL, '-', HEX(dst_policy)) || '|' ||
    IIF(calendar IS NULL, '-', HEX(calendar)) || '|' || HEX(calendar_roll) || '|' ||
    IIF(start_time IS NULL, '-', HEX(start_time)) || '|' || IIF(end_time IS NULL, '-', HEX(end_time)) || '|' ||
    IIF(max_runs IS NULL, '-', HEX(max_runs)) || '|' || jitter_seconds
    || ':' ||
    IIF(task_extra_config IS NULL, '-', HEX(task_extra_config)) || '|' || HEX(catch_up) || '|' ||
    catch_up_window_seconds || '|' || HEX(overlap)) THEN 0 ELSE 1 END) STORED,
  create_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  update_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  create_by VARCHAR(100) NULL,
  update_by VARCHAR(100) NULL,
  CONSTRAINT ck_periodic_task_run_count CHECK (typeof(run_count) = 'integer' AND run_count >= 0),
  CONSTRAINT ck_periodic_task_failures CHECK (typeof(consecutive_failures) = 'integer' AND consecutive_failures >= 0),
  CONSTRAINT ck_periodic_task_next_run_at CHECK (next_run_at IS NULL OR
    IFNULL(strftime('%Y-%m-%d %H:%M:%S', substr(next_run_at, 1, 19)) GLOB substr(next_run_at, 1, 19) || '*', 0)
    AND ltrim(substr(next_run_at, 20), '.0123456789') = ''),
  CONSTRAINT ck_periodic_task_last_run_at CHECK (last_run_at IS NULL OR
    IFNULL(strftime('%Y-%m-%d %H:%M:%S', substr(last_run_at, 1, 19)) GLOB substr(last_run_at, 1, 19) || '*', 0)
    AND ltrim(substr(last_run_at, 20), '.0123456789') = ''));

CREATE UNIQUE INDEX uq_periodic_task_name ON periodic_task (name);

CREATE INDEX ix_periodic_task_due ON periodic_task (needs_arming, next_run_at);

CREATE INDEX ix_periodic_task_run_now ON periodic_task (run_now);

CREATE INDEX ix_periodic_task_rearm ON periodic_task (rearm_at);

CREATE TABLE task_run (
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
  PRIMARY KEY (id),
  CONSTRAINT ck_task_run_origin CHECK (origin IN ('schedule', 'manual', 'api', 'backfill')),
  CONSTRAINT ck_task_run_state CHECK (state IN
    ('PENDING', 'QUEUED', 'STARTED', 'RETRY', 'SUCCESS', 'FAILURE', 'REVOKED', 'SKIPPED', 'REQUIRES_ACTION')),
  CONSTRAINT ck_task_run_priority CHECK (priority BETWEEN 0 AND 9),
  CONSTRAINT ck_task_run_attempt CHECK (attempt >= 0),
  CONSTRAINT ck_task_run_started CHECK (state <> 'STARTED' OR (worker IS NOT NULL AND deadline_at IS NOT NULL)),
  CONSTRAINT ck_task_run_failure CHECK (state NOT IN ('FAILURE', 'SKIPPED') OR error IS NOT NULL),
  CONSTRAINT ck_task_run_ready_at CHECK (ready_at IS NULL OR
    IFNULL(strftime('%Y-%m-%d %H:%M:%S', substr(ready_at, 1, 19)) GLOB substr(ready_at, 1, 19) || '*', 0)
    AND ltrim(substr(ready_at, 20), '.0123456789') = ''));

CREATE UNIQUE INDEX uq_task_run_moment ON task_run (periodic_task_id, origin, scheduled_for);

CREATE INDEX ix_task_run_ready ON task_run (state, ready_at);

CREATE INDEX ix_task_run_active ON task_run (active_task_id);

CREATE TABLE worker_lease (
  id VARCHAR(191) NOT NULL,
  pid INT NOT NULL,
  queues VARCHAR(1000) NOT NULL,
  concurrency INT NOT NULL,
  started_at DATETIME(6) NOT NULL,
  expires_at DATETIME(6) NOT NULL,
  PRIMARY KEY (id));

CREATE INDEX ix_worker_lease_expires ON worker_lease (expires_at);

CREATE TABLE beat_heartbeat (
  id VARCHAR(191) NOT NULL,
  started_at DATETIME(6) NOT NULL,
  last_tick_at DATETIME(6) NOT NULL,
  PRIMARY KEY (id));

CREATE TABLE scheduler_state (
  name VARCHAR(64) NOT NULL,
  value TEXT NULL,
  update_time DATETIME(6) NOT NULL,
  PRIMARY KEY (name));

CREATE TABLE agent_endpoint (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  name VARCHAR(64) NOT NULL,
  provider VARCHAR(32) NOT NULL,
  base_url VARCHAR(500) NOT NULL,
  credential_env VARCHAR(64) NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  update_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'));

CREATE UNIQUE INDEX uq_agent_endpoint_name ON agent_endpoint (name);

CREATE VIEW periodic_task_local AS
SELECT id, name, enabled, crontab, interval_seconds, rrule, run_at, timezone,
  strftime('%Y-%m-%d %H:%M:%f', next_run_at, 'localtime') AS next_run_at,
  strftime('%Y-%m-%d %H:%M:%f', last_run_at, 'localtime') AS last_run_at,
  last_run_state, run_count, consecutive_failures, pause_reason, config_error, hint, task_extra_config,
  strftime('%Y-%m-%d %H:%M:%f', create_time, 'localtime') AS create_time,
  strftime('%Y-%m-%d %H:%M:%f', update_time, 'localtime') AS update_time
FROM periodic_task;

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

CREATE TRIGGER periodic_task_touch AFTER UPDATE OF
  name, description, owner, tags, enabled, pause_reason, crontab, interval_seconds, rrule, run_at, timezone,
  dst_policy, calendar, calendar_roll, start_time, end_time, max_runs, jitter_seconds, catch_up,
  catch_up_window_seconds, overlap, task_extra_config
ON periodic_task WHEN NEW.update_time = OLD.update_time BEGIN
  UPDATE periodic_task SET update_time = strftime('%Y-%m-%d %H:%M:%f', 'now') || '000' WHERE id = NEW.id; END;
