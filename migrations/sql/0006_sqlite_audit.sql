-- The same for SQLite, which has no accounts: the actor is 'sqlite'. The triggers look for a row that the API enters and
-- removes within its own transaction, the only writer, so that nobody else ever meets it.

CREATE TRIGGER periodic_task_audit_update AFTER UPDATE OF
  name, description, owner, tags, enabled, pause_reason, crontab, interval_seconds, rrule, run_at, timezone,
  dst_policy, calendar, calendar_roll, start_time, end_time, max_runs, jitter_seconds, catch_up,
  catch_up_window_seconds, overlap, task_extra_config
ON periodic_task WHEN (OLD.name IS NOT NEW.name OR OLD.description IS NOT NEW.description OR OLD.owner IS NOT NEW.owner OR
  OLD.tags IS NOT NEW.tags OR OLD.enabled IS NOT NEW.enabled OR OLD.pause_reason IS NOT NEW.pause_reason OR
  OLD.crontab IS NOT NEW.crontab OR OLD.interval_seconds IS NOT NEW.interval_seconds OR
  OLD.rrule IS NOT NEW.rrule OR OLD.run_at IS NOT NEW.run_at OR OLD.timezone IS NOT NEW.timezone OR
  OLD.dst_policy IS NOT NEW.dst_policy OR OLD.calendar IS NOT NEW.calendar OR
  OLD.calendar_roll IS NOT NEW.calendar_roll OR OLD.start_time IS NOT NEW.start_time OR
  OLD.end_time IS NOT NEW.end_time OR OLD.max_runs IS NOT NEW.max_runs OR
  OLD.jitter_seconds IS NOT NEW.jitter_seconds OR OLD.catch_up IS NOT NEW.catch_up OR
  OLD.catch_up_window_seconds IS NOT NEW.catch_up_window_seconds OR OLD.overlap IS NOT NEW.overlap OR
  OLD.task_extra_config IS NOT NEW.task_extra_config) AND
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'task.update', 'task', NEW.id, json_object(
    'name', IIF(typeof(OLD.name) = 'blob', CAST(OLD.name AS TEXT), OLD.name),
    'description', IIF(typeof(OLD.description) = 'blob', CAST(OLD.description AS TEXT), OLD.description),
    'owner', IIF(typeof(OLD.owner) = 'blob', CAST(OLD.owner AS TEXT), OLD.owner),
    'tags', IIF(typeof(OLD.tags) = 'blob', CAST(OLD.tags AS TEXT), OLD.tags),
    'enabled', IIF(typeof(OLD.enabled) = 'blob', CAST(OLD.enabled AS TEXT), OLD.enabled),
    'pause_reason', IIF(typeof(OLD.pause_reason) = 'blob', CAST(OLD.pause_reason AS TEXT), OLD.pause_reason),
    'crontab', IIF(typeof(OLD.crontab) = 'blob', CAST(OLD.crontab AS TEXT), OLD.crontab),
    'interval_seconds', IIF(typeof(OLD.interval_seconds) = 'blob', CAST(OLD.interval_seconds AS TEXT), OLD.interval_seconds),
    'rrule', IIF(typeof(OLD.rrule) = 'blob', CAST(OLD.rrule AS TEXT), OLD.rrule),
    'run_at', IIF(typeof(OLD.run_at) = 'blob', CAST(OLD.run_at AS TEXT), OLD.run_at),
    'timezone', IIF(typeof(OLD.timezone) = 'blob', CAST(OLD.timezone AS TEXT), OLD.timezone),
    'dst_policy', IIF(typeof(OLD.dst_policy) = 'blob', CAST(OLD.dst_policy AS TEXT), OLD.dst_policy),
    'calendar', IIF(typeof(OLD.calendar) = 'blob', CAST(OLD.calendar AS TEXT), OLD.calendar),
    'calendar_roll', IIF(typeof(OLD.calendar_roll) = 'blob', CAST(OLD.calendar_roll AS TEXT), OLD.calendar_roll),
    'start_time', IIF(typeof(OLD.start_time) = 'blob', CAST(OLD.start_time AS TEXT), OLD.start_time),
    'end_time', IIF(typeof(OLD.end_time) = 'blob', CAST(OLD.end_time AS TEXT), OLD.end_time),
    'max_runs', IIF(typeof(OLD.max_runs) = 'blob', CAST(OLD.max_runs AS TEXT), OLD.max_runs),
    'jitter_seconds', IIF(typeof(OLD.jitter_seconds) = 'blob', CAST(OLD.jitter_seconds AS TEXT), OLD.jitter_seconds),
    'catch_up', IIF(typeof(OLD.catch_up) = 'blob', CAST(OLD.catch_up AS TEXT), OLD.catch_up),
    'catch_up_window_seconds', IIF(typeof(OLD.catch_up_window_seconds) = 'blob', CAST(OLD.catch_up_window_seconds AS TEXT), OLD.catch_up_window_seconds),
    'overlap', IIF(typeof(OLD.overlap) = 'blob', CAST(OLD.overlap AS TEXT), OLD.overlap),
    'task_extra_config', IIF(typeof(OLD.task_extra_config) = 'blob', CAST(OLD.task_extra_config AS TEXT), OLD.task_extra_config)), json_object(
    'name', IIF(typeof(NEW.name) = 'blob', CAST(NEW.name AS TEXT), NEW.name),
    'description', IIF(typeof(NEW.description) = 'blob', CAST(NEW.description AS TEXT), NEW.description),
    'owner', IIF(typeof(NEW.owner) = 'blob', CAST(NEW.owner AS TEXT), NEW.owner),
    'tags', IIF(typeof(NEW.tags) = 'blob', CAST(NEW.tags AS TEXT), NEW.tags),
    'enabled', IIF(typeof(NEW.enabled) = 'blob', CAST(NEW.enabled AS TEXT), NEW.enabled),
    'pause_reason', IIF(typeof(NEW.pause_reason) = 'blob', CAST(NEW.pause_reason AS TEXT), NEW.pause_reason),
    'crontab', IIF(typeof(NEW.crontab) = 'blob', CAST(NEW.crontab AS TEXT), NEW.crontab),
    'interval_seconds', IIF(typeof(NEW.interval_seconds) = 'blob', CAST(NEW.interval_seconds AS TEXT), NEW.interval_seconds),
    'rrule', IIF(typeof(NEW.rrule) = 'blob', CAST(NEW.rrule AS TEXT), NEW.rrule),
    'run_at', IIF(typeof(NEW.run_at) = 'blob', CAST(NEW.run_at AS TEXT), NEW.run_at),
    'timezone', IIF(typeof(NEW.timezone) = 'blob', CAST(NEW.timezone AS TEXT), NEW.timezone),
    'dst_policy', IIF(typeof(NEW.dst_policy) = 'blob', CAST(NEW.dst_policy AS TEXT), NEW.dst_policy),
    'calendar', IIF(typeof(NEW.calendar) = 'blob', CAST(NEW.calendar AS TEXT), NEW.calendar),
    'calendar_roll', IIF(typeof(NEW.calendar_roll) = 'blob', CAST(NEW.calendar_roll AS TEXT), NEW.calendar_roll),
    'start_time', IIF(typeof(NEW.start_time) = 'blob', CAST(NEW.start_time AS TEXT), NEW.start_time),
    'end_time', IIF(typeof(NEW.end_time) = 'blob', CAST(NEW.end_time AS TEXT), NEW.end_time),
    'max_runs', IIF(typeof(NEW.max_runs) = 'blob', CAST(NEW.max_runs AS TEXT), NEW.max_runs),
    'jitter_seconds', IIF(typeof(NEW.jitter_seconds) = 'blob', CAST(NEW.jitter_seconds AS TEXT), NEW.jitter_seconds),
    'catch_up', IIF(typeof(NEW.catch_up) = 'blob', CAST(NEW.catch_up AS TEXT), NEW.catch_up),
    'catch_up_window_seconds', IIF(typeof(NEW.catch_up_window_seconds) = 'blob', CAST(NEW.catch_up_window_seconds AS TEXT), NEW.catch_up_window_seconds),
    'overlap', IIF(typeof(NEW.overlap) = 'blob', CAST(NEW.overlap AS TEXT), NEW.overlap),
    'task_extra_config', IIF(typeof(NEW.task_extra_config) = 'blob', CAST(NEW.task_extra_config AS TEXT), NEW.task_extra_config))); END;

