"""One rival as a program: `python -m bench.rival_beat NAME ACTION DATABASE BROKER ROWS SECONDS`.

prepare   makes its schema and its ROWS, each due every SECONDS, in the rival's own tables or keys. Where SECONDS is
          a year, none is due but the first, which is due every second.
run       `celery beat` with the rival's scheduler: Celery's own loop, `tick` and `sync`, its own producer, the real
          broker. Everything is at its defaults, but for what would slow it down for no reason of its own: a TLS
          set-up by PyMySQL at every connection, and with Django a connection for every tick.
edit      makes the second entry due every second, on the queue `edited`, by raw SQL
announce  writes what the rival's own models write with an edit, so that its beat notices
"""

import json
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pymysql
import redis
from celery import Celery
from sqlalchemy import URL, create_engine, make_url

TASK = "bench.noop"
MESSAGE = "Read the open orders of customer {n} and say which of them are late, and why."
KEYED = """CONCAT('{"agent_id": "agent-', seq MOD 500, '", "message": "Read the open orders of customer ', seq,
  ' and say which of them are late, and why."}')"""
LONG_AGO = timedelta(days=1)
IDLE = 86_400.0 * 2  # an interval beyond it: nothing is due but the first entry
CHUNK = 10_000


class Rival(Protocol):
    """How a rival is filled, configured, and edited."""

    scheduler: str

    def __init__(self, app: Celery, database: URL, broker: str) -> None: ...

    def prepare(self, rows: int, seconds: float) -> None: ...

    def configure(self, rows: int, seconds: float) -> None: ...

    def edit(self) -> None: ...

    def announce(self) -> None: ...


def interval_of(n: int, seconds: float) -> float:
    return 1.0 if n == 1 and seconds > IDLE else seconds


def arguments(n: int) -> dict[str, str]:
    return {"agent_id": f"agent-{n % 500}", "message": MESSAGE.format(n=n)}


class CoreBeat:
    """Celery's own: entries in the configuration, memory of them in a shelve file written every 180 s."""

    scheduler = "celery.beat:PersistentScheduler"

    def __init__(self, app: Celery, database: URL, broker: str) -> None:
        self.app = app

    def prepare(self, rows: int, seconds: float) -> None:
        """The configuration is its table."""

    def configure(self, rows: int, seconds: float) -> None:
        self.app.conf.beat_schedule_filename = str(Path(tempfile.mkdtemp()) / "schedule")
        self.app.conf.beat_schedule = {
            f"task {n}": {
                "task": TASK,
                "schedule": timedelta(seconds=interval_of(n, seconds)),
                "kwargs": arguments(n),
            }
            for n in range(1, rows + 1)
        }

    def edit(self) -> None:
        """Only a restart reads the configuration again."""

    announce = edit


class _InTables:
    """A rival whose entries are rows on the same MariaDB."""

    tasks: str
    intervals: str
    interval: str
    """The column that names the interval; what else goes with it is in `further`."""
    further: ClassVar[dict[str, str]]
    changed: str
    upper: bool

    def __init__(self, app: Celery, database: URL, broker: str) -> None:
        self.database = database

    def prepare(self, rows: int, seconds: float) -> None:
        """Insert by SQL; an `every` is an INT."""
        every, period = (round(seconds), "seconds") if seconds > IDLE else (round(seconds * 1e6), "microseconds")
        fixed = {
            "name": "CONCAT('task ', seq)",
            "task": f"'{TASK}'",
            self.interval: f"IF(seq = 1, {2 if seconds > IDLE else 1}, 1)",
            "args": "'[]'",
            "kwargs": KEYED,
            "headers": "'{}'",
            "description": "''",
            "enabled": "1",
            "one_off": "0",
            "total_run_count": "0",
            "date_changed": "UTC_TIMESTAMP(6) - INTERVAL 1 DAY",
            "last_run_at": "UTC_TIMESTAMP(6) - INTERVAL 1 DAY",
            **self.further,
        }
        self._run(
            f"INSERT INTO {self.intervals} (id, every, period) VALUES (1, {every}, '{self._period(period)}'), "
            f"(2, 1, '{self._period('seconds')}')",
            f"INSERT INTO {self.tasks} ({', '.join(fixed)}) SELECT {', '.join(fixed.values())} FROM seq_1_to_{rows}",
        )

    def configure(self, rows: int, seconds: float) -> None:
        """Everything is in the tables."""

    def edit(self) -> None:
        self._run(f"UPDATE {self.tasks} SET {self.interval} = 2, queue = 'edited' WHERE name = 'task 2'")

    def announce(self) -> None:
        self._run(self.changed)

    def _period(self, name: str) -> str:
        return name.upper() if self.upper else name

    def _run(self, *statements: str) -> None:
        with create_engine(self.database).begin() as tx:
            for statement in statements:
                tx.exec_driver_sql(statement)


