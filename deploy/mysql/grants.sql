-- The database and its three accounts, for MySQL 8.0.23+ and MariaDB 10.6+. An administrator runs it twice:
-- before the first `make migrate`, and again after it, since rights on single tables need the tables.
-- It may be run again at any time; an account that exists keeps its password.
--
-- Replace MIGRATE_PASSWORD, RUN_PASSWORD and OPERATOR_PASSWORD, each by a password of its own in quotes.
-- Unreplaced, each of them is a syntax error, so this file never makes an account with a known password.
--
-- '%' admits every host that reaches the server. Narrow it to your hosts ('10.0.0.%', 'localhost') in all lines.

CREATE DATABASE IF NOT EXISTS agent_scheduler CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_ci;

CREATE USER IF NOT EXISTS 'agent_migrate'@'%' IDENTIFIED BY MIGRATE_PASSWORD;
CREATE USER IF NOT EXISTS 'agent_run'@'%' IDENTIFIED BY RUN_PASSWORD;
CREATE USER IF NOT EXISTS 'agent_operator'@'%' IDENTIFIED BY OPERATOR_PASSWORD;

-- agent_migrate changes the schema (`make migrate`). It also owns the trigger and the views: keep the account.
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, CREATE VIEW, SHOW VIEW, TRIGGER
  ON agent_scheduler.* TO 'agent_migrate'@'%';

-- agent_run is the account of beat, workers and API: rows, and no schema. Its address is the .env's DATABASE_URL.
-- It changes rows of every table but two, and so each is granted by itself; a right to the whole database, from an older
-- file, is taken back. `alembic_version` is the migration's. To `audit_log` it only adds: who takes a worker over cannot
-- remove his traces.
GRANT SELECT ON agent_scheduler.* TO 'agent_run'@'%';

DROP PROCEDURE IF EXISTS agent_scheduler.grant_writing;

DELIMITER //

CREATE PROCEDURE agent_scheduler.grant_writing()
BEGIN
  DECLARE done INT DEFAULT 0;
  DECLARE found VARCHAR(64);
  DECLARE writable CURSOR FOR SELECT table_name FROM information_schema.tables
    WHERE table_schema = 'agent_scheduler' AND table_type = 'BASE TABLE' AND table_name <> 'alembic_version';
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET done = 1;
  OPEN writable;
  each_table: LOOP
    FETCH writable INTO found;
    IF done THEN LEAVE each_table; END IF;
    SET @sql = CONCAT('GRANT INSERT', IF(found = 'audit_log', '', ', UPDATE, DELETE'), ' ON agent_scheduler.`', found,
      '` TO ''agent_run''@''%''');
    PREPARE rights FROM @sql;
    EXECUTE rights;
  END LOOP;
  CLOSE writable;
  -- Last, so that whoever is at work has one right or the other.
  IF EXISTS (SELECT 1 FROM information_schema.schema_privileges WHERE table_schema = 'agent_scheduler'
    AND grantee = '''agent_run''@''%''' AND privilege_type = 'DELETE') THEN
    REVOKE INSERT, UPDATE, DELETE ON agent_scheduler.* FROM 'agent_run'@'%';
  END IF;
END //

DELIMITER ;

CALL agent_scheduler.grant_writing();
DROP PROCEDURE agent_scheduler.grant_writing;

-- AUDIT_RETENTION_DAYS above 0 lets workers delete old entries of the audit. It needs this line, and with it whoever takes
-- a worker over can delete any entry; the other way is to delete old ones as an administrator.
-- GRANT DELETE ON agent_scheduler.audit_log TO 'agent_run'@'%';

-- With these two, beat names the session whose open transaction holds due rows (log, /metrics, /health/ready). PROCESS
-- also shows the statements of all sessions; without it beat says that rows are held, and not by whom.
GRANT PROCESS ON *.* TO 'agent_run'@'%';

SET @waits = (SELECT COUNT(*) FROM information_schema.tables
  WHERE table_schema = 'performance_schema' AND table_name = 'data_lock_waits');
SET @sql = IF(@waits = 1, 'GRANT SELECT ON performance_schema.data_lock_waits TO ''agent_run''@''%''', 'DO 0');
PREPARE rights FROM @sql;
EXECUTE rights;

-- agent_operator is for people: they read tables and views, edit tasks, endpoints, limits and budgets, hold and cancel
-- runs, steer backfills. The ledger is otherwise closed to them. (A right on a column cannot be narrowed to one value: only state = 'REVOKED' is meant.)
-- They do not read what would let them in as somebody else: hashes of passwords, tokens and sessions, and kept answers of
-- requests. So each table is granted by itself; a right to the whole database, from an older file, is taken back.
DROP PROCEDURE IF EXISTS agent_scheduler.grant_reading;

DELIMITER //

