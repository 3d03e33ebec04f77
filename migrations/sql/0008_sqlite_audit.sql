-- The same for SQLite, which has no accounts: the actor is 'sqlite'. The triggers look for a row that the API enters and
-- removes within its own transaction, the only writer, so that nobody else ever meets it.

CREATE TRIGGER agent_endpoint_audit_update AFTER UPDATE ON agent_endpoint WHEN (
  OLD.name IS NOT NEW.name OR OLD.provider IS NOT NEW.provider OR OLD.base_url IS NOT NEW.base_url OR
  OLD.credential IS NOT NEW.credential OR OLD.credential_env IS NOT NEW.credential_env OR
  OLD.max_concurrency IS NOT NEW.max_concurrency OR OLD.requests_per_minute IS NOT NEW.requests_per_minute OR
  OLD.tokens_per_minute IS NOT NEW.tokens_per_minute OR OLD.input_price IS NOT NEW.input_price OR
  OLD.output_price IS NOT NEW.output_price OR OLD.currency IS NOT NEW.currency) AND
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'endpoint.update', 'endpoint', substr(NEW.id, 1, 191), json_object(
    'name', IIF(typeof(OLD.name) = 'blob', CAST(OLD.name AS TEXT), OLD.name),
    'provider', IIF(typeof(OLD.provider) = 'blob', CAST(OLD.provider AS TEXT), OLD.provider),
    'base_url', IIF(typeof(OLD.base_url) = 'blob', CAST(OLD.base_url AS TEXT), OLD.base_url),
    'key_stored', IIF(OLD.credential IS NULL, 'no', 'yes'),
    'key_variable', IIF(typeof(OLD.credential_env) = 'blob', CAST(OLD.credential_env AS TEXT), OLD.credential_env),
    'max_concurrency', IIF(typeof(OLD.max_concurrency) = 'blob', CAST(OLD.max_concurrency AS TEXT), OLD.max_concurrency),
    'requests_per_minute', IIF(typeof(OLD.requests_per_minute) = 'blob', CAST(OLD.requests_per_minute AS TEXT), OLD.requests_per_minute),
    'tokens_per_minute', IIF(typeof(OLD.tokens_per_minute) = 'blob', CAST(OLD.tokens_per_minute AS TEXT), OLD.tokens_per_minute),
    'input_price', IIF(typeof(OLD.input_price) = 'blob', CAST(OLD.input_price AS TEXT), OLD.input_price),
    'output_price', IIF(typeof(OLD.output_price) = 'blob', CAST(OLD.output_price AS TEXT), OLD.output_price),
    'currency', IIF(typeof(OLD.currency) = 'blob', CAST(OLD.currency AS TEXT), OLD.currency)), json_object(
    'name', IIF(typeof(NEW.name) = 'blob', CAST(NEW.name AS TEXT), NEW.name),
    'provider', IIF(typeof(NEW.provider) = 'blob', CAST(NEW.provider AS TEXT), NEW.provider),
    'base_url', IIF(typeof(NEW.base_url) = 'blob', CAST(NEW.base_url AS TEXT), NEW.base_url),
    'key_stored', CASE WHEN NEW.credential IS NULL THEN 'no' WHEN NEW.credential IS OLD.credential THEN 'yes' ELSE 'replaced' END,
    'key_variable', IIF(typeof(NEW.credential_env) = 'blob', CAST(NEW.credential_env AS TEXT), NEW.credential_env),
    'max_concurrency', IIF(typeof(NEW.max_concurrency) = 'blob', CAST(NEW.max_concurrency AS TEXT), NEW.max_concurrency),
    'requests_per_minute', IIF(typeof(NEW.requests_per_minute) = 'blob', CAST(NEW.requests_per_minute AS TEXT), NEW.requests_per_minute),
    'tokens_per_minute', IIF(typeof(NEW.tokens_per_minute) = 'blob', CAST(NEW.tokens_per_minute AS TEXT), NEW.tokens_per_minute),
    'input_price', IIF(typeof(NEW.input_price) = 'blob', CAST(NEW.input_price AS TEXT), NEW.input_price),
    'output_price', IIF(typeof(NEW.output_price) = 'blob', CAST(NEW.output_price AS TEXT), NEW.output_price),
    'currency', IIF(typeof(NEW.currency) = 'blob', CAST(NEW.currency AS TEXT), NEW.currency))); END;

