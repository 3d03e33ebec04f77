"""Each service of deploy/compose and deploy/kubernetes: its command in its environment, judged by its own health check.

No container engine is needed, and none is used: tests/deploy/containers.py says what stands in its place.
"""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import pytest

from config import BASE_DIR
from store.database import connect
from tests.deploy.containers import Engine, can_name_hosts, copy_image_files
from tests.deploy.manifests import COMPOSE, compose, of_kind
from tests.scratch import scratch_folder
from tests.services import HOST, MariaDBServer, free_port
from tests.stack import Stack, agent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SERVICES: Final[dict[str, dict[str, Any]]] = compose()["services"]
ONE_SHOTS: Final = ("mysql-accounts", "migrate", "mysql-rights")
PROGRAMS: Final = tuple(name for name, service in SERVICES.items() if service.get("init"))
AGENTS: Final = "http://agents.example.com/api"  # as in the manifests
PACKS: Final = "trading"
PATIENCE: Final = 120.0


@dataclass
class Site:
    """The machine on which both files are tried: its servers, its engine, and the ledger seen from outside."""

    engine: Engine
    stack: Stack
    secrets: Path
    ports: Mapping[str, int]

    def environment(self, service: str) -> dict[str, str]:
        found = dict(re.findall(r"^([A-Z_]+)=(.*)$", (COMPOSE / ".env.example").read_text(), re.MULTILINE))
        found |= {"AGENT_API_BASE_URL": AGENTS, "TASK_PACKS": PACKS}
        declared: dict[str, str] = SERVICES[service].get("environment", {})
        declared = {name: value.replace("${TASK_PACKS:-}", PACKS) for name, value in declared.items()}
        return found | declared if "env_file" in SERVICES[service] else declared

    def health(self, service: str, host: str) -> "subprocess.CompletedProcess[str]":
        kind, *command = SERVICES[service]["healthcheck"]["test"]
        if kind == "CMD-SHELL":
            command = ["sh", "-c", command[0].replace("$$", "$")]
        return self.engine.run(host, command, self.environment(service))

    def start(self, service: str, host: str) -> None:
        self.engine.start(host, SERVICES[service]["command"], self.environment(service))

    def becomes_healthy(self, service: str, host: str) -> None:
        give_up_at = time.monotonic() + PATIENCE
        while (check := self.health(service, host)).returncode != 0:
            process = self.engine.processes.get(host)
            assert process is None or process.poll() is None, self.engine.tails()
            assert time.monotonic() < give_up_at, f"{host}: {check.stderr}{check.stdout}\n{self.engine.tails()}"
            time.sleep(0.3)


def ports_of_the_test() -> dict[str, int]:
    return {name: free_port() for name in ("redis", "api", "flower")}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that an ordinary user may look into, as those of pytest are not."""
    if not can_name_hosts():
        pytest.skip("unshare --uts is not permitted here: health checks need host names of their own")
    made = Path(tempfile.mkdtemp(prefix="d-", dir=scratch_folder()))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[Site]:
    copy_image_files(folder / "app")
    ports = ports_of_the_test()
    with MariaDBServer(SERVICES["mysql"]["command"][1:]) as server:
        secrets = folder / "secrets"
        made = [str(COMPOSE / "new-secrets.sh"), str(secrets), f"{HOST}:{server.port}"]
        subprocess.run(made, check=True, capture_output=True)
        secrets.chmod(0o755)
        with server.cursor() as cursor:
            root = (secrets / "mysql_root_password").read_text()
            cursor.execute(f"ALTER USER root@'{HOST}' IDENTIFIED BY '{root}'")
        stack = Stack(server.database_url("agent_scheduler"), "", folder)
        names = replaced(folder, server.port, ports, stack.environment["AGENT_API_BASE_URL"])
        engine = Engine(folder / "app", folder / "work", names)
        for script, where in (("accounts.sh", "accounts"), ("redis.sh", "redis")):
            (folder / where).mkdir()
            (folder / where / script).write_text(engine.here((COMPOSE / script).read_text()))
        (folder / "accounts" / "grants.sql").write_bytes((BASE_DIR / "deploy/mysql/grants.sql").read_bytes())
        try:
            yield Site(engine, stack, secrets, ports)
        finally:
            engine.close()
            stack.close()


def replaced(folder: Path, mysql: int, ports: Mapping[str, int], agents: str) -> dict[str, str]:
    """What is inside a container's name, and what this machine has in its place."""
    secrets = folder / "secrets"
    return {
        "/run/secrets/agent-scheduler-migrate/": f"{secrets}/migrate_",
        "/run/secrets/agent-scheduler": str(secrets),
        "/run/secrets": str(secrets),
        "/accounts/": f"{folder}/accounts/",
        "/redis/redis.sh": f"{folder}/redis/redis.sh",
        "/app/logs": f"{folder}/app/logs",
        "redis://redis:6379": f"redis://{HOST}:{ports['redis']}",
        "-p 6379": f"-p {ports['redis']}",
        "${REDIS_PORT:-6379}": str(ports["redis"]),
        "--port=3306": f"--port={mysql}",
        "${MYSQL_PORT:-3306}": str(mysql),
        "$MYSQL_HOST": HOST,
        "8003": str(ports["api"]),
        "5555": str(ports["flower"]),
        AGENTS: agents,
    }


