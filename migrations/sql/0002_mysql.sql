-- What an operator says about single days of a calendar; it goes before the published data.
-- INSERT INTO calendar_day (calendar, day, open, note) VALUES ('XHKG', '2026-09-08', 0, '台风');

CREATE TABLE calendar_day (
  calendar VARCHAR(64) NOT NULL COMMENT 'XSHG, CN, DE-BY; without :open or :full',
  day DATE NOT NULL,
  open TINYINT(1) NOT NULL COMMENT '0: closed, 1: open, with the regular hours',
  note VARCHAR(500) NULL,
  create_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  update_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  PRIMARY KEY (calendar, day),
  CONSTRAINT ck_calendar_day_calendar CHECK (INSTR(calendar, ':') = 0),
  CONSTRAINT ck_calendar_day_open CHECK (open IN (0, 1))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;
