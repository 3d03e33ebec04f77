"""`.env.example` is the settings reference: complete, in order, and equal to the defaults."""

import re

import pytest
from dotenv import dotenv_values

from config import BASE_DIR, Settings

EXAMPLE = BASE_DIR / ".env.example"
NAMES = [name.upper() for name in Settings.model_fields]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_the_example_names_every_setting_in_the_order_of_config() -> None:
    assert list(dotenv_values(EXAMPLE)) == NAMES


def test_an_unchanged_copy_of_the_example_changes_nothing() -> None:
    copied = Settings(_env_file=EXAMPLE)

    assert copied == Settings(_env_file=None)


@pytest.mark.parametrize("name", NAMES)
def test_each_setting_of_the_example_has_a_line_that_says_what_it_means(name: str) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")

    assert re.search(rf"^# \w[^\n]+\.\n{name}=", text, re.MULTILINE), f"{name} has no comment line above it"


@pytest.mark.parametrize("name", [name for name in NAMES if Settings.model_fields[name.lower()].default])
def test_a_default_that_is_not_empty_is_shown(name: str) -> None:
    if name != "DATABASE_URL":  # it holds the project's own path
        assert dotenv_values(EXAMPLE)[name]
