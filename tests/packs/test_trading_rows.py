"""The trading pack's rows through the real stack: beat, the two workers, MariaDB, Valkey, real prices.

Each task runs from its row to what it leaves in the database; and again with its worker killed in the middle, which is
held there by a transaction that has the rows it wants.
"""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Collection, Container, Iterator, Sequence
from hashlib import sha256
from typing import Any

import psutil
import pymysql
import pytest

from packs import pack_modules, schema
from packs.install import install
from packs.trading.schedules import SCHEDULES
from store import migrate
from tasks import celery_app
from tests.packs.market_files import INDEX, NEWS, STOCKS, prices, write_folder
from tests.packs.model_server import KEY, ModelServer
from tests.packs.test_trading_figures import adjusted
from tests.services import MariaDBServer, ValkeyServer
from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DAY = "2013-02-28"
PATIENCE = 120.0
DATA = {
    "sync-daily-stock-data": {"date": DAY},
    "update-realtime-prices": {"symbols": ["AAPL", "IBM"], "outside_session": True},
    "sync-financial-data": {"symbols": ["IBM"]},
    "fetch-news-data": {},
}
ANALYSIS = {
    "calculate-technical-indicators": {"date": DAY},
    "analyze-market-sentiment": {"date": DAY},
    "update-risk-assessment": {"date": DAY},
    "analyze-trending-stocks": {"date": DAY},
}
BATCH = "opinions"
OPINION = {"action": "hold", "confidence": 0.75, "risk_score": 0.45, "summary": "观望：波动较大。"}


class Analyst(ModelServer):
    """A model that answers as it was asked to, and waits at one stock while it is told to."""

    waits_at = ""

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        message = body["messages"][-1]["content"]
        while self.waits_at and f"the stock {self.waits_at} " in message:
            time.sleep(0.05)
        usage = {"prompt_tokens": 900, "completion_tokens": 40}
        choice = {"index": 0, "message": {"role": "assistant", "content": json.dumps(OPINION)}, "finish_reason": "stop"}
        return {"choices": [choice], "usage": usage}

    def asked(self) -> Counter[str]:
        """How often each stock was asked about."""
        return Counter(body["messages"][-1]["content"].split()[3] for body in self.heard)


@pytest.fixture(scope="module")
def analyst() -> Iterator[Analyst]:
    with Analyst() as server:
        yield server


