"""Setting up says what is missing and how to get it, instead of failing half-way."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from config import BASE_DIR
from tests.acceptance.workplace import as_ordinary_user

MAKEFILE = (BASE_DIR / "Makefile").read_text()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a space that holds what setting up needs, and no .venv."""
    folder = tmp_path / "a project"
    shutil.copytree(BASE_DIR / "scripts", folder / "scripts")
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt", "requirements-embedded.txt"):
        shutil.copy(BASE_DIR / name, folder / name)
    return folder


def run(command: list[str], folder: Path, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def fake_python(folder: Path, body: str) -> str:
    """A PATH on which every python3 is a script that does `body`."""
    programs = folder / "fake"
    programs.mkdir()
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    return f"{programs}:/usr/bin:/bin"


def test_make_alone_lists_every_target_with_its_meaning(project: Path) -> None:
    status, output = run(["make"], project)

    assert status == 0
    listed = set(re.findall(r"^  make (\S+) +\S", output, re.MULTILINE))
    assert listed == set(re.findall(r"^\.PHONY: (\S+)$", MAKEFILE, re.MULTILINE))
    assert {"run", "stop", "migrate", "test", "lint", "bench", "help"} <= listed


def test_a_python_that_is_too_old_is_named_with_the_version_needed(project: Path) -> None:
    path = fake_python(project, '[ "$1" = -V ] && echo Python 3.9.2 && exit 0\nexit 1')

    status, output = run(["make", "run"], project, PATH=path)

    assert status != 0
    assert "python3 is Python 3.9.2, and 3.11 or newer is needed" in output
    assert not (project / ".venv").exists()


def test_a_python_named_by_the_user_is_never_replaced_by_another(project: Path) -> None:
    status, output = run(["make", "run", "PYTHON=no-such-python"], project)

    assert status != 0
    assert "PYTHON=no-such-python was not found" in output


def test_a_debian_without_python3_venv_is_told_the_line_that_installs_it(project: Path) -> None:
    path = fake_python(project, 'case "$*" in *ensurepip*) exit 1 ;; *print*) echo 3.11 ;; esac')

    status, output = run(["make", "run"], project, PATH=path)

    assert status != 0
    assert "sudo apt-get install -y python3-venv" in output
    assert not (project / ".venv").exists()


def test_a_failing_pip_shows_its_own_words_and_leaves_no_stamp(project: Path) -> None:
    (project / "requirements.txt").write_text("no-such-distribution-zzz==0\n")

    status, output = run(["make", "run"], project, PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_CONFIG_FILE=os.devnull)

    assert status != 0
    assert "no-such-distribution-zzz" in output
    assert "pip could not install requirements.txt" in output
    assert not (project / ".venv" / ".installed-run").exists()


def test_stop_before_anything_was_set_up_does_nothing(project: Path) -> None:
    assert run(["make", "stop"], project) == (0, "Nothing is running.\n")


def test_without_root_the_exact_install_line_is_printed() -> None:
    script = [*as_ordinary_user(), "bash", "scripts/install-packages.sh", "no-such-package", "make"]

    status, output = run(script, BASE_DIR)

    assert status == 1
    assert "sudo apt-get install -y --no-install-recommends no-such-package\n" in output


def test_with_nothing_missing_the_package_script_says_nothing() -> None:
    assert run(["bash", "scripts/install-packages.sh", "make", "python3"], BASE_DIR) == (0, "")
