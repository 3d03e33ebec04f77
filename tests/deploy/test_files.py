"""The files of deploy/ by their own tools: docker-compose, hadolint, the schemas of Kubernetes and KEDA, systemd."""

import re
import shutil
import subprocess
import sysconfig
from configparser import ConfigParser
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
from cloudcoil.models.keda.v1alpha1 import ScaledObject, TriggerAuthentication

from config import BASE_DIR, Settings
from tests.deploy.containers import lines_of_dockerignore
from tests.deploy.manifests import COMPOSE, KUBERNETES, compose, documents, of_kind
from tests.services import find_program
from tests.unit.test_architecture import LAYER

KUBERNETES_VERSIONS: Final = ("1.25", "1.37")  # the oldest and the newest that the package knows
INSTALL: Final = "scripts/install-packages.sh"
DRAIN: Final = Settings.model_fields["drain_seconds"].default
SUPERVISOR: Final = BASE_DIR / "deploy" / "supervisor" / "supervisord.conf"
UNITS: Final = sorted((BASE_DIR / "deploy" / "systemd").glob("*.service"))


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


# -- compose ---------------------------------------------------------------------------------------


def test_docker_compose_accepts_the_file_with_the_secrets_and_settings_of_the_guide(tmp_path: Path) -> None:
    program = find_program("docker-compose", install=INSTALL)
    folder = shutil.copytree(COMPOSE, tmp_path / "de ploy" / "compose")
    subprocess.run([folder / "new-secrets.sh"], check=True, capture_output=True)
    (folder / ".env").write_bytes((folder / ".env.example").read_bytes())

    done = subprocess.run([program, "config"], cwd=folder, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    secrets = [file.read_text() for file in (folder / "secrets").iterdir()]
    assert not [secret for secret in secrets if secret and secret in done.stdout]


def test_secrets_are_made_once_and_only_their_owner_may_look_into_the_folder(tmp_path: Path) -> None:
    make = [COMPOSE / "new-secrets.sh", tmp_path / "s"]
    subprocess.run(make, check=True, capture_output=True)
    before = {file.name: file.read_text() for file in (tmp_path / "s").iterdir()}

    again = subprocess.run(make, check=True, capture_output=True, text=True)

    assert again.stdout == ""
    assert {file.name: file.read_text() for file in (tmp_path / "s").iterdir()} == before
    assert set(before) == set(compose()["secrets"])
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    made = [value for value in before.values() if value]
    assert len(made) == len(set(made)) == 10


def test_the_services_of_compose_have_their_names_a_check_and_time_to_stop() -> None:
    services = compose()["services"]

    assert {"celery-worker", "celery-beat", "celery-flower", "api", "mysql", "redis"} <= services.keys()
    lasting = {name: service for name, service in services.items() if "restart" in service}
    assert [name for name, service in lasting.items() if "healthcheck" not in service] == []
    for name in ("celery-worker", "celery-worker-urgent", "celery-worker-packs"):
        assert seconds(services[name]["stop_grace_period"]) >= DRAIN + 10


@pytest.mark.parametrize("name", ["celery-beat", "celery-worker"])
def test_a_service_that_is_scaled_has_nothing_that_two_cannot_share(name: str) -> None:
    assert not {"container_name", "ports", "hostname"} & compose()["services"][name].keys()


def test_no_service_but_the_database_may_write_or_gain_rights() -> None:
    for name, service in compose()["services"].items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if name != "mysql":
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name


def test_the_compose_settings_are_settings() -> None:
    named = re.findall(r"^([A-Z_]+)=", (COMPOSE / ".env.example").read_text(), re.MULTILINE)
    named += [name for service in compose()["services"].values() for name in service.get("environment", {})]
    known = {name.upper() for name in Settings.model_fields}
    of_compose = {"TAG", "PUBLISH", "PUBLISH_API_PORT", "PUBLISH_FLOWER_PORT", "MYSQL_HOST", "MARIADB_ROOT_PASSWORD"}
    of_compose |= {"PACKS", "COMPOSE_PROFILES"}

    assert {name.removesuffix("_FILE") for name in named} - known == of_compose


def test_a_linter_finds_nothing_in_the_dockerfile() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    done = subprocess.run([hadolint, COMPOSE / "Dockerfile"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("packs", "files"),
    [
        ("", []),
        ("trading", ["trading"]),
        ("trading,trading-sources,assistant", ["trading", "trading-sources", "assistant"]),
    ],
)
def test_the_image_gets_the_packages_of_the_packs_that_are_named(packs: str, files: list[str]) -> None:
    text = (COMPOSE / "Dockerfile").read_text().replace("\\\n", "")
    (line,) = re.findall(r"^RUN (python -m venv .*)$", text, re.MULTILINE)
    shell = line.replace("python -m venv /opt/venv", "true").replace("/opt/venv/bin/pip", "echo")

    said = subprocess.run(["sh", "-c", shell], env={"PACKS": packs}, capture_output=True, text=True, check=True).stdout

    wanted = ["requirements.txt", *(f"requirements-{name}.txt" for name in files)]
    assert re.findall(r"-r /tmp/(\S+)", said) == wanted
    (copied,) = re.findall(r"^COPY (requirements.*) /tmp/$", text, re.MULTILINE)
    assert set(wanted) <= set(copied.split()) <= {line[1:] for line in lines_of_dockerignore()}
    assert [name for name in copied.split() if not (BASE_DIR / name).is_file()] == []


def test_the_image_holds_every_module_and_no_data() -> None:
    lines = lines_of_dockerignore()
    held = {line[1:] for line in lines if line[0] == "!"}
    packages = {name for name in LAYER if (BASE_DIR / name).is_dir()}

    assert packages - held == set(), "name the package in .dockerignore"
    assert not held & {"tests", "data", "logs", ".env", ".git", "deploy"}
    assert lines[0] == "*"


# -- kubernetes ------------------------------------------------------------------------------------


def of_kubernetes() -> list[dict[str, Any]]:
    return [each for each in documents() if "k8s.io" not in each["apiVersion"] and "keda" not in each["apiVersion"]]


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_the_manifests_fit_the_schemas_of_kubernetes(version: str) -> None:
    checked = [kubernetes_validate.validate(each, version, strict=True) for each in of_kubernetes()]

    assert len(checked) == 15


def test_the_schema_check_would_notice_a_misspelt_field() -> None:
    (job,) = of_kind("Job")
    job["spec"]["backofLimit"] = job["spec"].pop("backoffLimit")

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, KUBERNETES_VERSIONS[-1], strict=True)


@pytest.mark.parametrize("model", [ScaledObject, TriggerAuthentication])
def test_the_scaler_fits_the_model_of_kedas_own_definitions(model: Any) -> None:
    (document,) = of_kind(model.__name__)

    read = model.model_validate(document)

    # An unknown field is not refused but dropped: what was read must say all that was written.
    assert read.model_dump(by_alias=True, exclude_unset=True, mode="json") == document


def test_the_kustomization_names_every_file_but_what_is_optional() -> None:
    (kustomization,) = of_kind("Kustomization")
    files = {file.name for file in KUBERNETES.glob("*.yaml")}

    assert set(kustomization["resources"]) == files - {"kustomization.yaml", "keda.yaml", "worker-packs.yaml"}


def test_deployments_run_locked_and_are_kept_up_by_a_budget() -> None:
    budgets = {each["metadata"]["name"] for each in of_kind("PodDisruptionBudget")}
    for deployment in of_kind("Deployment"):
        name, pod = deployment["metadata"]["name"], deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()
        assert name in budgets or deployment["spec"]["replicas"] == 1
        if name.startswith("worker"):
            assert pod["terminationGracePeriodSeconds"] >= DRAIN + 10


def test_what_the_manifests_set_are_settings() -> None:
    (settings,) = [each["data"] for each in of_kind("ConfigMap")]

    assert {name.removesuffix("_FILE") for name in settings} <= {name.upper() for name in Settings.model_fields}


# -- systemd and supervisor --------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=[unit.stem for unit in UNITS])
def test_systemd_takes_the_secrets_beside_each_unit(unit: Path, tmp_path: Path) -> None:
    text = re.sub(r"/opt/agent-scheduler/.venv/bin/python", "/bin/true", unit.read_text())
    (tmp_path / unit.name).write_text(text.replace("/opt/agent-scheduler", "/opt"))
    (tmp_path / f"{unit.name}.d").mkdir()
    shutil.copy(unit.with_name("secrets.conf"), tmp_path / f"{unit.name}.d")

    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / unit.name)],
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "secrets.conf" not in done.stderr
    assert unit.stem not in done.stderr


