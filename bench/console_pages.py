"""Every page of the console over N tasks and 10 N runs: server time, CPU time, first paint, and finding a task.

Each page is asked for one at a time by an operator who has logged in; the time is that of the whole answer over a
connection that stays open, on loopback. Then a browser opens each page, and types into the search box.
"""

import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import httpx

from bench import command
from bench.api_load import PATIENCE, TOKEN, runs_of, start_api
from bench.command import Size
from bench.console_browser import Visit, finding, first_paints
from bench.console_rows import RARE, fill_beside
from bench.figures import Figures, percentiles, show
from bench.fires import SEED
from bench.history import fill
from bench.meter import Meter
from bench.services import Bench
from tests.services import ServiceMissing

RUNS_A_TASK: Final = 10
ASKED: Final = 30
PASSWORD: Final = "correct horse battery"  # noqa: S105 - of a server on loopback that lives for minutes
BROWSER: Final = {"Accept": "text/html,*/*;q=0.8"}


@dataclass(frozen=True, slots=True)
class Known:
    """What addresses are made of."""

    tasks: int
    runs: list[str]
    dice: random.Random

    def task(self) -> int:
        """Pick the id of a task."""
        return self.dice.randint(1, self.tasks)

    def run(self) -> str:
        """Pick the id of a run."""
        return self.dice.choice(self.runs)


#: Whole pages: a person opens them.
PAGES: Final[Mapping[str, Callable[[Known], str]]] = {
    "overview": lambda _: "/overview",
    "tasks": lambda _: "/tasks",
    "tasks, later page": lambda known: f"/tasks?after={known.task()}",
    "tasks by name": lambda known: f"/tasks?name_contains={quote(f'task {known.task()}')}",
    "tasks, no such name": lambda _: "/tasks?name_contains=nothing%20of%20the%20kind",
    "tasks that failed": lambda _: "/tasks?state=FAILURE",
    "tasks of an owner": lambda _: "/tasks?owner=data",
    "tasks with a tag": lambda _: "/tasks?tag=nightly",
    "paused tasks": lambda _: "/tasks?enabled=false",
    "broken tasks": lambda _: "/tasks?broken=true",
    "a task": lambda known: f"/tasks/{known.task()}",
    "a task's form": lambda known: f"/tasks/{known.task()}/edit",
    "a new task's form": lambda _: "/tasks/new",
    "runs": lambda _: "/runs",
    "runs, later page": lambda known: f"/runs?before={known.run()}",
    "runs that failed": lambda _: "/runs?state=FAILURE",
    "runs that succeeded": lambda _: "/runs?state=SUCCESS",
    "runs under way": lambda _: "/runs?state=STARTED",
    "runs of the last day": lambda _: "/runs?span=24h",
    "runs in a queue": lambda _: "/runs?queue=priority_high",
    "runs by kind of error": lambda _: "/runs?error_kind=timeout",
    "runs by a task's name": lambda known: f"/runs?task={quote(f'task {known.task()}')}",
    "runs by a name nobody has": lambda _: "/runs?task=nothing%20of%20the%20kind",
    "runs of a task": lambda known: f"/runs?task_id={known.task()}",
    "a run": lambda known: f"/runs/{known.run()}",
    "two runs compared": lambda known: f"/runs/compare?a={known.run()}&b={known.run()}",
    "load": lambda _: "/load",
    "endpoints": lambda _: "/endpoints",
    "queues": lambda _: "/queues",
    "workers": lambda _: "/workers",
    "channels": lambda _: "/channels",
    "budgets": lambda _: "/budgets",
    "audit": lambda _: "/audit",
    "audit, later page": lambda known: f"/audit?before={known.tasks}",
    "audit of tasks": lambda _: "/audit?kind=task",
    "audit of a task": lambda known: f"/audit?kind=task&subject={known.task()}",
}
#: What a page fetches by itself, or as one types.
PIECES: Final[Mapping[str, Callable[[Known], str]]] = {
    "overview, anew": lambda _: "/overview/live",
    "facets of runs": lambda _: "/runs/facets",
    "facets by a task's name": lambda known: f"/runs/facets?task={quote(f'task {known.task()}')}",
    "words read": lambda _: "/words/read?phrase=every%20second%20Tuesday%209am%20Tokyo",
    "why it did not run": lambda known: f"/tasks/{known.task()}/why?moment={quote('2026-01-02 09:00')}",
}
#: For those who may see it.
ADMINS: Final[Mapping[str, Callable[[Known], str]]] = {"users": lambda _: "/users"}


