-- Notifications: where they go, which runs are to be told, what a channel knows of a task, and what waits to be sent.

CREATE TABLE notify_channel (
  id BIGINT NOT NULL AUTO_INCREMENT,
  name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'what rows call it in notify',
  url_env VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'the environment variable that holds its Apprise address',
  url TEXT CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'or the address, encrypted: python -m scripts.channels' INVISIBLE,
  enabled TINYINT(1) NOT NULL DEFAULT 1 COMMENT '0: what is told to it waits',
  ready_at DATETIME(6) NULL COMMENT 'not before: it is being sent to, or failed',
  failures INT NOT NULL DEFAULT 0 COMMENT 'in a row',
  last_error VARCHAR(500) NULL,
  last_sent_at DATETIME(6) NULL,
  sent TEXT NOT NULL DEFAULT ('[]') COMMENT 'JSON: when it was sent to within the last minute' INVISIBLE,
  create_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  PRIMARY KEY (id),
  UNIQUE KEY uq_notify_channel_name (name),
  CONSTRAINT ck_notify_channel_url CHECK ((url_env IS NULL) <> (url IS NULL)),
  CONSTRAINT ck_notify_channel_enabled CHECK (enabled IN (0, 1))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

-- Runs whose row has a notify: entered just before their end is written, gone once it is worked in.
CREATE TABLE notify_due (
  run_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  PRIMARY KEY (run_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

CREATE TABLE notify_state (
  channel VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  subject VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'task:<periodic_task.id>, or an alarm',
  failing TINYINT(1) NOT NULL DEFAULT 0,
  answer CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'digest of the last SUCCESS',
  update_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  PRIMARY KEY (channel, subject)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

-- What waits to be sent, grouped by cause. One that was told stays for a while, so that its cause is not told again at once.
CREATE TABLE notify_message (
  id BIGINT NOT NULL AUTO_INCREMENT,
  channel VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  event VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  cause CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  text VARCHAR(1000) NOT NULL,
  pending INT NOT NULL COMMENT 'how often it happened since it was told',
  first_at DATETIME(6) NOT NULL,
  last_at DATETIME(6) NOT NULL,
  tasks TEXT NOT NULL COMMENT 'JSON: the names of a few',
  run_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'the newest',
  due_at DATETIME(6) NOT NULL,
  gap_seconds INT NULL COMMENT 'how long it stays quiet; NULL: it was not told yet',
  PRIMARY KEY (id),
  UNIQUE KEY uq_notify_message (channel, event, cause)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

-- At the end of the table this changes no row, only the dictionary.
ALTER TABLE task_run ADD COLUMN rendered LONGTEXT NULL COMMENT 'JSON: what a template became, as it was sent';
