"""`python -m scripts.endpoints`: keys that nobody can read, limits, prices and budgets as rows."""

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from pydantic import SecretStr

import config
from config import Settings, get_settings
from core.outcome import AgentError, ErrorKind
from endpoints import key_of
from scripts import endpoints
from store import endpoints as stored
from store.database import autocommit
from tests.contract.fake_agent import FakeAgent
from tests.integration.engine import Ledger

KEY = "sk-planted-3f9a71c2d5e84b60"
URL = "http://agents.example.com/api"

Command = Callable[..., int]


@pytest.fixture
def command(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Runs the command as on a terminal, with settings of the test's own."""
    monkeypatch.setenv("DATABASE_URL", ledger.url)
    monkeypatch.setenv("SECRET_KEY", "the first secret")
    monkeypatch.delenv("SECRET_KEY_PREVIOUS", raising=False)

    def run(*arguments: str, stdin: str = "", **environment: str) -> int:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        get_settings.cache_clear()
        return endpoints.main(list(arguments))

    yield run
    get_settings.cache_clear()


def row(ledger: Ledger, name: str = "main") -> Any:
    with autocommit(ledger.engine) as connection:
        return stored.read(connection, name)


def read_key(ledger: Ledger, **secrets: str) -> str:
    return key_of(row(ledger), Settings(_env_file=None, **secrets))  # type: ignore[arg-type]


def entered(command: Command) -> None:
    assert command("add", "main", "--provider", "dify", "--base-url", URL, "--key-stdin", stdin=f"{KEY}\n") == 0


# -- keys -------------------------------------------------------------------------------------------


def test_a_key_is_read_back_with_its_secret_key_only(ledger: Ledger, command: Command) -> None:
    entered(command)

    assert read_key(ledger, secret_key="the first secret") == KEY
    for secrets in ({"secret_key": "another"}, {"secret_key": ""}):
        with pytest.raises(AgentError, match="SECRET_KEY") as refused:
            read_key(ledger, **secrets)
        assert refused.value.kind is ErrorKind.CONFIG
        assert "'main'" in refused.value.message


def test_a_key_from_an_environment_variable_is_stored_too(ledger: Ledger, command: Command) -> None:
    arguments = ("add", "main", "--provider", "dify", "--base-url", URL, "--key-from", "MY_KEY")

    assert command(*arguments) == 2
    assert command(*arguments, MY_KEY=KEY) == 0

    assert read_key(ledger, secret_key="the first secret") == KEY


def test_a_key_is_found_nowhere(
    ledger: Ledger, command: Command, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    entered(command)
    command("list")
    command("set", "main", "--max-concurrency", "3")
    command("test", "main")
    command("rotate-keys", SECRET_KEY="the second", SECRET_KEY_PREVIOUS="wrong")

    told = capsys.readouterr()
    dump = json.dumps([[str(value) for value in one] for one in ledger.sql("SELECT * FROM agent_endpoint")])
    dump += str(row(ledger).credential)
    for text in (told.out, told.err, caplog.text, dump):
        assert KEY not in text
        assert KEY[3:15] not in text
    with pytest.raises(AgentError) as refused:
        read_key(ledger, secret_key="another")
    error: BaseException | None = refused.value
    while error is not None:
        assert KEY not in repr(error)
        error = error.__cause__


def test_rotation_needs_one_command_and_no_pause(ledger: Ledger, command: Command) -> None:
    entered(command)
    both = {"secret_key": "the second", "secret_key_previous": "the first secret"}
    assert read_key(ledger, **both) == KEY

    assert command("rotate-keys", SECRET_KEY="the second", SECRET_KEY_PREVIOUS="the first secret") == 0

    assert read_key(ledger, secret_key="the second") == KEY
    assert read_key(ledger, **both) == KEY
    assert command("rotate-keys") == 0


def test_a_rotation_that_cannot_read_a_key_says_which_and_keeps_it(
    ledger: Ledger, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    entered(command)

    assert command("rotate-keys", SECRET_KEY="lost") == 1

    assert "endpoint 'main'" in capsys.readouterr().err
    assert read_key(ledger, secret_key="the first secret") == KEY


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE agent_endpoint SET base_url = 'https://thief.example.com/api'",
        "UPDATE agent_endpoint SET name = 'mine'",
    ],
)
def test_a_key_cannot_be_carried_to_another_address_or_name_by_sql(
    ledger: Ledger, command: Command, statement: str
) -> None:
    entered(command)

    ledger.sql(statement)

    name = ledger.value("SELECT name FROM agent_endpoint")
    with pytest.raises(AgentError, match="was entered for"):
        key_of(row(ledger, name), Settings(_env_file=None, secret_key=SecretStr("the first secret")))


def test_an_address_of_the_same_origin_keeps_the_key_and_another_asks_for_it(
    ledger: Ledger, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    entered(command)

    assert command("set", "main", "--base-url", "http://agents.example.com:80/v2") == 0
    assert read_key(ledger, secret_key="the first secret") == KEY
    assert command("set", "main", "--base-url", "https://agents.example.com/v2") == 2
    assert "--key-stdin" in capsys.readouterr().err
    assert command("set", "main", "--base-url", "https://other.example.com", "--key-stdin", stdin="new-key-000") == 0
    assert read_key(ledger, secret_key="the first secret") == "new-key-000"


@pytest.mark.parametrize("text", ["garbage", "v1.abc", "v1.!!.x", "v1.AAAA.gAAAAA", "v2.a.b", "密"])
def test_a_damaged_credential_is_an_error_of_its_endpoint(ledger: Ledger, command: Command, text: str) -> None:
    entered(command)
    if not ledger.is_sqlite and not text.isascii():
        return  # the column holds ASCII only
    ledger.sql("UPDATE agent_endpoint SET credential = :text", text=text)

    with pytest.raises(AgentError, match="endpoint 'main'"):
        read_key(ledger, secret_key="the first secret")


def test_without_a_secret_key_nothing_is_entered(
    ledger: Ledger, command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "ENV_FILE", Path("none"))
    arguments = ("add", "main", "--provider", "dify", "--base-url", URL, "--key-stdin")

    assert command(*arguments, stdin=KEY, SECRET_KEY="") == 2

    assert "SECRET_KEY is not set" in capsys.readouterr().err
    assert row(ledger) is None


# -- rows -------------------------------------------------------------------------------------------


def test_limits_prices_and_budgets_stand_in_the_rows_and_in_the_list(
    ledger: Ledger, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = ("--input-price", "1.5", "--output-price", "4", "--currency", "usd")
    assert command("add", "main", "--provider", "dify", "--base-url", URL, "--max-concurrency", "5", *prices) == 0
    assert command("set", "main", "--requests-per-minute", "60", "--budget", "5 USD/1d", "--at-limit", "pause") == 0
    assert command("set", "main", "--agent", "writer", "--max-concurrency", "1") == 0

    found = row(ledger)
    assert (found.max_concurrency, found.requests_per_minute, found.currency) == (5, 60, "USD")
    assert (found.input_price, found.output_price) == (Decimal("1.5"), Decimal(4))
    (budget,) = ledger.sql("SELECT endpoint, amount, unit, window_seconds, at_limit FROM budget")
    assert (budget.endpoint, float(budget.amount), budget.unit, budget.window_seconds) == ("main", 5, "USD", 86400)
    assert budget.at_limit == "pause"
    assert command("list") == 0
    told = capsys.readouterr().out
    for text in ("main", "1.5/4 USD", "writer", "5 USD", "pause"):
        assert text in told

    assert command("set", "main", "--max-concurrency", "", "--no-budgets") == 0
    assert row(ledger).max_concurrency is None
    assert ledger.sql("SELECT id FROM budget") == []
    assert command("remove", "main") == 0
    assert ledger.sql("SELECT name FROM agent_endpoint") == ledger.sql("SELECT agent FROM agent_limit") == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "main", "--provider", "dify", "--base-url", URL), "the name is taken"),
        (("add", "x", "--provider", "difi", "--base-url", URL), "did you mean 'dify'"),
        (("add", "x", "--provider", "dify", "--base-url", "ftp://host"), "http:// or https://"),
        (("add", "x", "--provider", "dify", "--base-url", "http://a:b@host"), "not into its base_url"),
        (("add", "x", "--provider", "dify", "--base-url", "http://169.254.169.254/v1"), "ENDPOINT_ALLOWED_NETWORKS"),
        (("add", "x", "--provider", "dify", "--base-url", URL, "--input-price", "1"), "go together"),
        (("set", "maim", "--max-concurrency", "1"), "did you mean 'main'"),
        (("set", "main"), "nothing to change"),
        (("set", "main", "--agent", "a", "--currency", "USD"), "takes limits only"),
        (("set", "main", "--credential-env", "DATABASE_URL"), "ends in _API_KEY"),
        (("remove", "nobody"), "no endpoint 'nobody'"),
        (("set", "main", "--key-stdin"), "holds no key"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_mend(
    command: Command, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    entered(command)

    assert command(*arguments) == 2

    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--max-concurrency", "0"), ("--requests-per-minute", "many"), ("--budget", "5"), ("--budget", "5 USD/1s"),
        ("--budget", "-5 USD/1d"), ("--currency", "dollar"), ("--input-price", "-1"), ("--key", KEY),
    ],
)  # fmt: skip
def test_a_value_of_no_sense_never_reaches_the_database(command: Command, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as refused:
        command("set", "main", *arguments)

    assert refused.value.code == 2


# -- test -------------------------------------------------------------------------------------------


@pytest.fixture
def fake() -> Iterator[FakeAgent]:
    """A fake platform in a thread of its own."""
    loop, ready, made = asyncio.new_event_loop(), Event(), FakeAgent()

    async def serve() -> None:
        async with made:
            ready.set()
            await asyncio.Event().wait()

    task: asyncio.Task[None] | None = None

    def run() -> None:
        nonlocal task
        task = loop.create_task(serve())
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            loop.run_until_complete(loop.shutdown_asyncgens())

    thread = Thread(target=run)
    thread.start()
    assert ready.wait(10)
    yield made
    assert task is not None
    loop.call_soon_threadsafe(task.cancel)
    thread.join(10)
    with closing(loop):
        assert not thread.is_alive()


def test_a_test_reaches_the_endpoint_and_a_real_call_shows_its_answer(
    command: Command, fake: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--provider", "openai_chat", "--base-url", f"{fake.url}/v1", "--key-stdin")
    assert command("add", "main", *arguments, stdin=KEY) == 0

    assert command("test", "main") == 0
    assert "answers" in capsys.readouterr().out
    assert command("test", "main", "--agent", "gpt") == 0
    told = capsys.readouterr().out
    assert "input_tokens" in told
    assert any(KEY in received.headers.get("authorization", "") for received in fake.requests)
    assert KEY not in told


def test_a_test_of_an_endpoint_that_is_away_fails_in_words(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    command("add", "main", "--provider", "dify", "--base-url", "http://127.0.0.1:1")

    assert command("test", "main") == 1

    assert "cannot be reached" in capsys.readouterr().err
