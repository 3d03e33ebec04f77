"""The fault proxy does what its modes say: else every test above it proves nothing."""

import socket
import time
from collections.abc import Iterator
from threading import Thread

import pytest

from tests.faults.proxy import Mode, Port, Proxy
from tests.server_process import HOST


@pytest.fixture
def port() -> Iterator[Port]:
    """A port before a server that echoes."""
    with socket.create_server((HOST, 0)) as server, Proxy() as proxy:
        Thread(target=_echo, args=(server,), daemon=True).start()
        yield proxy.port(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)


def _echo(server: socket.socket) -> None:
    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1024):
                    connection.sendall(data)
            except OSError:
                return

    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        Thread(target=answer, args=(connection,), daemon=True).start()


def dial(port: Port, timeout: float = 5.0) -> socket.socket:
    return socket.create_connection((HOST, port.number), timeout)


def says(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    return connection.recv(1024)


def silent(connection: socket.socket, seconds: float = 0.3) -> bool:
    connection.settimeout(seconds)
    try:
        return connection.recv(1024) is None
    except TimeoutError:
        return True
    finally:
        connection.settimeout(5)


def test_bytes_pass(port: Port) -> None:
    with dial(port) as connection:
        assert says(connection, b"hello") == b"hello"


def test_cut_resets_what_is_connected_and_lets_new_ones_in(port: Port) -> None:
    with dial(port) as connection:
        says(connection, b"a")
        port.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with dial(port) as connection:
        assert says(connection, b"again") == b"again"


def test_refuse_until_it_is_set_back(port: Port) -> None:
    port.set(Mode.REFUSE)
    with pytest.raises(ConnectionRefusedError):
        dial(port)
    port.set(Mode.PASS)
    with dial(port) as connection:
        assert says(connection, b"back") == b"back"


def test_what_is_held_follows_and_in_order(port: Port) -> None:
    with dial(port) as connection:
        says(connection, b"a")
        port.set(Mode.HOLD)
        connection.sendall(b"one ")
        connection.sendall(b"two")
        with dial(port) as other:
            other.sendall(b"new")
            assert silent(connection)
            port.set(Mode.PASS)
            assert other.recv(10) == b"new"
        received = b""
        while len(received) < 7:
            received += connection.recv(1024)
        assert received == b"one two"


def test_a_connection_that_lost_bytes_stays_silent_and_others_do_not(port: Port) -> None:
    with dial(port) as lost, dial(port) as idle:
        says(lost, b"a")
        says(idle, b"a")
        port.set(Mode.BLACK_HOLE)
        lost.sendall(b"gone")
        assert silent(lost)
        port.set(Mode.PASS)
        lost.sendall(b"gone too")
        assert silent(lost)
        assert says(idle, b"here") == b"here"


@pytest.mark.parametrize(
    ("mode", "seconds"), [(Mode.DELAY, 0.2), (Mode.DRIP, 0.05)], ids=["delayed", "a few bytes at a time"]
)
def test_slow(port: Port, mode: Mode, seconds: float) -> None:
    text = b"x" * 320
    with dial(port) as connection:
        says(connection, b"a")
        port.set(mode)
        began = time.monotonic()
        received = b""
        connection.sendall(text)
        while len(received) < len(text):
            received += connection.recv(1024)
        assert time.monotonic() - began >= seconds
        assert received == text


def test_a_reply_is_torn(port: Port) -> None:
    with dial(port) as connection:
        port.set(Mode.RESET_IN_REPLY, reply_bytes=3)
        assert says(connection, b"hello") == b"hel"
        with pytest.raises(ConnectionResetError):
            connection.recv(10)


def test_the_stream_ends_where_a_reply_should_be(port: Port) -> None:
    with dial(port) as connection:
        port.set(Mode.HALF_CLOSE)
        assert says(connection, b"hello") == b""
        connection.sendall(b"still taken")


def test_ports_are_independent() -> None:
    with socket.create_server((HOST, 0)) as server, Proxy() as proxy:
        Thread(target=_echo, args=(server,), daemon=True).start()
        first, second = (proxy.port(server.getsockname()[1]) for _ in range(2))
        with dial(first) as one, dial(second) as two:
            says(one, b"a")
            says(two, b"a")
            first.set(Mode.HOLD)
            one.sendall(b"held")
            assert silent(one)
            assert says(two, b"free") == b"free"
        server.shutdown(socket.SHUT_RDWR)


def test_a_service_that_is_down_resets_its_clients(port: Port) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port.target = taken.getsockname()[1]
    with pytest.raises(ConnectionResetError), dial(port) as connection:  # the reset may come before connect() returns
        connection.recv(1)
