"""README and docs/operate tell the truth: every SQL statement runs and does what it says, every name is in its table.

A statement stands in a ```sql block with the comment `<!-- recipe: name -->` above it. It is sent as a MySQL client
sends it, on MariaDB; with `<!-- recipe: name, sqlite -->` also by SQLite's own library.
"""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo

import pymysql
import pytest
from pydantic import AliasChoices
from sqlalchemy import delete, insert

from config import BASE_DIR, Settings
from core.clock_change import DstPolicy
from core.expectations import Expect
from core.lifecycle import State
from core.notifications import ROW_EVENTS
from core.outcome import ErrorKind
from core.task_config import MODELS
from core.templates import VARIABLES
from models import PeriodicTask
from scheduler import DatabaseScheduler
from store import backfills, leases, runs, schedules
from store.database import AnyRow, transaction
from tests.conftest import DATABASES, fresh_database
from tests.integration.engine import Ledger, agent, beat_on, migrated

PAGES: Final = (
    "README",
    *(f"docs/operate/{name}" for name in ("install", "sql", "reference", "settings", "incidents")),
)


def in_language(ending: str) -> str:
    return "\n".join((BASE_DIR / f"{page}{ending}").read_text(encoding="utf-8") for page in PAGES)


ENGLISH: Final = in_language(".md")
CHINESE: Final = in_language(".zh-CN.md")

ENDED_RUN, ACTIVE_RUN = "0199a1b2-c3d4-7000-8000-000000000001", "0199a1b2-c3d4-7000-8000-000000000002"
FEW, MANY = 5, 500  # rows tagged `reports`
ON_SERVERS: Final = pytest.mark.parametrize("open_kitchen", DATABASES[1:], indirect=True)
ON_SQLITE: Final = pytest.mark.parametrize("open_kitchen", ["sqlite"], indirect=True)

Rows: TypeAlias = list[tuple[Any, ...]]
Execute: TypeAlias = Callable[[str], Rows]


@dataclass(frozen=True)
class Recipe:
    """The statements under one marker."""

    name: str
    on_sqlite: bool
    statements: tuple[str, ...]

    @property
    def is_query(self) -> bool:
        return all(re.match(r"SELECT|SET", statement) for statement in self.statements)


def read_recipes(text: str) -> dict[str, Recipe]:
    """Find every marked block, in order; an unmarked ```sql block is an error."""
    marked = re.findall(r"<!-- recipe: ([a-z0-9-]+)(, sqlite)? -->\n```sql\n(.*?)```", text, re.DOTALL)
    assert len(marked) == text.count("```sql"), "a ```sql block has no recipe marker above it"
    recipes = [
        Recipe(name, bool(sqlite), tuple(s.strip() for s in body.split(";\n") if s.strip()))
        for name, sqlite, body in marked
    ]
    found = {recipe.name: recipe for recipe in recipes}
    assert len(found) == len(recipes), "two recipes have the same name"
    return found


RECIPES: Final = read_recipes(ENGLISH)


