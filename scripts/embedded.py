"""`make run`, `make status`, `make stop`: the whole scheduler on one machine, with nothing but Python installed.

What `make run` starts, and what it leaves alone:

- Nothing configured: the built-in SQLite database is migrated, Valkey and a demo agent are started beside beat, two
  workers and the API, three sample tasks are inserted, and their first results are shown.
- `DATABASE_URL` set (environment or .env): that database is used as it is. It is not migrated (`make migrate` does
  that), gets no sample rows, and no demo agent answers its tasks.
- `CELERY_BROKER_URL` or `REDIS_URL` set: that broker is used, and no Valkey is started.
- `AGENT_API_BASE_URL` set: agent and workflow tasks go there, so the two samples that need the demo agent are paused.
- `API_TOKENS` and `HTTP_ALLOWED_HOSTS` are added to: a token of this copy, and the demo agent's address.

A second `make run` leaves everything running and shows fresh results. All of it lives under data/embedded/ and the
log folder; `make stop` ends every process.
"""

import argparse
import fcntl
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from api.access import Role
from config import BASE_DIR, ENV_FILE, SettingsError, get_settings
from scripts import embedded_supervisor as supervisor
from scripts import samples, users
from scripts.embedded_profile import (
    HOME,
    LOGS,
    CannotRun,
    Profile,
    admin_password,
    api_token,
    demo_port,
    find_valkey,
    keep_demo_port,
)
from scripts.port_holder import find_holder, is_free
from scripts.terminal import Steps, say, table
from store.database import connect
from store.migrate import current_revision, newest_revision

SERVER_SECONDS: Final = 60.0  # a busy machine is slow; a program that ends is noticed at once
SERVICE_SECONDS: Final = 120.0
RESULT_SECONDS: Final = 90.0
LATEST_RUNS_PATH: Final = "/api/v2/runs?limit=5"


@dataclass
class Embedded:
    """One `make run`."""

    profile: Profile
    steps: Steps = field(default_factory=lambda: Steps(5))
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = connect(self.profile.settings.database_url)

    def run(self) -> int:
        """Start what is not running, wait for results, show them. 0: every sample succeeded."""
        if supervisor.is_running():
            say("Already running; `make stop` ends it.")
            if ENV_FILE.exists() and ENV_FILE.stat().st_mtime > supervisor.PID_FILE.stat().st_mtime:
                say("  .env is newer: `make stop && make run` starts with the changed settings.")
            self.steps = Steps(2)
            self.start_services()
            return self.show_results()
        self.check_ports()
        self.migrate()
        try:
            self.start_servers()
            self.start_services()
        except BaseException:
            say("Stopping what was started ...")
            supervisor.stop(lambda _: None)
            raise
        return self.show_results()

    def check_ports(self) -> None:
        """Make sure that nobody else listens where we will. Raises CannotRun with the holder's name."""
        wanted = self.profile.ports
        with self.steps.step("ports " + ", ".join(f"{port} ({what})" for what, (_, port, _) in wanted.items())):
            if list(supervisor.leftovers()):
                self.steps.progress("ending what an earlier run left behind")
                supervisor.stop(lambda _: None)
            taken = [
                f"Port {port} ({what}) is held by {find_holder(port)}. Stop that, or use: {mend}"
                for what, (host, port, mend) in wanted.items()
                if not is_free(host, port)
            ]
            if taken:
                raise CannotRun("\n".join(taken))

    def migrate(self) -> None:
        """Bring the built-in database to the newest schema; leave any other as it is."""
        if self.profile.own_database:
            where = self.engine.url.render_as_string(hide_password=True)
            with self.steps.step(f"your own database as it is: {where}"):
                if current_revision(self.engine) != newest_revision():
                    raise CannotRun(f"{where} is not at the schema of this version; `make migrate` brings it there")
            return
        with self.steps.step(f"database {os.path.relpath(str(self.engine.url.database))}"):
            done = _run_module("store.migrate")
            if done.returncode != 0:
                raise CannotRun(done.stdout.strip())
        if users.has_password(self.engine, users.ADMIN, admin_password()) is None:
            users.add_user(self.engine, users.ADMIN, Role.ADMIN, admin_password(), by="make run")

    def start_servers(self) -> None:
        """Start supervisord, and the programs that the others need."""
        with self.steps.step("starting " + ", ".join(self.profile.servers or ("supervisord",))):
            valkey = "valkey-server" if self.profile.own_broker else find_valkey()
            keep_demo_port(self.profile.demo_port)
            supervisor.start(self.profile.environment(sys.executable, valkey, api_token()))
            supervisor.start_programs(self.profile.servers)
            silent = {
                what: port for what, (_, port, _) in self.profile.ports.items() if what in {"Valkey", "demo agent"}
            }
            self._wait(
                "answer", lambda: [what for what, port in silent.items() if is_free("127.0.0.1", port)], SERVER_SECONDS
            )

    def start_services(self) -> None:
        """Start beat, the workers and the API, and wait until they have come to stay."""
        services = self.profile.services
        with self.steps.step("starting " + ", ".join(services)):
            supervisor.start_programs((*self.profile.servers, *services))
            self._wait("start", self._not_yet_up, SERVICE_SECONDS)

    def show_results(self) -> int:
        """Ask every sample for a run now, and print what comes back."""
        if not self.profile.has_samples:
            with self.steps.step("latest runs"):
                latest = samples.latest_runs(self.engine, 5)
            _print_runs(latest)
            self.print_ways_on()
            return 0
        wanted = samples.samples(self.profile.demo_address)
        with self.steps.step("running the sample tasks"):
            before = samples.put_in(self.engine, wanted, agent_is_demo=not self.profile.own_agents)
            names = samples.expected(self.engine, wanted)

            def missing() -> list[str]:
                wrong = samples.config_errors(self.engine, names)
                if wrong:
                    raise CannotRun("\n".join(f"{name}: {error}" for name, error in wrong.items()))
                done = {run.name for run in samples.runs_since(self.engine, before, names) if run.is_final}
                return [name for name in names if name not in done]

            self._wait("finish", missing, RESULT_SECONDS, patient=True)
        runs = samples.runs_since(self.engine, before, names)
        _print_runs(runs)
        self.print_ways_on()
        return 0 if len(runs) == len(names) and all(run.state == "SUCCESS" for run in runs) else 1

    def print_ways_on(self) -> None:
        """Say where to look and what to try next."""
        address = f"http://{_reachable(self.profile.settings.api_host)}:{self.profile.settings.api_port}"
        say(f"Console   {address}/")
        if not self.profile.own_database and users.has_password(self.engine, users.ADMIN, admin_password()):
            say(f"Login     {users.ADMIN}, password {admin_password()}")
        say(f"API       curl -H 'Authorization: Bearer {api_token()}' '{address}{LATEST_RUNS_PATH}'")
        say(f"Look      make status; logs in {_near(self.profile.settings.log_path)}/ and {_near(LOGS)}/")
        if self.profile.has_samples:
            say("Your own  INSERT INTO periodic_task (name, crontab, task_extra_config) VALUES")
            say('            (\'my first task\', \'*/5 * * * *\', \'{"task_type": "agent", "agent_id": "demo",')
            say(f'             "message": "..."}}\');   in {_near(self.engine.url.database or "")}')
        say("Stop      make stop")

    def _not_yet_up(self) -> list[str]:
        running = {one.name for one in supervisor.programs() if one.state == "RUNNING"}
        return [name for name in self.profile.services if name not in running] or self._failing_checks()

    def _failing_checks(self) -> list[str]:
        """Ask /health/ready what does not hold yet."""
        host, port = _reachable(self.profile.settings.api_host), self.profile.settings.api_port
        connection = http.client.HTTPConnection(host, port, timeout=5)
        try:
            connection.request("GET", "/health/ready")
            checks = json.loads(connection.getresponse().read())["checks"]
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return ["an answer of the API"]
        finally:
            connection.close()
        return [check["name"] for check in checks if check["state"] != "ok"]

    def _wait(self, verb: str, missing: Callable[[], list[str]], seconds: float, *, patient: bool = False) -> None:
        """Wait until nothing is missing. A program that ended by itself ends the wait (CannotRun with its words)."""
        left: list[str] = []

        def is_done() -> bool:
            nonlocal left
            if any(one.has_failed for one in supervisor.programs()):
                raise CannotRun(supervisor.last_words())
            left = missing()
            if left:
                self.steps.progress(f"waiting for {', '.join(left)}")
            return not left

        if not supervisor.wait_until(is_done, seconds) and not patient:
            raise CannotRun(f"{', '.join(left)} did not {verb} within {seconds:.0f} s; logs: {_near(LOGS)}/")


