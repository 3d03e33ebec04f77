"""How pytest-xdist shares the tests out: a file to a worker, in which the servers of a module are started once.

Files of real processes come first, so that none of them is left alone at the end. The tests of a few files wait for
most of their time and share nothing: each of these is a piece by itself, and several wait at once.
"""

from typing import Final

import pytest
from xdist.scheduler import LoadScopeScheduling

APART: Final = (
    "tests/acceptance/test_endpoint_limits.py",
    "tests/acceptance/test_main_job.py",
    "tests/acceptance/test_remote_runs.py",
    "tests/acceptance/test_watchdog_process.py",
    "tests/faults/test_faults.py",
    "tests/faults/test_upgrades.py",
    "tests/faults/test_worker_faults.py",
)


class Pieces(LoadScopeScheduling):  # type: ignore[misc] # xdist comes without types
    """In the order of collection, which `longest_first` has arranged."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return nodeid if file in APART else file

    def schedule(self) -> None:
        self.config.option.loadscopereorder = False  # by the number of tests: the longest files have the fewest
        super().schedule()


def longest_first(items: list[pytest.Item]) -> None:
    """Order whole files: those apart, those with slow tests, the others."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.nodeid.partition("::")[0] not in APART, item.path not in slow))