@dataclass
class Kitchen:
    """A ledger with the tasks and runs that the recipes speak of, a client, and a beat whose steps a check calls."""

    ledger: Ledger
    execute: Execute
    beat: DatabaseScheduler
    ids: dict[str, int] = field(default_factory=dict)
    is_fresh: bool = False

    def cook(self, recipe: Recipe) -> Rows:
        """Run every statement; return the rows of all of them."""
        self.is_fresh = self.is_fresh and recipe.is_query
        return [row for statement in recipe.statements for row in self.execute(statement)]

    def task(self, name: str) -> AnyRow:
        return self.ledger.task(self.ledger.value("SELECT id FROM periodic_task WHERE name = :name", name=name))

    def config(self, name: str) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.task(name).task_extra_config)
        return parsed

    def armed(self, name: str) -> AnyRow:
        """The row after beat has looked at it; a broken one fails here."""
        while self.beat.arm():
            pass
        row = self.task(name)
        assert row.config_error is None, row.config_error
        return row

    def states(self, name: str) -> list[str]:
        return [run.state for run in self.ledger.runs(self.ids[name])]

    def fill(self, tagged: int = FEW) -> None:
        """Empty the tables and fill them anew."""
        with transaction(self.ledger.engine) as tx:
            for table in (schedules.TABLE, runs.TABLE, leases.LEASE, leases.BEAT, backfills.TABLE):
                tx.execute(delete(table))
            tx.exec_driver_sql("DELETE FROM agent_endpoint")
            for _, rows in _by_columns([*_named_tasks(), *_tagged_tasks(tagged)]):
                tx.execute(insert(schedules.TABLE), rows)
            self.ids = {row.name: row.id for row in tx.exec_driver_sql("SELECT id, name FROM periodic_task")}
        while self.beat.arm():
            pass
        self._add_runs()
        with transaction(self.ledger.engine) as tx:
            leases.register_worker(tx, "w1", pid=1, queues="system", concurrency=1, lease=timedelta(minutes=1))
            leases.beat_alive(tx, "b1")
            tx.execute(insert(backfills.TABLE), _backfill(self.ids["paused report"], self.ledger.now()))
        self.is_fresh = True

    def _add_runs(self) -> None:
        now = self.ledger.now()
        minute = timedelta(minutes=1)

        def add(state: State, name: str, **columns: Any) -> None:
            nonlocal now
            now -= minute
            more = {"periodic_task_id": self.ids[name], "task_name": name, "scheduled_for": now, "ready_at": now}
            if state in (State.SUCCESS, State.FAILURE, State.REQUIRES_ACTION):
                more |= {"started_at": now, "finished_at": now + 30 * timedelta(seconds=1), "attempt": 1}
            self.ledger.add_run(state, **(more | columns))

        # A minute ahead, so that it is today's run on either side of midnight.
        today = {"ready_at": now + minute, "input_tokens": 10, "output_tokens": 20, "cost": "0.1"}
        add(State.SUCCESS, "daily report", id=ENDED_RUN, result="好", **today)
        add(State.STARTED, "daily report", id=ACTIVE_RUN)
        for state in (State.PENDING, State.QUEUED, State.RETRY):
            add(state, "daily report")
            add(state, "check prices")
        add(State.STARTED, "check prices")
        add(State.FAILURE, "check prices", error_kind="timeout")
        add(State.SKIPPED, "check prices", ready_at=None)
        add(State.REQUIRES_ACTION, "check prices", result_data='{"question": "?"}')
        add(State.SUCCESS, "paused report", origin="backfill")
        self.ledger.sql("UPDATE periodic_task SET consecutive_failures = 3 WHERE name = 'check prices'")


def _backfill(task_id: int, now: datetime) -> dict[str, Any]:
    return {
        "id": 1, "periodic_task_id": task_id, "task_name": "paused report", "from_moment": now - timedelta(days=9),
        "until_moment": now, "next_moment": now - timedelta(days=8), "created": 1,
    }  # fmt: skip


def _named_tasks() -> list[dict[str, Any]]:
    daily = {"name": "daily report", "crontab": "0 9 * * 1-5", "timezone": "Asia/Shanghai"}
    return [
        {**daily, "task_extra_config": agent("生成今天的销售日报", agent_id="sales-writer", max_retries=1)},
        {"name": "check prices", "crontab": "* * * * *", "task_extra_config": agent("check")},
        {"name": "paused report", "crontab": "0 9 * * *", "task_extra_config": agent(), "enabled": 0,
         "pause_reason": "holiday"},
        {"name": "past", "crontab": "* * * * *", "max_runs": 1, "run_count": 1, "task_extra_config": agent()},
        {"name": "broken report", "crontab": "0 9 * * *", "tags": "reports", "task_extra_config": "{broken"},
    ]  # fmt: skip


def _tagged_tasks(count: int) -> list[dict[str, Any]]:
    config = agent("日报", agent_id="report-writer", timeout=300)
    return [
        {"name": f"report {n}", "crontab": "0 8 * * *", "tags": "sales,reports", "task_extra_config": config}
        for n in range(count)
    ]


