-- The same for SQLite.

CREATE TABLE notify_channel (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  name VARCHAR(64) NOT NULL,
  url_env VARCHAR(64) NULL,
  url TEXT NULL,
  enabled TINYINT(1) NOT NULL DEFAULT 1,
  ready_at DATETIME(6) NULL,
  failures INT NOT NULL DEFAULT 0,
  last_error VARCHAR(500) NULL,
  last_sent_at DATETIME(6) NULL,
  sent TEXT NOT NULL DEFAULT '[]',
  create_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  CONSTRAINT ck_notify_channel_url CHECK ((url_env IS NULL) <> (url IS NULL)),
  CONSTRAINT ck_notify_channel_enabled CHECK (enabled IN (0, 1)));

CREATE UNIQUE INDEX uq_notify_channel_name ON notify_channel (name);

CREATE TABLE notify_due (
  run_id CHAR(36) NOT NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  PRIMARY KEY (run_id));

CREATE TABLE notify_state (
  channel VARCHAR(64) NOT NULL,
  subject VARCHAR(191) NOT NULL,
  failing TINYINT(1) NOT NULL DEFAULT 0,
  answer CHAR(32) NULL,
  update_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  PRIMARY KEY (channel, subject));

CREATE TABLE notify_message (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  channel VARCHAR(64) NOT NULL,
  event VARCHAR(16) NOT NULL,
  cause CHAR(32) NOT NULL,
  text VARCHAR(1000) NOT NULL,
  pending INT NOT NULL,
  first_at DATETIME(6) NOT NULL,
  last_at DATETIME(6) NOT NULL,
  tasks TEXT NOT NULL,
  run_id CHAR(36) NULL,
  due_at DATETIME(6) NOT NULL,
  gap_seconds INT NULL);

CREATE UNIQUE INDEX uq_notify_message ON notify_message (channel, event, cause);

ALTER TABLE task_run ADD COLUMN rendered LONGTEXT NULL;
