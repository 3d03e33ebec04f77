"""What a pack needs beyond requirements.txt: loaded when it is used, and named where it is missing."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from config import BASE_DIR
from core.outcome import AgentError, ErrorKind


def load(module: str, requirements: str) -> Any:
    """Import a module. Raises AgentError CONFIG that names the requirements file which brings it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        mend = f"run: .venv/bin/python -m pip install -r {requirements}"
        raise AgentError(ErrorKind.CONFIG, f"the Python package of {module!r} is not installed; {mend}") from error


def requirements_of(pack: str) -> Path:
    """Name the file with what a pack needs."""
    return BASE_DIR / f"requirements-{pack}.txt"


def missing(requirements: Path) -> list[str]:
    """Name what a requirements file pins and this Python does not have, or has in another version."""
    wanted = [line.partition("#")[0].strip() for line in requirements.read_text(encoding="utf-8").splitlines()]
    return [line for line in wanted if line and not line.startswith("-") and not _is_installed(line)]


def _is_installed(pin: str) -> bool:
    name, _, wanted = pin.partition("==")
    try:
        return version(name.partition("[")[0]) == wanted
    except PackageNotFoundError:
        return False