@pytest.fixture(scope="module")
def up(site: Site) -> Iterator[Site]:
    """What `docker compose up` does: in the order of depends_on, each after what it needs is healthy or done."""
    site.becomes_healthy("mysql", "mysql")
    site.start("redis", "redis")
    site.becomes_healthy("redis", "redis")
    for name in ONE_SHOTS:
        command = [*SERVICES[name].get("entrypoint", ()), *SERVICES[name].get("command", ())]
        done = site.engine.run(name, command, site.environment(name))
        assert done.returncode == 0, done.stderr + done.stdout
    assert "all rights are granted" in done.stdout
    with site.stack:  # its agent; the schema is there
        for service in PROGRAMS:
            for number in (1, 2) if service in ("celery-beat", "celery-worker") else (1,):
                site.start(service, f"{service}-{number}")
        for host in [host for host in site.engine.processes if host != "redis"]:
            site.becomes_healthy(host.rpartition("-")[0], host)
        yield site


def test_two_beats_and_two_workers_carry_rows_out_and_every_health_check_is_well(up: Site) -> None:
    stack = up.stack
    every_second = {"interval_seconds": 1, "overlap": "allow", "task_extra_config": agent("quick"), "max_runs": 5}
    stack.insert_many([{"name": f"r{n}", **every_second} for n in range(20)])
    stack.insert("urgent", agent("quick", queue="priority_high"), run_now=1, crontab="0 0 1 1 *")
    stack.wait_for(lambda: stack.states() == {"SUCCESS": 101}, "every run", 60)

    assert stack.count("SELECT count(DISTINCT SUBSTRING_INDEX(id, ':', 1)) FROM beat_heartbeat") == 2
    hosts = {row[0].rpartition("#")[0].rpartition("@")[2] for row in stack.sql("SELECT id FROM worker_lease")}
    assert hosts == {"celery-worker-1", "celery-worker-2", "celery-worker-urgent-1", "celery-worker-packs-1"}
    metrics = urlopen(f"http://{HOST}:{up.ports['api']}/metrics", timeout=10).read().decode()
    assert "scheduler_workers 4.0" in metrics


def test_the_packs_have_their_tables_and_a_worker_of_processes_that_runs_their_tasks(up: Site) -> None:
    task = '{"task_type": "celery", "task": "packs.trading.maintenance_tasks.refresh_cache", "queue": "maintenance"}'
    up.stack.insert("refresh-cache", task, run_now=1, crontab="0 0 1 1 *")

    up.stack.wait_for(lambda: up.stack.states("refresh-cache")["SUCCESS"] == 1, "the run", 60)
    (run,) = up.stack.sql("SELECT worker FROM task_run WHERE task_name = 'refresh-cache'")
    assert "@celery-worker-packs-1#" in run.worker