CREATE TRIGGER agent_endpoint_audit_create AFTER INSERT ON agent_endpoint WHEN
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'endpoint.create', 'endpoint', substr(NEW.id, 1, 191), NULL, json_object(
    'name', IIF(typeof(NEW.name) = 'blob', CAST(NEW.name AS TEXT), NEW.name),
    'provider', IIF(typeof(NEW.provider) = 'blob', CAST(NEW.provider AS TEXT), NEW.provider),
    'base_url', IIF(typeof(NEW.base_url) = 'blob', CAST(NEW.base_url AS TEXT), NEW.base_url),
    'key_stored', IIF(NEW.credential IS NULL, 'no', 'yes'),
    'key_variable', IIF(typeof(NEW.credential_env) = 'blob', CAST(NEW.credential_env AS TEXT), NEW.credential_env),
    'max_concurrency', IIF(typeof(NEW.max_concurrency) = 'blob', CAST(NEW.max_concurrency AS TEXT), NEW.max_concurrency),
    'requests_per_minute', IIF(typeof(NEW.requests_per_minute) = 'blob', CAST(NEW.requests_per_minute AS TEXT), NEW.requests_per_minute),
    'tokens_per_minute', IIF(typeof(NEW.tokens_per_minute) = 'blob', CAST(NEW.tokens_per_minute AS TEXT), NEW.tokens_per_minute),
    'input_price', IIF(typeof(NEW.input_price) = 'blob', CAST(NEW.input_price AS TEXT), NEW.input_price),
    'output_price', IIF(typeof(NEW.output_price) = 'blob', CAST(NEW.output_price AS TEXT), NEW.output_price),
    'currency', IIF(typeof(NEW.currency) = 'blob', CAST(NEW.currency AS TEXT), NEW.currency))); END;

CREATE TRIGGER agent_endpoint_audit_delete AFTER DELETE ON agent_endpoint WHEN
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'endpoint.delete', 'endpoint', substr(OLD.id, 1, 191), json_object(
    'name', IIF(typeof(OLD.name) = 'blob', CAST(OLD.name AS TEXT), OLD.name),
    'provider', IIF(typeof(OLD.provider) = 'blob', CAST(OLD.provider AS TEXT), OLD.provider),
    'base_url', IIF(typeof(OLD.base_url) = 'blob', CAST(OLD.base_url AS TEXT), OLD.base_url),
    'key_stored', IIF(OLD.credential IS NULL, 'no', 'yes'),
    'key_variable', IIF(typeof(OLD.credential_env) = 'blob', CAST(OLD.credential_env AS TEXT), OLD.credential_env),
    'max_concurrency', IIF(typeof(OLD.max_concurrency) = 'blob', CAST(OLD.max_concurrency AS TEXT), OLD.max_concurrency),
    'requests_per_minute', IIF(typeof(OLD.requests_per_minute) = 'blob', CAST(OLD.requests_per_minute AS TEXT), OLD.requests_per_minute),
    'tokens_per_minute', IIF(typeof(OLD.tokens_per_minute) = 'blob', CAST(OLD.tokens_per_minute AS TEXT), OLD.tokens_per_minute),
    'input_price', IIF(typeof(OLD.input_price) = 'blob', CAST(OLD.input_price AS TEXT), OLD.input_price),
    'output_price', IIF(typeof(OLD.output_price) = 'blob', CAST(OLD.output_price AS TEXT), OLD.output_price),
    'currency', IIF(typeof(OLD.currency) = 'blob', CAST(OLD.currency AS TEXT), OLD.currency)), NULL); END;

