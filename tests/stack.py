"""The real processes on loopback: beats, workers and a recording agent, over a given database and broker."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Engine, text

from store import migrate
from store.database import autocommit, connect, transaction
from tests.server_process import dies_with_its_parent
from tests.services import free_port

ROOT = Path(__file__).resolve().parents[1]


def agent(message: str = "hello", **more: Any) -> str:
    """The task_extra_config of an agent row."""
    return json.dumps({"task_type": "agent", "agent_id": "a1", "message": message, **more}, ensure_ascii=False)


class Stack:
    """Starts and stops processes; everything started is ended by `close`, by pid."""

    def __init__(self, database_url: str, broker_url: str, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.database_url = database_url
        self.agent_port = free_port()
        self.agent_log = folder / "agent.log"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("REDIS_", "CELERY_"))},
            "DATABASE_URL": database_url,
            "CELERY_BROKER_URL": broker_url,
            "AGENT_API_BASE_URL": f"http://127.0.0.1:{self.agent_port}/api",
            "LOG_DIR": str(folder / "logs"),
            "TIMEZONE": "UTC",
            **settings,
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.engine: Engine = connect(database_url)

    def __enter__(self) -> Self:
        if migrate.current_revision(self.engine) is None:
            migrate.upgrade(self.engine)
        self.start("agent", "-m", "tests.recording_agent", str(self.agent_port), str(self.agent_log))
        self.wait_for(self._agent_listens, "the agent to listen")
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _agent_listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.agent_port)) == 0

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a Python program of the project; its output goes to <name>.out."""
        with (self.folder / f"{name}.out").open("ab") as out:
            process = subprocess.Popen(
                [*dies_with_its_parent("KILL"), sys.executable, *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=out,
                stderr=out,
            )
        self.processes.append(process)
        return process

    def beat(self, *arguments: str) -> subprocess.Popen[bytes]:
        return self.start("beat", "run_beat.py", *arguments)

    def worker(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a worker and return once its lease stands, so that it takes messages."""
        process = self.start("worker", "run_worker.py", *arguments)
        lease = "SELECT count(*) FROM worker_lease WHERE pid = :pid"
        self.wait_for(lambda: self.count(lease, pid=process.pid), "the worker's lease")
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.processes.remove(process)

    def close(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
        for process in self.processes:
            process.wait()
        self.processes.clear()
        self.engine.dispose()

    # -- the database -----------------------------------------------------------------------------

    def sql(self, statement: str, **values: Any) -> list[Any]:
        """Run one statement, committed by itself, and return its rows."""
        with autocommit(self.engine) as connection:
            result = connection.execute(text(statement), values)
            return list(result.all()) if result.returns_rows else []

    def count(self, statement: str, **values: Any) -> int:
        return int(self.sql(statement, **values)[0][0])

    def insert(self, name: str, config: str, **columns: Any) -> None:
        """Insert a row as an operator would."""
        columns |= {"name": name, "task_extra_config": config}
        names, marks = ", ".join(columns), ", ".join(f":{column}" for column in columns)
        self.sql(f"INSERT INTO periodic_task ({names}) VALUES ({marks})", **columns)

    def insert_many(self, rows: Sequence[dict[str, Any]]) -> None:
        names, marks = ", ".join(rows[0]), ", ".join(f":{column}" for column in rows[0])
        with transaction(self.engine) as tx:
            tx.execute(text(f"INSERT INTO periodic_task ({names}) VALUES ({marks})"), list(rows))

    def states(self, name: str = "%") -> Counter[str]:
        rows = self.sql("SELECT state, count(*) FROM task_run WHERE task_name LIKE :name GROUP BY state", name=name)
        return Counter({state: int(count) for state, count in rows})

    def calls(self) -> Counter[str]:
        """How often the agent saw each run id."""
        return Counter(line.split(" ", 2)[1] for line in self.agent_log.read_text().splitlines())

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = 60.0) -> None:
        """Poll a condition; fail with what was waited for and the processes' last lines."""
        give_up_at = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > give_up_at:
                raise AssertionError(f"waited {seconds:g} s for {what}\n{self.tails()}")
            time.sleep(0.05)

    def tails(self) -> str:
        parts = []
        for out in sorted(self.folder.glob("*.out")):
            lines = out.read_text(errors="replace").splitlines()[-12:]
            parts.append(f"--- {out.name}\n" + "\n".join(lines))
        return "\n".join(parts)


@contextmanager
def stack(database_url: str, broker_url: str, folder: Path, **settings: str) -> Iterator[Stack]:
    with Stack(database_url, broker_url, folder, **settings) as running:
        yield running
