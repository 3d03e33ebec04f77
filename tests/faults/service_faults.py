"""Faults of what everybody shares: the database, the broker, the agent."""

import json
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import pymysql
import redis

from tests.faults.cluster import Cluster
from tests.faults.members import Member
from tests.faults.proxy import Mode
from tests.faults.registry import AGENT, BROKER, DATABASE, Faults

FAULTS: Final = Faults()

# -- the database -------------------------------------------------------------------------------------------


@FAULTS.kind("database killed (-9) and started", DATABASE)
def database_killed(cluster: Cluster, _: Member | None, __: random.Random) -> Iterator[None]:
    cluster.mariadb.kill()
    yield
    cluster.mariadb.start()


@FAULTS.kind("database frozen", DATABASE, (0.5, 6.0))
def database_frozen(cluster: Cluster, _: Member | None, __: random.Random) -> Iterator[None]:
    cluster.mariadb.freeze()
    yield
    cluster.mariadb.thaw()


@FAULTS.kind("database connections killed", DATABASE)
def connections_killed(cluster: Cluster, _: Member | None, dice: random.Random) -> Iterator[None]:
    """Half of the product's sessions, wherever they are in their work."""
    with cluster.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE user <> 'root' AND db = 'faults'")
        for (session,) in cursor.fetchall():
            if dice.random() < 0.5:
                with suppress(pymysql.err.MySQLError):  # it ended by itself
                    cursor.execute(f"KILL {int(session)}")
    yield


@FAULTS.kind("database read-only", DATABASE)
def database_read_only(cluster: Cluster, _: Member | None, __: random.Random) -> Iterator[None]:
    with cluster.cursor() as cursor:
        cursor.execute("SET GLOBAL read_only = 1")
    yield
    with cluster.cursor() as cursor:
        cursor.execute("SET GLOBAL read_only = 0")


@FAULTS.kind("database locked for a backup", DATABASE)
def database_locked(cluster: Cluster, _: Member | None, __: random.Random) -> Iterator[None]:
    with cluster.cursor() as cursor:
        cursor.execute("FLUSH TABLES WITH READ LOCK")
        yield
        cursor.execute("UNLOCK TABLES")


@FAULTS.kind("operator's open transaction over a third of the rows", DATABASE)
def operator_transaction(cluster: Cluster, _: Member | None, dice: random.Random) -> Iterator[None]:
    with cluster.cursor() as cursor:
        cursor.execute("SET SESSION innodb_lock_wait_timeout = 2")
        cursor.execute("START TRANSACTION")
        with suppress(pymysql.err.OperationalError):
            cursor.execute(
                "UPDATE periodic_task SET owner = %s WHERE id %% 3 = %s", (dice.random(), dice.randint(0, 2))
            )
        yield
        cursor.execute(dice.choice(("COMMIT", "ROLLBACK")))


@FAULTS.kind("deadlocks", DATABASE)
def deadlocks(cluster: Cluster, _: Member | None, dice: random.Random) -> Iterator[None]:
    """An operator's script that locks runs first and their rows after, the other way round than everybody else."""
    over = threading.Event()

    def script() -> None:
        while not over.is_set():
            with suppress(pymysql.err.MySQLError), cluster.cursor() as cursor:
                cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
                cursor.execute("START TRANSACTION")
                cursor.execute(
                    "SELECT periodic_task_id FROM task_run WHERE state IN ('PENDING', 'QUEUED', 'STARTED') "
                    "ORDER BY ready_at DESC LIMIT 20 FOR UPDATE"
                )
                for (task,) in cursor.fetchall():
                    cursor.execute("UPDATE periodic_task SET owner = 'script' WHERE id = %s", (task,))
                cursor.execute("COMMIT")
            over.wait(0.05)

    thread = threading.Thread(target=script)
    thread.start()
    yield
    over.set()
    thread.join()


# -- the broker ---------------------------------------------------------------------------------------------


@FAULTS.kind("broker killed and started empty", BROKER)
def broker_killed(cluster: Cluster, _: Member | None, __: random.Random) -> Iterator[None]:
    cluster.valkey.kill()
    yield
    cluster.valkey.start()


@FAULTS.kind("broker frozen", BROKER)
def broker_frozen(cluster: Cluster, _: Member | None, __: random.Random) -> Iterator[None]:
    cluster.valkey.freeze()
    yield
    cluster.valkey.thaw()


@FAULTS.kind("broker emptied (FLUSHALL)", BROKER)
def broker_emptied(cluster: Cluster, _: Member | None, __: random.Random) -> Iterator[None]:
    with cluster.valkey.client() as client:
        client.flushall()
    yield


@FAULTS.kind("broker out of reach for everybody", BROKER)
def broker_unreachable(cluster: Cluster, _: Member | None, __: random.Random) -> Iterator[None]:
    for member in cluster.members:
        member.ports.broker.set(Mode.REFUSE)
    yield
    for member in cluster.members:
        member.ports.broker.set(Mode.PASS)


@FAULTS.kind("messages delivered again", BROKER)
def delivered_again(cluster: Cluster, _: Member | None, dice: random.Random) -> Iterator[None]:
    """Copies of messages that wait, and of those in a worker's hands, each up to three times."""
    with suppress(redis.exceptions.ConnectionError), cluster.valkey.client() as client:
        waiting = {key: client.lrange(key, 0, 50) for key in client.keys("*") if client.type(key) == b"list"}
        in_hand = [json.loads(value) for value in client.hvals("unacked")]
        for key, messages in waiting.items():
            for message in messages:
                client.lpush(key, *[message] * dice.randint(1, 3))
        for message, _exchange, queue in in_hand:
            client.lpush(queue, *[json.dumps(message)] * dice.randint(1, 3))
    yield


# -- the agent ----------------------------------------------------------------------------------------------


@FAULTS.kind("agent killed and started", AGENT)
def agent_killed(cluster: Cluster, _: Member | None, __: random.Random) -> Iterator[None]:
    cluster.agent.kill()
    yield
    cluster.agent.start()


@FAULTS.kind("agent frozen", AGENT)
def agent_frozen(cluster: Cluster, _: Member | None, __: random.Random) -> Iterator[None]:
    cluster.agent.signal(signal.SIGSTOP)
    yield
    cluster.agent.signal(signal.SIGCONT)


@FAULTS.kind("agent's answers torn", AGENT)
def agent_torn(cluster: Cluster, _: Member | None, dice: random.Random) -> Iterator[None]:
    mode, size = dice.choice((Mode.RESET_IN_REPLY, Mode.HALF_CLOSE)), dice.choice((0, 20, 120))
    for worker in cluster.workers:
        worker.ports.agent.set(mode, reply_bytes=size)
    yield
    for worker in cluster.workers:
        worker.ports.agent.set(Mode.PASS)


@FAULTS.kind("agent slow", AGENT)
def agent_slow(cluster: Cluster, _: Member | None, dice: random.Random) -> Iterator[None]:
    mode = dice.choice((Mode.DELAY, Mode.DRIP))
    for worker in cluster.workers:
        worker.ports.agent.set(mode, seconds=dice.uniform(0.1, 1.0))
    yield
    for worker in cluster.workers:
        worker.ports.agent.set(Mode.PASS)
