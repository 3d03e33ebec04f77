"""Bodies that are meant to do harm, sent to a running API: refused in plain words, while others are served."""

import gzip
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import psutil
import pytest

from api.bodies import LONGEST_BODY, LONGEST_IMPORT, LONGEST_LOGIN
from tests.acceptance.api_process import NOWHERE, OPERATOR, Api, bearer, prepared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

DRIPPING: Final = 100
MOST_MEMORY: Final = 512 * 2**20
MOST_SECONDS: Final = 3.0  # of the processor, for one body
TASK: Final = '{"name": "t", "crontab": "0 9 * * *", "task_extra_config": %s}'


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("bodies")
    running = Api(prepared(f"sqlite:///{folder}/s.db", NOWHERE, folder), NOWHERE)
    yield running
    running.close()


def nested(depth: int, opening: str = '{"a":', closing: str = "}") -> str:
    return opening * depth + "1" + closing * depth


def many_keys(count: int) -> str:
    return json.dumps({f"k{number}": number for number in range(count)})


HARMFUL: Final[dict[str, tuple[str, bytes]]] = {
    "a list without end": ("/api/v2/tasks", b"[" * LONGEST_BODY),
    "nested to the parser's limit": ("/api/v2/tasks", nested(900).encode()),
    "nested beyond it": ("/api/v2/tasks", nested(100_000).encode()),
    "nested in a field": ("/api/v2/tasks", (TASK % nested(900)).encode()),
    "nested as a text": ("/api/v2/tasks", (TASK % json.dumps(nested(900))).encode()),
    "nested where numbers belong": ("/api/v2/preview", f'{{"count": {nested(900, "[", "]")}}}'.encode()),
    "nested under a wrong name": ("/api/v2/tasks/bulk", f'{{"nothing": {nested(400)}}}'.encode()),
    "many keys": ("/api/v2/tasks", many_keys(100_000).encode()),
    "many keys in a field": ("/api/v2/tasks", (TASK % many_keys(100_000)).encode()),
    "many columns": ("/api/v2/preview", many_keys(100_000).encode()),
    "a number of a million digits": ("/api/v2/preview", b'{"count": %s}' % (b"9" * 1_000_000)),
    "no UTF-8": ("/api/v2/tasks", b'{"name": "\xff\xfe"}'),
    "half a character": ("/api/v2/tasks", b'{"name": "\\ud800", "crontab": "0 9 * * *", "task_extra_config": {}}'),
    "nested in a form": ("/tasks/preview", b"a[" * 1000),
    "a YAML that is nested": ("/api/v2/tasks/import?format=yaml", b"[" * 100_000),
    "a YAML that unfolds": (
        "/api/v2/tasks/import?format=yaml",
        "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20))]).encode(),
    ),
}


@pytest.mark.parametrize(("path", "body"), HARMFUL.values(), ids=HARMFUL)
def test_a_body_that_is_hard_to_read_is_refused_in_plain_words(api: Api, path: str, body: bytes) -> None:
    process = psutil.Process(api.process.pid)
    before = processor_seconds(process)

    answer = api.public.post(path, content=body, headers={**bearer(OPERATOR), "Content-Type": "application/json"})

    assert 400 <= answer.status_code < 500, answer.text[:500]
    assert len(answer.content) < 100_000
    assert processor_seconds(process) - before < MOST_SECONDS
    assert process.memory_info().rss < MOST_MEMORY
    assert "Traceback" not in (api.stack.folder / "api.out").read_text()


def processor_seconds(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def test_a_compressed_body_is_not_unpacked(api: Api) -> None:
    packed = gzip.compress(b'{"name": "' + b"x" * 2**27 + b'"}', compresslevel=1)
    assert len(packed) < LONGEST_BODY
    process = psutil.Process(api.process.pid)
    before = process.memory_info().rss
    headers = {**bearer(OPERATOR), "Content-Type": "application/json", "Content-Encoding": "gzip"}

    answer = api.public.post("/api/v2/tasks", content=packed, headers=headers)

    assert answer.status_code in (400, 415, 422)
    assert process.memory_info().rss - before < 2**26


@pytest.mark.parametrize(
    ("path", "longest"),
    [("/api/v2/tasks", LONGEST_BODY), ("/login", LONGEST_LOGIN), ("/api/v2/tasks/import", LONGEST_IMPORT)],
)
@pytest.mark.parametrize("has_length", [True, False], ids=["declared", "chunked"])
def test_a_body_is_as_long_as_its_address_takes_and_no_longer(
    api: Api, path: str, longest: int, has_length: bool
) -> None:
    answer = sent(api, path, longest + 1, has_length=has_length)

    assert answer.startswith("HTTP/1.1 413 ")
    assert f"{longest:,} bytes" in answer


def test_a_length_that_is_declared_is_refused_before_anything_is_sent(api: Api) -> None:
    with raw(api) as connection:
        connection.sendall(head("/api/v2/tasks", f"Content-Length: {10**12}"))

        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_bodies_that_come_byte_by_byte_hold_up_nobody(api: Api) -> None:
    with ExitStack() as open_ones:
        dripping = [open_ones.enter_context(raw(api)) for _ in range(DRIPPING)]
        for connection in dripping:
            connection.sendall(head("/api/v2/tasks", "Content-Length: 1000") + b"{")
        for _ in range(3):
            for connection in dripping:
                connection.sendall(b" ")
            assert api.viewer.get("/api/v2/tasks").status_code == 200
            made = api.public.post(
                "/api/v2/preview", json={"crontab": "0 9 * * *", "count": 1}, headers=bearer(OPERATOR)
            )
            assert made.status_code == 200, made.text
            time.sleep(0.05)


def raw(api: Api) -> socket.socket:
    return socket.create_connection(("127.0.0.1", api.port), timeout=30)


def head(path: str, length: str) -> bytes:
    fields = ("Host: x", f"Authorization: Bearer {OPERATOR}", "Content-Type: application/json", length)
    return "\r\n".join([f"POST {path} HTTP/1.1", *fields, "", ""]).encode()


def sent(api: Api, path: str, size: int, *, has_length: bool) -> str:
    """Send so many bytes, as far as they are taken; return the answer."""
    with raw(api) as connection:
        connection.sendall(head(path, f"Content-Length: {size}" if has_length else "Transfer-Encoding: chunked"))
        piece = b" " * 2**16
        left = size
        try:
            while left > 0:
                part = piece[:left]
                connection.sendall(part if has_length else b"%x\r\n%s\r\n" % (len(part), part))
                left -= len(part)
        except OSError:  # it has answered and closed
            pass
        answer = b""
        while chunk := received(connection):
            answer += chunk
        return answer.decode()


def received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(2**16)
    except OSError:
        return b""
