"""The servers that every other integration test stands on do what their names say."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pymysql
import pytest
import redis
from sqlalchemy import Connection, NullPool, create_engine, inspect, text

from tests import services
from tests.services import HOST, MariaDBServer, ServiceMissing, ValkeyServer, find_program, free_port


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def test_a_free_port_can_be_listened_on() -> None:
    port = free_port()

    with socket.socket() as listener:
        listener.bind((HOST, port))
        listener.listen()


def test_an_empty_database_has_no_tables_and_takes_chinese_text(empty_database_url: str) -> None:
    with connected(empty_database_url) as connection:
        assert inspect(connection).get_table_names() == []
        connection.execute(text("CREATE TABLE note (body VARCHAR(20))"))
        connection.execute(text("INSERT INTO note VALUES ('日报 🚀')"))

        assert connection.execute(text("SELECT body FROM note WHERE body LIKE '%日报%'")).scalar_one() == "日报 🚀"


def test_two_databases_of_one_server_share_nothing(mariadb: MariaDBServer) -> None:
    first, second = mariadb.create_database("share_a"), mariadb.create_database("share_b")

    with connected(first) as connection:
        connection.execute(text("CREATE TABLE note (body INT)"))
    with connected(second) as connection:
        assert inspect(connection).get_table_names() == []

    mariadb.drop_database("share_a")
    mariadb.drop_database("share_b")


def test_dropping_a_database_does_not_wait_for_an_open_transaction(mariadb: MariaDBServer) -> None:
    url = mariadb.create_database("held")
    engine = create_engine(url, poolclass=NullPool)
    with connected(url) as connection:
        connection.execute(text("CREATE TABLE note (body INT)"))
    holder = engine.connect()
    holder.execute(text("SELECT * FROM note"))

    mariadb.drop_database("held")

    holder.invalidate()
    holder.close()
    engine.dispose()


def test_mariadb_keeps_what_was_committed_through_a_kill() -> None:
    with MariaDBServer() as server:
        url = server.create_database("kept")
        with connected(url) as connection:
            connection.execute(text("CREATE TABLE note (body INT)"))
            connection.execute(text("INSERT INTO note VALUES (1)"))
        first_pid = server.pid

        server.kill()
        with pytest.raises(pymysql.err.OperationalError):
            pymysql.connect(host=HOST, port=server.port, user=server.USER, password=server.PASSWORD)
        server.start()

        assert server.pid != first_pid
        with connected(url) as connection:
            assert connection.execute(text("SELECT body FROM note")).scalar_one() == 1


def test_mariadb_takes_options_of_the_test() -> None:
    with MariaDBServer(["--innodb-lock-wait-timeout=7"]) as server, server.cursor() as cursor:
        cursor.execute("SELECT @@innodb_lock_wait_timeout, @@innodb_flush_log_at_trx_commit")

        assert cursor.fetchone() == (7, 1)


def test_a_closed_server_leaves_no_process_and_no_files() -> None:
    with ValkeyServer() as server:
        directory, port = server.directory, server.port
        assert server.pid is not None

    assert server.pid is None
    assert not directory.exists()
    with socket.socket() as probe:
        assert probe.connect_ex((HOST, port)) != 0


def test_a_restarted_valkey_is_empty_and_on_the_same_url() -> None:
    with ValkeyServer() as server:
        url = server.url
        with server.client() as client:
            client.set("queued", "1")

        server.kill()
        with server.client() as client, pytest.raises(redis.exceptions.ConnectionError):
            client.ping()
        server.start()

        assert server.url == url
        with server.client() as client:
            assert client.get("queued") is None


def test_a_frozen_valkey_accepts_and_does_not_answer() -> None:
    with ValkeyServer() as server:
        server.freeze()
        with socket.create_connection((HOST, server.port), timeout=0.2) as client:
            client.sendall(b"PING\r\n")
            with pytest.raises(TimeoutError):
                client.recv(1)

        server.thaw()

        assert server.is_ready()


def test_an_empty_broker_holds_no_key_of_an_earlier_test(valkey: ValkeyServer, empty_broker_url: str) -> None:
    with valkey.client() as client:
        assert client.dbsize() == 0
    assert empty_broker_url == valkey.url


def test_a_missing_program_is_named_with_the_line_that_installs_it() -> None:
    with pytest.raises(ServiceMissing, match=r"no-such-server is not installed; run: sudo apt-get install -y it"):
        find_program("no-such-server", install="sudo apt-get install -y it")


def test_a_server_that_cannot_start_shows_its_own_words() -> None:
    with (
        pytest.raises(services.ServiceFailed, match=r"(?s)did not start.*no-such-option"),
        ValkeyServer(["--no-such-option", "1"]),
    ):
        pass
