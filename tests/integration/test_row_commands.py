"""The commands about a row's moments, scripts.preview and scripts.backfill: what they say, and what they refuse."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from config import get_settings
from core.lifecycle import State
from scripts import backfill, preview
from tests.integration.conftest import on_sqlite
from tests.integration.engine import ENDPOINT, Ledger

JANUARY = ("--from", "2026-01-01", "--until", "2026-02-01")

Said: TypeAlias = tuple[int, str]


class Shell:
    """Runs a command in this process: (exit code, what it printed)."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def _run(self, main: Any, arguments: tuple[str, ...]) -> Said:
        try:
            code = main(list(arguments))
        except SystemExit as ended:
            code = ended.code
        captured = self._capsys.readouterr()
        return code, captured.out + captured.err

    def backfill(self, *arguments: str) -> Said:
        return self._run(backfill.main, arguments)

    def preview(self, *arguments: str) -> Said:
        return self._run(preview.main, arguments)


def point_at(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    for name, value in (("DATABASE_URL", database_url), ("AGENT_API_BASE_URL", ENDPOINT), ("TIMEZONE", "UTC")):
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()


@pytest.fixture
def shell(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """Over the ledger, with one row: every trading day at 16:30 in Shanghai."""
    ledger.insert("交易日报", crontab="30 16 * * *", calendar="XSHG", timezone="Asia/Shanghai")
    point_at(monkeypatch, ledger.url)
    yield Shell(capsys)
    monkeypatch.undo()
    get_settings.cache_clear()


# -- backfill ---------------------------------------------------------------------------------------


def test_a_backfill_is_entered_steered_and_listed(ledger: Ledger, shell: Shell) -> None:
    assert shell.backfill("list") == (0, "no backfills\n")

    code, said = shell.backfill("start", "交易日报", *JANUARY, "--at-a-time", "2")
    assert (code, "the first moment is 2026-01-05 16:30:00" in said) == (0, True)
    (row,) = ledger.sql("SELECT * FROM backfill")
    assert (row.at_a_time, str(row.next_moment)[:16]) == (2, "2026-01-05 08:30")
    assert (str(row.from_moment)[:16], str(row.until_moment)[:16]) == ("2025-12-31 16:00", "2026-01-31 16:00")

    for command, state in (("pause", "PAUSED"), ("resume", "RUNNING")):
        assert shell.backfill(command, str(row.id)) == (0, f"backfill {row.id} is {state}\n")
        assert ledger.value("SELECT state FROM backfill") == state
    assert shell.backfill("cancel", str(row.id), "--cut") == (0, f"backfill {row.id} is cancelled, 0 runs with it\n")
    listed = shell.backfill("list")[1]
    assert "CANCELLED" in listed
    assert f"{row.id}: cancelled by an operator" in listed


def test_a_dry_run_counts_and_enters_nothing(ledger: Ledger, shell: Shell) -> None:
    task = ledger.value("SELECT id FROM periodic_task")
    for day in ("05", "06"):
        moment = datetime.fromisoformat(f"2026-01-{day}T16:30+08:00")
        ledger.add_run(State.SUCCESS, periodic_task_id=task, scheduled_for=moment)

    code, said = shell.backfill("start", str(task), *JANUARY, "--dry-run")

    assert (code, "20 moments, 2 of them left out" in said) == (0, True)
    assert ledger.value("SELECT count(*) FROM backfill") == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("start", "交易月报", *JANUARY), "no row with the id or name '交易月报'; did you mean '交易日报'?"),
        (("start", "999", *JANUARY), "no row with the id or name '999'"),
        (("start", "交易日报", "--from", "2026-01-01", "--until", "2199-01-01"), "what is to come the schedule itself"),
        (("start", "交易日报", "--from", "2026-02-01", "--until", "2026-01-01"), "is before --from '2026-02-01'"),
        (("start", "交易日报", "--from", "2026-10-01", "--until", "2026-10-05"), "no moment between the two"),
        (("start", "交易日报", "--from", "January", "--until", "2026-02-01"), "--from 'January' is no time; write"),
        (("start", "交易日报", "--from", "1066-10-14", "--until", "2026-02-01"), "use a year from 1970"),
        (("start", "交易日报", *JANUARY, "--at-a-time", "0"), "use a number from 1 to 100"),
        (("cancel", "7"), "there is no backfill 7"),
    ],
)
@on_sqlite
def test_what_cannot_be_done_is_refused_in_words(shell: Shell, arguments: tuple[str, ...], reason: str) -> None:
    code, said = shell.backfill(*arguments)

    assert code == 2
    assert reason in said


