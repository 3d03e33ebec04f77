-- What is done by plain SQL to endpoints, limits, budgets, holds, calendar days and channels is entered into the audit:
-- who, before, after; of keys and addresses only whether there is one. Whoever enters his changes himself (the API and
-- the commands) sets @audited_by_the_program. What the system writes in passing (reached_at, last_sent_at, ...) is none.
-- Nothing depends on these triggers; where they are refused, the migration warns and goes on.

CREATE TRIGGER agent_endpoint_audit_update AFTER UPDATE ON agent_endpoint FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL AND NOT (
    CAST(OLD.name AS BINARY) <=> CAST(NEW.name AS BINARY) AND
    CAST(OLD.provider AS BINARY) <=> CAST(NEW.provider AS BINARY) AND
    CAST(OLD.base_url AS BINARY) <=> CAST(NEW.base_url AS BINARY) AND OLD.credential <=> NEW.credential AND
    CAST(OLD.credential_env AS BINARY) <=> CAST(NEW.credential_env AS BINARY) AND
    OLD.max_concurrency <=> NEW.max_concurrency AND OLD.requests_per_minute <=> NEW.requests_per_minute AND
    OLD.tokens_per_minute <=> NEW.tokens_per_minute AND OLD.input_price <=> NEW.input_price AND
    OLD.output_price <=> NEW.output_price AND CAST(OLD.currency AS BINARY) <=> CAST(NEW.currency AS BINARY)) THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'endpoint.update', 'endpoint', LEFT(NEW.id, 191), JSON_OBJECT(
      'name', OLD.name, 'provider', OLD.provider, 'base_url', OLD.base_url,
      'key_stored', IF(OLD.credential IS NULL, 'no', 'yes'), 'key_variable', OLD.credential_env,
      'max_concurrency', OLD.max_concurrency, 'requests_per_minute', OLD.requests_per_minute,
      'tokens_per_minute', OLD.tokens_per_minute, 'input_price', OLD.input_price, 'output_price', OLD.output_price,
      'currency', OLD.currency), JSON_OBJECT(
      'name', NEW.name, 'provider', NEW.provider, 'base_url', NEW.base_url,
      'key_stored', IF(NEW.credential IS NULL, 'no', IF(NEW.credential <=> OLD.credential, 'yes', 'replaced')),
      'key_variable', NEW.credential_env, 'max_concurrency', NEW.max_concurrency,
      'requests_per_minute', NEW.requests_per_minute, 'tokens_per_minute', NEW.tokens_per_minute,
      'input_price', NEW.input_price, 'output_price', NEW.output_price, 'currency', NEW.currency));
  END IF; END;

CREATE TRIGGER agent_endpoint_audit_create AFTER INSERT ON agent_endpoint FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'endpoint.create', 'endpoint', LEFT(NEW.id, 191), NULL, JSON_OBJECT(
      'name', NEW.name, 'provider', NEW.provider, 'base_url', NEW.base_url,
      'key_stored', IF(NEW.credential IS NULL, 'no', 'yes'), 'key_variable', NEW.credential_env,
      'max_concurrency', NEW.max_concurrency, 'requests_per_minute', NEW.requests_per_minute,
      'tokens_per_minute', NEW.tokens_per_minute, 'input_price', NEW.input_price, 'output_price', NEW.output_price,
      'currency', NEW.currency));
  END IF; END;

CREATE TRIGGER agent_endpoint_audit_delete AFTER DELETE ON agent_endpoint FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'endpoint.delete', 'endpoint', LEFT(OLD.id, 191), JSON_OBJECT(
      'name', OLD.name, 'provider', OLD.provider, 'base_url', OLD.base_url,
      'key_stored', IF(OLD.credential IS NULL, 'no', 'yes'), 'key_variable', OLD.credential_env,
      'max_concurrency', OLD.max_concurrency, 'requests_per_minute', OLD.requests_per_minute,
      'tokens_per_minute', OLD.tokens_per_minute, 'input_price', OLD.input_price, 'output_price', OLD.output_price,
      'currency', OLD.currency), NULL);
  END IF; END;

CREATE TRIGGER agent_limit_audit_update AFTER UPDATE ON agent_limit FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL AND NOT (
    CAST(OLD.endpoint AS BINARY) <=> CAST(NEW.endpoint AS BINARY) AND
    CAST(OLD.agent AS BINARY) <=> CAST(NEW.agent AS BINARY) AND OLD.max_concurrency <=> NEW.max_concurrency AND
    OLD.requests_per_minute <=> NEW.requests_per_minute AND OLD.tokens_per_minute <=> NEW.tokens_per_minute) THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'agent_limit.update', 'agent_limit', LEFT(CONCAT(NEW.endpoint, '/', NEW.agent), 191), JSON_OBJECT(
      'endpoint', OLD.endpoint, 'agent', OLD.agent, 'max_concurrency', OLD.max_concurrency,
      'requests_per_minute', OLD.requests_per_minute, 'tokens_per_minute', OLD.tokens_per_minute), JSON_OBJECT(
      'endpoint', NEW.endpoint, 'agent', NEW.agent, 'max_concurrency', NEW.max_concurrency,
      'requests_per_minute', NEW.requests_per_minute, 'tokens_per_minute', NEW.tokens_per_minute));
  END IF; END;

