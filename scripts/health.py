"""Is the process of this container at work? python -m scripts.health beat|worker|api|flower|missed-fires [--live].

For health checks of containers and probes: one line, exit code 0 (well) or 1 (not). Beat and worker are judged by what
the database knows of this host: the age of its newest tick, its lease. With --live a database that does not answer is
not held against the process, which goes on by itself once it does: a liveness probe must not restart it for that.
"""

import argparse
import socket
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import SQLAlchemyError

from config import Settings, SettingsError, get_settings
from logger import redact
from store import missed_fires
from store.database import autocommit, in_words, read_clock
from store.leases import BEAT, living_workers
from store.overview import connect_bounded

ANSWER_SECONDS: Final = 5
TICK_GRACE: Final = timedelta(seconds=30)  # above what a lock wait and a failover hold a tick up
LOOK_AGE_SECONDS: Final = 60.0
EVERYWHERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where such a server is reached


class NotWell(Exception):
    """What is wrong, in a line."""


class Unknown(Exception):
    """What has to be asked does not answer."""


def main(arguments: list[str] | None = None) -> int:
    """Print one line. Exit codes: 0 well, 1 not (or a setting is wrong)."""
    parser = argparse.ArgumentParser(prog="python -m scripts.health", description="Is this process at work?")
    parser.add_argument("what", choices=sorted([*OF_THE_LEDGER, *OF_HTTP]))
    parser.add_argument("--live", action="store_true", help="a database that does not answer is no fault")
    parser.add_argument("--host", default=socket.gethostname(), help="the host of beat or worker; default: this one")
    parser.add_argument("--name", help="of a worker, as given to run_worker.py; default: any of this host")
    given = parser.parse_args(arguments)
    try:
        settings = get_settings()
        if given.what in OF_HTTP:
            print(ask(OF_HTTP[given.what](settings)))
        else:
            print(look(settings, lambda connection: OF_THE_LEDGER[given.what](connection, settings, given)))
    except Unknown as unknown:
        print(f"unknown: {unknown}", file=sys.stderr)
        return 0 if given.live else 1
    except (NotWell, SettingsError) as error:
        print(f"not well: {redact(str(error))}", file=sys.stderr)
        return 1
    return 0


def look(settings: Settings, judge: Callable[[Connection], str]) -> str:
    """Ask the database, ANSWER_SECONDS a question at most. Raises NotWell, Unknown."""
    engine: Engine = connect_bounded(settings.database_url, pool_size=1, seconds=ANSWER_SECONDS)
    try:
        with autocommit(engine) as connection:
            return judge(connection)
    except SQLAlchemyError as error:
        raise Unknown(redact(in_words(error))) from None
    finally:
        engine.dispose()


def beat(connection: Connection, settings: Settings, given: argparse.Namespace) -> str:
    """Judge the newest tick of this host's beats. Beats are few rows. Raises NotWell."""
    now = read_clock(connection)
    ticks: list[datetime] = [
        row.last_tick_at
        for row in connection.execute(select(BEAT.c.id, BEAT.c.last_tick_at))
        if row.id.partition(":")[0] == given.host
    ]
    if not ticks:
        raise NotWell(f"no beat of {given.host} has ticked yet")
    age, limit = now - max(ticks), 3 * timedelta(seconds=settings.poll_seconds) + TICK_GRACE
    told = f"beat of {given.host}: newest tick {age.total_seconds():.1f} s ago, at most {limit.total_seconds():g} s"
    if age > limit:
        raise NotWell(told)
    return told


def worker(connection: Connection, _: Settings, given: argparse.Namespace) -> str:
    """Judge the leases of this host's workers. Index ix_worker_lease_expires. Raises NotWell."""
    whose = f"{given.name or 'worker'} of {given.host}"
    for row in living_workers(connection):
        node, _hash, _id = row.id.rpartition("#")
        name, _at, host = node.partition("@")
        if host == given.host and given.name in (None, name.rpartition("-")[0]):
            return f"{whose}: lease until {row.expires_at:%H:%M:%S} UTC"
    raise NotWell(f"{whose} holds no lease")


def watchdog(connection: Connection, _: Settings, __: argparse.Namespace) -> str:
    """Judge the watchdog's last look; one is enough for all hosts. Primary key. Raises NotWell."""
    seen = missed_fires.noted(connection, read_clock(connection))
    told = "the watchdog has not looked yet" if seen is None else f"the watchdog looked {seen.age:.0f} s ago"
    if seen is None or seen.age > LOOK_AGE_SECONDS:
        raise NotWell(told)
    return told


def ask(url: str) -> str:
    """Ask a server of this machine, without any proxy. Raises NotWell."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=ANSWER_SECONDS) as answer:
            return f"{url}: HTTP {answer.status}"
    except (URLError, OSError) as error:
        raise NotWell(f"{url}: {error}") from None


def _address(host: str, port: int, path: str) -> str:
    host = EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}{path}" if ":" in host else f"http://{host}:{port}{path}"


Judge = Callable[[Connection, Settings, argparse.Namespace], str]
OF_THE_LEDGER: Final[Mapping[str, Judge]] = {"beat": beat, "worker": worker, "missed-fires": watchdog}
OF_HTTP: Final[Mapping[str, Callable[[Settings], str]]] = {
    "api": lambda settings: _address(settings.api_host, settings.api_port, "/health/live"),
    "flower": lambda settings: _address("", settings.flower_port, "/healthcheck"),
}


if __name__ == "__main__":
    sys.exit(main())
