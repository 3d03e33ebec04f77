-- The first schema, for MySQL 8.0.23+ and MariaDB 10.6+. Statements end with a semicolon before a blank line.
-- Every time is UTC in a DATETIME(6); only run_at, start_time and end_time are wall-clock times of the row's zone.
-- task_extra_config is LONGTEXT, not JSON: broken JSON must reach the row and be explained there.

CREATE TABLE periodic_task (
  id BIGINT NOT NULL AUTO_INCREMENT,
  name VARCHAR(200) NOT NULL,
  description TEXT NULL,
  owner VARCHAR(100) NULL,
  tags VARCHAR(500) NULL COMMENT 'comma-separated',
  enabled TINYINT(1) NOT NULL DEFAULT 1,
  pause_reason VARCHAR(500) NULL,
  crontab VARCHAR(255) NULL COMMENT 'WHEN: exactly one of crontab, interval_seconds, rrule, run_at',
  interval_seconds INT NULL,
  rrule TEXT NULL,
  run_at DATETIME(6) NULL,
  timezone VARCHAR(64) NULL COMMENT 'IANA name; NULL: the TIMEZONE setting',
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
  task_extra_config LONGTEXT NULL COMMENT 'WHAT: JSON, see README',
  run_now TINYINT(1) NOT NULL DEFAULT 0,
  next_run_at DATETIME(6) NULL,
  last_run_at DATETIME(6) NULL,
  last_run_state VARCHAR(16) CHARACTER SET ascii NULL,
  run_count BIGINT NOT NULL DEFAULT 0,
  consecutive_failures INT NOT NULL DEFAULT 0,
  config_error TEXT NULL,
  hint TEXT NULL,
  armed_for VARCHAR(65) NULL INVISIBLE,
  rearm_at DATETIME(6) NULL COMMENT 'a broken row is tried again then' INVISIBLE,
  schedule_fingerprint VARCHAR(32) GENERATED ALWAYS AS (MD5(CONCAT_WS('|',
    enabled, COALESCE(HEX(crontab), '-'), COALESCE(interval_seconds, '-'), COALESCE(HEX(rrule), '-'), COALESCE(run_at, '-'),
    COALESCE(HEX(timezone), '-'), COALESCE(HEX(dst_policy), '-'), COALESCE(HEX(calendar), '-'), HEX(calendar_roll),
    COALESCE(start_time, '-'), COALESCE(end_time, '-'), COALESCE(max_runs, '-'), jitter_seconds))) VIRTUAL INVISIBLE,
  checked_fingerprint VARCHAR(32) GENERATED ALWAYS AS (MD5(CONCAT_WS('|',
    COALESCE(HEX(task_extra_config), '-'), HEX(catch_up), catch_up_window_seconds, HEX(overlap)))) VIRTUAL INVISIBLE,
  needs_arming TINYINT(1) GENERATED ALWAYS AS (CASE WHEN armed_for = CONCAT(MD5(CONCAT_WS('|',
    enabled, COALESCE(HEX(crontab), '-'), COALESCE(interval_seconds, '-'), COALESCE(HEX(rrule), '-'), COALESCE(run_at, '-'),
    COALESCE(HEX(timezone), '-'), COALESCE(HEX(dst_policy), '-'), COALESCE(HEX(calendar), '-'), HEX(calendar_roll),
    COALESCE(start_time, '-'), COALESCE(end_time, '-'), COALESCE(max_runs, '-'), jitter_seconds)), ':', MD5(CONCAT_WS('|',
    COALESCE(HEX(task_extra_config), '-'), HEX(catch_up), catch_up_window_seconds, HEX(overlap)))) THEN 0 ELSE 1 END) STORED INVISIBLE,
  create_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  update_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  create_by VARCHAR(100) NULL,
  update_by VARCHAR(100) NULL,
  PRIMARY KEY (id),
  UNIQUE KEY uq_periodic_task_name (name),
  KEY ix_periodic_task_due (needs_arming, next_run_at),
  KEY ix_periodic_task_run_now (run_now),
  KEY ix_periodic_task_rearm (rearm_at),
  CONSTRAINT ck_periodic_task_run_count CHECK (run_count >= 0),
  CONSTRAINT ck_periodic_task_failures CHECK (consecutive_failures >= 0)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

CREATE TABLE task_run (
  id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  periodic_task_id BIGINT NULL,
  task_name VARCHAR(200) NOT NULL,
  origin VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  scheduled_for DATETIME(6) NOT NULL,
  ready_at DATETIME(6) NULL COMMENT 'NULL while PENDING: held',
  state VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'PENDING',
  queue VARCHAR(64) NOT NULL,
  priority TINYINT NOT NULL DEFAULT 5,
  attempt INT NOT NULL DEFAULT 0,
  config LONGTEXT NOT NULL,
  retry_of CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NULL,
  worker VARCHAR(191) NULL,
  queued_at DATETIME(6) NULL,
  started_at DATETIME(6) NULL,
  deadline_at DATETIME(6) NULL,
  finished_at DATETIME(6) NULL,
  result LONGTEXT NULL,
  result_data LONGTEXT NULL,
  error_kind VARCHAR(32) CHARACTER SET ascii NULL,
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
    AND origin <> 'backfill' THEN periodic_task_id END) STORED INVISIBLE,
  PRIMARY KEY (id),
  UNIQUE KEY uq_task_run_moment (periodic_task_id, origin, scheduled_for),
  KEY ix_task_run_ready (state, ready_at),
  KEY ix_task_run_active (active_task_id),
  CONSTRAINT ck_task_run_origin CHECK (origin IN ('schedule', 'manual', 'api', 'backfill')),
  CONSTRAINT ck_task_run_state CHECK (state IN
    ('PENDING', 'QUEUED', 'STARTED', 'RETRY', 'SUCCESS', 'FAILURE', 'REVOKED', 'SKIPPED', 'REQUIRES_ACTION')),
  CONSTRAINT ck_task_run_no_padding CHECK (RIGHT(state, 1) <> ' ' AND RIGHT(origin, 1) <> ' '),
  CONSTRAINT ck_task_run_priority CHECK (priority BETWEEN 0 AND 9),
  CONSTRAINT ck_task_run_attempt CHECK (attempt >= 0),
  CONSTRAINT ck_task_run_started CHECK (state <> 'STARTED' OR (worker IS NOT NULL AND deadline_at IS NOT NULL)),
  CONSTRAINT ck_task_run_failure CHECK (state NOT IN ('FAILURE', 'SKIPPED') OR error IS NOT NULL)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

CREATE TABLE worker_lease (
  id VARCHAR(191) NOT NULL COMMENT 'the Celery node name, new at every process start',
  pid INT NOT NULL,
  queues VARCHAR(1000) NOT NULL,
  concurrency INT NOT NULL,
  started_at DATETIME(6) NOT NULL,
  expires_at DATETIME(6) NOT NULL,
  PRIMARY KEY (id),
  KEY ix_worker_lease_expires (expires_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

CREATE TABLE beat_heartbeat (
  id VARCHAR(191) NOT NULL COMMENT 'host and process, new at every process start',
  started_at DATETIME(6) NOT NULL,
  last_tick_at DATETIME(6) NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

CREATE TABLE scheduler_state (
  name VARCHAR(64) NOT NULL,
  value TEXT NULL,
  update_time DATETIME(6) NOT NULL,
  PRIMARY KEY (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

CREATE TABLE agent_endpoint (
  id BIGINT NOT NULL AUTO_INCREMENT,
  name VARCHAR(64) NOT NULL,
  provider VARCHAR(32) NOT NULL,
  base_url VARCHAR(500) NOT NULL,
  credential_env VARCHAR(64) NULL COMMENT 'name of the environment variable that holds the key',
  create_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  update_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  PRIMARY KEY (id),
  UNIQUE KEY uq_agent_endpoint_name (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

CREATE VIEW periodic_task_local AS
SELECT id, name, enabled, crontab, interval_seconds, rrule, run_at, timezone,
  FROM_UNIXTIME(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', next_run_at) / 1e6) AS next_run_at,
  FROM_UNIXTIME(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', last_run_at) / 1e6) AS last_run_at,
  last_run_state, run_count, consecutive_failures, pause_reason, config_error, hint, task_extra_config,
  FROM_UNIXTIME(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', create_time) / 1e6) AS create_time,
  FROM_UNIXTIME(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', update_time) / 1e6) AS update_time
FROM periodic_task;

CREATE VIEW task_run_local AS
SELECT id, periodic_task_id, task_name, origin, state,
  FROM_UNIXTIME(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', scheduled_for) / 1e6) AS scheduled_for,
  FROM_UNIXTIME(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', ready_at) / 1e6) AS ready_at,
  FROM_UNIXTIME(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', queued_at) / 1e6) AS queued_at,
  FROM_UNIXTIME(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', started_at) / 1e6) AS started_at,
  FROM_UNIXTIME(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', finished_at) / 1e6) AS finished_at,
  queue, priority, attempt, worker, result, result_data, error_kind, error, http_status, conversation_id,
  request_id, input_tokens, output_tokens, cost, currency, config, retry_of
FROM task_run;
