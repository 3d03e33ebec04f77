"""Channels over real sockets: the robots of DingTalk, Feishu and WeCom, and the command scripts.channels."""

import io
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import notify
from config import get_settings
from notify import ChannelFault, Notifications, check_address, deliver
from scripts import channels, endpoints
from store import notifications
from store.database import autocommit
from tests.integration.conftest import on_sqlite
from tests.integration.engine import ENDPOINT, Ledger, settings_for
from tests.integration.robots import HOSTS, KEY, SECRET, TOKEN, Robots
from tests.integration.test_notify import end, good

ADDRESSES = {
    "oapi.dingtalk.com": f"dingtalk://{SECRET}@{TOKEN}",
    "open.feishu.cn": f"feishu://{TOKEN}",
    "qyapi.weixin.qq.com": f"wecombot://{KEY}",
}
WRONG = {
    "oapi.dingtalk.com": (f"dingtalk://{SECRET}@ffffffffffffffff", "300005: token is not exist"),
    "open.feishu.cn": ("feishu://ffffffffffffffff", "19001"),
    "qyapi.weixin.qq.com": ("wecombot://ffffffffffffffff", "93000"),
}
PLANTED = (SECRET, TOKEN, KEY, "planted-secret-key-0")

Shell: TypeAlias = Callable[..., tuple[int, str]]


