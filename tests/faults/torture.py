"""The long run: `python -m tests.faults.torture --minutes 45 --seed 7`, or `make torture MINUTES=45 SEED=7`.

Faults of every kind come one after another, and over one another, while rows fire all the time. The sequence of kinds,
targets and lengths follows from the seed alone. At the end everything is healed, everything owed is waited for, and the
independent checker judges. Exit code 1: it found something; the folder with all logs and its findings is left.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median
from threading import Event, Lock
from typing import Any

import pymysql

from tests.faults.checker import Report, Row
from tests.faults.cluster import Cluster, soon
from tests.faults.crashing import CRASHED
from tests.faults.faults import KINDS
from tests.faults.members import Member
from tests.faults.registry import BEAT, CLOCKED_BEAT, CLOCKED_WORKER, WORKER, Kind

say = partial(print, flush=True)
GAP = (1.2, 3.4)  # seconds from one fault's beginning to the next
AT_ONCE = 8
PREFLIGHT_FAILED = 2  # exit code
LATE = 2.0  # seconds: later than that the load is not on time
MARGIN = 30.0  # seconds of load after the last fault


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault of the sequence."""

    at: float
    kind: Kind
    target: int | None
    lasts: float
    seed: int


def plan(
    seed: int,
    seconds: float,
    beats: int,
    workers: int,
    only: Sequence[str] = (),
    gap: tuple[float, float] = GAP,
) -> list[Planned]:
    """Derive the whole sequence from the seed. Every kind comes once before any comes twice."""
    dice = random.Random(seed)
    kinds = [kind for name, kind in sorted(KINDS.items()) if not only or any(part in name for part in only)]
    planned: list[Planned] = []
    at = dice.uniform(*gap)
    while at < seconds:
        round_of = dice.sample(kinds, len(kinds))
        for kind in round_of:
            target = {
                BEAT: dice.randrange(beats),
                WORKER: dice.randrange(workers),
                CLOCKED_BEAT: beats - 1,
                CLOCKED_WORKER: workers - 1,
            }.get(kind.hits)
            planned.append(Planned(at, kind, target, dice.uniform(*kind.lasts), dice.randrange(2**32)))
            at += dice.uniform(*gap)
    return [fault for fault in planned if fault.at < seconds]


def load(rate: float, start_in: float, seconds: float) -> list[tuple[Row, str]]:
    """About `rate` fires a second: most with overlap allowed, the rest of every other policy."""
    start = soon(start_in)
    end = start + timedelta(seconds=int(seconds))

    def rows(share: float, name: str, message: str, every: float = 1, **more: Any) -> Iterator[tuple[Row, str]]:
        for n in range(max(1, round(rate * share * every))):
            yield Row(f"{name} {n}", every, start, end, **more), message

    return [
        *rows(0.50, "retried", "work 0.05", max_retries=8),
        *rows(0.20, "once", "work 0.05"),
        *rows(0.08, "flaky", "flaky 0.05", max_retries=3),
        *rows(0.06, "skip", "work 0.3", max_retries=8, overlap="skip"),
        *rows(0.04, "buffer one", "work 0.2", every=4, max_retries=8, overlap="buffer_one"),
        *rows(0.04, "buffer all", "work 0.2", every=4, max_retries=8, overlap="buffer_all"),
        *rows(0.04, "cancel other", "work 0.5", every=2, overlap="cancel_other"),
        *rows(0.02, "latest", "work 0.05", every=2, max_retries=8, catch_up="latest"),
        *rows(0.02, "none", "work 0.05", every=2, max_retries=8, overlap="skip", catch_up="none"),
    ]


class Torturer:
    """Carries out a plan and measures how long the load needs to be on time again."""

    def __init__(self, cluster: Cluster, planned: Sequence[Planned]) -> None:
        self.cluster, self.planned = cluster, planned
        self.done: Counter[str] = Counter()
        self.recovery: dict[str, list[float]] = defaultdict(list)
        self.over = Event()
        targets = {*(member.name for member in cluster.members), *(kind.hits for kind in KINDS.values())}
        self._locks = {name: Lock() for name in targets}  # one fault at a time on each
        self._healed: list[tuple[str, float]] = []
        self.log = (cluster.folder / "faults.log").open("a", buffering=1)
        # Servers are started again by these threads, and Linux ends them with the thread: the pool outlives them.
        self.pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fault")

    def run(self) -> None:
        began = time.monotonic()
        running: list[Future[None]] = []
        watching = self.pool.submit(self._watch)
        for fault in self.planned:
            if self.over.wait(max(0.0, began + fault.at - time.monotonic())):
                break
            running.append(self.pool.submit(self._carry_out, fault))
            running = [future for future in running if not _ended(future)]
        for future in running:
            future.result()
        self.over.set()
        watching.result()

    def close(self) -> None:
        """Let the threads go; the servers they started again end with them."""
        self.pool.shutdown()
        self.log.close()

    def _carry_out(self, fault: Planned) -> None:
        member = self._target(fault)
        with self._locks[member.name if member else fault.kind.hits]:
            note = f"{fault.kind.name} {member.name if member else ''} for {fault.lasts:.1f} s"
            self.log.write(f"{time.time():.3f} begin {note}\n")
            try:
                with fault.kind.make(self.cluster, member, random.Random(fault.seed)):
                    self.over.wait(fault.lasts)
            except pymysql.err.MySQLError as error:  # the database of one fault is away by another
                self.log.write(f"{time.time():.3f} failed {note}: {error}\n")
                return
            self.log.write(f"{time.time():.3f} healed {note}\n")
            self.done[fault.kind.name] += 1
            self._healed.append((fault.kind.name, time.monotonic()))

    def _target(self, fault: Planned) -> Member | None:
        if fault.target is None:
            return None
        return (self.cluster.beats if fault.kind.hits in (BEAT, CLOCKED_BEAT) else self.cluster.workers)[fault.target]

    def _watch(self) -> None:
        said = time.monotonic()
        while not self.over.wait(0.5):
            with suppress(pymysql.err.MySQLError, OSError):
                if self._is_on_time():
                    now = time.monotonic()
                    healed, self._healed = self._healed, []
                    for name, at in healed:
                        self.recovery[name].append(max(0.0, now - at))
                if time.monotonic() - said > 10:
                    said = time.monotonic()
                    runs = self.cluster.number("SELECT count(*) FROM task_run")
                    say(f"{self.done.total()} of {len(self.planned)} faults, {runs} runs")

    def _is_on_time(self) -> bool:
        """No row is due and no run waits or works since longer than `LATE`."""
        return not self.cluster.number(
            "SELECT EXISTS (SELECT 1 FROM periodic_task WHERE needs_arming = 0 "
            "  AND next_run_at < UTC_TIMESTAMP(6) - INTERVAL %s SECOND) "
            "OR EXISTS (SELECT 1 FROM task_run WHERE state IN ('PENDING', 'QUEUED', 'STARTED', 'RETRY') "
            "  AND ready_at < UTC_TIMESTAMP(6) - INTERVAL %s SECOND)",
            LATE, LATE,
        )  # fmt: skip