CREATE TRIGGER agent_limit_audit_create AFTER INSERT ON agent_limit FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'agent_limit.create', 'agent_limit', LEFT(CONCAT(NEW.endpoint, '/', NEW.agent), 191), NULL, JSON_OBJECT(
      'endpoint', NEW.endpoint, 'agent', NEW.agent, 'max_concurrency', NEW.max_concurrency,
      'requests_per_minute', NEW.requests_per_minute, 'tokens_per_minute', NEW.tokens_per_minute));
  END IF; END;

CREATE TRIGGER agent_limit_audit_delete AFTER DELETE ON agent_limit FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'agent_limit.delete', 'agent_limit', LEFT(CONCAT(OLD.endpoint, '/', OLD.agent), 191), JSON_OBJECT(
      'endpoint', OLD.endpoint, 'agent', OLD.agent, 'max_concurrency', OLD.max_concurrency,
      'requests_per_minute', OLD.requests_per_minute, 'tokens_per_minute', OLD.tokens_per_minute), NULL);
  END IF; END;

CREATE TRIGGER budget_audit_update AFTER UPDATE ON budget FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL AND NOT (
    CAST(OLD.endpoint AS BINARY) <=> CAST(NEW.endpoint AS BINARY) AND
    OLD.periodic_task_id <=> NEW.periodic_task_id AND OLD.amount <=> NEW.amount AND
    CAST(OLD.unit AS BINARY) <=> CAST(NEW.unit AS BINARY) AND OLD.window_seconds <=> NEW.window_seconds AND
    CAST(OLD.at_limit AS BINARY) <=> CAST(NEW.at_limit AS BINARY) AND OLD.reserve <=> NEW.reserve) THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'budget.update', 'budget', LEFT(NEW.id, 191), JSON_OBJECT(
      'endpoint', OLD.endpoint, 'periodic_task_id', OLD.periodic_task_id, 'amount', OLD.amount, 'unit', OLD.unit,
      'window_seconds', OLD.window_seconds, 'at_limit', OLD.at_limit, 'reserve', OLD.reserve), JSON_OBJECT(
      'endpoint', NEW.endpoint, 'periodic_task_id', NEW.periodic_task_id, 'amount', NEW.amount, 'unit', NEW.unit,
      'window_seconds', NEW.window_seconds, 'at_limit', NEW.at_limit, 'reserve', NEW.reserve));
  END IF; END;

CREATE TRIGGER budget_audit_create AFTER INSERT ON budget FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'budget.create', 'budget', LEFT(NEW.id, 191), NULL, JSON_OBJECT(
      'endpoint', NEW.endpoint, 'periodic_task_id', NEW.periodic_task_id, 'amount', NEW.amount, 'unit', NEW.unit,
      'window_seconds', NEW.window_seconds, 'at_limit', NEW.at_limit, 'reserve', NEW.reserve));
  END IF; END;

CREATE TRIGGER budget_audit_delete AFTER DELETE ON budget FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'budget.delete', 'budget', LEFT(OLD.id, 191), JSON_OBJECT(
      'endpoint', OLD.endpoint, 'periodic_task_id', OLD.periodic_task_id, 'amount', OLD.amount, 'unit', OLD.unit,
      'window_seconds', OLD.window_seconds, 'at_limit', OLD.at_limit, 'reserve', OLD.reserve), NULL);
  END IF; END;

CREATE TRIGGER hold_audit_update AFTER UPDATE ON hold FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL AND NOT (
    CAST(OLD.scope AS BINARY) <=> CAST(NEW.scope AS BINARY) AND
    CAST(OLD.name AS BINARY) <=> CAST(NEW.name AS BINARY) AND
    CAST(OLD.mode AS BINARY) <=> CAST(NEW.mode AS BINARY) AND
    CAST(OLD.reason AS BINARY) <=> CAST(NEW.reason AS BINARY) AND OLD.ends_at <=> NEW.ends_at AND
    OLD.ended_at <=> NEW.ended_at AND CAST(OLD.create_by AS BINARY) <=> CAST(NEW.create_by AS BINARY) AND
    CAST(OLD.ended_by AS BINARY) <=> CAST(NEW.ended_by AS BINARY)) THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'hold.update', 'hold', LEFT(NEW.id, 191), JSON_OBJECT(
      'scope', OLD.scope, 'name', OLD.name, 'mode', OLD.mode, 'reason', OLD.reason, 'ends_at', OLD.ends_at,
      'ended_at', OLD.ended_at, 'create_by', OLD.create_by, 'ended_by', OLD.ended_by), JSON_OBJECT(
      'scope', NEW.scope, 'name', NEW.name, 'mode', NEW.mode, 'reason', NEW.reason, 'ends_at', NEW.ends_at,
      'ended_at', NEW.ended_at, 'create_by', NEW.create_by, 'ended_by', NEW.ended_by));
  END IF; END;

