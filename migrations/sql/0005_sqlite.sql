-- The same for SQLite.

ALTER TABLE agent_endpoint ADD COLUMN credential TEXT NULL;

ALTER TABLE agent_endpoint ADD COLUMN max_concurrency INT NULL CHECK (max_concurrency > 0);

ALTER TABLE agent_endpoint ADD COLUMN requests_per_minute INT NULL CHECK (requests_per_minute > 0);

ALTER TABLE agent_endpoint ADD COLUMN tokens_per_minute BIGINT NULL CHECK (tokens_per_minute > 0);

ALTER TABLE agent_endpoint ADD COLUMN input_price DECIMAL(20, 8) NULL CHECK (input_price >= 0);

ALTER TABLE agent_endpoint ADD COLUMN output_price DECIMAL(20, 8) NULL CHECK (output_price >= 0);

ALTER TABLE agent_endpoint ADD COLUMN currency CHAR(3) NULL CHECK (LENGTH(currency) = 3 AND currency = UPPER(currency));

CREATE TABLE agent_limit (
  endpoint VARCHAR(64) NOT NULL,
  agent VARCHAR(191) NOT NULL DEFAULT '*',
  max_concurrency INT NULL,
  requests_per_minute INT NULL,
  tokens_per_minute BIGINT NULL,
  PRIMARY KEY (endpoint, agent),
  CONSTRAINT ck_agent_limit_limits CHECK (max_concurrency > 0 AND requests_per_minute > 0 AND tokens_per_minute > 0));

CREATE TABLE budget (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  endpoint VARCHAR(64) NULL,
  periodic_task_id BIGINT NULL,
  amount DECIMAL(20, 8) NOT NULL,
  unit VARCHAR(8) NOT NULL DEFAULT 'tokens',
  window_seconds INT NOT NULL DEFAULT 86400,
  at_limit VARCHAR(8) NOT NULL DEFAULT 'skip',
  reserve DECIMAL(20, 8) NULL,
  reached_at DATETIME(6) NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  CONSTRAINT ck_budget_of CHECK ((endpoint IS NULL) <> (periodic_task_id IS NULL)),
  CONSTRAINT ck_budget_amount CHECK (amount > 0 AND reserve >= 0),
  CONSTRAINT ck_budget_unit CHECK (unit = 'tokens' OR (LENGTH(unit) = 3 AND unit = UPPER(unit))),
  CONSTRAINT ck_budget_window CHECK (window_seconds BETWEEN 60 AND 31622400),
  CONSTRAINT ck_budget_at_limit CHECK (at_limit IN ('skip', 'pause', 'alert')));

CREATE TABLE budget_use (
  budget_id BIGINT NOT NULL REFERENCES budget (id) ON DELETE CASCADE,
  run_id CHAR(36) NOT NULL,
  attempt INT NOT NULL,
  PRIMARY KEY (budget_id, run_id, attempt));

CREATE TABLE budget_slice (
  budget_id BIGINT NOT NULL REFERENCES budget (id) ON DELETE CASCADE,
  unit VARCHAR(8) NOT NULL,
  starts_at DATETIME(6) NOT NULL,
  amount DECIMAL(20, 8) NOT NULL,
  dearest DECIMAL(20, 8) NOT NULL,
  answers INT NOT NULL,
  unknown INT NOT NULL,
  PRIMARY KEY (budget_id, unit, starts_at));
