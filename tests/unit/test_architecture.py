"""The shape of the code: layers import downward only, core is pure, one module reads the environment."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from config import BASE_DIR

# A module imports from its own layer and from those below. A new top-level module takes its place here.
LAYERS: dict[int, set[str]] = {
    1: {"core"},
    2: {"config", "setting_sources"},
    3: {"column_types", "models", "logger", "credentials", "collector"},
    4: {"store", "providers"},
    5: {
        "scheduler", "beat", "agent_tasks", "worker", "attempts",
        "broker", "trouble", "endpoints", "edits", "surroundings", "submission", "ledger_task",
        "notify", "apprise_child", "packs", "trial",
    },
    6: {"tasks", "preflight", "api", "web"},
    7: {"run_beat", "run_worker", "missed_fires"},
}  # fmt: skip
LAYER = {name: layer for layer, names in LAYERS.items() for name in names}
# Files that other programs load, tools, and what is no part of the running system.
OUTSIDE = {"flowerconfig", "scripts", "migrations", "bench", "tests", "deploy", "docs", "conf", "data", "logs"}
# The scheduler's side and the worker's meet in task_run only.
SCHEDULER_SIDE, WORKER_SIDE = {"scheduler", "beat"}, {"agent_tasks", "worker", "packs"}
SHADOWING = {
    "queue", "types", "calendar", "secrets", "select", "signal", "statistics", "platform", "token", "code", "email",
    "http", "sched", "celery", "redis", "alembic",
}  # fmt: skip
# What pure code may use. No clock, no randomness, no environment, no network, no database, no log.
PURE = {
    "__future__", "abc", "bisect", "calendar", "collections", "contextlib", "contextvars", "dataclasses", "datetime",
    "decimal", "difflib", "enum", "functools", "hashlib", "heapq", "itertools", "json", "math", "operator", "re",
    "string", "types", "typing", "unicodedata", "urllib.parse", "zoneinfo", "core", "cronsim", "dateutil", "pydantic",
    "importlib",  # published data, such as holidays, that comes with a package
    "jinja2", "jinja2.sandbox", "re2", "jsonschema_rs", "jsonpath",
}  # fmt: skip
READS_A_CLOCK = {"now", "utcnow", "today", "fromtimestamp"}
MAX_LINES = 450


class Import(NamedTuple):
    """One import statement of ours."""

    where: str
    line: int
    name: str

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]

    @property
    def by(self) -> str:
        """The top-level module that imports it."""
        return self.where.partition("/")[0].removesuffix(".py")

    def __str__(self) -> str:
        return f"{self.where}:{self.line} imports {self.name}"


def modules() -> list[Path]:
    """Every Python file of the running system."""
    files = [*BASE_DIR.glob("*.py"), *(file for name in LAYER for file in (BASE_DIR / name).rglob("*.py"))]
    return sorted(file for file in files if file.stem not in OUTSIDE and "__pycache__" not in file.parts)


MODULES = modules()


def top_of(file: Path) -> str:
    return file.relative_to(BASE_DIR).parts[0].removesuffix(".py")


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imports_of(file: Path) -> Iterator[Import]:
    where = str(file.relative_to(BASE_DIR))
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            yield from (Import(where, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{where}:{node.lineno} imports relatively; name the module"
            yield Import(where, node.lineno, node.module or "")


@cache
def all_imports() -> list[Import]:
    return [found for file in MODULES for found in imports_of(file)]


def attributes_of(file: Path) -> Iterator[tuple[int, str]]:
    """Every dotted name, such as (12, "os.environ")."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Attribute):
            yield node.lineno, ast.unparse(node)


def test_every_top_level_module_has_a_layer() -> None:
    tops = {file.stem for file in BASE_DIR.glob("*.py")}
    tops |= {file.parent.name for file in BASE_DIR.glob("*/*.py") if not file.parent.name.startswith(".")}

    assert tops - LAYER.keys() - OUTSIDE == set(), "give the module a layer in LAYERS"