def test_a_dead_beat_and_a_dead_worker_are_told_by_their_own_checks_alone(up: Site) -> None:
    up.engine.kill("celery-worker-2")
    up.stack.sql("UPDATE worker_lease SET expires_at = UTC_TIMESTAMP(6) WHERE id LIKE '%@celery-worker-2#%'")
    up.engine.stop("celery-beat-2")
    up.stack.sql(
        "UPDATE beat_heartbeat SET last_tick_at = last_tick_at - INTERVAL 60 SECOND WHERE id LIKE 'celery-beat-2:%'"
    )

    worker, beat = up.health("celery-worker", "celery-worker-2"), up.health("celery-beat", "celery-beat-2")

    assert (worker.returncode, worker.stderr) == (1, "not well: worker of celery-worker-2 holds no lease\n")
    assert beat.returncode == 1
    assert re.fullmatch(r"not well: beat of celery-beat-2: newest tick \d+\.\d s ago, at most 31\.5 s\n", beat.stderr)
    for service in ("celery-worker", "celery-beat"):
        assert up.health(service, f"{service}-1").returncode == 0


def stop_programs(site: Site) -> None:
    """End everything but the broker; each in good order."""
    assert site.engine.stop(*(host for host in site.engine.processes if host != "redis")) <= {0}, site.engine.tails()


def containers() -> list[tuple[str, dict[str, Any]]]:
    """Each Deployment of deploy/kubernetes with its one container."""
    return [
        (each["metadata"]["name"], each["spec"]["template"]["spec"]["containers"][0]) for each in of_kind("Deployment")
    ]


def test_the_containers_of_kubernetes_join_the_same_ledger_and_pass_their_probes(up: Site) -> None:
    settings = of_kind("ConfigMap")[0]["data"] | {"TASK_PACKS": PACKS}
    stop_programs(up)
    (job,) = of_kind("Job")
    migrate = job["spec"]["template"]["spec"]["containers"][0]
    done = up.engine.run("migrate", migrate["command"], {each["name"]: each["value"] for each in migrate["env"]})
    assert done.returncode == 0, done.stderr
    assert "was up to date" in done.stdout

    for name, container in containers():
        up.engine.start(f"{name}-7d9f-x", container["command"], settings)
    give_up_at = time.monotonic() + PATIENCE
    for name, container in containers():
        assert container["startupProbe"].get("exec") == container["livenessProbe"].get("exec")
        for probe in ("livenessProbe", "readinessProbe"):
            while (fault := probed(up, f"{name}-7d9f-x", container[probe], settings)) is not None:
                assert time.monotonic() < give_up_at, f"{name} {probe}: {fault}\n{up.engine.tails()}"
                time.sleep(0.3)
    up.stack.sql("UPDATE periodic_task SET run_now = 1 WHERE name = 'r1'")
    up.stack.wait_for(lambda: up.stack.states("r1")["SUCCESS"] == 6, "the run")


def probed(site: Site, host: str, probe: Mapping[str, Any], settings: Mapping[str, str]) -> str | None:
    """Make a probe; None: it is well."""
    if "exec" in probe:
        done = site.engine.run(host, probe["exec"]["command"], settings)
        return done.stderr if done.returncode else None
    assert probe["httpGet"]["port"] == "http"
    try:
        urlopen(f"http://{HOST}:{site.ports['api']}{probe['httpGet']['path']}", timeout=5).close()
    except OSError as error:
        return str(error)
    return None


def test_the_scaler_asks_for_the_age_of_the_oldest_run_that_is_ready(up: Site) -> None:
    (scaler,) = of_kind("ScaledObject")
    (trigger,) = scaler["spec"]["triggers"]
    password = (up.secrets / "mysql_run_password").read_text()
    engine = connect(up.stack.database_url.replace("tester:tester-0", f"agent_run:{password}"))

    def age() -> int:
        with engine.connect() as connection:
            return int(connection.exec_driver_sql(trigger["metadata"]["query"]).scalar_one())

    assert age() == 0
    later = (
        "INSERT INTO task_run (id, task_name, origin, scheduled_for, ready_at, state, queue, priority, attempt, config)"
        " VALUES "
    )
    row = "('{}', 'x', 'manual', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6) {}, '{}', 'nobody', 5, 0, '{{}}')"
    up.stack.sql(later + row.format("waits", "+ INTERVAL 1 HOUR", "PENDING"))
    up.stack.sql(later + row.format("ended", "- INTERVAL 1 HOUR", "SUCCESS"))
    assert age() == 0
    up.stack.sql(later + row.format("ready", "- INTERVAL 30 SECOND", "QUEUED"))
    assert 30 <= age() <= 40
    engine.dispose()


