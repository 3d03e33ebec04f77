-- What is done to periodic_task by plain SQL is entered into the audit: who, before, after. Whoever enters his changes
-- himself (the API) sets @audited_by_the_program. The touch trigger (0001_mysql_touch.sql) has compared an operator's
-- columns already, so one comparison of two times tells his edit from what the system writes with every fire.
-- Nothing depends on these triggers; where they are refused, the migration warns and goes on.

CREATE TRIGGER periodic_task_audit_update AFTER UPDATE ON periodic_task FOR EACH ROW
BEGIN
  IF NEW.update_time <> OLD.update_time AND @audited_by_the_program IS NULL THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'task.update', 'task', NEW.id, JSON_OBJECT(
      'name', OLD.name, 'description', OLD.description, 'owner', OLD.owner, 'tags', OLD.tags, 'enabled', OLD.enabled,
      'pause_reason', OLD.pause_reason, 'crontab', OLD.crontab, 'interval_seconds', OLD.interval_seconds,
      'rrule', OLD.rrule, 'run_at', OLD.run_at, 'timezone', OLD.timezone, 'dst_policy', OLD.dst_policy,
      'calendar', OLD.calendar, 'calendar_roll', OLD.calendar_roll, 'start_time', OLD.start_time,
      'end_time', OLD.end_time, 'max_runs', OLD.max_runs, 'jitter_seconds', OLD.jitter_seconds,
      'catch_up', OLD.catch_up, 'catch_up_window_seconds', OLD.catch_up_window_seconds, 'overlap', OLD.overlap,
      'task_extra_config', OLD.task_extra_config), JSON_OBJECT(
      'name', NEW.name, 'description', NEW.description, 'owner', NEW.owner, 'tags', NEW.tags, 'enabled', NEW.enabled,
      'pause_reason', NEW.pause_reason, 'crontab', NEW.crontab, 'interval_seconds', NEW.interval_seconds,
      'rrule', NEW.rrule, 'run_at', NEW.run_at, 'timezone', NEW.timezone, 'dst_policy', NEW.dst_policy,
      'calendar', NEW.calendar, 'calendar_roll', NEW.calendar_roll, 'start_time', NEW.start_time,
      'end_time', NEW.end_time, 'max_runs', NEW.max_runs, 'jitter_seconds', NEW.jitter_seconds,
      'catch_up', NEW.catch_up, 'catch_up_window_seconds', NEW.catch_up_window_seconds, 'overlap', NEW.overlap,
      'task_extra_config', NEW.task_extra_config));
  END IF; END;

CREATE TRIGGER periodic_task_audit_create AFTER INSERT ON periodic_task FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'task.create', 'task', NEW.id, NULL, JSON_OBJECT(
      'name', NEW.name, 'description', NEW.description, 'owner', NEW.owner, 'tags', NEW.tags, 'enabled', NEW.enabled,
      'pause_reason', NEW.pause_reason, 'crontab', NEW.crontab, 'interval_seconds', NEW.interval_seconds,
      'rrule', NEW.rrule, 'run_at', NEW.run_at, 'timezone', NEW.timezone, 'dst_policy', NEW.dst_policy,
      'calendar', NEW.calendar, 'calendar_roll', NEW.calendar_roll, 'start_time', NEW.start_time,
      'end_time', NEW.end_time, 'max_runs', NEW.max_runs, 'jitter_seconds', NEW.jitter_seconds,
      'catch_up', NEW.catch_up, 'catch_up_window_seconds', NEW.catch_up_window_seconds, 'overlap', NEW.overlap,
      'task_extra_config', NEW.task_extra_config));
  END IF; END;

CREATE TRIGGER periodic_task_audit_delete AFTER DELETE ON periodic_task FOR EACH ROW
BEGIN
  IF @audited_by_the_program IS NULL THEN
    INSERT INTO audit_log (actor, via, action, subject_kind, subject, old_value, new_value)
    VALUES (LEFT(USER(), 191), 'sql', 'task.delete', 'task', OLD.id, JSON_OBJECT(
      'name', OLD.name, 'description', OLD.description, 'owner', OLD.owner, 'tags', OLD.tags, 'enabled', OLD.enabled,
      'pause_reason', OLD.pause_reason, 'crontab', OLD.crontab, 'interval_seconds', OLD.interval_seconds,
      'rrule', OLD.rrule, 'run_at', OLD.run_at, 'timezone', OLD.timezone, 'dst_policy', OLD.dst_policy,
      'calendar', OLD.calendar, 'calendar_roll', OLD.calendar_roll, 'start_time', OLD.start_time,
      'end_time', OLD.end_time, 'max_runs', OLD.max_runs, 'jitter_seconds', OLD.jitter_seconds,
      'catch_up', OLD.catch_up, 'catch_up_window_seconds', OLD.catch_up_window_seconds, 'overlap', OLD.overlap,
      'task_extra_config', OLD.task_extra_config), NULL);
  END IF; END;
