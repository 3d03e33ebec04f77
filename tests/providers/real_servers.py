"""The real servers as processes on loopback, each from its own environment, ended by pid."""

import json
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from tests.providers.environments import HERE, model_file, program_of
from tests.server_process import HOST, Server

SOURCES: Final = HERE / "servers"


class HTTPServer(Server):
    """A server that is ready when one of its addresses answers."""

    ready_path = "/"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + self.ready_path, timeout=5):
                return True
        except OSError:  # URLError and HTTPError among them: 503 while a model loads
            return False

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """One request past all adapters, to see or set what the server knows."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")


class LangGraphServer(HTTPServer):
    """`langgraph dev` with the graphs of servers/graph.py."""

    ready_path = "/ok"

    def command(self) -> list[str]:
        for name in ("graph.py", "langgraph.json"):
            shutil.copy(SOURCES / name, self.directory)
        langgraph = program_of("langgraph", "langgraph")
        # It writes .langgraph_api/ into its folder, and by default runs one graph at a time.
        options = f"--no-browser --no-reload --n-jobs-per-worker 4 --host {HOST} --port {self.port}"
        quiet = "LANGSMITH_TRACING=false LANGGRAPH_CLI_NO_ANALYTICS=1"
        return ["/bin/sh", "-c", f"cd '{self.directory}' && exec env {quiet} '{langgraph}' dev {options}"]


class A2AAgent(HTTPServer):
    """The agent of servers/a2a_agent.py."""

    ready_path = "/.well-known/agent-card.json"

    def command(self) -> list[str]:
        return [str(program_of("a2a", "python")), str(SOURCES / "a2a_agent.py"), str(self.port)]


class LlamaServer(HTTPServer):
    """llama.cpp with SmolLM2-135M."""

    ready_path = "/health"

    def command(self) -> list[str]:
        python: Path = program_of("llama", "python")
        return [str(python), str(SOURCES / "llama_server.py"), str(self.port), str(model_file())]


class LLMock(HTTPServer):
    """A model server that fails as it is told."""

    ready_path = "/health"

    def command(self) -> list[str]:
        return [str(program_of("llmock", "llmock")), "serve", "--host", HOST, "--port", str(self.port)]

    def behave(self, *behaviors: dict[str, Any]) -> None:
        """Fail so from the next request on; without arguments, not at all."""
        self.ask("POST", "/_llmock/reset")
        self.ask("POST", "/_llmock/scenario", {"behaviors": list(behaviors)})
