"""The machine's own limit: the statements of a fire and nothing else. `python -m bench.limit DATABASE BROKER`.

Claim 1,000 due rows, insert their runs, advance, commit, send the messages in one pipeline, mark them: raw PyMySQL and
redis-py on the product's own tables, one after the other in one process. No Celery, no SQLAlchemy, no rule is read,
no config is parsed, nothing is checked. Prints the fires and the seconds as JSON once nothing is due any more.
"""

import json
import sys
import time
from typing import Any

import pymysql
import redis
from pymysql.cursors import Cursor
from sqlalchemy import make_url
from uuid_utils import uuid7

from broker import envelope
from store.runs import Sendable

BATCH = 1000
QUEUE_KEY = "priority_low\x06\x164"

CLAIM = """
SELECT id, name, task_extra_config, next_run_at FROM periodic_task FORCE INDEX (ix_periodic_task_due)
WHERE needs_arming = 0 AND next_run_at >= %s AND next_run_at <= UTC_TIMESTAMP(6) AND enabled = 1
  AND config_error IS NULL
ORDER BY next_run_at LIMIT 1000 FOR UPDATE SKIP LOCKED
"""
INSERT = """
INSERT INTO task_run (id, periodic_task_id, task_name, origin, scheduled_for, ready_at, state, queue, priority, config)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""  # only placeholders: with a literal among them PyMySQL sends a statement for each row
ADVANCE = """
UPDATE periodic_task SET next_run_at = next_run_at + INTERVAL 180 DAY, last_run_at = %s, run_count = run_count + 1
WHERE id IN %s
"""
MARK = "UPDATE task_run SET state = 'QUEUED', queued_at = UTC_TIMESTAMP(6) WHERE id IN %s AND state = 'PENDING'"


def fire_batch(cursor: Cursor, broker: "redis.Redis", template: str, since: Any) -> int:
    """Fire up to 1,000 rows; return how many."""
    cursor.execute("START TRANSACTION")
    cursor.execute(CLAIM, (since,))
    due = cursor.fetchall()
    if not due:
        cursor.execute("ROLLBACK")
        return 0
    ids = [str(uuid7()) for _ in due]
    cursor.executemany(
        INSERT,
        [
            (run, task, name, "schedule", moment, moment, "PENDING", "priority_low", 5, config)
            for run, (task, name, config, moment) in zip(ids, due, strict=True)
        ],
    )
    cursor.execute(ADVANCE, (due[0][3], [row[0] for row in due]))
    cursor.execute("COMMIT")
    broker.lpush(QUEUE_KEY, *(template.replace("RUN-ID", run) for run in ids))
    cursor.execute(MARK, (ids,))
    return len(due)


def main(database: str, broker: str) -> None:
    url = make_url(database)
    connection = pymysql.connect(
        host=url.host, port=url.port or 3306, user=url.username, password=str(url.password), database=url.database,
        autocommit=True, init_command="SET SESSION time_zone='+00:00'",
    )  # fmt: skip
    template = envelope(Sendable("RUN-ID", "priority_low", 5, 0, "agent"))
    with connection, connection.cursor() as cursor, redis.Redis.from_url(broker) as client:
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.execute("SELECT MIN(next_run_at), UTC_TIMESTAMP(6) FROM periodic_task WHERE needs_arming = 0")
        ((since, now),) = cursor.fetchall()
        client.ping()
        time.sleep(max(0.0, (since - now).total_seconds()) + 0.01)
        begin, fires = time.perf_counter(), 0
        while done := fire_batch(cursor, client, template, since):
            fires += done
        print(json.dumps({"fires": fires, "seconds": time.perf_counter() - begin}))


if __name__ == "__main__":
    main(*sys.argv[1:])
