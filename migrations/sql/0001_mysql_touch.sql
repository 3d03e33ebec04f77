-- An operator's edit moves update_time; what the system writes leaves it alone. A trigger, since
-- ON UPDATE CURRENT_TIMESTAMP would write the session's local time. Scheduling does not depend on it.

CREATE TRIGGER periodic_task_touch BEFORE UPDATE ON periodic_task FOR EACH ROW
SET NEW.update_time = IF(NEW.update_time <=> OLD.update_time AND NOT (
    OLD.name <=> NEW.name AND OLD.description <=> NEW.description AND OLD.owner <=> NEW.owner AND OLD.tags <=>
    NEW.tags AND OLD.enabled <=> NEW.enabled AND OLD.pause_reason <=> NEW.pause_reason AND OLD.crontab <=>
    NEW.crontab AND OLD.interval_seconds <=> NEW.interval_seconds AND OLD.rrule <=> NEW.rrule AND OLD.run_at <=>
    NEW.run_at AND OLD.timezone <=> NEW.timezone AND OLD.dst_policy <=> NEW.dst_policy AND OLD.calendar <=>
    NEW.calendar AND OLD.calendar_roll <=> NEW.calendar_roll AND OLD.start_time <=> NEW.start_time AND
    OLD.end_time <=> NEW.end_time AND OLD.max_runs <=> NEW.max_runs AND OLD.jitter_seconds <=> NEW.jitter_seconds
    AND OLD.catch_up <=> NEW.catch_up AND OLD.catch_up_window_seconds <=> NEW.catch_up_window_seconds AND
    OLD.overlap <=> NEW.overlap AND OLD.task_extra_config <=> NEW.task_extra_config
  ), UTC_TIMESTAMP(6), NEW.update_time);