CREATE TRIGGER agent_limit_audit_update AFTER UPDATE ON agent_limit WHEN (
  OLD.endpoint IS NOT NEW.endpoint OR OLD.agent IS NOT NEW.agent OR OLD.max_concurrency IS NOT NEW.max_concurrency OR
  OLD.requests_per_minute IS NOT NEW.requests_per_minute OR OLD.tokens_per_minute IS NOT NEW.tokens_per_minute) AND
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'agent_limit.update', 'agent_limit', substr(NEW.endpoint || '/' || NEW.agent, 1, 191), json_object(
    'endpoint', IIF(typeof(OLD.endpoint) = 'blob', CAST(OLD.endpoint AS TEXT), OLD.endpoint),
    'agent', IIF(typeof(OLD.agent) = 'blob', CAST(OLD.agent AS TEXT), OLD.agent),
    'max_concurrency', IIF(typeof(OLD.max_concurrency) = 'blob', CAST(OLD.max_concurrency AS TEXT), OLD.max_concurrency),
    'requests_per_minute', IIF(typeof(OLD.requests_per_minute) = 'blob', CAST(OLD.requests_per_minute AS TEXT), OLD.requests_per_minute),
    'tokens_per_minute', IIF(typeof(OLD.tokens_per_minute) = 'blob', CAST(OLD.tokens_per_minute AS TEXT), OLD.tokens_per_minute)), json_object(
    'endpoint', IIF(typeof(NEW.endpoint) = 'blob', CAST(NEW.endpoint AS TEXT), NEW.endpoint),
    'agent', IIF(typeof(NEW.agent) = 'blob', CAST(NEW.agent AS TEXT), NEW.agent),
    'max_concurrency', IIF(typeof(NEW.max_concurrency) = 'blob', CAST(NEW.max_concurrency AS TEXT), NEW.max_concurrency),
    'requests_per_minute', IIF(typeof(NEW.requests_per_minute) = 'blob', CAST(NEW.requests_per_minute AS TEXT), NEW.requests_per_minute),
    'tokens_per_minute', IIF(typeof(NEW.tokens_per_minute) = 'blob', CAST(NEW.tokens_per_minute AS TEXT), NEW.tokens_per_minute))); END;

CREATE TRIGGER agent_limit_audit_create AFTER INSERT ON agent_limit WHEN
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'agent_limit.create', 'agent_limit', substr(NEW.endpoint || '/' || NEW.agent, 1, 191), NULL, json_object(
    'endpoint', IIF(typeof(NEW.endpoint) = 'blob', CAST(NEW.endpoint AS TEXT), NEW.endpoint),
    'agent', IIF(typeof(NEW.agent) = 'blob', CAST(NEW.agent AS TEXT), NEW.agent),
    'max_concurrency', IIF(typeof(NEW.max_concurrency) = 'blob', CAST(NEW.max_concurrency AS TEXT), NEW.max_concurrency),
    'requests_per_minute', IIF(typeof(NEW.requests_per_minute) = 'blob', CAST(NEW.requests_per_minute AS TEXT), NEW.requests_per_minute),
    'tokens_per_minute', IIF(typeof(NEW.tokens_per_minute) = 'blob', CAST(NEW.tokens_per_minute AS TEXT), NEW.tokens_per_minute))); END;

CREATE TRIGGER agent_limit_audit_delete AFTER DELETE ON agent_limit WHEN
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'agent_limit.delete', 'agent_limit', substr(OLD.endpoint || '/' || OLD.agent, 1, 191), json_object(
    'endpoint', IIF(typeof(OLD.endpoint) = 'blob', CAST(OLD.endpoint AS TEXT), OLD.endpoint),
    'agent', IIF(typeof(OLD.agent) = 'blob', CAST(OLD.agent AS TEXT), OLD.agent),
    'max_concurrency', IIF(typeof(OLD.max_concurrency) = 'blob', CAST(OLD.max_concurrency AS TEXT), OLD.max_concurrency),
    'requests_per_minute', IIF(typeof(OLD.requests_per_minute) = 'blob', CAST(OLD.requests_per_minute AS TEXT), OLD.requests_per_minute),
    'tokens_per_minute', IIF(typeof(OLD.tokens_per_minute) = 'blob', CAST(OLD.tokens_per_minute AS TEXT), OLD.tokens_per_minute)), NULL); END;

