-- The same for SQLite. Dates are text there, so that a date nobody could read back is refused here.

CREATE TABLE calendar_day (
  calendar VARCHAR(64) NOT NULL COLLATE NOCASE,
  day DATE NOT NULL,
  open TINYINT NOT NULL,
  note VARCHAR(500) NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  update_time DATETIME(6) NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
  PRIMARY KEY (calendar, day),
  CONSTRAINT ck_calendar_day_calendar CHECK (instr(calendar, ':') = 0),
  CONSTRAINT ck_calendar_day_day CHECK (IFNULL(date(day, '+0 days') = day, 0)),
  CONSTRAINT ck_calendar_day_open CHECK (open IN (0, 1)));

CREATE TRIGGER calendar_day_touch AFTER UPDATE ON calendar_day WHEN NEW.update_time = OLD.update_time BEGIN
  UPDATE calendar_day SET update_time = strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'
  WHERE calendar = NEW.calendar AND day = NEW.day; END;
