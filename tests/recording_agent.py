"""An agent server that notes every request it gets: `python -m tests.recording_agent PORT LOG [ANSWERS]`.

Speaks the streaming dialect of `agent_platform`. What it does stands in the message:

    wait 5          answers after 5 seconds
    fail            HTTP 500
    drip            a byte a second, for ever
    tell 0.2 a b c  says "a b c" a word at a time, 0.2 seconds apart; `hang up` as last words: then it hangs up
    work 0.1        answers after 0.1 seconds with a text that nobody can guess: `done <run id> <random>`
    flaky 0.1       the same, but every fifth request gets HTTP 503 or a stream that is cut

Each request is one line of LOG: wall clock, run id, message; it is written as soon as the request is there. ANSWERS
gets a line for each whole answer just before it is sent: wall clock, run id, text. Both are on their way to the disk
before the client hears a byte, so a killed server has noted what it said. Plain asyncio: thousands of calls at once.
"""

import asyncio
import json
import random
import secrets
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

HEAD = "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
FLAKY = 0.2


def answer(message: str, text: str) -> bytes:
    state = json.dumps({"messages": [{"type": "human", "content": message}, {"type": "ai", "content": text}]})
    body = f'event: values\ndata: {state}\n\nevent: end\ndata: {{"status": "completed"}}\n\n'
    return (HEAD.format(status="200 OK", kind="text/event-stream") + body).encode()


def telling(message: str, text: str) -> bytes:
    state = json.dumps({"messages": [{"type": "human", "content": message}, {"type": "ai", "content": text}]})
    return f"event: values\ndata: {state}\n\n".encode()


def error(status: str) -> bytes:
    return (HEAD.format(status=status, kind="application/json") + '{"msg": "told to fail"}').encode()


class Agent:
    """Answers requests and keeps the two logs."""

    def __init__(self, requests: TextIO, answers: TextIO | None) -> None:
        self._requests, self._answers = requests, answers

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
            run_id = headers.get("idempotency-key", "None")
            message = str(body.get("query", ""))
            self._requests.write(f"{time.time():.6f} {run_id} {message}\n")
            await self._reply(writer, run_id, message)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _reply(self, writer: asyncio.StreamWriter, run_id: str, message: str) -> None:
        verb, _, amount = message.partition(" ")
        match verb:
            case "fail":
                writer.write(error("500 Error"))
            case "drip":
                writer.write(HEAD.format(status="200 OK", kind="text/event-stream").encode())
                while True:
                    writer.write(b":\n")
                    await writer.drain()
                    await asyncio.sleep(1)
            case "tell":
                await self._tell(writer, run_id, message)
            case "work" | "flaky":
                await asyncio.sleep(float(amount))
                text = f"done {run_id} {secrets.token_hex(4)}"
                if verb == "flaky" and random.random() < FLAKY:
                    whole = answer(message, text)
                    writer.write(error("503 Busy") if random.random() < 0.5 else whole[: len(whole) // 2])
                else:
                    self._answer(writer, run_id, message, text)
            case "wait":
                await asyncio.sleep(float(amount))
                self._answer(writer, run_id, message, f"ok {message}")
            case _:
                self._answer(writer, run_id, message, f"ok {message}")

    async def _tell(self, writer: asyncio.StreamWriter, run_id: str, message: str) -> None:
        _, pause, *words = message.split(" ")
        hangs_up = words[-2:] == ["hang", "up"]
        words = words[:-2] if hangs_up else words
        writer.write(HEAD.format(status="200 OK", kind="text/event-stream").encode())
        for count in range(1, len(words) + 1):
            writer.write(telling(message, " ".join(words[:count])))
            await writer.drain()
            await asyncio.sleep(float(pause))
        if not hangs_up:
            writer.write(b'event: end\ndata: {"status": "completed"}\n\n')

    def _answer(self, writer: asyncio.StreamWriter, run_id: str, message: str, text: str) -> None:
        if self._answers is not None:
            self._answers.write(f"{time.time():.6f} {run_id} {text}\n")
        writer.write(answer(message, text))


async def main(port: int, log: Path, answers: Path | None) -> None:
    with ExitStack() as files:
        agent = Agent(
            files.enter_context(log.open("a", buffering=1)),
            files.enter_context(answers.open("a", buffering=1)) if answers else None,
        )
        server = await asyncio.start_server(agent.serve, "127.0.0.1", port, backlog=4096)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None))
