-- Endpoints: a stored credential, limits and prices. Agents: limits of their own. Budgets: of an endpoint or of a task.
-- agent_endpoint is a small table that no fire reads: adding columns holds nothing up.

ALTER TABLE agent_endpoint
  ADD COLUMN credential TEXT CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'encrypted: python -m scripts.endpoints' INVISIBLE,
  ADD COLUMN max_concurrency INT NULL COMMENT 'calls at the same time, over all workers',
  ADD COLUMN requests_per_minute INT NULL,
  ADD COLUMN tokens_per_minute BIGINT NULL,
  ADD COLUMN input_price DECIMAL(20, 8) NULL COMMENT 'of a million tokens, in currency',
  ADD COLUMN output_price DECIMAL(20, 8) NULL,
  ADD COLUMN currency CHAR(3) CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'USD, CNY, ...',
  ADD CONSTRAINT ck_agent_endpoint_limits CHECK (max_concurrency > 0 AND requests_per_minute > 0 AND tokens_per_minute > 0),
  ADD CONSTRAINT ck_agent_endpoint_prices CHECK (input_price >= 0 AND output_price >= 0),
  ADD CONSTRAINT ck_agent_endpoint_currency CHECK (
    CHAR_LENGTH(currency) = 3 AND currency = UPPER(currency) AND (currency IS NOT NULL OR (input_price IS NULL AND output_price IS NULL)));

CREATE TABLE agent_limit (
  endpoint VARCHAR(64) NOT NULL COMMENT 'agent_endpoint.name; default: the endpoint of the settings',
  agent VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '*' COMMENT 'agent_id or workflow_id; *: each that has no line here',
  max_concurrency INT NULL,
  requests_per_minute INT NULL,
  tokens_per_minute BIGINT NULL,
  PRIMARY KEY (endpoint, agent),
  CONSTRAINT ck_agent_limit_limits CHECK (max_concurrency > 0 AND requests_per_minute > 0 AND tokens_per_minute > 0)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

CREATE TABLE budget (
  id BIGINT NOT NULL AUTO_INCREMENT,
  endpoint VARCHAR(64) NULL COMMENT 'of what: either this or periodic_task_id',
  periodic_task_id BIGINT NULL,
  amount DECIMAL(20, 8) NOT NULL COMMENT 'the most that a window may cost',
  unit VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'tokens' COMMENT 'tokens, or a currency: USD, CNY, ...',
  window_seconds INT NOT NULL DEFAULT 86400 COMMENT 'the window ends now and moves on with the clock',
  at_limit VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'skip' COMMENT 'skip, pause or alert',
  reserve DECIMAL(20, 8) NULL COMMENT 'what a run costs at most; NULL: the dearest of the window',
  reached_at DATETIME(6) NULL COMMENT 'when a run last found it used up (UTC)',
  create_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  PRIMARY KEY (id),
  CONSTRAINT ck_budget_of CHECK ((endpoint IS NULL) <> (periodic_task_id IS NULL)),
  CONSTRAINT ck_budget_amount CHECK (amount > 0 AND reserve >= 0),
  CONSTRAINT ck_budget_unit CHECK (unit = 'tokens' OR (CHAR_LENGTH(unit) = 3 AND unit = UPPER(unit))),
  CONSTRAINT ck_budget_window CHECK (window_seconds BETWEEN 60 AND 31622400),
  CONSTRAINT ck_budget_at_limit CHECK (at_limit IN ('skip', 'pause', 'alert'))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

-- The attempts whose cost is not in budget_slice yet. One whose run is STARTED by that attempt is a reservation.
CREATE TABLE budget_use (
  budget_id BIGINT NOT NULL,
  run_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  attempt INT NOT NULL,
  PRIMARY KEY (budget_id, run_id, attempt),
  CONSTRAINT fk_budget_use_budget FOREIGN KEY (budget_id) REFERENCES budget (id) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

-- What was spent, by slices of a sixtieth of the window.
CREATE TABLE budget_slice (
  budget_id BIGINT NOT NULL,
  unit VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  starts_at DATETIME(6) NOT NULL,
  amount DECIMAL(20, 8) NOT NULL,
  dearest DECIMAL(20, 8) NOT NULL COMMENT 'of one run',
  answers INT NOT NULL,
  unknown INT NOT NULL COMMENT 'answers that tell no cost in this unit',
  PRIMARY KEY (budget_id, unit, starts_at),
  CONSTRAINT fk_budget_slice_budget FOREIGN KEY (budget_id) REFERENCES budget (id) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;
