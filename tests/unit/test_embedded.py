"""What `make run` decides, finds and prints, without starting anything."""

import importlib.util
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from config import BASE_DIR, Settings
from scripts import samples
from scripts.embedded_profile import CannotRun, Profile, find_valkey
from scripts.port_holder import find_holder, is_free
from scripts.terminal import Steps, table
from store.database import connect
from store.migrate import upgrade

AGENTS = "http://agents.example.com/api"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def profile(**settings: Any) -> Profile:
    return Profile(Settings(_env_file=None, **settings), demo_port=8900)


class TestProfile:
    def test_with_nothing_configured_everything_is_started(self) -> None:
        assert profile().servers == ("valkey", "demo-agent")
        assert [port for _, port, _ in profile().ports.values()] == [8003, 6390, 8900]

    def test_the_demo_agent_is_the_default_endpoint_of_the_built_in_database(self) -> None:
        added = profile().environment("python", "valkey", "secret")

        assert added["AGENT_API_BASE_URL"] == "http://127.0.0.1:8900/api"
        assert added["HTTP_ALLOWED_HOSTS"] == "127.0.0.1:8900"

    def test_the_demo_agent_never_answers_for_a_configured_platform(self) -> None:
        assert "AGENT_API_BASE_URL" not in profile(agent_api_base_url=AGENTS).environment("python", "valkey", "secret")

    @pytest.mark.parametrize("url", ["mysql://u:p@db/scheduler", "sqlite:////elsewhere/other.db"])
    def test_a_database_of_ones_own_gets_no_samples_and_no_demo_agent(self, url: str) -> None:
        own = profile(database_url=url)

        assert not own.has_samples
        assert own.servers == ("valkey",)
        assert not {"AGENT_API_BASE_URL", "HTTP_ALLOWED_HOSTS"} & set(own.environment("python", "valkey", "secret"))

    @pytest.mark.parametrize("name", ["celery_broker_url", "redis_url"])
    def test_a_broker_of_ones_own_is_used_and_no_valkey_started(self, name: str) -> None:
        own = profile(**{name: "redis://10.0.0.5:6379/0"})

        assert own.servers == ("demo-agent",)
        assert "Valkey" not in own.ports

    def test_tokens_and_hosts_that_are_set_stay_beside_ours(self) -> None:
        added = profile(api_tokens="theirs:viewer", http_allowed_hosts="a.example.com").environment(
            "python", "valkey", "ours"
        )

        assert added["API_TOKENS"] == "theirs:viewer,ours:admin"
        assert added["HTTP_ALLOWED_HOSTS"] == "a.example.com,127.0.0.1:8900"


def test_where_there_is_no_valkey_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(CannotRun, match="apt-get install -y redis-server"):
        find_valkey()


def test_a_redis_server_on_the_path_serves_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    server = tmp_path / "redis-server"
    server.touch(mode=0o755)

    assert find_valkey() == str(server)


def test_the_holder_of_a_port_is_found_by_pid() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        assert not is_free("127.0.0.1", port)
        assert find_holder(port).pid == os.getpid()
        assert f"(pid {os.getpid()})" in str(find_holder(port))

    assert is_free("127.0.0.1", port)


class TestTerminal:
    def test_chinese_answers_keep_the_columns_straight(self) -> None:
        lines = table(("task", "answer", "end"), [("任务一", "好", "x"), ("task two", "fine", "x")]).splitlines()

        assert lines[2:] == ["  任务一    好      x", "  task two  fine    x"]

    def test_a_long_answer_is_cut_and_stays_on_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "60")

        lines = table(("task", "answer"), [("one", "第一行\n" * 50)]).splitlines()

        assert len(lines) == 3
        assert lines[2].endswith("...")

    def test_control_codes_in_an_answer_never_reach_the_terminal(self) -> None:
        assert "\x1b" not in table(("answer",), [("\x1b[31mred\x07",)])

    def test_a_pipe_gets_whole_lines_and_each_state_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        steps = Steps(1)
        with steps.step("waiting"):
            for state in ("one left", "one left", "none left"):
                steps.progress(state)

        assert capsys.readouterr().out == "[1/1] waiting\n      one left\n      none left\n"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{tmp_path / 'scheduler.db'}")
    upgrade(engine)
    yield engine
    engine.dispose()


class TestSamples:
    wanted = samples.samples("127.0.0.1:8900")

    def rows(self, engine: Engine, columns: str) -> list[tuple[object, ...]]:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(f"SELECT {columns} FROM periodic_task ORDER BY id"))]

    def change(self, engine: Engine, statement: str) -> None:
        with engine.begin() as connection:
            connection.execute(text(statement))

    def test_put_in_twice_they_are_there_once_and_asked_to_run(self, engine: Engine) -> None:
        samples.put_in(engine, self.wanted, agent_is_demo=True)
        samples.put_in(engine, self.wanted, agent_is_demo=True)

        assert self.rows(engine, "name, run_now, enabled") == [(sample.name, 1, 1) for sample in self.wanted]

    def test_a_sample_that_an_operator_switched_off_or_rewrote_stays_so(self, engine: Engine) -> None:
        samples.put_in(engine, self.wanted, agent_is_demo=True)
        config = json.dumps({"task_type": "http", "url": "http://127.0.0.1:9/mine"})
        self.change(engine, f"UPDATE periodic_task SET task_extra_config = '{config}' WHERE name = 'sample http'")
        self.change(engine, "UPDATE periodic_task SET enabled = 0, run_now = 0 WHERE name = 'sample agent'")

        samples.put_in(engine, self.wanted, agent_is_demo=True)

        assert self.rows(engine, "name, enabled, run_now")[0] == ("sample agent", 0, 0)
        assert self.rows(engine, "task_extra_config")[2] == (config,)
        assert samples.expected(engine, self.wanted) == ["sample workflow", "sample http"]

    def test_the_http_sample_follows_the_demo_agent_to_another_port(self, engine: Engine) -> None:
        samples.put_in(engine, self.wanted, agent_is_demo=True)

        samples.put_in(engine, samples.samples("127.0.0.1:8901"), agent_is_demo=True)

        assert "127.0.0.1:8901" in str(self.rows(engine, "task_extra_config")[2])

    def test_samples_for_the_demo_agent_are_paused_while_a_platform_is_configured(self, engine: Engine) -> None:
        samples.put_in(engine, self.wanted, agent_is_demo=False)
        assert self.rows(engine, "enabled") == [(0,), (0,), (1,)]
        assert self.rows(engine, "pause_reason")[0] == (samples.NO_DEMO_AGENT,)

        samples.put_in(engine, self.wanted, agent_is_demo=True)
        assert self.rows(engine, "enabled, pause_reason") == [(1, None)] * 3


def test_every_program_of_the_profile_is_in_the_supervisor_configuration() -> None:
    configured = (BASE_DIR / "conf" / "embedded" / "supervisord.conf").read_text()

    for program in (*profile().servers, *profile().services):
        assert f"[program:{program}]" in configured