def _ended(future: "Future[None]") -> bool:
    if future.done():
        future.result()
        return True
    return False


def table(torturer: Torturer, report: Report, options: argparse.Namespace) -> str:
    """Put the outcome into Markdown."""
    late, begun = sorted(report.late) or [0.0], sorted(report.begun) or [0.0]
    lines = [
        f"Seed {options.seed}, {options.minutes:g} minutes, {options.beats} beats, {options.workers} workers.",
        "",
        "| | |",
        "|---|---|",
        f"| fault cycles | {torturer.done.total()} of {len(torturer.done)} kinds |",
        f"| moments owed | {report.fires:,} |",
        f"| **lost** | **{report.count('lost')}** |",
        f"| **doubled** | **{report.count('doubled', 'not owed')}** |",
        f"| other violations | {len(report.violations) - report.count('lost', 'doubled', 'not owed')} |",
        f"| runs by state | {', '.join(f'{state} {count:,}' for state, count in report.states.most_common())} |",
        f"| failures by kind | {', '.join(f'{kind} {count:,}' for kind, count in report.failures.most_common())} |",
        f"| calls the agent got | {report.calls:,} |",
        f"| processes that ended by themselves | {_ended_by_themselves(torturer.cluster)} |",
        f"| in the ledger after its moment, p50 / p99 / max | {_quantiles(late)} |",
        f"| first started after its moment, p50 / p99 / max | {_quantiles(begun)} |",
        "",
        "| fault | times | on time again after, p50 | max |",
        "|---|---:|---:|---:|",
    ]
    for name, times in sorted(torturer.done.items()):
        took = torturer.recovery[name] or [0.0]
        lines.append(f"| {name} | {times} | {median(took):.1f} s | {max(took):.1f} s |")
    return "\n".join(lines)


def _ended_by_themselves(cluster: Cluster) -> str:
    """Neither killed nor told to stop, at no crash point, and not for want of a service at their start."""
    expected = {-signal.SIGKILL, -signal.SIGTERM, 0, CRASHED, PREFLIGHT_FAILED}
    ends = {
        member.name: sum(times for code, times in member.exits.items() if code not in expected)
        for member in cluster.members
    }
    return ", ".join(f"{name} {times}x" for name, times in ends.items() if times) or "none"


def _quantiles(values: Sequence[float]) -> str:
    return f"{median(values):.2f} s / {values[int(len(values) * 0.99)]:.2f} s / {values[-1]:.2f} s"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    folder = Path(options.folder or tempfile.mkdtemp(prefix="torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    seconds = options.minutes * 60
    planned = plan(options.seed, seconds, options.beats, options.workers, options.only)
    say(f"{len(planned)} faults from seed {options.seed}; logs in {folder}")
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(folder, beats=options.beats, workers=options.workers))
        for member in (cluster.beats[-1], cluster.workers[-1]):  # not all: libfaketime triples their CPU
            cluster.with_clock(member)
        cluster.wait_until_up()
        cluster.insert(load(options.rate, 5, seconds + MARGIN))
        torturer = Torturer(cluster, planned)
        stack.callback(torturer.close)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            torturer.run()
        except KeyboardInterrupt:
            torturer.over.set()
            say("stopped: no verdict")
            return 130
        cluster.heal()
        time.sleep(max(0.0, (cluster.rows[0].end - cluster.now()).total_seconds()))
        say("healed; waiting for what is owed")
        is_settled = cluster.settle(120)
        report = cluster.verdict()
    text = table(torturer, report, options)
    (folder / "report.md").write_text(text + "\n")
    (folder / "violations.txt").write_text("".join(f"{v.rule}: {v.detail}\n" for v in report.violations))
    (folder / "slowest.txt").write_text("".join(f"{seconds:.1f} s: {what}\n" for seconds, what in report.slowest))
    say(text)
    for rule, count in Counter(violation.rule for violation in report.violations).most_common():
        say(f"{count} x {rule}, such as", next(v.detail for v in report.violations if v.rule == rule))
    say("settled" if is_settled else "NOT settled", folder)
    return 1 if report.violations or not is_settled else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fault after fault under load, then an independent verdict.")
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--beats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--rate", type=float, default=45.0, help="fires a second; default: 45")
    parser.add_argument("--only", action="append", default=[], help="only kinds whose name contains this; repeatable")
    parser.add_argument("--folder", help="for logs and the report; default: a new one under the temporary folder")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