def _by_columns(rows: Sequence[dict[str, Any]]) -> list[tuple[frozenset[str], list[dict[str, Any]]]]:
    groups: dict[frozenset[str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(frozenset(row), []).append(row)
    return list(groups.items())


def kitchen_on(ledger: Ledger, execute: Execute) -> Kitchen:
    beat = beat_on(ledger, http_allowed_hosts=("intranet.example.com",))
    return Kitchen(ledger, execute, beat)


def through_mysql(connection: "pymysql.Connection[Any]") -> Execute:
    def execute(statement: str) -> Rows:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    return execute


def _through_sqlite(path: str) -> Execute:
    def execute(statement: str) -> Rows:
        with closing(sqlite3.connect(path)) as connection, connection:
            return connection.execute(statement).fetchall()

    return execute


@pytest.fixture(scope="module")
def open_kitchen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kitchen]:
    for url in fresh_database(request, tmp_path_factory.mktemp("kitchen")):
        ledger = migrated(url)
        if ledger.is_sqlite:
            execute = _through_sqlite(str(ledger.engine.url.database))
        else:
            execute = through_mysql(ledger.operator("SET autocommit = 1"))
        kitchen = kitchen_on(ledger, execute)
        yield kitchen
        kitchen.beat.close()
        ledger.close()


@pytest.fixture
def kitchen(open_kitchen: Kitchen) -> Kitchen:
    """Everything as the recipes expect it, whatever an earlier one did."""
    if not open_kitchen.is_fresh:
        open_kitchen.fill()
    return open_kitchen


# -- what the changing recipes must have done ---------------------------------------------------------

CHECKS: dict[str, Callable[[Kitchen], None]] = {}


def effect_of(name: str) -> Callable[[Callable[[Kitchen], None]], Callable[[Kitchen], None]]:
    def register(check: Callable[[Kitchen], None]) -> Callable[[Kitchen], None]:
        CHECKS[name] = check
        return check

    return register


@effect_of("first-row")
def _(kitchen: Kitchen) -> None:
    assert kitchen.armed("my first task").next_run_at <= kitchen.ledger.now() + timedelta(minutes=5)
    assert kitchen.beat.fire_manual() == 1
    kitchen.ids["my first task"] = kitchen.task("my first task").id
    assert kitchen.states("my first task") == ["PENDING"]


@effect_of("new-agent")
def _(kitchen: Kitchen) -> None:
    next_run_at = kitchen.armed("morning briefing").next_run_at.astimezone(ZoneInfo("UTC"))
    assert (next_run_at.hour, next_run_at.weekday() < 5) == (9, True)
    assert kitchen.config("morning briefing")["message"] == "写一份晨报"


@effect_of("new-workflow")
def _(kitchen: Kitchen) -> None:
    row = kitchen.armed("check stock")
    assert row.next_run_at - row.create_time == timedelta(seconds=900)


@effect_of("new-http")
def _(kitchen: Kitchen) -> None:
    assert kitchen.armed("ping intranet").next_run_at.astimezone(ZoneInfo("America/New_York")).hour == 9


@effect_of("new-celery")
def _(kitchen: Kitchen) -> None:
    assert kitchen.armed("sync prices").next_run_at is not None


@effect_of("new-once")
def _(kitchen: Kitchen) -> None:
    assert kitchen.armed("year-end report").next_run_at.isoformat() == "2037-12-31T10:00:00+00:00"


@effect_of("copy")
def _(kitchen: Kitchen) -> None:
    copy, original = kitchen.armed("daily report (copy)"), kitchen.task("daily report")
    assert (copy.enabled, copy.next_run_at, copy.crontab) == (0, None, original.crontab)
    assert copy.task_extra_config == original.task_extra_config


@effect_of("endpoint")
def _(kitchen: Kitchen) -> None:
    kitchen.armed("daily report")
    assert kitchen.config("daily report")["endpoint"] == "own-llm"
    assert kitchen.config("daily report")["message"] == "生成今天的销售日报"
    assert "日报" in kitchen.task("daily report").task_extra_config


@effect_of("fire-now")
def _(kitchen: Kitchen) -> None:
    before = len(kitchen.states("daily report"))
    assert kitchen.beat.fire_manual() == 1
    assert len(kitchen.states("daily report")) == before + 1
    assert kitchen.task("daily report").run_now == 0


@effect_of("pause")
def _(kitchen: Kitchen) -> None:
    row = kitchen.armed("daily report")
    assert (row.enabled, row.next_run_at) == (0, None)
    assert row.pause_reason


@effect_of("resume")
def _(kitchen: Kitchen) -> None:
    row = kitchen.armed("paused report")
    assert row.next_run_at > kitchen.ledger.now()
    assert row.pause_reason is None


@effect_of("pause-tag")
def _(kitchen: Kitchen) -> None:
    kitchen.cook(Recipe("", True, RECIPES["pause-tag"].statements[:1]))
    paused = kitchen.ledger.value("SELECT COUNT(*) FROM periodic_task WHERE enabled = 0 AND tags LIKE '%reports%'")
    assert paused == FEW + 1
    kitchen.cook(Recipe("", True, RECIPES["pause-tag"].statements[1:]))
    assert kitchen.ledger.value("SELECT COUNT(*) FROM periodic_task WHERE enabled = 0") == 1
    assert kitchen.task("paused report").pause_reason == "holiday"


@effect_of("reschedule")
def _(kitchen: Kitchen) -> None:
    local = kitchen.armed("daily report").next_run_at.astimezone(ZoneInfo("Asia/Shanghai"))
    assert (local.hour, local.minute) == (7, 30)


@effect_of("crontab-to-interval")
def _(kitchen: Kitchen) -> None:
    assert kitchen.armed("daily report").next_run_at <= kitchen.ledger.now() + timedelta(hours=1)


@effect_of("change-500")
def _(kitchen: Kitchen) -> None:
    kitchen.fill(MANY)
    before = kitchen.task("report 7").next_run_at
    kitchen.cook(RECIPES["change-500"])
    kitchen.armed("report 7")
    changed = kitchen.ledger.sql("SELECT task_extra_config, next_run_at FROM periodic_task WHERE name LIKE 'report %'")
    configs = [json.loads(row.task_extra_config) for row in changed]
    assert len(configs) == MANY
    assert {(c["timeout"], c["max_retries"], c["message"]) for c in configs} == {(900, 2, "日报")}
    assert kitchen.task("report 7").next_run_at == before
    assert kitchen.task("broken report").task_extra_config == "{broken"
    assert "timeout" not in kitchen.config("daily report")


@effect_of("new-message")
def _(kitchen: Kitchen) -> None:
    kitchen.armed("daily report")
    config = kitchen.config("daily report")
    assert (config["message"], "max_retries" in config) == ("生成本周的销售周报", False)


@effect_of("replace-word")
def _(kitchen: Kitchen) -> None:
    assert kitchen.config("report 1")["message"] == "晨报"
    assert kitchen.config("daily report")["message"] == "生成今天的销售晨报"


@effect_of("move-next")
def _(kitchen: Kitchen) -> None:
    assert kitchen.armed("daily report").next_run_at.isoformat() == "2037-01-04T00:30:00+00:00"
    kitchen.cook(Recipe("", False, RECIPES["move-next"].statements[:1]))
    in_ten = kitchen.armed("daily report").next_run_at - kitchen.ledger.now()
    assert timedelta(minutes=9) < in_ten <= timedelta(minutes=10)


@effect_of("bounds")
def _(kitchen: Kitchen) -> None:
    row = kitchen.armed("daily report")
    assert row.max_runs == row.run_count + 10
    assert row.next_run_at is not None


@effect_of("catch-up")
def _(kitchen: Kitchen) -> None:
    assert kitchen.armed("daily report").catch_up == "none"
    row = kitchen.armed("check prices")
    assert (row.catch_up, row.catch_up_window_seconds) == ("all", 21600)


@effect_of("delete")
def _(kitchen: Kitchen) -> None:
    assert kitchen.ledger.sql("SELECT id FROM periodic_task WHERE name = 'daily report'") == []
    assert len(kitchen.states("daily report")) == 5


@effect_of("cancel-one")
def _(kitchen: Kitchen) -> None:
    assert kitchen.ledger.run(ACTIVE_RUN).state == "REVOKED"
    assert sorted(kitchen.states("daily report")) == ["PENDING", "QUEUED", "RETRY", "REVOKED", "SUCCESS"]
    kitchen.execute(RECIPES["cancel-one"].statements[0].replace(ACTIVE_RUN, ENDED_RUN))
    assert kitchen.ledger.run(ENDED_RUN).state == "SUCCESS"


@effect_of("cancel-task")
def _(kitchen: Kitchen) -> None:
    assert sorted(kitchen.states("daily report")) == ["REVOKED"] * 4 + ["SUCCESS"]
    assert "REVOKED" not in kitchen.states("check prices")


@effect_of("cancel-queue")
def _(kitchen: Kitchen) -> None:
    assert kitchen.ledger.states()["REVOKED"] == 6
    assert kitchen.ledger.states()["STARTED"] == 2


@effect_of("backfill-steer")
def _(kitchen: Kitchen) -> None:
    assert kitchen.ledger.value("SELECT at_a_time FROM backfill") == 3
    assert kitchen.beat.keeper.backfill() == 0
    kitchen.execute("UPDATE backfill SET state = 'RUNNING' WHERE id = 1")
    assert kitchen.beat.keeper.backfill() == 3


# -- the tests ----------------------------------------------------------------------------------------


def test_both_languages_have_the_same_recipes_and_the_same_commands() -> None:
    def blocks(text: str) -> list[tuple[str, str]]:
        return re.findall(r"^```(bash|sql|json|ini)\n(.*?)```", text, re.DOTALL | re.MULTILINE)

    def without_placeholders(text: str) -> list[tuple[str, str]]:
        return [(kind, re.sub(r"<[^<>\n]+>", "<…>", body)) for kind, body in blocks(text)]

    assert read_recipes(CHINESE) == RECIPES
    assert without_placeholders(CHINESE) == without_placeholders(ENGLISH)
    assert len(re.findall(r"^#+ ", CHINESE, re.MULTILINE)) == len(re.findall(r"^#+ ", ENGLISH, re.MULTILINE))


def test_every_recipe_that_changes_something_has_a_check() -> None:
    assert {name for name, recipe in RECIPES.items() if not recipe.is_query} == set(CHECKS)


@ON_SERVERS
@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe_does_what_it_says(kitchen: Kitchen, name: str) -> None:
    try_out(kitchen, RECIPES[name])


@ON_SQLITE
@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.on_sqlite])
def test_the_marked_recipe_does_the_same_on_sqlite(kitchen: Kitchen, name: str) -> None:
    try_out(kitchen, RECIPES[name])