CREATE TRIGGER budget_audit_update AFTER UPDATE ON budget WHEN (
  OLD.endpoint IS NOT NEW.endpoint OR OLD.periodic_task_id IS NOT NEW.periodic_task_id OR
  OLD.amount IS NOT NEW.amount OR OLD.unit IS NOT NEW.unit OR OLD.window_seconds IS NOT NEW.window_seconds OR
  OLD.at_limit IS NOT NEW.at_limit OR OLD.reserve IS NOT NEW.reserve) AND
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'budget.update', 'budget', substr(NEW.id, 1, 191), json_object(
    'endpoint', IIF(typeof(OLD.endpoint) = 'blob', CAST(OLD.endpoint AS TEXT), OLD.endpoint),
    'periodic_task_id', IIF(typeof(OLD.periodic_task_id) = 'blob', CAST(OLD.periodic_task_id AS TEXT), OLD.periodic_task_id),
    'amount', IIF(typeof(OLD.amount) = 'blob', CAST(OLD.amount AS TEXT), OLD.amount),
    'unit', IIF(typeof(OLD.unit) = 'blob', CAST(OLD.unit AS TEXT), OLD.unit),
    'window_seconds', IIF(typeof(OLD.window_seconds) = 'blob', CAST(OLD.window_seconds AS TEXT), OLD.window_seconds),
    'at_limit', IIF(typeof(OLD.at_limit) = 'blob', CAST(OLD.at_limit AS TEXT), OLD.at_limit),
    'reserve', IIF(typeof(OLD.reserve) = 'blob', CAST(OLD.reserve AS TEXT), OLD.reserve)), json_object(
    'endpoint', IIF(typeof(NEW.endpoint) = 'blob', CAST(NEW.endpoint AS TEXT), NEW.endpoint),
    'periodic_task_id', IIF(typeof(NEW.periodic_task_id) = 'blob', CAST(NEW.periodic_task_id AS TEXT), NEW.periodic_task_id),
    'amount', IIF(typeof(NEW.amount) = 'blob', CAST(NEW.amount AS TEXT), NEW.amount),
    'unit', IIF(typeof(NEW.unit) = 'blob', CAST(NEW.unit AS TEXT), NEW.unit),
    'window_seconds', IIF(typeof(NEW.window_seconds) = 'blob', CAST(NEW.window_seconds AS TEXT), NEW.window_seconds),
    'at_limit', IIF(typeof(NEW.at_limit) = 'blob', CAST(NEW.at_limit AS TEXT), NEW.at_limit),
    'reserve', IIF(typeof(NEW.reserve) = 'blob', CAST(NEW.reserve AS TEXT), NEW.reserve))); END;

CREATE TRIGGER budget_audit_create AFTER INSERT ON budget WHEN
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'budget.create', 'budget', substr(NEW.id, 1, 191), NULL, json_object(
    'endpoint', IIF(typeof(NEW.endpoint) = 'blob', CAST(NEW.endpoint AS TEXT), NEW.endpoint),
    'periodic_task_id', IIF(typeof(NEW.periodic_task_id) = 'blob', CAST(NEW.periodic_task_id AS TEXT), NEW.periodic_task_id),
    'amount', IIF(typeof(NEW.amount) = 'blob', CAST(NEW.amount AS TEXT), NEW.amount),
    'unit', IIF(typeof(NEW.unit) = 'blob', CAST(NEW.unit AS TEXT), NEW.unit),
    'window_seconds', IIF(typeof(NEW.window_seconds) = 'blob', CAST(NEW.window_seconds AS TEXT), NEW.window_seconds),
    'at_limit', IIF(typeof(NEW.at_limit) = 'blob', CAST(NEW.at_limit AS TEXT), NEW.at_limit),
    'reserve', IIF(typeof(NEW.reserve) = 'blob', CAST(NEW.reserve AS TEXT), NEW.reserve))); END;

