-- The API: who may do what (users, tokens, sessions), what was asked twice, what was changed, and what is held.
-- No password and no token is in here, only their hashes.

CREATE TABLE api_user (
  id BIGINT NOT NULL AUTO_INCREMENT,
  name VARCHAR(100) NOT NULL,
  role VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  password_hash VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  disabled_at DATETIME(6) NULL,
  last_login_at DATETIME(6) NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  update_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  create_by VARCHAR(100) NULL,
  update_by VARCHAR(100) NULL,
  PRIMARY KEY (id),
  UNIQUE KEY uq_api_user_name (name),
  CONSTRAINT ck_api_user_role CHECK (role IN ('viewer', 'operator', 'admin'))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

CREATE TABLE api_token (
  id BIGINT NOT NULL AUTO_INCREMENT,
  name VARCHAR(100) NOT NULL,
  digest CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'SHA-256 of the token, in hexadecimal',
  role VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  expires_at DATETIME(6) NULL,
  revoked_at DATETIME(6) NULL,
  last_used_at DATETIME(6) NULL COMMENT 'at most a minute behind',
  create_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  create_by VARCHAR(100) NULL,
  PRIMARY KEY (id),
  UNIQUE KEY uq_api_token_digest (digest),
  CONSTRAINT ck_api_token_role CHECK (role IN ('viewer', 'operator', 'admin'))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

CREATE TABLE api_session (
  digest CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'SHA-256 of the cookie, in hexadecimal',
  user_id BIGINT NOT NULL,
  expires_at DATETIME(6) NOT NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  PRIMARY KEY (digest),
  KEY ix_api_session_user (user_id),
  KEY ix_api_session_expires (expires_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

CREATE TABLE api_request (
  digest CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'SHA-256 of caller, address and Idempotency-Key',
  body_digest CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  status SMALLINT NULL COMMENT 'NULL: not answered yet',
  answer LONGTEXT NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  PRIMARY KEY (digest),
  KEY ix_api_request_create_time (create_time)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

CREATE TABLE audit_log (
  id BIGINT NOT NULL AUTO_INCREMENT,
  create_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  actor VARCHAR(191) NOT NULL,
  via VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'token, session, sql, system',
  action VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'task.update, run.cancel, hold.create',
  subject_kind VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  subject VARCHAR(191) NOT NULL COMMENT 'its id',
  old_value LONGTEXT NULL COMMENT 'JSON',
  new_value LONGTEXT NULL COMMENT 'JSON',
  note VARCHAR(1000) NULL,
  change_set CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'the bulk change it belongs to',
  PRIMARY KEY (id),
  KEY ix_audit_log_subject (subject_kind, subject, id),
  KEY ix_audit_log_change_set (change_set, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

CREATE TABLE bulk_change (
  id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  actor VARCHAR(191) NOT NULL,
  selection TEXT NOT NULL COMMENT 'JSON: which rows were asked for',
  change_to LONGTEXT NOT NULL COMMENT 'JSON: the new values',
  changed BIGINT NOT NULL,
  undone_at DATETIME(6) NULL,
  undone_by VARCHAR(191) NULL,
  PRIMARY KEY (id),
  KEY ix_bulk_change_create_time (create_time)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

CREATE TABLE hold (
  id BIGINT NOT NULL AUTO_INCREMENT,
  scope VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  name VARCHAR(100) NULL COMMENT 'of the queue, tag or endpoint',
  mode VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'wait',
  reason VARCHAR(500) NOT NULL,
  ends_at DATETIME(6) NULL COMMENT 'UTC; NULL: until somebody ends it',
  ended_at DATETIME(6) NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  create_by VARCHAR(191) NULL,
  ended_by VARCHAR(191) NULL,
  PRIMARY KEY (id),
  KEY ix_hold_ended_at (ended_at),
  CONSTRAINT ck_hold_scope CHECK (scope IN ('everything', 'queue', 'tag', 'endpoint')),
  CONSTRAINT ck_hold_name CHECK ((scope = 'everything') = (name IS NULL)),
  CONSTRAINT ck_hold_mode CHECK (mode IN ('wait', 'skip'))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

CREATE INDEX ix_periodic_task_owner ON periodic_task (owner);