def try_out(kitchen: Kitchen, recipe: Recipe) -> None:
    found = kitchen.cook(recipe)

    if recipe.is_query:
        assert found or recipe.name == "first-answer"
    else:
        CHECKS[recipe.name](kitchen)


@ON_SERVERS
@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("find-by-name", "daily report"),
        ("find-by-text", "daily report"),
        ("find-by-agent", "生成今天的销售日报"),
        ("runs-next", "check prices"),
        ("broken", "broken report"),
        ("paused-and-finished", "holiday"),
        ("paused-and-finished", "past"),
        ("keep-failing", "check prices"),
        ("last-runs", "好"),
        ("one-run", "好"),
        ("failed-last-night", "timeout"),
        ("skipped", "as the test says"),
        ("running", ACTIVE_RUN),
        ("tokens-today", "daily report"),
        ("waits-for-human", "check prices"),
        ("alive", "b1"),
    ],
)
def test_the_query_finds_what_it_promises(kitchen: Kitchen, name: str, answer: str) -> None:
    found = kitchen.cook(RECIPES[name])

    assert answer in [value for row in found for value in row]


@ON_SERVERS
def test_the_kitchen_has_runs_in_every_state_but_the_one_that_recipes_make(kitchen: Kitchen) -> None:
    assert {run.state for run in kitchen.ledger.runs()} == {*State} - {State.REVOKED}


