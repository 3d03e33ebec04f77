"""Who listens on a TCP port of this machine, without any package: /proc on Linux, lsof elsewhere."""

import errno
import os
import pwd
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LISTENING: Final = "0A"


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that listens. What only root may know of another user's process is None."""

    pid: int | None
    name: str | None
    user: str | None

    def __str__(self) -> str:
        """Name it as an operator would look for it."""
        if self.pid is None:
            return f"a process of user {self.user}" if self.user else "a process of another user"
        return f"{self.name or 'a process'} (pid {self.pid})"


def is_free(host: str, port: int) -> bool:
    """True when `host`:`port` can be listened on. Raises OSError for an address this machine does not have."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


def find_holder(port: int) -> Holder:
    """Find who listens on `port`, as far as this user may know."""
    if not Path("/proc/net/tcp").exists():
        return _ask_lsof(port)
    listeners = _listeners(port)
    for process in Path("/proc").glob("[0-9]*"):
        if _opens(process) & set(listeners):
            return Holder(int(process.name), _name_of(process), None)
    return Holder(None, None, next((_user(uid) for uid in listeners.values()), None))


def _listeners(port: int) -> dict[str, int]:
    """Map the inode of each socket that listens on `port` to its user's id."""
    found = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                found[fields[9]] = int(fields[7])
    return found


def _opens(process: Path) -> set[str]:
    """List the inodes of the sockets a process has open; none when we may not look."""
    inodes = set()
    try:
        for link in (process / "fd").iterdir():
            target = os.readlink(link)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    except OSError:  # it ended, or it is another user's
        return inodes
    return inodes


def _name_of(process: Path) -> str | None:
    try:
        words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    shown = " ".join([Path(words[0]).name, *words[1:4]]).strip()
    return shown[:80] or (process / "comm").read_text().strip()


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _ask_lsof(port: int) -> Holder:
    if not shutil.which("lsof"):
        return Holder(None, None, None)
    command = ["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    fields = {line[:1]: line[1:] for line in reversed(lines)}
    return Holder(int(fields["p"]), fields.get("c"), None) if "p" in fields else Holder(None, None, None)
