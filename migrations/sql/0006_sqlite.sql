-- The same for SQLite.

CREATE TABLE api_user (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  name VARCHAR(100) COLLATE NOCASE NOT NULL,
  role VARCHAR(16) NOT NULL,
  password_hash VARCHAR(255) NOT NULL,
  disabled_at DATETIME(6) NULL,
  last_login_at DATETIME(6) NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  update_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  create_by VARCHAR(100) NULL,
  update_by VARCHAR(100) NULL,
  CONSTRAINT ck_api_user_role CHECK (role IN ('viewer', 'operator', 'admin')));

CREATE UNIQUE INDEX uq_api_user_name ON api_user (name);

CREATE TABLE api_token (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  name VARCHAR(100) NOT NULL,
  digest CHAR(64) NOT NULL,
  role VARCHAR(16) NOT NULL,
  expires_at DATETIME(6) NULL,
  revoked_at DATETIME(6) NULL,
  last_used_at DATETIME(6) NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  create_by VARCHAR(100) NULL,
  CONSTRAINT ck_api_token_role CHECK (role IN ('viewer', 'operator', 'admin')));

CREATE UNIQUE INDEX uq_api_token_digest ON api_token (digest);

CREATE TABLE api_session (
  digest CHAR(64) NOT NULL,
  user_id BIGINT NOT NULL,
  expires_at DATETIME(6) NOT NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  PRIMARY KEY (digest));

CREATE INDEX ix_api_session_user ON api_session (user_id);

CREATE INDEX ix_api_session_expires ON api_session (expires_at);

CREATE TABLE api_request (
  digest CHAR(64) NOT NULL,
  body_digest CHAR(64) NOT NULL,
  status SMALLINT NULL,
  answer LONGTEXT NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  PRIMARY KEY (digest));

CREATE INDEX ix_api_request_create_time ON api_request (create_time);

CREATE TABLE audit_log (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  actor VARCHAR(191) NOT NULL,
  via VARCHAR(16) NOT NULL,
  action VARCHAR(64) NOT NULL,
  subject_kind VARCHAR(32) NOT NULL,
  subject VARCHAR(191) NOT NULL,
  old_value LONGTEXT NULL,
  new_value LONGTEXT NULL,
  note VARCHAR(1000) NULL,
  change_set CHAR(36) NULL);

CREATE INDEX ix_audit_log_subject ON audit_log (subject_kind, subject, id);

CREATE INDEX ix_audit_log_change_set ON audit_log (change_set, id);

CREATE TABLE bulk_change (
  id CHAR(36) NOT NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  actor VARCHAR(191) NOT NULL,
  selection TEXT NOT NULL,
  change_to LONGTEXT NOT NULL,
  changed BIGINT NOT NULL,
  undone_at DATETIME(6) NULL,
  undone_by VARCHAR(191) NULL,
  PRIMARY KEY (id));

CREATE INDEX ix_bulk_change_create_time ON bulk_change (create_time);

CREATE TABLE hold (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  scope VARCHAR(16) NOT NULL,
  name VARCHAR(100) COLLATE NOCASE NULL,
  mode VARCHAR(8) NOT NULL DEFAULT 'wait',
  reason VARCHAR(500) NOT NULL,
  ends_at DATETIME(6) NULL,
  ended_at DATETIME(6) NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  create_by VARCHAR(191) NULL,
  ended_by VARCHAR(191) NULL,
  CONSTRAINT ck_hold_scope CHECK (scope IN ('everything', 'queue', 'tag', 'endpoint')),
  CONSTRAINT ck_hold_name CHECK ((scope = 'everything') = (name IS NULL)),
  CONSTRAINT ck_hold_mode CHECK (mode IN ('wait', 'skip')));

CREATE INDEX ix_hold_ended_at ON hold (ended_at);

CREATE INDEX ix_periodic_task_owner ON periodic_task (owner);
