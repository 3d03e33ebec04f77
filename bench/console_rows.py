"""What a busy installation has beside its tasks and finished runs: runs under way, budgets, an audit, people."""

from datetime import timedelta

from bench.services import clock, naive
from tests.stack import Stack

AUDITED = 200_000  # changes, a tenth of them logins, the newest 20,000 all of them
BUDGETS = 200
USES = 20  # attempts under each budget whose cost is in no slice yet
WAITING, STARTED = 20_000, 500
WORKERS = 20
PEOPLE = 50
RARE = "zinc"  # the last task: its name begins with a letter that no other name has

ENDED_BADLY = """
UPDATE periodic_task SET last_run_state = IF(id MOD 33 = 0, 'FAILURE', 'SUCCESS'), last_run_at = UTC_TIMESTAMP(6),
  consecutive_failures = IF(id MOD 33 = 0, 1 + id MOD 7, 0), run_count = 10, owner = ELT(1 + id MOD 4, 'ops', 'data',
  'growth', NULL), tags = 'nightly,report'
"""
PAUSED = """
UPDATE periodic_task SET enabled = 0, pause_reason = 'the supplier is away', next_run_at = NULL WHERE id MOD 100 = 7
"""
BROKEN = """
UPDATE periodic_task SET rearm_at = UTC_TIMESTAMP(6) + INTERVAL 1 MINUTE, config_error = 'timeout: must be a number',
  next_run_at = NULL WHERE id MOD 500 = 9
"""
NAMED = "UPDATE periodic_task SET name = :name WHERE id = :id"
ARMED = """
UPDATE periodic_task SET armed_for = CONCAT(schedule_fingerprint, ':', checked_fingerprint) WHERE needs_arming = 1
"""
UNDER_WAY = """
UPDATE task_run r JOIN (SELECT id, ROW_NUMBER() OVER (ORDER BY id DESC) AS place FROM task_run FORCE INDEX (PRIMARY)
  ORDER BY id DESC LIMIT :runs) newest USING (id)
SET r.state = IF(place <= :started, 'STARTED', 'QUEUED'), r.finished_at = NULL, r.result = NULL, r.error = NULL,
  r.error_kind = NULL, r.started_at = IF(place <= :started, UTC_TIMESTAMP(6), NULL), r.attempt = place <= :started,
  r.worker = IF(place <= :started, CONCAT('worker-', place MOD :workers, '@host'), NULL),
  r.queue = ELT(1 + place MOD 3, 'priority_high', 'priority_low', 'celery')
"""
LEASES = """
INSERT INTO worker_lease (id, pid, queues, concurrency, started_at, expires_at)
SELECT CONCAT('worker-', seq, '@host'), 1000 + seq, 'system,priority_high,priority_low,celery', 100, UTC_TIMESTAMP(6),
  UTC_TIMESTAMP(6) + INTERVAL 1 DAY FROM seq_0_to_1000 WHERE seq < :workers
"""
BEAT = "INSERT INTO beat_heartbeat (id, started_at, last_tick_at) VALUES ('beat', UTC_TIMESTAMP(6), :ticks)"
AUDIT = """
INSERT INTO audit_log (create_time, actor, via, action, subject_kind, subject, old_value, new_value)
SELECT UTC_TIMESTAMP(6), CONCAT('person ', seq MOD 50), IF(is_login, 'session', 'token'),
  IF(is_login, 'session.open', 'task.update'), IF(is_login, 'session', 'task'), 1 + seq MOD 100000,
  IF(is_login, NULL, '{"crontab": "0 9 * * *", "owner": "ops"}'),
  IF(is_login, NULL, '{"crontab": "0 8 * * *", "owner": "data"}')
FROM (SELECT seq, seq > :changes - :changes DIV 10 AS is_login FROM seq_1_to_1000000 WHERE seq <= :changes) made
"""
ENDPOINTS = """
INSERT INTO agent_endpoint (name, provider, base_url)
SELECT CONCAT('endpoint-', seq), 'openai_chat', CONCAT('http://127.0.0.1:1/', seq) FROM seq_1_to_1000 WHERE seq <= 20
"""
BUDGET = """
INSERT INTO budget (id, endpoint, periodic_task_id, amount, unit, window_seconds, at_limit, reached_at)
SELECT seq, NULL, seq, 1000000, 'tokens', 86400, 'skip', IF(seq MOD 20 = 0, UTC_TIMESTAMP(6), NULL)
FROM seq_1_to_1000 WHERE seq <= :budgets
"""
SLICES = """
INSERT INTO budget_slice (budget_id, unit, starts_at, amount, dearest, answers, unknown)
SELECT b.id, 'tokens', UTC_TIMESTAMP(6) - INTERVAL 24 * s.seq MINUTE, 1000, 100, 20, 1
FROM budget b JOIN seq_1_to_60 s
"""
BUDGET_USES = """
INSERT INTO budget_use (budget_id, run_id, attempt)
SELECT 1 + place MOD :budgets, id, attempt FROM (SELECT id, attempt, ROW_NUMBER() OVER (ORDER BY id DESC) AS place
  FROM task_run FORCE INDEX (PRIMARY) WHERE state IN ('STARTED', 'SUCCESS') ORDER BY id DESC LIMIT :uses) newest
"""
USERS = """
INSERT INTO api_user (name, password_hash, role, create_by, update_by)
SELECT CONCAT('person ', seq), '-', 'viewer', 'bench', 'bench' FROM seq_1_to_1000 WHERE seq <= :people
"""


def fill_beside(stack: Stack, tasks: int) -> None:
    """Fill the other tables, and give rows and runs the conditions that a page looks for."""
    stack.sql(ENDED_BADLY)
    stack.sql(PAUSED)
    stack.sql(BROKEN)
    stack.sql(NAMED, name=RARE, id=tasks)
    stack.sql(ARMED)
    stack.sql(UNDER_WAY, runs=WAITING + STARTED, started=STARTED, workers=WORKERS)
    stack.sql(LEASES, workers=WORKERS)
    stack.sql(BEAT, ticks=naive(clock(stack) + timedelta(hours=1)))
    stack.sql(ENDPOINTS)
    stack.sql(BUDGET, budgets=BUDGETS)
    stack.sql(SLICES)
    stack.sql(BUDGET_USES, budgets=BUDGETS, uses=BUDGETS * USES)
    stack.sql(USERS, people=PEOPLE)
    stack.sql(AUDIT, changes=AUDITED)  # the newest: edits by SQL are entered by triggers
    stack.sql("ANALYZE TABLE task_run, periodic_task, audit_log, budget_use, budget_slice")