CREATE TRIGGER periodic_task_audit_create AFTER INSERT ON periodic_task WHEN
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'task.create', 'task', NEW.id, NULL, json_object(
    'name', IIF(typeof(NEW.name) = 'blob', CAST(NEW.name AS TEXT), NEW.name),
    'description', IIF(typeof(NEW.description) = 'blob', CAST(NEW.description AS TEXT), NEW.description),
    'owner', IIF(typeof(NEW.owner) = 'blob', CAST(NEW.owner AS TEXT), NEW.owner),
    'tags', IIF(typeof(NEW.tags) = 'blob', CAST(NEW.tags AS TEXT), NEW.tags),
    'enabled', IIF(typeof(NEW.enabled) = 'blob', CAST(NEW.enabled AS TEXT), NEW.enabled),
    'pause_reason', IIF(typeof(NEW.pause_reason) = 'blob', CAST(NEW.pause_reason AS TEXT), NEW.pause_reason),
    'crontab', IIF(typeof(NEW.crontab) = 'blob', CAST(NEW.crontab AS TEXT), NEW.crontab),
    'interval_seconds', IIF(typeof(NEW.interval_seconds) = 'blob', CAST(NEW.interval_seconds AS TEXT), NEW.interval_seconds),
    'rrule', IIF(typeof(NEW.rrule) = 'blob', CAST(NEW.rrule AS TEXT), NEW.rrule),
    'run_at', IIF(typeof(NEW.run_at) = 'blob', CAST(NEW.run_at AS TEXT), NEW.run_at),
    'timezone', IIF(typeof(NEW.timezone) = 'blob', CAST(NEW.timezone AS TEXT), NEW.timezone),
    'dst_policy', IIF(typeof(NEW.dst_policy) = 'blob', CAST(NEW.dst_policy AS TEXT), NEW.dst_policy),
    'calendar', IIF(typeof(NEW.calendar) = 'blob', CAST(NEW.calendar AS TEXT), NEW.calendar),
    'calendar_roll', IIF(typeof(NEW.calendar_roll) = 'blob', CAST(NEW.calendar_roll AS TEXT), NEW.calendar_roll),
    'start_time', IIF(typeof(NEW.start_time) = 'blob', CAST(NEW.start_time AS TEXT), NEW.start_time),
    'end_time', IIF(typeof(NEW.end_time) = 'blob', CAST(NEW.end_time AS TEXT), NEW.end_time),
    'max_runs', IIF(typeof(NEW.max_runs) = 'blob', CAST(NEW.max_runs AS TEXT), NEW.max_runs),
    'jitter_seconds', IIF(typeof(NEW.jitter_seconds) = 'blob', CAST(NEW.jitter_seconds AS TEXT), NEW.jitter_seconds),
    'catch_up', IIF(typeof(NEW.catch_up) = 'blob', CAST(NEW.catch_up AS TEXT), NEW.catch_up),
    'catch_up_window_seconds', IIF(typeof(NEW.catch_up_window_seconds) = 'blob', CAST(NEW.catch_up_window_seconds AS TEXT), NEW.catch_up_window_seconds),
    'overlap', IIF(typeof(NEW.overlap) = 'blob', CAST(NEW.overlap AS TEXT), NEW.overlap),
    'task_extra_config', IIF(typeof(NEW.task_extra_config) = 'blob', CAST(NEW.task_extra_config AS TEXT), NEW.task_extra_config))); END;

