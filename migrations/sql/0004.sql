-- For every database. The calendars that rows name are read one by one, and so are the rows of one calendar.

CREATE INDEX ix_periodic_task_calendar ON periodic_task (calendar);
