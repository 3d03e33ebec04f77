"""The test of the test: the checker reports every bug that is planted, and nothing where none is."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.faults.checker import OUTSIDE_FAULTS, Report, Row
from tests.faults.cluster import LEASE_SECONDS, Cluster, soon
from tests.faults.mutations import MUTATIONS
from tests.faults.proxy import Mode
from tests.faults.service_faults import delivered_again

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # as in test_faults
]

SECONDS = 5
AT_ONCE = 3


def nothing(_: Cluster) -> None:
    """No fault."""


def deliver_again(cluster: Cluster) -> None:
    for _ in range(20):
        for _ in delivered_again(cluster, None, random.Random()):
            time.sleep(0.2)


def cut_off_worker(cluster: Cluster) -> None:
    """Until its runs are somebody else's; their answers wait in its hands."""
    cluster.wait_for(
        lambda: cluster.number("SELECT count(*) FROM task_run WHERE state = 'STARTED' AND worker LIKE 'w0-%%'") >= 3,
        "runs of the first worker",
    )
    cluster.workers[0].ports.database.set(Mode.HOLD)
    time.sleep(LEASE_SECONDS * 2 + 3)
    cluster.workers[0].ports.database.set(Mode.PASS)


def kill_beats(cluster: Cluster) -> None:
    for n in range(SECONDS * 2):
        time.sleep(0.4)
        cluster.kill(cluster.beats[n % 2])


def no_beats(cluster: Cluster) -> None:
    time.sleep(1)
    for beat in cluster.beats:
        cluster.hold_down(beat)
    time.sleep(2.5)
    for beat in cluster.beats:
        cluster.let_up(beat)


def forgetful_broker(cluster: Cluster) -> None:
    for worker in cluster.workers:
        worker.signal(signal.SIGSTOP)
    time.sleep(2)
    with cluster.valkey.client() as client:
        client.flushall()
    for worker in cluster.workers:
        worker.signal(signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Scenario:
    """The fitting load and fault for a bug, and the words the checker has for it."""

    reported: frozenset[str]
    fault: Callable[[Cluster], None] = nothing
    message: str = "work 0.1"
    max_retries: int = 5
    may_fail_with: frozenset[str] = OUTSIDE_FAULTS
    late_at_most: float | None = None
    settle: float = 10.0


SCENARIOS = {
    "publish_before_commit": Scenario(frozenset({"late", "never ended"}), late_at_most=6),
    "claim_without_compare_and_set": Scenario(frozenset({"final changed", "attempts"}), deliver_again),
    "finish_without_owner": Scenario(
        frozenset({"final changed", "illegal step", "false success"}), cut_off_worker, "work 1", settle=20
    ),
    "lease_ignored": Scenario(frozenset({"failed"}), message="work 2.5", max_retries=0, may_fail_with=frozenset()),
    "rows_not_locked": Scenario(frozenset({"not owed"})),
    "advance_before_insert": Scenario(frozenset({"lost"}), kill_beats),
    "lost_messages_stay_lost": Scenario(frozenset({"never ended"}), forgetful_broker, settle=14),
    "catch_up_drops_moments": Scenario(frozenset({"lost"}), no_beats),
    "skips_without_reason": Scenario(frozenset({"unexplained skip"})),
    "success_without_call": Scenario(frozenset({"false success"})),
    "errors_are_answers": Scenario(frozenset({"false success"}), message="flaky 0.05"),
    "retries_beyond_policy": Scenario(frozenset({"policy"}), message="fail", max_retries=1),
}
NO_BUG = "no bug"


def play(folder: Path, name: str, scenario: Scenario) -> Report:
    folder.mkdir()
    launcher = ("-m", "tests.faults.mutant", name) if name != NO_BUG else ("-m", "tests.faults.launch")
    with Cluster(folder, launcher=launcher) as cluster:
        cluster.wait_until_up(60)
        start = soon()
        rows = [Row(f"row {n}", 1, start, start + timedelta(seconds=SECONDS), scenario.max_retries) for n in range(6)]
        cluster.insert([(row, scenario.message) for row in rows])
        time.sleep(max(0.0, (start - cluster.now()).total_seconds()))
        scenario.fault(cluster)
        time.sleep(max(0.0, (rows[0].end - cluster.now()).total_seconds()))
        cluster.settle(scenario.settle)
        return cluster.verdict(may_fail_with=scenario.may_fail_with, late_at_most=scenario.late_at_most)


@pytest.fixture(scope="module")
def reports(
    services: None, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Any]]:
    """Every scenario that was asked for, a few at a time; starting processes is most of their time."""
    asked = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    folder = tmp_path_factory.mktemp("mutants")
    scenarios = {NO_BUG: Scenario(frozenset(), may_fail_with=frozenset(), late_at_most=6, settle=20), **SCENARIOS}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures: dict[str, Future[Report]] = {
            name: pool.submit(play, folder / name.replace(" ", "_"), name, scenario)
            for name, scenario in scenarios.items()
            if name in asked
        }
        yield futures
        for future in futures.values():
            future.cancel()


def test_every_mutation_has_its_scenario() -> None:
    assert SCENARIOS.keys() == MUTATIONS.keys()


@pytest.mark.parametrize("name", [NO_BUG, *MUTATIONS])
def test_the_checker_reports(reports: dict[str, "Future[Report]"], name: str) -> None:
    report = reports[name].result()

    rules = {violation.rule for violation in report.violations}
    if name == NO_BUG:
        assert report.violations == []
    else:
        assert rules & SCENARIOS[name].reported, f"reported: {rules}"