class DjangoBeat(_InTables):
    """django-celery-beat, through PyMySQL."""

    scheduler = "django_celery_beat.schedulers:DatabaseScheduler"
    tasks, intervals = "django_celery_beat_periodictask", "django_celery_beat_intervalschedule"
    interval = "interval_id"
    further: ClassVar[dict[str, str]] = {}
    changed = "REPLACE INTO django_celery_beat_periodictasks (ident, last_update) VALUES (1, UTC_TIMESTAMP(6))"
    upper = False

    def __init__(self, app: Celery, database: URL, broker: str) -> None:
        super().__init__(app, database, broker)
        pymysql.install_as_MySQLdb()
        import django
        from django.conf import settings

        settings.configure(
            INSTALLED_APPS=["django_celery_beat"],
            USE_TZ=True,
            TIME_ZONE="UTC",
            SECRET_KEY="bench",  # noqa: S106 - Django does not start without one
            DEFAULT_AUTO_FIELD="django.db.models.AutoField",
            DATABASES={
                "default": {
                    "ENGINE": "django.db.backends.mysql",
                    "NAME": database.database,
                    "USER": database.username,
                    "PASSWORD": database.password,
                    "HOST": database.host,
                    "PORT": database.port,
                    "CONN_MAX_AGE": None,  # Django's default would connect anew in every tick
                    "OPTIONS": {"ssl_disabled": True},
                }
            },
        )
        django.setup()

    def prepare(self, rows: int, seconds: float) -> None:
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        super().prepare(rows, seconds)
        self.announce()


class SqlalchemyBeat(_InTables):
    """sqlalchemy-celery-beat."""

    scheduler = "sqlalchemy_celery_beat.schedulers:DatabaseScheduler"
    tasks, intervals = "celery_periodictask", "celery_intervalschedule"
    interval = "schedule_id"
    further: ClassVar[dict[str, str]] = {"discriminator": "'intervalschedule'"}
    changed = "REPLACE INTO celery_periodictaskchanged (id, last_update) VALUES (1, UTC_TIMESTAMP())"
    upper = True

    def __init__(self, app: Celery, database: URL, broker: str) -> None:
        super().__init__(app, database, broker)
        self.address = database.render_as_string(hide_password=False)
        app.conf.beat_dburi = self.address
        app.conf.beat_engine_options = {"connect_args": {"ssl_disabled": True}}  # it connects anew in every tick

    def prepare(self, rows: int, seconds: float) -> None:
        from sqlalchemy_celery_beat.session import SessionManager

        manager = SessionManager()
        engine, _ = manager.create_session(self.address)
        manager.prepare_models(engine)
        super().prepare(rows, seconds)


class RedBeat:
    """celery-redbeat: schedules in Redis, in a database beside the broker's."""

    scheduler = "redbeat.RedBeatScheduler"

    def __init__(self, app: Celery, database: URL, broker: str) -> None:
        self.app: Any = app
        app.conf.redbeat_redis_url = broker.rpartition("/")[0] + "/1"
        app.conf.redbeat_redis_options = {}

    def prepare(self, rows: int, seconds: float) -> None:
        """Save one entry as RedBeat does, and write the others like it: N calls of save() would take minutes."""
        self._save(0, seconds).delete()
        with redis.Redis.from_url(self.app.conf.redbeat_redis_url) as client:
            for first in range(1, rows + 1, CHUNK):
                pipeline = client.pipeline(transaction=False)
                for n in range(max(first, 2), min(first + CHUNK, rows + 1)):
                    name = self._key.replace("task 0", f"task {n}")
                    own = json.dumps(self._definition | {"name": f"task {n}", "kwargs": arguments(n)})
                    pipeline.hset(name, mapping={"definition": own, "meta": self._meta})
                    pipeline.zadd(self.app.redbeat_conf.schedule_key, {name: self._due})
                pipeline.execute()
        self._save(1, interval_of(1, seconds))

    def configure(self, rows: int, seconds: float) -> None:
        """Everything is in Redis."""

    def edit(self) -> None:
        self._save(2, 1.0, queue="edited")

    def announce(self) -> None:
        """The edit is there at once."""

    def _save(self, n: int, seconds: float, **options: str) -> Any:
        from redbeat.schedulers import RedBeatSchedulerEntry, get_redis

        entry = RedBeatSchedulerEntry(
            f"task {n}", TASK, timedelta(seconds=seconds), kwargs=arguments(n), options=options, app=self.app
        )
        entry.last_run_at = datetime.now(UTC) - LONG_AGO
        entry.save()
        self._key, self._due = entry.key, entry.score
        definition, self._meta = get_redis(self.app).hmget(entry.key, "definition", "meta")
        self._definition = json.loads(definition)
        return entry


RIVALS: dict[str, type[Rival]] = {
    "celery beat": CoreBeat,
    "django-celery-beat": DjangoBeat,
    "sqlalchemy-celery-beat": SqlalchemyBeat,
    "celery-redbeat": RedBeat,
}


def main(name: str, action: str, database: str, broker: str, rows: str, seconds: str) -> None:
    app: Any = Celery("rival", broker=broker)
    app.conf.update(timezone="UTC", enable_utc=True, task_ignore_result=True)
    rival = RIVALS[name](app, make_url(database), broker)
    if action == "run":
        rival.configure(int(rows), float(seconds))
        app.Beat(scheduler_cls=rival.scheduler, loglevel="WARNING", quiet=True).run()
        return
    if action == "prepare":
        rival.prepare(int(rows), float(seconds))
    else:
        getattr(rival, action)()
    print("committed", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
