"""A lasting trouble is told once, again every minute, and once more when it is over."""

import logging

import pytest

import trouble
from trouble import REPEAT_SECONDS, Trouble


def test_the_same_trouble_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    lasting = Trouble(logging.getLogger("test"), "all is well")
    lasting.is_over()  # nothing began

    for number in range(5):
        lasting.goes_on(f"away, try {number}", kind="away")
    lasting.goes_on("full", kind="full")
    assert lasting.lasts
    lasting.is_over()
    lasting.is_over()

    assert [message.partition(" (for ")[0].partition(", after")[0] for message in caplog.messages] == [
        "away, try 0",
        "full",
        "all is well",
    ]
    assert not lasting.lasts


def test_a_trouble_that_lasts_is_told_every_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(trouble, "monotonic", lambda: now[0])
    lasting = Trouble(logging.getLogger("test"), "all is well")

    for _ in range(4):
        lasting.goes_on("away")
        now[0] += REPEAT_SECONDS / 2
    lasting.is_over()

    assert caplog.messages == ["away", "away (for 60 s)", "all is well, after 120 s"]
