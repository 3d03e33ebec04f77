"""The API under load: 200 mixed reads a second over N tasks and 10 N runs, and 200 fires a second, with and without.

Requests leave at moments that were set before, whether earlier ones are answered or not, and an answer's time counts
from its moment: one that waits for others is late. The rows fire as in `bench.steady`.
"""

import asyncio
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx

from bench import command
from bench.command import Size
from bench.figures import Figures, percentiles, show
from bench.fires import SEED, fire_round
from bench.history import fill
from bench.services import Bench, lateness, make_due
from tests.services import free_port
from tests.stack import Stack

RATE = 200
RUNS_A_TASK = 10
KNOWN_RUNS = 200
WARM_SECONDS = 3.0
PATIENCE = 60.0
VISITORS = 64  # requests that may be under way at once
TOKEN = "bench-token-0123456789"  # noqa: S105 - of a server on loopback that lives for minutes

Address = Callable[[random.Random], str]


def measure(bench: Bench, size: Size) -> list[Figures]:
    """`rows` are tasks here."""
    found = []
    for tasks in size.rows:
        with bench.stack(tasks) as stack:
            fill(stack, tasks * RUNS_A_TASK, tasks)
            base_url = start_api(stack)
            stack.beat()
            fire_round(bench, stack, [1])  # it runs
            dice = random.Random(SEED)
            count = min(round(RATE * size.seconds), tasks)
            addresses = asked(tasks, runs_of(base_url))
            load(base_url, addresses, WARM_SECONDS)
            calm = fire(bench, stack, dice.sample(range(1, tasks + 1), count))
            quiet = load(base_url, addresses, size.seconds)
            with ThreadPoolExecutor(1) as pool:
                firing = pool.submit(fire, bench, stack, dice.sample(range(1, tasks + 1), count))
                busy = load(base_url, addresses, size.seconds + 2)
                late = firing.result()
        figures: Figures = (
            {"tasks": tasks, "runs": tasks * RUNS_A_TASK, "requests_per_second": RATE, "fires_per_second": RATE}
            | told(quiet, "alone_")
            | told(busy, "firing_")
            | percentiles(calm, "_late_without_ms")
            | percentiles(late, "_late_with_ms")
        )
        show(f"API load, {tasks:,} tasks", figures)
        each = {name: percentiles(times, "_ms") for name, times in busy.items() if name != "errors"}
        for name, times in each.items():
            show(f"  {name}", times)
        found.append(figures | {"addresses": each})
    return found


def told(answers: dict[str, list[float]], prefix: str) -> Figures:
    """Sum up a load; `errors` counts answers that are no 200."""
    times = [each for name, found in answers.items() if name != "errors" for each in found]
    figures = {f"{prefix}{name}": value for name, value in percentiles(times, "_ms").items()}
    return figures | {f"{prefix}answers": len(times), f"{prefix}errors": len(answers["errors"])}


def start_api(stack: Stack, role: str = "viewer") -> str:
    """Start the API over the same database, with a token of that role; return its address."""
    port = free_port()
    stack.environment |= {"API_PORT": str(port), "API_TOKENS": f"{TOKEN}:{role}"}
    stack.start("api", "-m", "api")
    base_url = f"http://127.0.0.1:{port}"

    def is_live() -> bool:
        try:
            return httpx.get(f"{base_url}/health/live").status_code == 200
        except httpx.TransportError:
            return False

    stack.wait_for(is_live, "the API to answer", PATIENCE)
    return base_url


def runs_of(base_url: str) -> Sequence[str]:
    """Name some runs to ask for one by one."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = httpx.get(f"{base_url}/api/v2/runs", params={"limit": KNOWN_RUNS}, headers=headers, timeout=PATIENCE)
    return [run["id"] for run in answer.raise_for_status().json()["items"]]


def asked(tasks: int, runs: Sequence[str]) -> dict[str, Address]:
    """What a console and its users ask, each as often as the others."""
    return {
        "tasks": lambda dice: f"/api/v2/tasks?limit=50&after={dice.randrange(tasks)}",
        "tasks by name": lambda dice: f"/api/v2/tasks?limit=50&name_prefix=task%20{dice.randrange(1, tasks)}",
        "one task": lambda dice: f"/api/v2/tasks/{dice.randint(1, tasks)}",
        "preview": lambda dice: f"/api/v2/tasks/{dice.randint(1, tasks)}/preview?count=5",
        "newest runs": lambda _: "/api/v2/runs?limit=50",
        "failures": lambda _: "/api/v2/runs?limit=50&state=FAILURE",
        "runs of a task": lambda dice: f"/api/v2/runs?limit=50&task_id={dice.randint(1, tasks)}",
        "one run": lambda dice: f"/api/v2/runs/{dice.choice(runs)}",
        "facets": lambda _: "/api/v2/runs/facets",
        "queues": lambda _: "/api/v2/queues",
        "audit": lambda _: "/api/v2/audit?limit=50",
        "older list": lambda _: "/api/v1/tasks/list?limit=50",
    }


def load(base_url: str, addresses: dict[str, Address], seconds: float) -> dict[str, list[float]]:
    """Ask RATE times a second; return the milliseconds of each answer by what was asked."""
    return asyncio.run(_load(base_url, addresses, seconds))


async def _load(base_url: str, addresses: dict[str, Address], seconds: float) -> dict[str, list[float]]:
    dice, found = random.Random(SEED), defaultdict[str, list[float]](list)
    names, places = list(addresses), iter(range(round(RATE * seconds)))
    begin = time.perf_counter()

    async def visit() -> None:
        visitor = Visitor(base_url)
        for place in places:
            name, moment = names[place % len(names)], begin + place / RATE
            await asyncio.sleep(max(0.0, moment - time.perf_counter()))
            is_good = await visitor.gets(addresses[name](dice))
            found[name if is_good else "errors"].append((time.perf_counter() - moment) * 1000)
        visitor.leave()

    await asyncio.gather(*(visit() for _ in range(VISITORS)))
    return found


class Visitor:
    """Asks over one kept connection. httpx would take as much of the shared processors as the API that it asks."""

    def __init__(self, base_url: str) -> None:
        self._host, _, port = base_url.removeprefix("http://").partition(":")
        self._port = int(port)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def gets(self, address: str) -> bool:
        """Ask, and read the answer whole. True for a 200."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._ask(address)
        except (OSError, asyncio.IncompleteReadError):  # TimeoutError is an OSError
            self.leave()
            return False

    def leave(self) -> None:
        """Hang up; the next question connects again."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _ask(self, address: str) -> bool:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        asked = f"GET {address} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        self._writer.write(asked.encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        await self._reader.readexactly(length)
        return head.startswith(b"http/1.1 200 ")


def fire(bench: Bench, stack: Stack, ids: list[int]) -> list[float]:
    """Let rows fall due RATE times a second; return how late each was, in milliseconds."""
    begin = make_due(bench, stack, ids, ahead=1 + len(ids) / 20_000, apart=1 / RATE)
    time.sleep(1 + len(ids) / RATE)
    stack.wait_for(lambda: not stack.count("SELECT count(*) FROM task_run WHERE state = 'PENDING'"), "marks")
    return lateness(stack, begin - timedelta(milliseconds=1))


if __name__ == "__main__":
    sys.exit(command.run(measure, __doc__, Size((100_000,), 20.0)))
