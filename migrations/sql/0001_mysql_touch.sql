-- An operator's edit moves update_time; what the system writes leaves it alone. A trigger, since
-- ON UPDATE CURRENT_TIMESTAMP would write the session's local time. Scheduling does not depend on it.
-- Texts are compared as bytes: to the collation 'hi' and 'Hi' are the same.

CREATE TRIGGER periodic_task_touch BEFORE UPDATE ON periodic_task FOR EACH ROW
SET NEW.update_time = IF(NEW.update_time <=> OLD.update_time AND NOT (
    CAST(OLD.name AS BINARY) <=> CAST(NEW.name AS BINARY) AND
    CAST(OLD.description AS BINARY) <=> CAST(NEW.description AS BINARY) AND
    CAST(OLD.owner AS BINARY) <=> CAST(NEW.owner AS BINARY) AND
    CAST(OLD.tags AS BINARY) <=> CAST(NEW.tags AS BINARY) AND
    CAST(OLD.pause_reason AS BINARY) <=> CAST(NEW.pause_reason AS BINARY) AND
    CAST(OLD.crontab AS BINARY) <=> CAST(NEW.crontab AS BINARY) AND
    CAST(OLD.rrule AS BINARY) <=> CAST(NEW.rrule AS BINARY) AND
    CAST(OLD.timezone AS BINARY) <=> CAST(NEW.timezone AS BINARY) AND
    CAST(OLD.dst_policy AS BINARY) <=> CAST(NEW.dst_policy AS BINARY) AND
    CAST(OLD.calendar AS BINARY) <=> CAST(NEW.calendar AS BINARY) AND
    CAST(OLD.calendar_roll AS BINARY) <=> CAST(NEW.calendar_roll AS BINARY) AND
    CAST(OLD.catch_up AS BINARY) <=> CAST(NEW.catch_up AS BINARY) AND
    CAST(OLD.overlap AS BINARY) <=> CAST(NEW.overlap AS BINARY) AND
    CAST(OLD.task_extra_config AS BINARY) <=> CAST(NEW.task_extra_config AS BINARY) AND
    OLD.enabled <=> NEW.enabled AND OLD.interval_seconds <=> NEW.interval_seconds AND OLD.run_at <=> NEW.run_at AND
    OLD.start_time <=> NEW.start_time AND OLD.end_time <=> NEW.end_time AND OLD.max_runs <=> NEW.max_runs AND
    OLD.jitter_seconds <=> NEW.jitter_seconds AND OLD.catch_up_window_seconds <=> NEW.catch_up_window_seconds
  ), UTC_TIMESTAMP(6), NEW.update_time);
