"""An agent server in the test's own process that answers with what the message asks for, over real sockets.

`say <text>` answers with the text, anything else with `ok <message>`. Every request is kept in `heard`.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.recording_agent import answer


class AnsweringAgent:
    """Listens on a free port of loopback until it is closed."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        agent = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                agent.heard.append(body)
                message = str(body.get("query", ""))
                text = message.removeprefix("say ") if message.startswith("say ") else f"ok {message}"
                self.wfile.write(answer(message, text))
                self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/api"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