def test_a_second_backfill_and_a_second_cancel_are_refused(ledger: Ledger, shell: Shell) -> None:
    shell.backfill("start", "交易日报", *JANUARY)
    number = ledger.value("SELECT id FROM backfill")

    second = shell.backfill("start", "交易日报", "--from", "2026-03-01", "--until", "2026-04-01")
    shell.backfill("cancel", str(number))
    again = shell.backfill("cancel", str(number))

    assert (second[0], f"backfill {number} of row" in second[1]) == (2, True)
    assert (again[0], "has ended already: CANCELLED" in again[1]) == (2, True)


@on_sqlite
def test_a_broken_row_is_not_backfilled(ledger: Ledger, shell: Shell) -> None:
    ledger.sql("UPDATE periodic_task SET crontab = '61 * * * *'")

    code, said = shell.backfill("start", "交易日报", *JANUARY)

    assert (code, "is broken, mend it first: crontab '61 * * * *'" in said) == (2, True)


# -- preview ----------------------------------------------------------------------------------------


def test_a_row_is_shown_by_name_and_by_id(ledger: Ledger, shell: Shell) -> None:
    ledger.sql("INSERT INTO calendar_day (calendar, day, open, note) VALUES ('XSHG', '2026-10-08', 0, '台风')")
    task = ledger.value("SELECT id FROM periodic_task")

    by_name = shell.preview("交易日报", "-n", "2", "--from", "2026-09-30")
    by_id = shell.preview(str(task), "-n", "2", "--from", "2026-09-30")

    assert by_name == by_id
    assert by_name[0] == 0
    lines = by_name[1].splitlines()
    assert "Wed 2026-09-30 16:30:00 +0800" in lines[1]
    assert lines[9].endswith("left out: 2026-10-08 is closed in XSHG (台风)")
    assert "Fri 2026-10-09 16:30:00 +0800" in lines[10]


def test_the_next_fires_of_a_row_are_what_beat_will_do(ledger: Ledger, shell: Shell, beat: Any) -> None:
    task = ledger.insert("jittered", crontab="*/5 * * * *", jitter_seconds=200)
    beat.arm()

    found = json.loads(shell.preview("jittered", "--json", "-n", "3")[1])

    first = datetime.fromisoformat(found["fires"][0]["scheduled_for"])
    assert first == ledger.task(task).next_run_at
    assert first - datetime.fromisoformat(found["fires"][0]["without_jitter"]) < timedelta(seconds=200)


def test_a_moment_set_by_hand_is_shown_unless_the_row_was_edited_since(ledger: Ledger, shell: Shell, beat: Any) -> None:
    task = ledger.insert("moved", crontab="0 0 * * *")
    beat.arm()
    ledger.edit(task, next_run_at=ledger.now() + timedelta(minutes=90, seconds=7))

    assert "next_run_at, set by hand" in shell.preview("moved")[1]
    ledger.edit(task, crontab="0 1 * * *")
    assert "next_run_at, set by hand" not in shell.preview("moved")[1]


@on_sqlite
def test_options_show_what_an_edit_would_do(shell: Shell) -> None:
    moved = shell.preview("交易日报", "-n", "1", "--from", "2026-09-30", "--crontab", "0 9 * * *")[1]
    other = shell.preview("交易日报", "-n", "1", "--run-at", "2099-12-31 09:00", "--timezone", "UTC")

    assert "Wed 2026-09-30 09:00:00 +0800" in moved
    assert (other[0], "Thu 2099-12-31 09:00:00 +0000" in other[1]) == (0, True)


@on_sqlite
def test_a_broken_row_gets_the_sentences_and_exit_code_1(shell: Shell) -> None:
    code, said = shell.preview(
        "交易日报", "--crontab", "61 * * * *", "--timezone", "Asia/Shangai", "--from", "2026-01-01"
    )

    assert code == 1
    assert "broken: crontab '61 * * * *': wrong value for minute '61'" in said
    assert "did you mean 'Asia/Shanghai'" in said


@on_sqlite
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("交易月报",), "did you mean '交易日报'?"),
        ((), "name a row, or give one of --crontab, --interval-seconds, --rrule, --run-at"),
        (("交易日报", "-n", "0"), "use a number from 1 to 1000"),
        (("交易日报", "--from", "soon"), "--from 'soon' is no time"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(shell: Shell, arguments: tuple[str, ...], reason: str) -> None:
    code, said = shell.preview(*arguments)

    assert (code, reason in said) == (2, True), said


def test_a_draft_needs_no_database_and_makes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    point_at(monkeypatch, f"sqlite:///{tmp_path / 'none' / 'scheduler.db'}")

    arguments = ("--crontab", "30 16 * * *", "--calendar", "XSHG", "--jitter-seconds", "60", "--from", "2026-10-01")
    code, said = Shell(capsys).preview(*arguments, "-n", "1", "--timezone", "Asia/Shanghai")
    monkeypatch.undo()
    get_settings.cache_clear()

    assert (code, "Thu 2026-10-08 16:3" in said) == (0, True)
    assert "a draft's are an example" in said
    assert list(tmp_path.iterdir()) == []