def _run_module(name: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", name],
        cwd=BASE_DIR,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def _print_runs(runs: list[samples.Latest]) -> None:
    say()
    if runs:
        say(table(("task", "state", "took", "answer"), [(run.name, run.state, run.took, run.answer) for run in runs]))
    else:
        say("  (no runs yet)")
    say()


def _reachable(host: str) -> str:
    """Name an address that a program on this machine can call."""
    return {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound


def _near(path: object) -> str:
    """Shorten a path below the project's folder."""
    return os.path.relpath(str(path), BASE_DIR)


def status(profile: Profile) -> int:
    """Print the programs and the latest runs."""
    if not supervisor.is_running():
        say("Nothing is running; `make run` starts it.")
        return 0
    say(table(("program", "state", "since"), [(one.name, one.state, one.detail) for one in supervisor.programs()]))
    _print_runs(samples.latest_runs(connect(profile.settings.database_url)))
    return 0


def stop() -> int:
    """End everything that `make run` started from this folder."""
    steps = Steps(1)
    with steps.step("stopping"):
        found = supervisor.stop(steps.progress)
    say("Stopped." if found else "Nothing was running.")
    return 0


@contextmanager
def alone() -> Iterator[None]:
    """Let one `make run` or `make stop` of this copy work at a time."""
    HOME.mkdir(parents=True, exist_ok=True, mode=0o700)
    LOGS.mkdir(exist_ok=True)
    (HOME / "valkey").mkdir(exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another `make run` or `make stop` is at work here; waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """0: done, 1: something stands in the way (said in words), 2: a setting is wrong, 130: interrupted."""
    parser = argparse.ArgumentParser(description="The whole scheduler on one machine.")
    parser.add_argument("command", choices=("run", "status", "stop"))
    command = parser.parse_args().command
    try:
        profile = Profile(get_settings(), demo_port())
        if command == "status":
            return status(profile)
        with alone():
            return stop() if command == "stop" else Embedded(profile).run()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except (CannotRun, OSError, SQLAlchemyError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