CREATE TRIGGER periodic_task_audit_delete AFTER DELETE ON periodic_task WHEN
  NOT EXISTS (SELECT 1 FROM scheduler_state WHERE name = 'audited_by_the_program') BEGIN
  INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
  VALUES ('sqlite', 'sql', 'task.delete', 'task', OLD.id, json_object(
    'name', IIF(typeof(OLD.name) = 'blob', CAST(OLD.name AS TEXT), OLD.name),
    'description', IIF(typeof(OLD.description) = 'blob', CAST(OLD.description AS TEXT), OLD.description),
    'owner', IIF(typeof(OLD.owner) = 'blob', CAST(OLD.owner AS TEXT), OLD.owner),
    'tags', IIF(typeof(OLD.tags) = 'blob', CAST(OLD.tags AS TEXT), OLD.tags),
    'enabled', IIF(typeof(OLD.enabled) = 'blob', CAST(OLD.enabled AS TEXT), OLD.enabled),
    'pause_reason', IIF(typeof(OLD.pause_reason) = 'blob', CAST(OLD.pause_reason AS TEXT), OLD.pause_reason),
    'crontab', IIF(typeof(OLD.crontab) = 'blob', CAST(OLD.crontab AS TEXT), OLD.crontab),
    'interval_seconds', IIF(typeof(OLD.interval_seconds) = 'blob', CAST(OLD.interval_seconds AS TEXT), OLD.interval_seconds),
    'rrule', IIF(typeof(OLD.rrule) = 'blob', CAST(OLD.rrule AS TEXT), OLD.rrule),
    'run_at', IIF(typeof(OLD.run_at) = 'blob', CAST(OLD.run_at AS TEXT), OLD.run_at),
    'timezone', IIF(typeof(OLD.timezone) = 'blob', CAST(OLD.timezone AS TEXT), OLD.timezone),
    'dst_policy', IIF(typeof(OLD.dst_policy) = 'blob', CAST(OLD.dst_policy AS TEXT), OLD.dst_policy),
    'calendar', IIF(typeof(OLD.calendar) = 'blob', CAST(OLD.calendar AS TEXT), OLD.calendar),
    'calendar_roll', IIF(typeof(OLD.calendar_roll) = 'blob', CAST(OLD.calendar_roll AS TEXT), OLD.calendar_roll),
    'start_time', IIF(typeof(OLD.start_time) = 'blob', CAST(OLD.start_time AS TEXT), OLD.start_time),
    'end_time', IIF(typeof(OLD.end_time) = 'blob', CAST(OLD.end_time AS TEXT), OLD.end_time),
    'max_runs', IIF(typeof(OLD.max_runs) = 'blob', CAST(OLD.max_runs AS TEXT), OLD.max_runs),
    'jitter_seconds', IIF(typeof(OLD.jitter_seconds) = 'blob', CAST(OLD.jitter_seconds AS TEXT), OLD.jitter_seconds),
    'catch_up', IIF(typeof(OLD.catch_up) = 'blob', CAST(OLD.catch_up AS TEXT), OLD.catch_up),
    'catch_up_window_seconds', IIF(typeof(OLD.catch_up_window_seconds) = 'blob', CAST(OLD.catch_up_window_seconds AS TEXT), OLD.catch_up_window_seconds),
    'overlap', IIF(typeof(OLD.overlap) = 'blob', CAST(OLD.overlap AS TEXT), OLD.overlap),
    'task_extra_config', IIF(typeof(OLD.task_extra_config) = 'blob', CAST(OLD.task_extra_config AS TEXT), OLD.task_extra_config)), NULL); END;
