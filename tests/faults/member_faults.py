"""Faults of one beat or worker: its process, and its way to each service. `Cluster` starts again what ended."""

import random
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.faults.cluster import LEASE_SECONDS, Cluster
from tests.faults.crashing import RUN, TICK
from tests.faults.members import Member
from tests.faults.proxy import Mode, Port
from tests.faults.registry import BEAT, CLOCKED_BEAT, CLOCKED_WORKER, SHORT, WORKER, Faults, of

FAULTS: Final = Faults()
BEYOND_LEASE: Final = (LEASE_SECONDS + 1.5, LEASE_SECONDS + 4.0)

# -- processes ----------------------------------------------------------------------------------------------


@FAULTS.kind("beat killed (-9)", BEAT)
@FAULTS.kind("worker killed (-9)", WORKER)
def killed(cluster: Cluster, member: Member | None, _: random.Random) -> Iterator[None]:
    cluster.hold_down(of(member))
    yield
    cluster.let_up(of(member))


@FAULTS.kind("beat frozen", BEAT)
@FAULTS.kind("beat frozen beyond its session's wait_timeout", BEAT, BEYOND_LEASE)
@FAULTS.kind("worker frozen", WORKER)
@FAULTS.kind("worker frozen beyond its lease", WORKER, BEYOND_LEASE)
def frozen(cluster: Cluster, member: Member | None, _: random.Random) -> Iterator[None]:
    cluster.kill(of(member), signal.SIGSTOP)
    yield
    cluster.kill(of(member), signal.SIGCONT)


@FAULTS.kind("beat stopped (TERM) and started", BEAT)
@FAULTS.kind("worker stopped (TERM) and started", WORKER)
def stopped(cluster: Cluster, member: Member | None, _: random.Random) -> Iterator[None]:
    cluster.kill(of(member), signal.SIGTERM)
    yield


@FAULTS.kind("beat out of memory", BEAT)
@FAULTS.kind("worker out of memory", WORKER)
def out_of_memory(cluster: Cluster, member: Member | None, dice: random.Random) -> Iterator[None]:
    """Every allocation that needs more address space fails, until the limit is lifted."""
    process = of(member).process
    if process is None:
        yield
        return
    try:
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + dice.choice((0, 64, 1024)) * 1024
        resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        yield
        resource.prlimit(process.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ProcessLookupError, FileNotFoundError, IndexError):  # it died of it: the supervisor starts it again
        return


@FAULTS.kind("beat dies at a crash point", BEAT, (2.0, 4.0))
@FAULTS.kind("worker dies at a crash point", WORKER, (2.0, 4.0))
def crashed(cluster: Cluster, member: Member | None, dice: random.Random) -> Iterator[None]:
    """The process is started anew so that it dies at one exact line; where it does not get there, it is killed."""
    hit = of(member)
    point = dice.choice(sorted(TICK if hit in cluster.beats else RUN))
    cluster.start_by(hit, "-m", "tests.faults.crashing", f"{point}:{dice.randint(1, 6)}")
    yield
    cluster.start_by(hit)


@FAULTS.kind("beat freezes at a crash point", BEAT, BEYOND_LEASE)
@FAULTS.kind("worker freezes at a crash point", WORKER, BEYOND_LEASE)
def frozen_at_a_point(cluster: Cluster, member: Member | None, dice: random.Random) -> Iterator[None]:
    """With all that it holds: row locks in mid-transaction, a claim whose call never went out."""
    hit = of(member)
    point = dice.choice(sorted(TICK if hit in cluster.beats else RUN))
    cluster.start_by(hit, "-m", "tests.faults.crashing", f"{point}:{dice.randint(1, 6)}:freeze")
    yield
    hit.launcher = ()
    cluster.kill(hit, signal.SIGCONT if hit.is_stopped else signal.SIGKILL)  # else it would freeze some time later


@FAULTS.kind("beat's clock steps", CLOCKED_BEAT)
@FAULTS.kind("worker's clock steps", CLOCKED_WORKER)
def clock_steps(cluster: Cluster, member: Member | None, dice: random.Random) -> Iterator[None]:
    of(member).set_clock(dice.choice(("+5", "-5", "+3600", "-3600")))
    yield
    of(member).set_clock(dice.choice(("+0", "+5", "-5")))


# -- one member's network -----------------------------------------------------------------------------------


@contextmanager
def _as(port: Port, mode: Mode, **details: float) -> Iterator[None]:
    port.set(mode, **details)
    yield
    port.set(Mode.PASS)


@FAULTS.kind("beat partitioned from the database", BEAT, (1.0, LEASE_SECONDS + 3))
@FAULTS.kind("worker partitioned from the database", WORKER, SHORT)
@FAULTS.kind("worker partitioned from the database beyond its lease", WORKER, BEYOND_LEASE)
def partitioned(cluster: Cluster, member: Member | None, _: random.Random) -> Iterator[None]:
    with _as(of(member).ports.database, Mode.HOLD):
        yield


@FAULTS.kind("beat's database sockets half-open", BEAT)
@FAULTS.kind("worker's database sockets half-open", WORKER)
def half_open_database(cluster: Cluster, member: Member | None, _: random.Random) -> Iterator[None]:
    with _as(of(member).ports.database, Mode.BLACK_HOLE):
        yield


@FAULTS.kind("beat's database replies torn", BEAT)
@FAULTS.kind("worker's database replies torn", WORKER)
def torn_database(cluster: Cluster, member: Member | None, dice: random.Random) -> Iterator[None]:
    """The server did what it was told, and nobody hears of it: a COMMIT of unknown outcome."""
    mode = dice.choice((Mode.RESET_IN_REPLY, Mode.HALF_CLOSE))
    with _as(of(member).ports.database, mode, reply_bytes=dice.choice((0, 3, 9))):
        yield


@FAULTS.kind("beat's database slow", BEAT)
@FAULTS.kind("worker's database slow", WORKER)
def slow_database(cluster: Cluster, member: Member | None, dice: random.Random) -> Iterator[None]:
    with _as(of(member).ports.database, dice.choice((Mode.DELAY, Mode.DRIP)), seconds=dice.uniform(0.02, 0.3)):
        yield


@FAULTS.kind("beat's broker sockets half-open", BEAT)
@FAULTS.kind("worker's broker sockets half-open", WORKER)
def half_open_broker(cluster: Cluster, member: Member | None, _: random.Random) -> Iterator[None]:
    with _as(of(member).ports.broker, Mode.BLACK_HOLE):
        yield


@FAULTS.kind("beat's broker replies torn", BEAT)
@FAULTS.kind("worker's broker replies torn", WORKER)
def torn_broker(cluster: Cluster, member: Member | None, dice: random.Random) -> Iterator[None]:
    with _as(of(member).ports.broker, Mode.RESET_IN_REPLY, reply_bytes=dice.choice((0, 3))):
        yield


@FAULTS.kind("worker partitioned from the agent", WORKER)
def agent_black_hole(cluster: Cluster, member: Member | None, _: random.Random) -> Iterator[None]:
    with _as(of(member).ports.agent, Mode.BLACK_HOLE):
        yield