def test_no_part_of_a_password_passes_for_a_kind(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "address_of", lambda *_: "mailto://user:first,planted:second@example.com,json://host")

    assert notify.kinds_of(None, settings_for(ledger)) == ["json", "mailto"]  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine of a test may be busy."""
    monkeypatch.setattr(notify, "SEND_SECONDS", 110.0)


@pytest.fixture
def robots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Robots]:
    with Robots(tmp_path) as robots:
        for name, value in robots.environment.items():
            monkeypatch.setenv(name, value)
        yield robots


@pytest.mark.parametrize("host", HOSTS)
def test_a_robot_takes_a_message(robots: Robots, host: str) -> None:
    deliver(ADDRESSES[host], "Agent scheduler: 3 failed", "[failed] 日报\nHTTP 503", "failure")

    (heard,) = robots.heard
    assert heard.host == host
    assert "3 failed" in heard.text
    assert "[failed] 日报\nHTTP 503" in heard.text


@pytest.mark.parametrize("host", HOSTS)
def test_a_robot_that_refuses_with_http_200_is_a_failure_without_the_secret(robots: Robots, host: str) -> None:
    address, said = WRONG[host]
    with pytest.raises(ChannelFault) as refused:
        deliver(address, "t", "b")
    assert said in str(refused.value)
    assert "ffffffffffffffff" not in str(refused.value)
    assert SECRET not in str(refused.value)

    robots.keyword = "keyword of the group"
    with pytest.raises(ChannelFault):
        deliver(ADDRESSES[host], "t", "b")


def test_a_channel_that_says_nothing_is_given_up(robots: Robots, monkeypatch: pytest.MonkeyPatch) -> None:
    robots.stalls = True
    monkeypatch.setattr(notify, "SEND_SECONDS", 3.0)

    with pytest.raises(ChannelFault, match=r"not sent within 3 s|not taken|Connection error|Failed"):
        deliver(ADDRESSES["open.feishu.cn"], "t", "b")


def test_an_address_that_apprise_does_not_know_is_refused_and_not_shown() -> None:
    with pytest.raises(ChannelFault) as refused:
        check_address("dingtalk://planted-secret-key-0")

    assert "An invalid DingTalk API Token (***) was specified" in str(refused.value)
    assert "planted-secret-key-0" not in str(refused.value)


@pytest.fixture
def shell(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """Runs the command in this process: (exit code, what it printed)."""
    values = {
        "DATABASE_URL": ledger.url,
        "AGENT_API_BASE_URL": ENDPOINT,
        "TIMEZONE": "UTC",
        "SECRET_KEY": "planted-secret-key-0",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()

    def run(*arguments: str, typed: str = "") -> tuple[int, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        try:
            code: Any = channels.main(list(arguments))
        except SystemExit as ended:
            code = ended.code
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    yield run
    monkeypatch.undo()
    get_settings.cache_clear()


def test_a_channel_is_added_told_listed_and_removed_and_its_address_never_shown(
    shell: Shell, robots: Robots, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said = [
        shell("list"),
        shell("add", "钉钉", typed=ADDRESSES["oapi.dingtalk.com"]),
        shell("add", "ops", typed=""),
        shell("add", "ops", typed="nonsense"),
        shell("add", "ops", typed=f"{ADDRESSES['oapi.dingtalk.com']}\n"),
        shell("test", "ops"),
        shell("test", "opps"),
    ]
    Notifications(ledger.engine, settings_for(ledger, secret_key="planted-secret-key-0")).look()
    end(ledger, "HTTP 503")
    Notifications(ledger.engine, settings_for(ledger, secret_key="planted-secret-key-0")).look()
    said.append(shell("list"))
    said.append(shell("remove", "ops"))
    said.append(shell("list"))

    assert [code for code, _ in said] == [0, 2, 2, 2, 0, 0, 2, 0, 0, 0]
    texts = [text for _, text in said]
    assert "there is no channel yet" in texts[0]
    assert "is no name of a channel" in texts[1]
    assert "no address was given" in texts[2]
    assert "does not know this kind of address" in texts[3]
    assert "channel ops added" in texts[4]
    assert "took the message" in texts[5]
    assert "did you mean 'ops'?" in texts[6]
    assert "dingtalk://*** (stored)" in texts[7]
    assert "channel ops is removed" in texts[8]
    assert "there is no channel yet" in texts[9]
    assert [heard.answer["errcode"] for heard in robots.heard] == [0, 0]
    assert "日报" in robots.heard[1].text
    for planted in PLANTED:
        assert planted not in "".join(texts) + caplog.text


def test_no_secret_of_a_channel_stands_in_the_database(shell: Shell, ledger: Ledger) -> None:
    code, _ = shell("add", "ops", typed=ADDRESSES["open.feishu.cn"])
    assert code == 0

    stored = "".join(str(row) for row in ledger.sql("SELECT * FROM notify_channel"))
    stored += str(ledger.value("SELECT url FROM notify_channel"))
    assert TOKEN not in stored
    assert stored.count("v1.") >= 1


@on_sqlite
def test_a_channel_may_name_a_variable_but_none_that_holds_other_secrets(
    shell: Shell, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shell("add", "ops", "--url-env", "SECRET_KEY")[0] == 2
    assert shell("add", "ops", "--url-env", "OPS_NOTIFY_URL")[0] == 0
    code, said = shell("test", "ops")
    assert (code, "OPS_NOTIFY_URL is not set" in said) == (2, True)

    ledger.sql("UPDATE notify_channel SET url_env = 'DATABASE_URL'")
    code, said = shell("test", "ops")
    assert (code, "must be the name of a variable that ends in _NOTIFY_URL" in said) == (2, True)


@on_sqlite
def test_another_secret_key_is_a_clear_error_and_loses_nothing(
    shell: Shell, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    shell("add", "ops", typed=ADDRESSES["open.feishu.cn"])
    end(ledger, good())
    end(ledger, "HTTP 503")
    Notifications(ledger.engine, settings_for(ledger, secret_key="another")).look()

    with autocommit(ledger.engine) as connection:
        row = notifications.channel(connection, "ops")
    assert row is not None
    assert "cannot be read with this SECRET_KEY" in (row.last_error or "")
    assert "is tried again in 10 s" in caplog.text
    assert ledger.value("SELECT sum(pending) FROM notify_message") == 1


def test_the_rotation_of_keys_writes_addresses_anew_too(
    shell: Shell, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell("add", "ops", typed=ADDRESSES["open.feishu.cn"])
    monkeypatch.setenv("SECRET_KEY", "the second")
    get_settings.cache_clear()
    assert endpoints.main(["rotate-keys"]) == 1
    assert "channel 'ops': its address cannot be read" in capsys.readouterr().err

    monkeypatch.setenv("SECRET_KEY_PREVIOUS", "planted-secret-key-0")
    get_settings.cache_clear()
    assert endpoints.main(["rotate-keys"]) == 0
    with autocommit(ledger.engine) as connection:
        row = notifications.channel(connection, "ops")
    assert row is not None
    assert notify.address_of(row, settings_for(ledger, secret_key="the second")) == ADDRESSES["open.feishu.cn"]


@on_sqlite
def test_an_address_that_was_copied_to_another_channel_is_not_read(shell: Shell, ledger: Ledger) -> None:
    shell("add", "ops", typed=ADDRESSES["open.feishu.cn"])
    ledger.sql("UPDATE notify_channel SET name = 'other'")

    code, said = shell("test", "other")
    assert code == 2
    assert "cannot be read" in said


@on_sqlite
def test_without_a_secret_key_no_address_is_stored(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "")
    get_settings.cache_clear()

    code, said = shell("add", "ops", typed=ADDRESSES["open.feishu.cn"])
    assert code == 2
    assert "SECRET_KEY is not set" in said
