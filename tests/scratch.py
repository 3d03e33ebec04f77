"""Where a test session writes: in memory where the machine has plenty, else in /tmp.

Every commit and every step of a migration waits for a disk to sync it. A process that is killed loses nothing of what
it wrote to memory either; a machine that stops would, and no test stops the machine.
"""

import os
import shutil
from pathlib import Path
from typing import Final

import psutil

ON_DISK: Final = Path("/tmp")  # and not TMPDIR: a Unix socket's whole path must stay under 108 bytes
PREFIX: Final = "service-"  # before the id of the process that made a folder here
_IN_MEMORY: Final = Path("/dev/shm")
_ROOM: Final = 6 * 1024**3  # each server takes 135 MB before its first row


def scratch_folder() -> Path:
    """Name an existing folder with a short path, in which programs may be run too."""
    if not os.access(_IN_MEMORY, os.W_OK | os.X_OK):
        return ON_DISK
    found = os.statvfs(_IN_MEMORY)
    room = min(found.f_bavail * found.f_frsize, psutil.virtual_memory().available)
    return ON_DISK if found.f_flag & os.ST_NOEXEC or room < _ROOM else _IN_MEMORY


def remove_orphans(folder: Path) -> None:
    """Remove the servers' folders whose makers were killed: in memory they would add up."""
    for left in folder.glob(f"{PREFIX}*-*"):
        maker = left.name.removeprefix(PREFIX).partition("-")[0]
        if maker.isdecimal() and not psutil.pid_exists(int(maker)):
            shutil.rmtree(left, ignore_errors=True)