CREATE TRIGGER budget_audit_delete AFTER DELETE ON budget WHEN
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'budget.delete', 'budget', substr(OLD.id, 1, 191), json_object(
    'endpoint', IIF(typeof(OLD.endpoint) = 'blob', CAST(OLD.endpoint AS TEXT), OLD.endpoint),
    'periodic_task_id', IIF(typeof(OLD.periodic_task_id) = 'blob', CAST(OLD.periodic_task_id AS TEXT), OLD.periodic_task_id),
    'amount', IIF(typeof(OLD.amount) = 'blob', CAST(OLD.amount AS TEXT), OLD.amount),
    'unit', IIF(typeof(OLD.unit) = 'blob', CAST(OLD.unit AS TEXT), OLD.unit),
    'window_seconds', IIF(typeof(OLD.window_seconds) = 'blob', CAST(OLD.window_seconds AS TEXT), OLD.window_seconds),
    'at_limit', IIF(typeof(OLD.at_limit) = 'blob', CAST(OLD.at_limit AS TEXT), OLD.at_limit),
    'reserve', IIF(typeof(OLD.reserve) = 'blob', CAST(OLD.reserve AS TEXT), OLD.reserve)), NULL); END;

CREATE TRIGGER hold_audit_update AFTER UPDATE ON hold WHEN (
  OLD.scope IS NOT NEW.scope OR OLD.name IS NOT NEW.name OR OLD.mode IS NOT NEW.mode OR
  OLD.reason IS NOT NEW.reason OR OLD.ends_at IS NOT NEW.ends_at OR OLD.ended_at IS NOT NEW.ended_at OR
  OLD.create_by IS NOT NEW.create_by OR OLD.ended_by IS NOT NEW.ended_by) AND
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'hold.update', 'hold', substr(NEW.id, 1, 191), json_object(
    'scope', IIF(typeof(OLD.scope) = 'blob', CAST(OLD.scope AS TEXT), OLD.scope),
    'name', IIF(typeof(OLD.name) = 'blob', CAST(OLD.name AS TEXT), OLD.name),
    'mode', IIF(typeof(OLD.mode) = 'blob', CAST(OLD.mode AS TEXT), OLD.mode),
    'reason', IIF(typeof(OLD.reason) = 'blob', CAST(OLD.reason AS TEXT), OLD.reason),
    'ends_at', IIF(typeof(OLD.ends_at) = 'blob', CAST(OLD.ends_at AS TEXT), OLD.ends_at),
    'ended_at', IIF(typeof(OLD.ended_at) = 'blob', CAST(OLD.ended_at AS TEXT), OLD.ended_at),
    'create_by', IIF(typeof(OLD.create_by) = 'blob', CAST(OLD.create_by AS TEXT), OLD.create_by),
    'ended_by', IIF(typeof(OLD.ended_by) = 'blob', CAST(OLD.ended_by AS TEXT), OLD.ended_by)), json_object(
    'scope', IIF(typeof(NEW.scope) = 'blob', CAST(NEW.scope AS TEXT), NEW.scope),
    'name', IIF(typeof(NEW.name) = 'blob', CAST(NEW.name AS TEXT), NEW.name),
    'mode', IIF(typeof(NEW.mode) = 'blob', CAST(NEW.mode AS TEXT), NEW.mode),
    'reason', IIF(typeof(NEW.reason) = 'blob', CAST(NEW.reason AS TEXT), NEW.reason),
    'ends_at', IIF(typeof(NEW.ends_at) = 'blob', CAST(NEW.ends_at AS TEXT), NEW.ends_at),
    'ended_at', IIF(typeof(NEW.ended_at) = 'blob', CAST(NEW.ended_at AS TEXT), NEW.ended_at),
    'create_by', IIF(typeof(NEW.create_by) = 'blob', CAST(NEW.create_by AS TEXT), NEW.create_by),
    'ended_by', IIF(typeof(NEW.ended_by) = 'blob', CAST(NEW.ended_by AS TEXT), NEW.ended_by))); END;

