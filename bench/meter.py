"""CPU time of processes for a unit of work: what `bench.simulate` reckons with."""

from collections import Counter
from collections.abc import Mapping

import psutil


class Meter:
    """Adds up what processes, by role, spend between `read` and `add`."""

    def __init__(self, pids: Mapping[str, int | None]) -> None:
        self._processes = {role: psutil.Process(pid) for role, pid in pids.items()}
        self._spent: Counter[str] = Counter()
        self._units = 0

    def read(self) -> dict[str, float]:
        """Seconds of CPU so far, user and system, by role."""
        return {role: sum(process.cpu_times()[:2]) for role, process in self._processes.items()}

    def add(self, before: Mapping[str, float], units: int) -> None:
        """Count what was spent since `before` for so many units of work."""
        self._spent.update({role: now - before[role] for role, now in self.read().items()})
        self._units += units

    def cpu_ms_per_unit(self) -> dict[str, float]:
        return {role: spent / self._units * 1000 for role, spent in self._spent.items()}
