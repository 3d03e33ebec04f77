"""A model server over real sockets: chat completions and embeddings as OpenAI's, in the test's own process.

It answers `heard <messages>: <the last one>`, after `delay` seconds, and counts a token a word. Vectors count the
letters of a text, so that texts with the same letters are near each other. Every request is kept in `heard`.
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

KEY = "sk-test-0123456789abcdef"
DIMENSIONS = 64


class ModelServer:
    """Listens on a free port of loopback until it is closed. `refuse`: the HTTP status of every answer."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.refuse: int | None = None
        self.delay = 0.0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.heard.append({"path": self.path, "key": self.headers.get("Authorization", ""), **body})
                time.sleep(server.delay)
                status = server.refuse or 200
                answer = {"error": {"message": "no"}} if server.refuse else server.answer(self.path, body)
                text = json.dumps(answer, ensure_ascii=False).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path.endswith("/embeddings"):
            vectors = [[float(text.count(chr(97 + at))) + 0.01 for at in range(DIMENSIONS)] for text in body["input"]]
            data = [{"index": at, "embedding": vector} for at, vector in enumerate(vectors)]
            return {"data": list(reversed(data)), "model": body["model"]}
        messages = body["messages"]
        text = f"heard {len(messages)}: {messages[-1]['content']}"
        usage = {
            "prompt_tokens": sum(len(each["content"].split()) for each in messages),
            "completion_tokens": len(text.split()),
        }
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return {"choices": [choice], "usage": usage}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
