"""The rivals, each as a `celery beat` process of its own on the same MariaDB and Valkey (bench/rival_beat.py)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import redis

from bench.figures import Figures
from bench.services import Bench, messages
from tests.stack import ROOT

NAMES = ("celery beat", "django-celery-beat", "sqlalchemy-celery-beat", "celery-redbeat")
RECORDS = {
    "celery beat": "nothing but last_run_at, in a file every 180 s",
    "django-celery-beat": "last_run_at and a count, up to 180 s later",
    "sqlalchemy-celery-beat": "last_run_at and a count, up to 180 s later",
    "celery-redbeat": "last_run_at and a count, in Redis before sending",
}
START_SECONDS = 60.0
NO_FIRE = f"no fire within {START_SECONDS:g} s"
YEAR = 31_536_000.0
IDLE_SECONDS = 10.0
WATCH_SECONDS = 20.0


def installed() -> bool:
    return all(find_spec(name) for name in ("django_celery_beat", "sqlalchemy_celery_beat", "redbeat"))


class Running:
    """A rival's `celery beat` over `rows` entries that are each due every so many seconds, from the start on."""

    def __init__(self, name: str, *where: object) -> None:
        self.command = [sys.executable, "-m", "bench.rival_beat", name]
        self.where = [str(argument) for argument in where]
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("CELERY_", "REDIS_"))
        }
        with self.doing("prepare"):
            pass
        self._folder = TemporaryDirectory()
        self._out = Path(self._folder.name) / "out"
        self.started = time.perf_counter()
        with self._out.open("wb") as log:
            self._process = subprocess.Popen(
                [*self.command, "run", *self.where], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        self.process = psutil.Process(self._process.pid)

    @contextmanager
    def doing(self, action: str) -> Iterator[None]:
        """Run another action of the rival; the block begins once it is committed."""
        with subprocess.Popen(
            [*self.command, action, *self.where], cwd=ROOT, env=self.environment, stdout=subprocess.PIPE
        ) as done:
            if not done.stdout or not done.stdout.readline():
                raise AssertionError(f"{self.command[-1]} {action} failed")
            yield

    def close(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._folder.cleanup()

    def check(self) -> None:
        """Raise AssertionError with its last words if it ended."""
        if self._process.poll() is not None:
            raise AssertionError(f"{self.command[-1]} ended:\n{self._out.read_text(errors='replace')[-2000:]}")

    @property
    def memory_mib(self) -> float:
        return float(self.process.memory_info().rss / 2**20)


@contextmanager
def running(bench: Bench, name: str, rows: int, every: float) -> Iterator[Running]:
    bench.flush()
    with bench.database() as database, closing(Running(name, database, bench.valkey.url, rows, every)) as beat:
        yield beat


def fires(bench: Bench, name: str, rows: int, seconds: float) -> Figures:
    """Messages a second that really arrive while every entry is due, the first fire's delay, and the memory."""
    every = 1.0 if rows >= 10_000 else 0.1  # more than any of them can do
    with running(bench, name, rows, every) as beat, bench.valkey.client() as client:
        found: Figures = {"rival": name, "rows": rows, "records": RECORDS[name]}
        if not first_fire(beat, client):
            return found | {"note": NO_FIRE, "memory_mib": beat.memory_mib}
        first, before = time.perf_counter(), messages(client)
        time.sleep(seconds)
        took, sent = time.perf_counter() - first, messages(client) - before
        return found | {
            "fires_per_second": sent / took,
            "start_to_first_fire_s": first - beat.started,
            "memory_mib": beat.memory_mib,
        }


def first_fire(beat: Running, client: "redis.Redis") -> bool:
    while not messages(client):
        beat.check()
        if time.perf_counter() - beat.started > START_SECONDS:
            return False
        time.sleep(0.02)
    return True


def edits_and_idle(bench: Bench, name: str, rows: int) -> Figures:
    """Over entries that are not due, but for one each second: memory, CPU, and what an edit of one entry does.

    The edit makes an idle entry due every second, first by raw SQL (RedBeat: its key), then by what the rival's own
    models would do. Effect: its first message. Stall: the longest silence of the entry that fires every second.
    """
    found: Figures = {"rival": name, "rows": rows}
    with running(bench, name, rows, YEAR) as beat, bench.valkey.client() as client:
        if not first_fire(beat, client):
            return found | {"note": NO_FIRE, "memory_mib": beat.memory_mib}
        found["start_to_first_fire_s"] = time.perf_counter() - beat.started
        time.sleep(5)
        cpu = sum(beat.process.cpu_times()[:2])
        time.sleep(IDLE_SECONDS)
        found["cpu_percent"] = (sum(beat.process.cpu_times()[:2]) - cpu) / IDLE_SECONDS * 100
        found["memory_mib"] = beat.memory_mib
        if name == "celery beat":
            return found | {"edit": "a restart"}
        for action in ("edit", "announce"):
            with beat.doing(action):
                effect, silence = watch(client)
            found[f"{action}_others_late_s"] = max(0.0, silence - 1)
            if effect is not None:
                return found | {f"{action}_effect_s": effect}
            found[f"{action}_effect"] = f"none within {WATCH_SECONDS:g} s"
        return found


def watch(client: "redis.Redis") -> tuple[float | None, float]:
    """Seconds until the edited entry fires, None if it does not, and the longest silence of the other meanwhile."""
    begin = heard = time.perf_counter()
    before, effect, silence = client.llen("celery"), None, 0.0
    while time.perf_counter() - begin < WATCH_SECONDS:
        time.sleep(0.01)
        now = time.perf_counter()
        if (count := client.llen("celery")) != before:
            before, heard = count, now
        silence = max(silence, now - heard)
        if effect is None and client.llen("edited"):
            effect = now - begin
        if effect is not None and now - begin > effect + 3:
            break
    return effect, silence