# -- the references -----------------------------------------------------------------------------------


def section(readme: str, number: int) -> str:
    """The text of the n-th `##` section (1 = the first); both languages have them in the same order."""
    return re.split(r"^## ", readme, flags=re.MULTILINE)[number]


def sections_titled(*english: str) -> list[str]:
    """The same section of both languages."""
    titles = re.findall(r"^## (.*)$", ENGLISH, re.MULTILINE)
    return [section(readme, titles.index(title) + 1) for title in english for readme in (ENGLISH, CHINESE)]


def table_rows(text: str) -> dict[str, list[str]]:
    """The rows of every table of a section, by each name in backticks in their first cell."""
    rows: dict[str, list[str]] = {}
    for line in re.findall(r"^\| (`.*) \|$", text, re.MULTILINE):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)]
        rows |= dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), cells[1:])
    return rows


@pytest.mark.parametrize("text", sections_titled("Settings"), ids=["en", "zh"])
def test_the_settings_table_has_every_setting_with_its_default(text: str) -> None:
    rows = table_rows(text)
    example = dict(re.findall(r"^([A-Z_]+)=(.*)$", (BASE_DIR / ".env.example").read_text("utf-8"), re.MULTILINE))

    assert list(rows) == [name.upper() for name in Settings.model_fields]
    assert {name: cells[0].strip("`") for name, cells in rows.items()} == example