def test_the_modules_of_the_contract_exist() -> None:
    names = ["config", "scheduler", "agent_tasks", "tasks", "models", "logger", "run_worker", "run_beat"]

    assert [name for name in names if not (BASE_DIR / f"{name}.py").is_file()] == []


def test_imports_go_downward_only() -> None:
    upward = [str(found) for found in all_imports() if LAYER.get(found.top, 0) > LAYER.get(found.by, 99)]

    assert upward == []


def test_nothing_imports_what_is_outside_the_running_system() -> None:
    assert [str(found) for found in all_imports() if found.top in OUTSIDE] == []


def test_the_scheduler_and_the_worker_never_import_each_other() -> None:
    crossing = [
        str(found)
        for found in all_imports()
        for side, other in ((SCHEDULER_SIDE, WORKER_SIDE), (WORKER_SIDE, SCHEDULER_SIDE))
        if found.by in side and found.top in other
    ]

    assert crossing == []


def reached_from(name: str) -> set[str]:
    """Every top-level module that loading `name` loads."""
    needs: dict[str, set[str]] = {}
    for found in all_imports():
        needs.setdefault(found.by, set()).add(found.top)
    reached, edge = set[str](), {name}
    while edge:
        reached |= edge
        edge = set[str]().union(*(needs.get(each, set()) for each in edge)) - reached
    return reached


def test_the_scheduler_does_not_reach_the_workers_code_by_a_detour() -> None:
    assert reached_from("scheduler") & WORKER_SIDE == set()
    assert reached_from("agent_tasks") & SCHEDULER_SIDE == set()


def test_core_uses_nothing_that_is_not_pure() -> None:
    inside = [found for found in all_imports() if found.where.startswith("core/")]
    impure = [str(found) for found in inside if not {found.top, found.name} & PURE]

    assert impure == []


@pytest.mark.parametrize("file", [file for file in MODULES if top_of(file) == "core"], ids=lambda file: file.stem)
def test_core_reads_no_clock_and_opens_no_file(file: Path) -> None:
    called = [node.func for node in ast.walk(tree_of(file)) if isinstance(node, ast.Call)]
    clocks = [ast.unparse(f) for f in called if isinstance(f, ast.Attribute) and f.attr in READS_A_CLOCK]
    files = [f.id for f in called if isinstance(f, ast.Name) and f.id in {"open", "print", "input", "exec", "eval"}]

    assert clocks + files == []


def test_providers_know_no_rows_and_the_store_knows_no_providers() -> None:
    knowing = [
        str(found)
        for found in all_imports()
        if (found.where.startswith("providers/") and found.top in {"store", "models", "sqlalchemy", "celery"})
        or (found.where.startswith("store/") and found.top in {"providers", "httpx"})
    ]

    assert knowing == []


def test_only_providers_and_the_api_speak_http() -> None:
    allowed = ("providers/", "api/", "web/", "packs/")

    assert [str(f) for f in all_imports() if f.top == "httpx" and not f.where.startswith(allowed)] == []


def test_config_is_the_only_reader_of_the_environment() -> None:
    readers = {
        f"{file.relative_to(BASE_DIR)}:{line} reads {name}"
        for file in MODULES
        for line, name in attributes_of(file)
        if name in {"os.environ", "os.getenv", "os.environb"} and file.name != "config.py"
    } | {
        str(found)
        for found in all_imports()
        if found.top in {"dotenv", "pydantic_settings"} and found.where not in {"config.py", "setting_sources.py"}
    }

    assert readers == set()


def test_no_top_level_name_shadows_a_package() -> None:
    tops = {path.name.removesuffix(".py") for path in BASE_DIR.iterdir()}

    assert tops & SHADOWING == set()


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(BASE_DIR)))
def test_a_module_fits_in_a_readers_head(file: Path) -> None:
    lines = len(file.read_text(encoding="utf-8").splitlines())

    assert lines < MAX_LINES, "find the part that stands on its own, and give it a module"


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(BASE_DIR)))
def test_a_module_says_what_it_is(file: Path) -> None:
    assert ast.get_docstring(tree_of(file)) or not file.read_text(encoding="utf-8").strip()
