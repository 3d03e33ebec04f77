"""Settings by file: `NAME_FILE` names a file that holds the value of NAME, as secrets are handed over."""

from pathlib import Path

import pytest

from config import Settings, SettingsError, get_settings, read_credential
from tests.unit.test_config import _bare_environment  # noqa: F401 - a fixture


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("p@ss: wörd\n")
    return file


def test_a_value_stands_in_the_file_that_is_named(monkeypatch: pytest.MonkeyPatch, secret: Path) -> None:
    monkeypatch.setenv("REDIS_PASSWORD_FILE", str(secret))
    monkeypatch.setenv("TASK_QUEUES_FILE", str(secret.with_name("queues")))
    secret.with_name("queues").write_text("data, reports\r\n")

    settings = get_settings()

    assert settings.redis_password.get_secret_value() == "p@ss: wörd"
    assert settings.task_queues == ("data", "reports")
    assert not [notice for notice in settings.notices() if "_FILE" in notice]


def test_the_env_file_may_name_it_too(secret: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"AGENT_API_KEY_FILE={secret}\n")

    assert get_settings().agent_api_key.get_secret_value() == "p@ss: wörd"


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_file_and_an_empty_name_mean_the_default(
    monkeypatch: pytest.MonkeyPatch, secret: Path, content: str
) -> None:
    secret.write_text(content)
    monkeypatch.setenv("DATABASE_URL_FILE", str(secret))
    monkeypatch.setenv("API_PORT_FILE", "")

    assert get_settings() == Settings(_env_file=None)


def test_an_empty_value_beside_the_file_is_no_second_value(monkeypatch: pytest.MonkeyPatch, secret: Path) -> None:
    monkeypatch.setenv("SECRET_KEY", "")
    monkeypatch.setenv("SECRET_KEY_FILE", str(secret))

    assert get_settings().secret_key.get_secret_value() == "p@ss: wörd"


def test_a_value_and_a_file_are_one_too_many(monkeypatch: pytest.MonkeyPatch, secret: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SECRET_KEY=other\n")
    monkeypatch.setenv("SECRET_KEY_FILE", str(secret))

    with pytest.raises(SettingsError, match=r"^SECRET_KEY and SECRET_KEY_FILE are both set: leave one of them out$"):
        get_settings()


def test_a_file_that_cannot_be_read_is_told_without_what_was_written_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", "mysql://u:s3cret@h/d")  # the value where its file belongs

    with pytest.raises(SettingsError) as refused:
        get_settings()

    assert str(refused.value) == (
        "DATABASE_URL_FILE: its file cannot be read (No such file or directory); name one that this account may read"
    )


def test_a_wrong_value_in_a_file_is_told_as_any_other(monkeypatch: pytest.MonkeyPatch, secret: Path) -> None:
    secret.write_text("99999")
    monkeypatch.setenv("API_PORT_FILE", str(secret))

    with pytest.raises(SettingsError, match=r"^API_PORT='99999': use a port from 1 to 65535"):
        get_settings()


def test_a_key_that_an_endpoint_names_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, secret: Path) -> None:
    monkeypatch.setenv("DIFY_API_KEY_FILE", str(secret))
    assert read_credential("DIFY_API_KEY") == "p@ss: wörd"

    monkeypatch.setenv("DIFY_API_KEY_FILE", str(secret.with_name("none")))
    with pytest.raises(ValueError, match="DIFY_API_KEY_FILE: its file cannot be read"):
        read_credential("DIFY_API_KEY")

    monkeypatch.setenv("DIFY_API_KEY", "p@ss")
    with pytest.raises(ValueError, match="DIFY_API_KEY and DIFY_API_KEY_FILE are both set"):
        read_credential("DIFY_API_KEY")


def test_an_empty_key_of_the_environment_hides_that_of_the_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("DIFY_API_KEY=p@ss\n")
    assert read_credential("DIFY_API_KEY") == "p@ss"

    monkeypatch.setenv("DIFY_API_KEY", "")
    assert read_credential("DIFY_API_KEY") == ""
