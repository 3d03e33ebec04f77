"""An agent server that notes every request it gets: `python -m tests.recording_agent PORT LOG`.

Speaks the streaming dialect of `agent_platform`. A message `wait 5` is answered after 5 seconds, `fail` with
HTTP 500, `drip` with a byte a second. Each request is one line of LOG: monotonic time, run id, message; it is
written before the answer, as soon as the request is there. Plain asyncio: thousands of calls wait at once.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TextIO

HEAD = "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"


def answer(message: str) -> bytes:
    state = json.dumps(
        {"messages": [{"type": "human", "content": message}, {"type": "ai", "content": f"ok {message}"}]}
    )
    body = f'event: values\ndata: {state}\n\nevent: end\ndata: {{"status": "completed"}}\n\n'
    return (HEAD.format(status="200 OK", kind="text/event-stream") + body).encode()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, log: TextIO) -> None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
        message = str(body.get("query", ""))
        log.write(f"{time.time():.6f} {headers.get('idempotency-key')} {message}\n")
        verb, _, amount = message.partition(" ")
        if verb == "wait":
            await asyncio.sleep(float(amount))
        if verb == "fail":
            writer.write(
                (HEAD.format(status="500 Error", kind="application/json") + '{"msg": "told to fail"}').encode()
            )
        elif verb == "drip":
            writer.write(HEAD.format(status="200 OK", kind="text/event-stream").encode())
            while True:
                writer.write(b":\n")
                await writer.drain()
                await asyncio.sleep(1)
        else:
            writer.write(answer(message))
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main(port: int, path: Path) -> None:
    with path.open("a", buffering=1) as log:
        server = await asyncio.start_server(lambda r, w: serve(r, w, log), "127.0.0.1", port, backlog=4096)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