#: What is enabled by the guide: host, unit, instance, and the service of compose whose health check judges it.
UNITS: Final = [
    ("unit-beat-1", "agent-scheduler-beat@.service", "1", "celery-beat"),
    ("unit-beat-2", "agent-scheduler-beat@.service", "2", "celery-beat"),
    ("unit-worker-1", "agent-scheduler-worker@.service", "1", "celery-worker"),
    ("unit-worker-urgent", "agent-scheduler-worker@.service", "urgent", "celery-worker"),
    ("unit-api", "agent-scheduler-api.service", "", "api"),
    ("unit-missed-fires", "agent-scheduler-missed-fires.service", "", "missed-fires"),
]


def test_the_units_of_systemd_start_with_secrets_from_files_beside_each_other(up: Site) -> None:
    stop_programs(up)
    folder = BASE_DIR / "deploy" / "systemd"
    given = re.findall(r"^Environment=(\w+)=%d/(\w+)$", (folder / "secrets.conf").read_text(), re.MULTILINE)
    by_file = {name: f"/run/secrets/{file}" for name, file in given}
    environment = {**up.environment("api"), **by_file, "LOG_DIR": "/app/logs"}
    assert {file.name for file in folder.glob("*.service")} == {unit for _, unit, _, _ in UNITS}

    for host, unit, instance, _ in UNITS:
        text = (folder / unit).read_text()
        (line,) = re.findall(r"^ExecStart=/opt/agent-scheduler/\.venv/bin/(.*)$", text, re.MULTILINE)
        options = "--queues system,priority_high" if instance == "urgent" else ""
        up.engine.start(host, line.replace("%i", instance).replace("$WORKER_OPTIONS", options).split(), environment)
    for host, _, _, service in UNITS:
        up.becomes_healthy(service, host)
    check = ["python", "-m", "scripts.health", "worker", "--name", "urgent"]
    assert up.engine.run("unit-worker-urgent", check, environment).returncode == 0
    assert up.engine.run("unit-worker-1", check, environment).returncode == 1


def test_the_production_supervisor_keeps_two_beats_and_three_workers(up: Site) -> None:
    stop_programs(up)
    shutil.copytree(BASE_DIR / "deploy" / "supervisor", up.engine.image / "deploy" / "supervisor")
    environment = up.environment("api") | {"LOG_DIR": "/app/logs"}
    control = ["python", "-m", "supervisor.supervisorctl", "-c", "deploy/supervisor/supervisord.conf"]

    def states() -> dict[str, str]:
        said = up.engine.run("supervised", [*control, "status"], environment).stdout
        return dict(re.findall(r"^(\S+) +([A-Z]+)\b", said, re.MULTILINE))

    up.engine.start("supervised", ["python", "-m", "supervisor.supervisord", "-n", *control[3:]], environment)
    try:
        up.stack.wait_for(lambda: list(states().values()) == ["RUNNING"] * 10, "every program to run", PATIENCE)

        assert {name for name in states() if "beat" in name or "worker-" in name} == {
            "beats:celery-beat-0", "beats:celery-beat-1", "workers:celery-worker-0", "workers:celery-worker-1",
            "workers:celery-worker-2", "workers:celery-worker-urgent", "workers:celery-worker-packs",
        }  # fmt: skip
        up.becomes_healthy("celery-beat", "supervised")
        up.becomes_healthy("celery-worker", "supervised")
        restarted = up.engine.run("supervised", [*control, "restart", "beats:*"], environment)
        assert restarted.stdout.count(": started") == 2, restarted.stdout
        assert (up.engine.image / "logs" / "supervisor_worker_2.log").is_file()
    finally:
        ended = up.engine.stop("supervised")  # in order: a killed one would leave its programs behind
    assert ended == {0}
