"""A `.env` that is there and cannot be read: every command says so in one line and ends with exit code 2."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.project_copy import copy_project

# Root reads a file of any mode: what lets it do so is taken away.
WITHOUT_ROOTS_EYES = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
SETTING = "API_PORT=9001\n"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with a `.env` of the test's own: it is looked for beside config.py."""
    return copy_project(tmp_path_factory.mktemp("project"))


def closed(path: Path) -> None:
    path.write_text(SETTING)
    path.chmod(0)


def in_another_encoding(path: Path) -> None:
    path.write_text(f"# 端口\n{SETTING}", encoding="gbk")


KINDS: dict[Callable[[Path], None], str] = {
    closed: "cannot be read (Permission denied); let the account that runs this read it, or remove it",
    in_another_encoding: "cannot be read (it is no UTF-8); save it as UTF-8",
    Path.mkdir: "is a folder; put a file there, or remove it",
}


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("run_beat.py --once", closed),
        ("run_worker.py", in_another_encoding),
        ("-m api", Path.mkdir),
        ("-m store.migrate", closed),
        ("-m scripts.embedded status", in_another_encoding),
        ("-m celery -A tasks.celery_app beat", Path.mkdir),
    ],
)
def test_an_unreadable_env_file_is_one_plain_line(copy: Path, command: str, kind: Callable[[Path], None]) -> None:
    env_file = copy / ".env"
    kind(env_file)
    try:
        done = subprocess.run(
            [*(WITHOUT_ROOTS_EYES if os.geteuid() == 0 else []), sys.executable, *command.split()],
            cwd=copy, env={"PATH": os.defpath}, capture_output=True, text=True, timeout=50, check=False,
        )  # fmt: skip
    finally:
        env_file.rmdir() if env_file.is_dir() else env_file.unlink()

    assert done.stderr.removeprefix("preflight: ") == f"{env_file} {KINDS[kind]}\n"
    assert done.returncode == 2
