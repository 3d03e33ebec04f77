"""Flower is never open to the network without a password of the operator's own."""

import runpy
from collections.abc import Callable, Iterator
from typing import Any

import flower.options  # noqa: F401 - defines the options that flowerconfig reads
import pytest
from tornado.options import options

from config import BASE_DIR, get_settings

Load = Callable[..., dict[str, Any]]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Read flowerconfig.py as Flower would, with these settings and this --address."""

    def read(address: str = "", **settings: str) -> dict[str, Any]:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        options.address = address
        return runpy.run_path(str(BASE_DIR / "flowerconfig.py"))

    yield read
    options.address = ""
    get_settings.cache_clear()


def test_without_any_option_flower_listens_on_this_machine_only(load: Load) -> None:
    found = load(FLOWER_PORT="15555")

    assert (found["address"], found["port"]) == ("127.0.0.1", 15555)
    assert "basic_auth" not in found


def test_a_password_is_asked_for_where_one_is_set(load: Load) -> None:
    assert load(FLOWER_USER="ops", FLOWER_PASSWORD="a, comma: too")["basic_auth"] == ["ops:a, comma: too"]


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.7", "scheduler.example.com"])
@pytest.mark.parametrize("password", ["", "admin", "Password", "12345678", "short", "operators"])
def test_an_open_address_needs_a_password_of_ones_own(
    load: Load, capsys: pytest.CaptureFixture[str], address: str, password: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        load(address, FLOWER_USER="operators", FLOWER_PASSWORD=password)

    assert ended.value.code == 2
    assert "FLOWER_PASSWORD" in capsys.readouterr().err


def test_an_open_address_with_a_good_password_is_accepted(load: Load) -> None:
    assert load("0.0.0.0", FLOWER_PASSWORD="correct horse")["address"] == "0.0.0.0"


def test_a_wrong_setting_is_one_line_and_exit_code_2(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        load(FLOWER_PORT="many")

    assert ended.value.code == 2
    assert "FLOWER_PORT" in capsys.readouterr().err
