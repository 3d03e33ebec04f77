-- As for periodic_task: ON UPDATE CURRENT_TIMESTAMP would write the session's local time.

CREATE TRIGGER calendar_day_touch BEFORE UPDATE ON calendar_day FOR EACH ROW
SET NEW.update_time = IF(NEW.update_time <=> OLD.update_time, UTC_TIMESTAMP(6), NEW.update_time);