def test_each_secret_of_systemd_is_a_setting_of_its_name() -> None:
    text = (BASE_DIR / "deploy" / "systemd" / "secrets.conf").read_text()
    loaded = re.findall(r"^LoadCredential=(\w+):/etc/agent-scheduler/\1$", text, re.MULTILINE)

    assert re.findall(r"^Environment=(\w+)_FILE=%d/(\w+)$", text, re.MULTILINE) == [
        (name.upper(), name) for name in loaded
    ]
    assert set(loaded) <= Settings.model_fields.keys()


def test_the_production_supervisor_groups_rotates_and_waits() -> None:
    parser = ConfigParser(interpolation=None, inline_comment_prefixes=(";",))
    parser.read(SUPERVISOR)
    programs = {name.partition(":")[2]: dict(parser[name]) for name in parser if name.startswith("program:")}
    grouped = [
        program for name in parser if name.startswith("group:") for program in parser[name]["programs"].split(",")
    ]

    assert sorted(grouped) == sorted(programs)
    assert int(programs["celery-beat"]["numprocs"]) >= 2
    for name, program in programs.items():
        assert program["stdout_logfile_maxbytes"] == "50MB", name
        if "worker" in name:
            assert int(program["stopwaitsecs"]) >= DRAIN + 10
    logs = [program["stdout_logfile"] for program in programs.values()]
    assert len(set(logs)) == len(logs)
