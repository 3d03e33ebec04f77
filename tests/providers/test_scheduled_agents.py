"""Real agents on schedule, end to end: rows in MariaDB, a beat, a worker, and the answers in the ledger."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.providers.real_servers import A2AAgent, LangGraphServer, LlamaServer
from tests.services import MariaDBServer
from tests.stack import Stack, stack

PATIENCE = 240.0  # seconds; a small model on a busy machine writes a few words a second
ENDED = "SELECT count(*) FROM task_run WHERE state IN ('SUCCESS', 'FAILURE', 'REQUIRES_ACTION')"


def row(running: Stack, name: str, **config: Any) -> None:
    """A row that is due in two seconds, and every two seconds after that."""
    task = {"task_type": "agent", "timeout": 200, **config}
    running.insert(name, json.dumps(task, ensure_ascii=False), interval_seconds=2, max_runs=1)


@pytest.mark.slow
def test_real_agents_answer_on_schedule(
    mariadb: MariaDBServer,
    empty_broker_url: str,
    tmp_path: Path,
    langgraph: LangGraphServer,
    a2a_agent: A2AAgent,
    llama: LlamaServer,
) -> None:
    database_url = mariadb.create_database("scheduled_agents")
    with stack(database_url, empty_broker_url, tmp_path) as running:
        for name, provider, base_url in (
            ("graphs", "langgraph", langgraph.url),
            ("card", "a2a", a2a_agent.url),
            ("chat", "openai_chat", llama.url),
            ("responses", "openai_responses", llama.url),
            ("messages", "anthropic", llama.url),
        ):
            running.sql(
                "INSERT INTO agent_endpoint (name, provider, base_url) VALUES (:name, :provider, :base_url)",
                name=name,
                provider=provider,
                base_url=base_url,
            )
        question = {"agent_id": "smollm2", "message": "Say hello in three words."}
        row(running, "graph", endpoint="graphs", agent_id="talk", message="写日报 ✅")
        row(running, "graph that fails", endpoint="graphs", agent_id="talk", message="fail 数据库没有回答")
        row(running, "graph that asks", endpoint="graphs", agent_id="talk", message="ask 批准吗？")
        row(running, "state", endpoint="graphs", task_type="workflow", workflow_id="report", inputs={"day": "今天"})
        row(running, "task", endpoint="card", agent_id="obedient", message="写日报 ✅")
        row(running, "chat", endpoint="chat", options={"max_tokens": 12}, **question)
        row(
            running,
            "response",
            endpoint="responses",
            options={"background": False, "max_output_tokens": 12},
            **question,
        )
        row(running, "message", endpoint="messages", options={"max_tokens": 12}, **question)

        running.beat()
        running.worker()
        running.wait_for(lambda: running.count(ENDED) == 8, "eight runs to end", PATIENCE)

        found = {
            name: (state, kind, result)
            for name, state, kind, result in running.sql("SELECT task_name, state, error_kind, result FROM task_run")
        }
        assert len(found) == 8
        assert found["graph"] == ("SUCCESS", None, "echo: 写日报 ✅")
        assert found["graph that fails"][:2] == ("FAILURE", "remote_failed")
        assert found["graph that asks"][0] == "REQUIRES_ACTION"
        assert found["state"][0] == "SUCCESS"
        assert found["task"] == ("SUCCESS", None, "echo: 写日报 ✅")
        for name in ("chat", "response", "message"):
            assert found[name][0] == "SUCCESS", (name, found[name])
            assert found[name][2].strip()
        counted = "SELECT count(*) FROM task_run WHERE input_tokens > 0 AND output_tokens > 0 AND origin = 'schedule'"
        assert running.count(counted) == 4
    mariadb.drop_database("scheduled_agents")


@pytest.mark.slow
def test_a_worker_that_dies_leaves_its_graph_to_the_next_one(
    mariadb: MariaDBServer, empty_broker_url: str, tmp_path: Path, langgraph: LangGraphServer
) -> None:
    database_url = mariadb.create_database("graph_resumed")
    with stack(database_url, empty_broker_url, tmp_path, WORKER_LEASE_SECONDS="6") as running:
        running.sql(
            "INSERT INTO agent_endpoint (name, provider, base_url) VALUES ('graphs', 'langgraph', :url)",
            url=langgraph.url,
        )
        row(running, "slow graph", endpoint="graphs", agent_id="talk", message="sleep 12")
        running.beat()
        doomed = running.worker()
        stored = "SELECT count(*) FROM task_run WHERE state = 'STARTED' AND remote_handle IS NOT NULL"
        running.wait_for(lambda: running.count(stored) == 1, "a stored handle", 60.0)

        running.kill(doomed)
        running.worker()
        running.wait_for(lambda: running.count(ENDED) == 1, "the run to end", PATIENCE)

        ((state, result, attempt, thread_id),) = running.sql(
            "SELECT state, result, attempt, conversation_id FROM task_run"
        )
        assert (state, result, attempt) == ("SUCCESS", "echo: sleep 12", 2)
        assert len(langgraph.ask("GET", f"/threads/{thread_id}/runs")) == 1
    mariadb.drop_database("graph_resumed")