CREATE PROCEDURE agent_scheduler.grant_reading()
BEGIN
  DECLARE done INT DEFAULT 0;
  DECLARE found VARCHAR(64);
  DECLARE readable CURSOR FOR SELECT table_name FROM information_schema.tables
    WHERE table_schema = 'agent_scheduler' AND table_name NOT IN ('api_user', 'api_token', 'api_session', 'api_request');
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET done = 1;
  IF EXISTS (SELECT 1 FROM information_schema.schema_privileges WHERE table_schema = 'agent_scheduler'
    AND grantee = '''agent_operator''@''%''' AND privilege_type = 'SELECT') THEN
    REVOKE SELECT, SHOW VIEW ON agent_scheduler.* FROM 'agent_operator'@'%';
  END IF;
  OPEN readable;
  each_table: LOOP
    FETCH readable INTO found;
    IF done THEN LEAVE each_table; END IF;
    SET @sql = CONCAT('GRANT SELECT, SHOW VIEW ON agent_scheduler.`', found, '` TO ''agent_operator''@''%''');
    PREPARE rights FROM @sql;
    EXECUTE rights;
  END LOOP;
  CLOSE readable;
END //

DELIMITER ;

CALL agent_scheduler.grant_reading();
DROP PROCEDURE agent_scheduler.grant_reading;

SET @tables = (SELECT COUNT(*) FROM information_schema.tables
  WHERE table_schema = 'agent_scheduler' AND table_name IN ('periodic_task', 'calendar_day', 'agent_endpoint', 'task_run', 'backfill',
    'agent_limit', 'budget', 'hold'));

SET @sql = IF(@tables = 8,
  'GRANT INSERT, UPDATE, DELETE ON agent_scheduler.periodic_task TO ''agent_operator''@''%''', 'DO 0');
PREPARE rights FROM @sql;
EXECUTE rights;

SET @sql = IF(@tables = 8,
  'GRANT INSERT, UPDATE, DELETE ON agent_scheduler.calendar_day TO ''agent_operator''@''%''', 'DO 0');
PREPARE rights FROM @sql;
EXECUTE rights;

-- Whoever may write this table decides where the keys of environment variables are sent (stored ones stay with the
-- address that they were entered for). Leave the next three lines out if operators must not.
SET @sql = IF(@tables = 8,
  'GRANT INSERT, UPDATE, DELETE ON agent_scheduler.agent_endpoint TO ''agent_operator''@''%''', 'DO 0');
PREPARE rights FROM @sql;
EXECUTE rights;

SET @sql = IF(@tables = 8,
  'GRANT UPDATE (state) ON agent_scheduler.task_run TO ''agent_operator''@''%''', 'DO 0');
PREPARE rights FROM @sql;
EXECUTE rights;

SET @sql = IF(@tables = 8,
  'GRANT UPDATE (state, at_a_time) ON agent_scheduler.backfill TO ''agent_operator''@''%''', 'DO 0');
PREPARE rights FROM @sql;
EXECUTE rights;

SET @sql = IF(@tables = 8,
  'GRANT INSERT, UPDATE, DELETE ON agent_scheduler.agent_limit TO ''agent_operator''@''%''', 'DO 0');
PREPARE rights FROM @sql;
EXECUTE rights;

SET @sql = IF(@tables = 8,
  'GRANT INSERT, UPDATE, DELETE ON agent_scheduler.budget TO ''agent_operator''@''%''', 'DO 0');
PREPARE rights FROM @sql;
EXECUTE rights;

SET @sql = IF(@tables = 8,
  'GRANT INSERT, UPDATE ON agent_scheduler.hold TO ''agent_operator''@''%''', 'DO 0');
PREPARE rights FROM @sql;
EXECUTE rights;
-- Tables of task packs that people fill, where a pack is installed: run this file again after the migration.
-- Whoever may write assistant_contact decides where users' messages go. Inbox, conversations and vectors are the system's.
SET @sql = IF((SELECT COUNT(*) FROM information_schema.tables
  WHERE table_schema = 'agent_scheduler' AND table_name = 'trading_position') = 1,
  'GRANT INSERT, UPDATE, DELETE ON agent_scheduler.trading_position TO ''agent_operator''@''%''', 'DO 0');
PREPARE rights FROM @sql;
EXECUTE rights;

SET @sql = IF((SELECT COUNT(*) FROM information_schema.tables
  WHERE table_schema = 'agent_scheduler' AND table_name = 'assistant_contact') = 1,
  'GRANT INSERT, UPDATE, DELETE ON agent_scheduler.assistant_contact TO ''agent_operator''@''%''', 'DO 0');
PREPARE rights FROM @sql;
EXECUTE rights;
DEALLOCATE PREPARE rights;

SELECT IF(@tables = 8, 'all rights are granted', 'run make migrate, then this file again') AS result;
