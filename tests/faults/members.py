"""One beat or worker, and the agent server: what they are started with, and their processes."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.proxy import Port
from tests.server_process import ServiceMissing, free_port
from tests.stack import ROOT

PLAIN = ("-m", "tests.faults.launch")


@dataclass(slots=True)
class Ports:
    """One member's own way to each service."""

    database: Port
    broker: Port
    agent: Port


class Member:
    """One beat or worker: what it is started with, and the process that runs now."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str], ports: Ports) -> None:
        self.name = name
        self.command = tuple(command)
        self.environment = environment
        self.ports = ports
        self.always: tuple[str, ...] = PLAIN
        """What stands before the command at every start."""
        self.launcher: tuple[str, ...] = ()
        """What stands there at the next start only, such as ("-m", "tests.faults.crashing", "after_claim")."""
        self.clock = Path()
        self.wanted = True
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.exits: Counter[int] = Counter()
        self.not_before = 0.0

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    @property
    def is_stopped(self) -> bool:
        """True while SIGSTOP holds it."""
        process = self.process
        try:
            return process is not None and _state_of(process.pid) == "T"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def set_clock(self, offset: str) -> None:
        """Shift what this process takes for the time, from now on: "+3600", "-5"."""
        self.clock.write_text(f"{offset}\n")


class Agent:
    """The recording agent as a process of its own; it can be killed and started again on its port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.requests, self.answers = folder / "agent.requests", folder / "agent.answers"
        self._out = folder / "agent.out"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._out.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.recording_agent", str(self.port), str(self.requests), str(self.answers)],
                cwd=ROOT,
                stdout=out,
                stderr=out,
            )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def find_faketime() -> Path:
    """Find libfaketime, for several threads. Raises ServiceMissing."""
    for place in ("lib/*/faketime", "lib*/faketime", "local/lib/faketime"):
        for library in Path("/usr").glob(f"{place}/libfaketimeMT.so.1"):
            return library
    raise ServiceMissing("libfaketime is not installed; run: sudo apt-get install -y faketime")