def measure(bench: Bench, size: Size) -> list[Figures]:
    """`rows` are tasks here."""
    found = []
    for tasks in size.rows:
        with bench.stack(tasks) as stack:
            fill(stack, tasks * RUNS_A_TASK, tasks)
            fill_beside(stack, tasks)
            base_url = start_api(stack, "admin")
            known = Known(tasks, list(runs_of(base_url)), random.Random(SEED))
            meter_of = {"api": stack.processes[-1].pid, "database": bench.mariadb.pid}
            operator, admin = (Visit(base_url, add_user(base_url, role), PASSWORD) for role in ("operator", "admin"))
            pages = server_times(operator, {**PAGES, **PIECES}, known, meter_of)
            pages |= server_times(admin, ADMINS, known, meter_of)
            try:
                seen = in_browser(operator, admin, known, pages)
            except ServiceMissing as missing:
                print(f"no figures of a browser: {missing}")
                seen = {}
        worst = max(times["p95_ms"] for times in pages.values())
        figures: Figures = {"tasks": tasks, "runs": tasks * RUNS_A_TASK, "server_p95_ms": worst} | seen
        show(f"console, {tasks:,} tasks", figures)
        for name, times in pages.items():
            show(f"  {name}", times)
        found.append(figures | {"pages": pages})
    return found


def in_browser(operator: Visit, admin: Visit, known: Known, pages: dict[str, Figures]) -> Figures:
    """Enter each page's first paint, and tell the slowest, and how soon a task is found. Raises ServiceMissing."""
    first = first_paints(operator, {name: address(known) for name, address in PAGES.items()})
    first |= first_paints(admin, {name: address(known) for name, address in ADMINS.items()})
    for name, painted in first.items():
        pages[name]["first_paint_ms"] = painted
    return {"first_paint_ms": max(first.values())} | finding(operator, RARE, known.tasks)


def add_user(base_url: str, role: str) -> str:
    """Make the user of a role, unless there is one; return his name."""
    person = {"name": role, "password": PASSWORD, "role": role}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = httpx.post(f"{base_url}/api/v2/users", json=person, headers=headers, timeout=PATIENCE)
    if answer.status_code != httpx.codes.CONFLICT:
        answer.raise_for_status()
    return role


def server_times(
    visit: Visit, addresses: Mapping[str, Callable[[Known], str]], known: Known, pids: Mapping[str, int | None]
) -> dict[str, Figures]:
    """Ask for each page ASKED times, the first answer included; milliseconds, and CPU of the API and the database."""
    found: dict[str, Figures] = {}
    with httpx.Client(base_url=visit.base_url, headers=BROWSER, timeout=PATIENCE) as client:
        client.post("/login", json={"name": visit.name, "password": visit.password}).raise_for_status()
        for name, address in addresses.items():
            meter, took = Meter(pids), []
            before = meter.read()
            for _ in range(ASKED):
                place = address(known)
                begin = time.perf_counter()
                client.get(place).raise_for_status()
                took.append((time.perf_counter() - begin) * 1000)
            meter.add(before, ASKED)
            spent = {f"{role}_cpu_ms": value for role, value in meter.cpu_ms_per_unit().items()}
            found[name] = {key: value for key, value in percentiles(took, "_ms").items() if "99" not in key} | spent
    return found


if __name__ == "__main__":
    sys.exit(command.run(measure, __doc__, Size((100_000,), 0.0)))
