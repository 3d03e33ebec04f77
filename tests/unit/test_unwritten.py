"""Outcomes on disk: what is kept comes back as it was, once, and never from a process that still lives."""

import os
from pathlib import Path

import pytest

from core.outcome import AgentError, AgentResult, ErrorKind, Usage
from worker import unwritten
from worker.unwritten import Adopted, Kept, Unwritten

ANSWER = AgentResult(
    "requires_action", "你好 \ud83d", {"k": ["值", None]}, "c-1", Usage(1, 2, 0.5, "USD"), 200, "req-1"
)  # with half a surrogate pair, which JSON and UTF-8 see differently
ERROR = AgentError(ErrorKind.THROTTLED, "slow down", http_status=429, retry_after=3.5, request_id="r", over=True)
UNEXPECTED = AgentError(ErrorKind.EXPECTATION, "too short", answer=ANSWER)


def keep_and_die(folder: Path, *kept: Kept) -> None:
    """Keep outcomes in a process that ends at once."""
    if (child := os.fork()) == 0:
        store = Unwritten(folder)
        files = [store.keep(each) for each in kept]
        os._exit(0 if all(files) else 1)
    assert os.waitpid(child, 0)[1] == 0


def adopted(folder: Path, verdict: Adopted = Adopted.DONE) -> list[Kept]:
    found: list[Kept] = []

    def write(kept: Kept) -> Adopted:
        found.append(kept)
        return verdict

    Unwritten(folder).adopt(write)
    return found


def test_what_a_dead_process_kept_comes_back_once_and_as_it_was(tmp_path: Path) -> None:
    keep_and_die(tmp_path / "new", Kept("run-1", "w#1", 2, ANSWER), Kept("run-2", "w#1", 1, ERROR))

    answer, error = adopted(tmp_path / "new")

    assert answer == Kept("run-1", "w#1", 2, ANSWER)
    assert isinstance(error.outcome, AgentError)
    names = ("kind", "message", "http_status", "retry_after", "request_id", "conversation_id", "over")
    assert [getattr(error.outcome, name) for name in names] == [getattr(ERROR, name) for name in names]
    assert adopted(tmp_path / "new") == []


def test_an_answer_that_failed_an_expectation_is_kept_with_it(tmp_path: Path) -> None:
    keep_and_die(tmp_path, Kept("run-3", "w#1", 1, UNEXPECTED))

    (error,) = adopted(tmp_path)

    assert isinstance(error.outcome, AgentError)
    assert (error.outcome.kind, error.outcome.answer) == (ErrorKind.EXPECTATION, ANSWER)


def test_only_its_owner_can_read_a_file(tmp_path: Path) -> None:
    keep_and_die(tmp_path, Kept("run-1", "w#1", 1, ANSWER))

    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_a_living_process_keeps_is_left_to_it(tmp_path: Path) -> None:
    file = Unwritten(tmp_path).keep(Kept("run-1", "w#1", 1, ANSWER))
    assert file is not None

    assert adopted(tmp_path) == []

    file.drop()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_its_process_did_not_finish_is_removed_and_the_next_is_read(tmp_path: Path) -> None:
    keep_and_die(tmp_path, Kept("run-2", "w#1", 1, ANSWER))
    (tmp_path / "run-1.1.json").write_text('{"run_id": "run-1", "wor')

    assert [kept.run_id for kept in adopted(tmp_path)] == ["run-2"]
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_this_ledger_does_not_know_is_never_thrown_away(tmp_path: Path) -> None:
    keep_and_die(tmp_path, Kept("run-1", "w#1", 1, ANSWER))

    assert len(adopted(tmp_path, Adopted.UNKNOWN)) == 1
    assert adopted(tmp_path, Adopted.UNKNOWN) == []
    assert [file.name for file in tmp_path.iterdir()] == ["run-1.1.json.unknown"]


def test_a_ledger_that_is_away_again_leaves_the_files_for_the_next_look(tmp_path: Path) -> None:
    keep_and_die(tmp_path, Kept("run-1", "w#1", 1, ANSWER), Kept("run-2", "w#1", 1, ANSWER))
    assert len(adopted(tmp_path, Adopted.LATER)) == 2  # a locked row does not hold up the next

    def fail(_: Kept) -> Adopted:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        Unwritten(tmp_path).adopt(fail)
    assert len(adopted(tmp_path)) == 2


@pytest.mark.parametrize(("limit", "value"), [("MAX_FILES", 2), ("MAX_BYTES", 1200)])
def test_the_folder_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(unwritten, limit, value)
    long = AgentResult("succeeded", "x" * 300)

    files = [Unwritten(tmp_path).keep(Kept(f"run-{n}", "w#1", 1, long)) for n in range(4)]

    assert [file is not None for file in files] == [True, True, False, False]


def test_a_disk_that_cannot_be_written_costs_nothing_but_the_safety(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    assert Unwritten(tmp_path / "file").keep(Kept("run-1", "w#1", 1, ANSWER)) is None
    assert adopted(tmp_path / "file") == []