@pytest.mark.parametrize("text", sections_titled("task_extra_config reference"), ids=["en", "zh"])
def test_the_reference_has_every_key_of_task_extra_config_with_its_default(text: str) -> None:
    rows = table_rows(text)
    missing = []
    for model in MODELS.values():
        for name, declared in model.model_fields.items():
            alias = declared.validation_alias
            spellings = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [name]
            missing += [spelling for spelling in spellings if f"`{spelling}`" not in text]
            default = rows[name][0].strip("`")
            if not declared.is_required() and declared.default_factory is None and declared.default is not None:
                assert json.loads(default if default[0].isdigit() or default == "false" else f'"{default}"') == (
                    declared.default
                ), name
    assert missing == []


@pytest.mark.parametrize("text", sections_titled("periodic_task columns"), ids=["en", "zh"])
def test_the_reference_has_every_column_of_periodic_task(text: str) -> None:
    rows = table_rows(text)

    assert set(PeriodicTask.__table__.columns.keys()) == set(rows)
    assert all(f"`{policy}`" in rows["dst_policy"][-1] for policy in DstPolicy)


@pytest.mark.parametrize("text", sections_titled("task_extra_config reference"), ids=["en", "zh"])
def test_the_reference_has_every_check_variable_and_event(text: str) -> None:
    checks, events = [*Expect.__dataclass_fields__], [str(event) for event in ROW_EVENTS]
    variables = [f"{name}.{part}" if part else name for name, parts in VARIABLES.items() for part in parts or ("",)]

    assert [name for name in (*checks, *events, *variables) if f"`{name}`" not in text] == []


@pytest.mark.parametrize("text", sections_titled("States and errors"), ids=["en", "zh"])
def test_the_reference_has_every_state_and_error_kind(text: str) -> None:
    rows = table_rows(text)
    yes = {"yes", "yes, at once", "是", "是，立即"}

    assert set(rows) == {*State, *ErrorKind}
    assert {kind for kind in ErrorKind if rows[kind][1] in yes} == {kind for kind in ErrorKind if kind.retryable}


@pytest.mark.parametrize("text", sections_titled("Commands"), ids=["en", "zh"])
def test_the_command_table_has_every_target_and_option(text: str) -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (BASE_DIR / "Makefile").read_text("utf-8"), re.MULTILINE)
    options = re.findall(r'add_argument\("(--[a-z-]+)"', "".join(_source(f) for f in ("run_beat.py", "run_worker.py")))

    assert [target for target in targets if f"`make {target}`" not in text] == []
    assert [option for option in options if option not in text] == []


def _source(name: str) -> str:
    return Path(BASE_DIR / name).read_text(encoding="utf-8")


def test_ids_of_the_recipes_are_those_of_the_kitchen() -> None:
    ids = set(re.findall(r"'(0199[0-9a-f-]+)'", ENGLISH))

    assert ids == {ENDED_RUN, ACTIVE_RUN}