@pytest.fixture(scope="module")
def stack(
    mariadb: MariaDBServer, valkey: ValkeyServer, analyst: Analyst, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("trading")
    url = mariadb.create_database("trading_rows")
    with valkey.client() as client:
        client.flushall()
    settings = {
        "TASK_PACKS": "trading",
        "TRADING_SOURCE": "files",
        "TRADING_DATA_DIR": str(write_folder(folder / "files")),
        "TRADING_SYMBOLS": ",".join(STOCKS),
        "TRADING_BENCHMARK": INDEX,
        "DEEPSEEK_API_KEY": KEY,
        "WORKER_LEASE_SECONDS": "5",
    }
    with Stack(url, valkey.url, folder, **settings) as running:
        migrate.upgrade(running.engine)
        schema.upgrade(running.engine, "trading")
        for _ in install(running.engine, "trading"):
            pass
        running.sql("UPDATE periodic_task SET crontab = '0 0 1 1 *', calendar = NULL")  # they run when asked
        running.sql(
            "INSERT INTO agent_endpoint (name, provider, base_url, credential_env) "
            "VALUES ('deepseek', 'openai_chat', :url, 'DEEPSEEK_API_KEY')",
            url=analyst.url,
        )
        for entry, kwargs in {**DATA, **ANALYSIS}.items():
            running.sql(
                "UPDATE periodic_task SET task_extra_config = JSON_SET(task_extra_config, '$.kwargs', "
                "JSON_EXTRACT(:kwargs, '$'), '$.retry_backoff', 1) WHERE name = :name",
                kwargs=json.dumps(kwargs),
                name=entry,
            )
        batch = {"symbols": [*STOCKS], "analysis_config": {"llm_provider": "deepseek", "research_depth": 2}}
        config = {"task_type": "celery", "task": "tasks.analysis_tasks.batch_stock_analysis", "queue": "analysis"}
        running.insert(BATCH, json.dumps({**config, "kwargs": batch, "max_retries": 2}), crontab="0 0 1 1 *")
        running.beat()
        started(running, "--serve", "agents")
        yield running
    mariadb.drop_database("trading_rows")


def started(stack: Stack, *options: str) -> "subprocess.Popen[bytes]":
    """Start a worker, and wait for its lease however busy the machine is."""
    process = stack.start("worker", "run_worker.py", *options)
    lease = "SELECT count(*) FROM worker_lease WHERE pid = :pid"
    stack.wait_for(lambda: stack.count(lease, pid=process.pid), "the worker's lease", PATIENCE)
    return process


@pytest.fixture
def workers(stack: Stack) -> "Iterator[Workers]":
    """Starts the second worker of supervisord.conf, with a process for each of the runs here; none is left."""
    workers = Workers(stack)
    yield workers
    workers.kill()


class Workers:
    """One worker at a time."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.running = started(self.stack, "--serve", "packs", "--name", "packs", "--concurrency", "5")

    def kill(self) -> None:
        """SIGKILL the worker and its processes at once."""
        if self.running is None:
            return
        children = psutil.Process(self.running.pid).children(recursive=True)
        self.stack.kill(self.running)
        for child in children:
            child.kill()
        psutil.wait_procs(children, timeout=10)
        self.running = None


def run(stack: Stack, names: Sequence[str]) -> None:
    """Ask rows for a run, as an operator does."""
    for name in names:
        stack.sql("UPDATE periodic_task SET run_now = 1 WHERE name = :name", name=name)


def latest(stack: Stack, name: str) -> Any:
    rows = stack.sql(
        "SELECT id, state, attempt, result_data, error, worker FROM task_run WHERE task_name = :name "
        "ORDER BY id DESC LIMIT 1",
        name=name,
    )
    return rows[0] if rows else None


def succeed(stack: Stack, names: Sequence[str], cut: Collection[str] = ()) -> dict[str, Any]:
    """Wait until the latest run of each row is over, and return what each gave back. What was cut took another try."""

    def over() -> bool:
        runs = [latest(stack, name) for name in names]
        return all(each is not None and each.state in ("SUCCESS", "FAILURE") for each in runs)

    stack.wait_for(over, f"{', '.join(names)} to end", PATIENCE)
    runs = {name: latest(stack, name) for name in names}
    assert {name: (each.state, each.error) for name, each in runs.items()} == dict.fromkeys(names, ("SUCCESS", None))
    assert all(runs[name].attempt > 1 for name in cut)
    return {name: json.loads(each.result_data) for name, each in runs.items()}


# -- what the database holds afterwards ------------------------------------------------------------


def has_data(stack: Stack) -> None:
    for symbol in (*STOCKS, INDEX):
        rows = stack.sql("SELECT day, close, adj_factor FROM trading_bar WHERE symbol = :s ORDER BY day", s=symbol)
        table = prices()[symbol]
        assert [str(row.day) for row in rows] == [str(day)[:10] for day in table["date"]]
        assert [row.close * row.adj_factor for row in rows] == pytest.approx(table["adj_close"].tolist())
    assert {(row.symbol, row.price) for row in stack.sql("SELECT symbol, price FROM trading_price")} == {
        ("AAPL", 441.4),
        ("IBM", 200.83),
    }
    reported = stack.sql("SELECT net_profit, earnings_per_share FROM trading_financial ORDER BY period_end")
    assert [tuple(row) for row in reported] == [(15855e6, 13.06), (16604e6, 14.37)]
    titles = stack.sql("SELECT title FROM trading_news")
    assert sorted(row.title for row in titles) == sorted(title for _, _, title, _ in NEWS)


def has_analyses(stack: Stack) -> None:
    for symbol in STOCKS:
        rows = stack.sql("SELECT day, ma20 FROM trading_indicator WHERE symbol = :s ORDER BY day", s=symbol)
        assert len(rows) == 250
        assert rows[-1].ma20 == pytest.approx(adjusted(symbol)["close"].tail(20).mean())
        (risk,) = stack.sql("SELECT * FROM trading_risk WHERE symbol = :s", s=symbol)
        returns = adjusted(symbol)["close"].tail(251).pct_change().dropna()
        market = adjusted(INDEX)["close"].tail(251).pct_change().dropna()
        assert risk.volatility == pytest.approx(returns.std() * 252**0.5)
        assert risk.beta == pytest.approx(returns.cov(market) / market.var())
    said = {row.symbol: row for row in stack.sql("SELECT * FROM trading_sentiment")}
    assert {symbol: (row.articles, row.positive, row.negative) for symbol, row in said.items()} == {
        "*": (5, 2, 2),
        "AAPL": (2, 1, 0),
        "GOOG": (1, 1, 0),
        "IBM": (2, 0, 2),
    }
    ranked = stack.sql("SELECT symbol, change_1d FROM trading_trend ORDER BY position")
    changes = {symbol: adjusted(symbol)["close"].pct_change().iloc[-1] for symbol in STOCKS}
    assert {row.symbol: row.change_1d for row in ranked} == pytest.approx(changes)


def registered() -> Container[str]:
    """Name the tasks that a process with this pack knows."""
    for module in pack_modules(["trading"]):
        celery_app.loader.import_module(module)
    return celery_app.tasks


# -- from row to result ----------------------------------------------------------------------------


def test_every_data_and_analysis_row_leaves_what_it_should(stack: Stack, workers: Workers, analyst: Analyst) -> None:
    workers.start()
    served = {name for row in stack.sql("SELECT queues FROM worker_lease") for name in row.queues.split(",")}
    assert {each.queue for each in SCHEDULES} <= served
    assert [each.entry for each in SCHEDULES if each.task not in registered()] == []

    run(stack, [*DATA])
    results = succeed(stack, [*DATA])
    has_data(stack)
    assert results["sync-daily-stock-data"]["success_count"] == 4

    run(stack, [*ANALYSIS])
    succeed(stack, [*ANALYSIS])
    has_analyses(stack)

    run(stack, [BATCH])
    results = succeed(stack, [BATCH])
    assert [each["symbol"] for each in results[BATCH]["analysis_results"]] == sorted(STOCKS)
    assert (results[BATCH]["total_analyzed"], results[BATCH]["success_rate"]) == (3, 1.0)
    (stored,) = stack.sql("SELECT * FROM trading_analysis WHERE symbol = 'IBM'")
    assert (stored.batch, stored.action, stored.summary) == (latest(stack, BATCH).id, "hold", OPINION["summary"])
    assert (stored.provider, stored.model, stored.input_tokens) == ("deepseek", "deepseek-chat", 900)
    assert set(analyst.asked()) == set(STOCKS)
    (spent,) = stack.sql("SELECT input_tokens, output_tokens, result FROM task_run WHERE id = :id", id=stored.batch)
    assert tuple(spent) == (2700, 120, "AAPL: hold; GOOG: hold; IBM: hold")
    assert {body["key"] for body in analyst.heard} == {f"Bearer {KEY}"}
    asked = next(body["messages"][-1]["content"] for body in analyst.heard if "stock IBM" in str(body["messages"]))
    assert "misses estimates" in asked
    assert '"rsi14": ' in asked


# -- killed in the middle ---------------------------------------------------------------------------


def holding(stack: Stack, *statements: str) -> "pymysql.Connection[Any]":
    """Open a transaction that has what the tasks want to write next."""
    url = stack.engine.url
    connection = pymysql.connect(
        host=url.host, port=url.port or 3306, user=url.username, password=str(url.password), database=url.database
    )
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    return connection


def cut_off(stack: Stack, names: Sequence[str]) -> set[str]:
    """Name the runs that a killed worker left in the middle."""
    return {name for name in names if latest(stack, name).state == "STARTED"}


def in_the_middle(stack: Stack, names: Sequence[str]) -> bool:
    """Tell whether each run has started, and said how far it is."""
    runs = [latest(stack, name) for name in names]
    return all(each is not None and each.state == "STARTED" and each.result_data for each in runs)


def clear(stack: Stack, *tables: str) -> None:
    for table in tables:
        stack.sql(f"DELETE FROM {table}")


def test_data_tasks_whose_worker_is_killed_leave_whole_symbols_and_finish_on_their_retry(
    stack: Stack, workers: Workers
) -> None:
    clear(stack, "trading_bar", "trading_price", "trading_financial", "trading_news")
    digest = sha256(b"https://news.example/2").hexdigest()  # the first of IBM's
    held = holding(
        stack,
        f"INSERT INTO trading_bar VALUES ('IBM', '{DAY}', 1, 1, 1, 1, 1, 1, 1, 'x', UTC_TIMESTAMP())",
        "INSERT INTO trading_price VALUES ('IBM', '2013-02-28 21:00:00', 1, 1, 1, 1, 'x')",
        "INSERT INTO trading_financial VALUES ('IBM', '2012-12-31', 1, 1, 1, 1, '{}', 'x', UTC_TIMESTAMP())",
        "INSERT INTO trading_news VALUES "
        f"('{digest}', 'IBM', 'x', 'x', 'x', 'x', UTC_TIMESTAMP(), 'en', 0, 'x', UTC_TIMESTAMP())",
    )
    workers.start()
    run(stack, [*DATA])
    stack.wait_for(lambda: in_the_middle(stack, [*DATA]), "each task to be in the middle", PATIENCE)
    stack.wait_for(lambda: stack.count("SELECT count(*) FROM trading_bar WHERE symbol = 'GOOG'"), "a symbol", PATIENCE)

    workers.kill()

    cut = cut_off(stack, [*DATA])
    assert "sync-daily-stock-data" in cut
    whole = {symbol: len(prices()[symbol]) for symbol in ("AAPL", "GOOG")}
    bars = stack.sql("SELECT symbol, count(*) AS days FROM trading_bar GROUP BY symbol")
    assert {row.symbol: row.days for row in bars} == whole
    held.rollback()
    held.close()
    workers.start()
    succeed(stack, [*DATA], cut)
    has_data(stack)


def test_analyses_whose_worker_is_killed_leave_whole_symbols_and_finish_on_their_retry(
    stack: Stack, workers: Workers, analyst: Analyst
) -> None:
    clear(stack, "trading_indicator", "trading_risk", "trading_sentiment", "trading_trend", "trading_analysis")
    stack.sql("UPDATE trading_news SET sentiment = NULL")
    stack.sql("INSERT INTO trading_trend VALUES (:day, 'OLD', 1, 1, 1, 1, 1, 1, UTC_TIMESTAMP())", day=DAY)
    held = holding(
        stack,
        f"INSERT INTO trading_indicator (symbol, day, close, update_time) VALUES ('IBM', '{DAY}', 1, UTC_TIMESTAMP())",
        f"INSERT INTO trading_risk VALUES ('IBM', '{DAY}', 1, 1, 1, 1, 1, 1, 1, 'x', 'x', UTC_TIMESTAMP())",
        f"INSERT INTO trading_sentiment VALUES ('{DAY}', '*', 1, 1, 1, 1, 1, UTC_TIMESTAMP())",
        "SELECT * FROM trading_trend FOR UPDATE",
    )
    analyst.heard.clear()
    analyst.waits_at = "IBM"
    workers.start()
    run(stack, [*ANALYSIS, BATCH])
    stack.wait_for(lambda: in_the_middle(stack, [*ANALYSIS, BATCH]), "each task to be in the middle", PATIENCE)
    stack.wait_for(lambda: analyst.asked()["IBM"], "the model to be asked about the last stock", PATIENCE)

    workers.kill()
    analyst.waits_at = ""
    cut = cut_off(stack, [*ANALYSIS, BATCH])
    assert BATCH in cut

    rows = stack.sql("SELECT symbol, count(*) AS days FROM trading_indicator GROUP BY symbol")
    assert {row.days for row in rows} <= {250}
    assert "IBM" not in {row.symbol for row in rows}
    assert stack.count("SELECT count(*) FROM trading_news WHERE sentiment IS NOT NULL") == 0
    assert [row.symbol for row in stack.sql("SELECT symbol FROM trading_trend")] == ["OLD"]
    assert {row.symbol for row in stack.sql("SELECT symbol FROM trading_analysis")} == {"AAPL", "GOOG"}
    held.rollback()
    held.close()
    workers.start()
    succeed(stack, [*ANALYSIS, BATCH], cut)
    has_analyses(stack)
    asked = analyst.asked()
    assert (asked["AAPL"], asked["GOOG"]) == (1, 1)  # what was answered is not asked again
    assert asked["IBM"] > 1
