"""The supervisor beside us, if there is one: it replaces worker processes that are told to end."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from config import BASE_DIR, supervisor_address

PROGRAM: Final = "celery-worker"  # and what begins so: celery-worker-urgent
SOCKET: Final = BASE_DIR / "logs" / "supervisor.sock"


class NotSupervised(Exception):
    """Workers cannot be replaced from here; the message says why, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Program:
    """A worker that the supervisor keeps."""

    name: str
    pid: int


class Supervisor:
    """Speaks to supervisord over its own socket, as its own user."""

    def __init__(self) -> None:
        address = supervisor_address() or f"unix://{SOCKET}"
        if not address.startswith("unix://"):
            raise NotSupervised(f"supervisor is reached by {address.partition(':')[0]}; only its own socket is used")
        self._path = address

    def _proxy(self) -> Any:
        return ServerProxy("http://127.0.0.1", transport=SupervisorTransport("", "", self._path)).supervisor

    def workers(self) -> Sequence[Program]:
        """Name the running workers. Raises NotSupervised."""
        try:
            found = self._proxy().getAllProcessInfo()
        except (OSError, Fault) as error:
            raise NotSupervised(
                f"no supervisor answers at {self._path} ({error}); restart the workers where they were started"
            ) from error
        return [
            Program(f"{each['group']}:{each['name']}", each["pid"])
            for each in found
            if str(each["name"]).startswith(PROGRAM) and each["statename"] == "RUNNING"
        ]

    def replace(self, programs: Sequence[Program]) -> None:
        """Tell workers to end; each drains, and the supervisor starts another in its place. Raises NotSupervised."""
        self._each(programs, lambda supervisor, program: supervisor.signalProcess(program.name, "TERM"))

    def stop(self, programs: Sequence[Program]) -> None:
        """Tell workers to drain and to stay away until somebody starts them. Raises NotSupervised."""
        self._each(programs, lambda supervisor, program: supervisor.stopProcess(program.name, False))

    def _each(self, programs: Sequence[Program], act: Any) -> None:
        try:
            for program in programs:
                act(self._proxy(), program)
        except (OSError, Fault) as error:
            raise NotSupervised(f"the supervisor refuses: {error}") from error


def node_of(worker: str) -> str:
    """Name the Celery node of a worker: its id in the ledger without what makes each lease its own."""
    return worker.partition("#")[0]


def supervised(leases: Mapping[str, int], programs: Sequence[Program]) -> dict[str, Program]:
    """Match workers (their ids and process ids) with the supervisor's programs on this machine."""
    by_pid = {program.pid: program for program in programs}
    here = socket.gethostname()
    return {
        worker: by_pid[pid]
        for worker, pid in leases.items()
        if pid in by_pid and node_of(worker).rpartition("@")[2] == here
    }
