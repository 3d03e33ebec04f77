"""A copy of the project that a test may change: with a `.env`, or with another version's files."""

import shutil
from pathlib import Path

from config import BASE_DIR


def copy_project(folder: Path, *whole: str) -> Path:
    """Copy the top-level modules and the folders named, and link to the others; return `folder`.

    A module knows the project's folder by its own place, so what is to take it from the copy must be copied.
    """
    folder.mkdir(exist_ok=True)
    for path in BASE_DIR.iterdir():
        if path.suffix == ".py":
            shutil.copy(path, folder)
        elif path.name in whole:
            shutil.copytree(path, folder / path.name)
        elif path.is_dir() and path.name not in {"data", "logs", ".venv"}:
            (folder / path.name).symlink_to(path)
    return folder
