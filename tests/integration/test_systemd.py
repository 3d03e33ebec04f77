"""The units of deploy/systemd: systemd accepts them, their programs start, and a stop leaves time to drain."""

import os
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Final

import pytest

from config import BASE_DIR, Settings

UNITS: Final = sorted((BASE_DIR / "deploy" / "systemd").glob("*.service"))
FOLDER: Final = "/opt/agent-scheduler"
EVERY_UNIT: Final = pytest.mark.parametrize("unit", UNITS, ids=[unit.stem for unit in UNITS])
OF_ITS_OWN: Final = {"environment", "environmentfile", "execstart", "timeoutstopsec"}
analyze: Final = shutil.which("systemd-analyze")


def section(unit: Path, name: str = "Service") -> dict[str, str]:
    parser = ConfigParser(interpolation=None, strict=False, delimiters="=", comment_prefixes="#")
    parser.read(unit, encoding="utf-8")
    return dict(parser[name])


def test_there_is_a_unit_for_each_program() -> None:
    assert [unit.name for unit in UNITS] == [
        "agent-scheduler-api.service", "agent-scheduler-beat@.service", "agent-scheduler-missed-fires.service",
        "agent-scheduler-worker@.service",
    ]  # fmt: skip


@pytest.mark.skipif(analyze is None, reason="systemd is not installed")
@EVERY_UNIT
def test_systemd_accepts_the_unit_and_finds_little_exposed(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text().replace(f"{FOLDER}/.venv/bin/python", sys.executable).replace(FOLDER, "/opt")
    (tmp_path / unit.name).write_text(text)

    checks = [
        ["systemd-analyze", "verify", str(tmp_path / unit.name)],
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(tmp_path / unit.name)],
    ]
    for check in checks:
        done = subprocess.run(check, capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert unit.stem not in done.stderr, done.stderr  # what verify only warns about


@EVERY_UNIT
def test_the_program_of_the_unit_starts(unit: Path) -> None:
    command = section(unit)["execstart"].replace("%i", "1").replace("$WORKER_OPTIONS", "--queues system").split()
    assert command[0] == f"{FOLDER}/.venv/bin/python"

    done = subprocess.run(
        [sys.executable, *command[1:], "--help"],
        cwd=BASE_DIR, env={"PATH": os.defpath}, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


def test_a_worker_has_time_to_drain_and_is_gone_within_a_minute() -> None:
    worker = section(next(unit for unit in UNITS if "worker" in unit.name))

    assert Settings.model_fields["drain_seconds"].default < int(worker["timeoutstopsec"]) <= 60
    assert (worker["killsignal"], worker["killmode"]) == ("SIGTERM", "mixed")


def test_what_holds_for_one_unit_holds_for_all() -> None:
    shared = [{key: value for key, value in section(unit).items() if key not in OF_ITS_OWN} for unit in UNITS]

    assert all(other == shared[0] for other in shared[1:])
    assert shared[0]["restart"] == "always"
    assert {"nonewprivileges", "privatetmp", "protectsystem", "readwritepaths"} <= shared[0].keys()
    assert all("/etc/agent-scheduler.env" in unit.read_text() for unit in UNITS)