CREATE TRIGGER hold_audit_create AFTER INSERT ON hold FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'hold.create', 'hold', LEFT(NEW.id, 191), NULL, JSON_OBJECT(
      'scope', NEW.scope, 'name', NEW.name, 'mode', NEW.mode, 'reason', NEW.reason, 'ends_at', NEW.ends_at,
      'ended_at', NEW.ended_at, 'create_by', NEW.create_by, 'ended_by', NEW.ended_by));
  END IF; END;

CREATE TRIGGER hold_audit_delete AFTER DELETE ON hold FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'hold.delete', 'hold', LEFT(OLD.id, 191), JSON_OBJECT(
      'scope', OLD.scope, 'name', OLD.name, 'mode', OLD.mode, 'reason', OLD.reason, 'ends_at', OLD.ends_at,
      'ended_at', OLD.ended_at, 'create_by', OLD.create_by, 'ended_by', OLD.ended_by), NULL);
  END IF; END;

CREATE TRIGGER calendar_day_audit_update AFTER UPDATE ON calendar_day FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL AND NOT (
    CAST(OLD.calendar AS BINARY) <=> CAST(NEW.calendar AS BINARY) AND OLD.day <=> NEW.day AND
    OLD.`open` <=> NEW.`open` AND CAST(OLD.note AS BINARY) <=> CAST(NEW.note AS BINARY)) THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'calendar_day.update', 'calendar_day', LEFT(CONCAT(NEW.calendar, '/', NEW.day), 191), JSON_OBJECT(
      'calendar', OLD.calendar, 'day', OLD.day, 'open', OLD.`open`, 'note', OLD.note), JSON_OBJECT(
      'calendar', NEW.calendar, 'day', NEW.day, 'open', NEW.`open`, 'note', NEW.note));
  END IF; END;

CREATE TRIGGER calendar_day_audit_create AFTER INSERT ON calendar_day FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'calendar_day.create', 'calendar_day', LEFT(CONCAT(NEW.calendar, '/', NEW.day), 191), NULL, JSON_OBJECT(
      'calendar', NEW.calendar, 'day', NEW.day, 'open', NEW.`open`, 'note', NEW.note));
  END IF; END;

CREATE TRIGGER calendar_day_audit_delete AFTER DELETE ON calendar_day FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'calendar_day.delete', 'calendar_day', LEFT(CONCAT(OLD.calendar, '/', OLD.day), 191), JSON_OBJECT(
      'calendar', OLD.calendar, 'day', OLD.day, 'open', OLD.`open`, 'note', OLD.note), NULL);
  END IF; END;

CREATE TRIGGER notify_channel_audit_update AFTER UPDATE ON notify_channel FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL AND NOT (
    CAST(OLD.name AS BINARY) <=> CAST(NEW.name AS BINARY) AND OLD.url <=> NEW.url AND
    CAST(OLD.url_env AS BINARY) <=> CAST(NEW.url_env AS BINARY) AND OLD.enabled <=> NEW.enabled) THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'channel.update', 'channel', LEFT(NEW.id, 191), JSON_OBJECT(
      'name', OLD.name, 'address_stored', IF(OLD.url IS NULL, 'no', 'yes'), 'address_variable', OLD.url_env,
      'enabled', OLD.enabled), JSON_OBJECT(
      'name', NEW.name, 'address_stored', IF(NEW.url IS NULL, 'no', IF(NEW.url <=> OLD.url, 'yes', 'replaced')),
      'address_variable', NEW.url_env, 'enabled', NEW.enabled));
  END IF; END;

CREATE TRIGGER notify_channel_audit_create AFTER INSERT ON notify_channel FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'channel.create', 'channel', LEFT(NEW.id, 191), NULL, JSON_OBJECT(
      'name', NEW.name, 'address_stored', IF(NEW.url IS NULL, 'no', 'yes'), 'address_variable', NEW.url_env,
      'enabled', NEW.enabled));
  END IF; END;

CREATE TRIGGER notify_channel_audit_delete AFTER DELETE ON notify_channel FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'channel.delete', 'channel', LEFT(OLD.id, 191), JSON_OBJECT(
      'name', OLD.name, 'address_stored', IF(OLD.url IS NULL, 'no', 'yes'), 'address_variable', OLD.url_env,
      'enabled', OLD.enabled), NULL);
  END IF; END;