CREATE TRIGGER hold_audit_create AFTER INSERT ON hold WHEN
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'hold.create', 'hold', substr(NEW.id, 1, 191), NULL, json_object(
    'scope', IIF(typeof(NEW.scope) = 'blob', CAST(NEW.scope AS TEXT), NEW.scope),
    'name', IIF(typeof(NEW.name) = 'blob', CAST(NEW.name AS TEXT), NEW.name),
    'mode', IIF(typeof(NEW.mode) = 'blob', CAST(NEW.mode AS TEXT), NEW.mode),
    'reason', IIF(typeof(NEW.reason) = 'blob', CAST(NEW.reason AS TEXT), NEW.reason),
    'ends_at', IIF(typeof(NEW.ends_at) = 'blob', CAST(NEW.ends_at AS TEXT), NEW.ends_at),
    'ended_at', IIF(typeof(NEW.ended_at) = 'blob', CAST(NEW.ended_at AS TEXT), NEW.ended_at),
    'create_by', IIF(typeof(NEW.create_by) = 'blob', CAST(NEW.create_by AS TEXT), NEW.create_by),
    'ended_by', IIF(typeof(NEW.ended_by) = 'blob', CAST(NEW.ended_by AS TEXT), NEW.ended_by))); END;

CREATE TRIGGER hold_audit_delete AFTER DELETE ON hold WHEN
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'hold.delete', 'hold', substr(OLD.id, 1, 191), json_object(
    'scope', IIF(typeof(OLD.scope) = 'blob', CAST(OLD.scope AS TEXT), OLD.scope),
    'name', IIF(typeof(OLD.name) = 'blob', CAST(OLD.name AS TEXT), OLD.name),
    'mode', IIF(typeof(OLD.mode) = 'blob', CAST(OLD.mode AS TEXT), OLD.mode),
    'reason', IIF(typeof(OLD.reason) = 'blob', CAST(OLD.reason AS TEXT), OLD.reason),
    'ends_at', IIF(typeof(OLD.ends_at) = 'blob', CAST(OLD.ends_at AS TEXT), OLD.ends_at),
    'ended_at', IIF(typeof(OLD.ended_at) = 'blob', CAST(OLD.ended_at AS TEXT), OLD.ended_at),
    'create_by', IIF(typeof(OLD.create_by) = 'blob', CAST(OLD.create_by AS TEXT), OLD.create_by),
    'ended_by', IIF(typeof(OLD.ended_by) = 'blob', CAST(OLD.ended_by AS TEXT), OLD.ended_by)), NULL); END;

CREATE TRIGGER calendar_day_audit_update AFTER UPDATE ON calendar_day WHEN (
  OLD.calendar IS NOT NEW.calendar OR OLD.day IS NOT NEW.day OR OLD."open" IS NOT NEW."open" OR
  OLD.note IS NOT NEW.note) AND
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'calendar_day.update', 'calendar_day', substr(NEW.calendar || '/' || NEW.day, 1, 191), json_object(
    'calendar', IIF(typeof(OLD.calendar) = 'blob', CAST(OLD.calendar AS TEXT), OLD.calendar),
    'day', IIF(typeof(OLD.day) = 'blob', CAST(OLD.day AS TEXT), OLD.day),
    'open', IIF(typeof(OLD."open") = 'blob', CAST(OLD."open" AS TEXT), OLD."open"),
    'note', IIF(typeof(OLD.note) = 'blob', CAST(OLD.note AS TEXT), OLD.note)), json_object(
    'calendar', IIF(typeof(NEW.calendar) = 'blob', CAST(NEW.calendar AS TEXT), NEW.calendar),
    'day', IIF(typeof(NEW.day) = 'blob', CAST(NEW.day AS TEXT), NEW.day),
    'open', IIF(typeof(NEW."open") = 'blob', CAST(NEW."open" AS TEXT), NEW."open"),
    'note', IIF(typeof(NEW.note) = 'blob', CAST(NEW.note AS TEXT), NEW.note))); END;

