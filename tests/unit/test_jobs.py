"""Jobs: repeated in a thread, told about when they fail, never ended by it."""

import time
from threading import Event

import pytest
from sqlalchemy.exc import OperationalError

from beat.jobs import Job


def never() -> bool:
    return False


def outage() -> OperationalError:
    return OperationalError("SELECT 1", {}, Exception("gone away"))


def test_a_job_is_done_again_and_again_although_it_fails() -> None:
    times: list[float] = []
    enough = Event()

    def work() -> None:
        times.append(time.monotonic())
        if len(times) == 3:
            enough.set()
        raise ValueError("a bug")

    job = Job("counting", 0.01, work, told=never)
    job.start()
    job.start()

    assert enough.wait(10)
    job.stop()
    time.sleep(0.1)
    done = len(times)
    time.sleep(0.1)
    assert len(times) == done
    job.start()
    time.sleep(0.1)
    assert len(times) == done


def test_a_bug_is_told_at_once_with_its_traceback_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    broken = True

    def work() -> None:
        if broken:
            raise ValueError("a bug")

    job = Job("counting", 1, work, told=never)
    job.run()
    assert "counting fails" in caplog.text
    assert "Traceback" in caplog.text

    broken = False
    job.run()
    assert "counting works again" in caplog.text


def test_a_ledger_that_is_away_is_told_at_the_second_failure_and_not_where_it_is_told_already(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def work() -> None:
        raise outage()

    told = True
    job = Job("counting", 1, work, told=lambda: told)
    job.run()
    job.run()
    assert caplog.text == ""

    told = False
    job.run()
    assert "counting fails" in caplog.text