CREATE TRIGGER calendar_day_audit_create AFTER INSERT ON calendar_day WHEN
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'calendar_day.create', 'calendar_day', substr(NEW.calendar || '/' || NEW.day, 1, 191), NULL, json_object(
    'calendar', IIF(typeof(NEW.calendar) = 'blob', CAST(NEW.calendar AS TEXT), NEW.calendar),
    'day', IIF(typeof(NEW.day) = 'blob', CAST(NEW.day AS TEXT), NEW.day),
    'open', IIF(typeof(NEW."open") = 'blob', CAST(NEW."open" AS TEXT), NEW."open"),
    'note', IIF(typeof(NEW.note) = 'blob', CAST(NEW.note AS TEXT), NEW.note))); END;

CREATE TRIGGER calendar_day_audit_delete AFTER DELETE ON calendar_day WHEN
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'calendar_day.delete', 'calendar_day', substr(OLD.calendar || '/' || OLD.day, 1, 191), json_object(
    'calendar', IIF(typeof(OLD.calendar) = 'blob', CAST(OLD.calendar AS TEXT), OLD.calendar),
    'day', IIF(typeof(OLD.day) = 'blob', CAST(OLD.day AS TEXT), OLD.day),
    'open', IIF(typeof(OLD."open") = 'blob', CAST(OLD."open" AS TEXT), OLD."open"),
    'note', IIF(typeof(OLD.note) = 'blob', CAST(OLD.note AS TEXT), OLD.note)), NULL); END;

CREATE TRIGGER notify_channel_audit_update AFTER UPDATE ON notify_channel WHEN (
  OLD.name IS NOT NEW.name OR OLD.url IS NOT NEW.url OR OLD.url_env IS NOT NEW.url_env OR
  OLD.enabled IS NOT NEW.enabled) AND
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'channel.update', 'channel', substr(NEW.id, 1, 191), json_object(
    'name', IIF(typeof(OLD.name) = 'blob', CAST(OLD.name AS TEXT), OLD.name),
    'address_stored', IIF(OLD.url IS NULL, 'no', 'yes'),
    'address_variable', IIF(typeof(OLD.url_env) = 'blob', CAST(OLD.url_env AS TEXT), OLD.url_env),
    'enabled', IIF(typeof(OLD.enabled) = 'blob', CAST(OLD.enabled AS TEXT), OLD.enabled)), json_object(
    'name', IIF(typeof(NEW.name) = 'blob', CAST(NEW.name AS TEXT), NEW.name),
    'address_stored', CASE WHEN NEW.url IS NULL THEN 'no' WHEN NEW.url IS OLD.url THEN 'yes' ELSE 'replaced' END,
    'address_variable', IIF(typeof(NEW.url_env) = 'blob', CAST(NEW.url_env AS TEXT), NEW.url_env),
    'enabled', IIF(typeof(NEW.enabled) = 'blob', CAST(NEW.enabled AS TEXT), NEW.enabled))); END;

CREATE TRIGGER notify_channel_audit_create AFTER INSERT ON notify_channel WHEN
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'channel.create', 'channel', substr(NEW.id, 1, 191), NULL, json_object(
    'name', IIF(typeof(NEW.name) = 'blob', CAST(NEW.name AS TEXT), NEW.name),
    'address_stored', IIF(NEW.url IS NULL, 'no', 'yes'),
    'address_variable', IIF(typeof(NEW.url_env) = 'blob', CAST(NEW.url_env AS TEXT), NEW.url_env),
    'enabled', IIF(typeof(NEW.enabled) = 'blob', CAST(NEW.enabled AS TEXT), NEW.enabled))); END;

CREATE TRIGGER notify_channel_audit_delete AFTER DELETE ON notify_channel WHEN
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'channel.delete', 'channel', substr(OLD.id, 1, 191), json_object(
    'name', IIF(typeof(OLD.name) = 'blob', CAST(OLD.name AS TEXT), OLD.name),
    'address_stored', IIF(OLD.url IS NULL, 'no', 'yes'),
    'address_variable', IIF(typeof(OLD.url_env) = 'blob', CAST(OLD.url_env AS TEXT), OLD.url_env),
    'enabled', IIF(typeof(OLD.enabled) = 'blob', CAST(OLD.enabled AS TEXT), OLD.enabled)), NULL); END;
