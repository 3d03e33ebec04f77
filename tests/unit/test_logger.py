import io
import logging
import re
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import logger
from config import get_settings
from logger import ConsoleHandler, DailyFileHandler, LineFormatter, redact, run_logger, run_prefix, setup_logging

STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
SHANGHAI = ZoneInfo("Asia/Shanghai")
MOMENT = datetime(2026, 3, 1, 9, 30, 5, 999_999, SHANGHAI)


def record(message: str, *args: object, at: datetime = MOMENT, name: str = "scheduler") -> logging.LogRecord:
    made = logging.LogRecord(name, logging.INFO, "/srv/scheduler.py", 42, message, args, None)
    made.created = at.timestamp()
    return made


def lines_of(made: logging.LogRecord) -> list[str]:
    return LineFormatter(SHANGHAI).format(made).splitlines()


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """The process's logging as it was, after a test that set it up; its settings come from the test alone."""
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    levels = {name: logging.getLogger(name).level for name in logger.NOISY}
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(logger, "_secrets", [])
    get_settings.cache_clear()
    yield monkeypatch
    for handler in [*root.handlers]:
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    logging.captureWarnings(False)
    get_settings.cache_clear()


class TestLine:
    def test_has_time_module_level_place_and_message(self) -> None:
        assert lines_of(record("due: %d", 3)) == ["2026-03-01 09:30:05 - scheduler - INFO - [scheduler.py:42] - due: 3"]

    @pytest.mark.parametrize(
        ("zone", "shown"),
        [
            ("UTC", "2026-03-01 01:30:05"),
            ("America/New_York", "2026-02-28 20:30:05"),
            ("Pacific/Kiritimati", "2026-03-01 15:30:05"),
        ],
    )
    def test_shows_the_time_in_the_given_zone(self, zone: str, shown: str) -> None:
        assert LineFormatter(ZoneInfo(zone)).format(record("x")).startswith(f"{shown} - ")

    def test_the_hour_that_comes_twice_is_shown_twice(self) -> None:
        formatter = LineFormatter(ZoneInfo("America/New_York"))
        first = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
        second = datetime(2026, 11, 1, 6, 30, tzinfo=UTC)

        assert formatter.format(record("x", at=first))[:19] == "2026-11-01 01:30:00"
        assert formatter.format(record("x", at=second))[:19] == "2026-11-01 01:30:00"

    def test_arguments_that_do_not_fit_cost_no_line(self) -> None:
        (line,) = lines_of(record("due: %d", "sk-secret"))

        assert line.endswith("due: %d (the arguments of this log call do not fit: TypeError)")

    def test_chinese_and_broken_unicode_are_kept(self, tmp_path: Path) -> None:
        handler = DailyFileHandler(tmp_path, LineFormatter(SHANGHAI), "test", 10_000, 3)

        handler.handle(record("日报 %s", "\udcff"))
        handler.close()

        assert (tmp_path / "celery_20260301.log").read_text(encoding="utf-8").endswith("日报 \\udcff\n")


class TestInjection:
    FORGED = "2026-03-01 09:30:05 - scheduler - CRITICAL - [scheduler.py:42] - forged"

    @pytest.mark.parametrize("ending", ["\r\n", *"\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"])
    def test_a_line_ending_in_a_message_starts_no_record(self, ending: str) -> None:
        lines = lines_of(record("answer: %s", f"good{ending}{self.FORGED}"))

        assert [bool(STAMP.match(line)) for line in lines] == [True, False]
        assert lines[1] == f"    {self.FORGED}"

    def test_nor_does_one_in_an_exception_or_a_name(self) -> None:
        made = record("failed", name=f"x\n{self.FORGED}")
        try:
            raise ValueError(f"bad\n{self.FORGED}")
        except ValueError:
            made.exc_info = sys.exc_info()

        lines = lines_of(made)

        assert [line for line in lines if STAMP.match(line)] == [lines[0]]
        assert f"    {self.FORGED}" in lines
        assert lines[2] == "    Traceback (most recent call last):"

    def test_terminal_commands_are_spelled_out(self) -> None:
        (line,) = lines_of(record("\x1b[2Jcleared\x07\x00\x9b but\ttabs stay"))

        assert line.endswith(r"\x1b[2Jcleared\x07\x00\x9b but" + "\ttabs stay")

    def test_a_message_that_ends_in_a_newline_leaves_no_empty_line(self) -> None:
        assert len(lines_of(record("done\n"))) == 1


class TestRedact:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("mysql+pymysql://celery:p4ss@db:3306/x", "mysql+pymysql://celery:***@db:3306/x"),
            ("redis://:p4ss@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
            ("redis://u:p@4s@s@host/0 next", "redis://u:***@host/0 next"),
            ("redis://u:p4/ss@host/0 next", "redis://u:***@host/0 next"),
            ("redis://u:p'4ss@host/0", "redis://u:***@host/0"),
            ("redis://u:p4ss@[::1]:6379/0", "redis://u:***@[::1]:6379/0"),
            ("a://u:p4ss@h and b://v:p4ss@i", "a://u:***@h and b://v:***@i"),
            ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
            ("authorization: Basic dXNlcjpw", "authorization: Basic ***"),
            ("authorization: ApiKey p4ss", "authorization: ApiKey ***"),
            ("Authorization: p4ss", "Authorization: ***"),
            ("{'Authorization': 'Bearer p4ss', 'Accept': '*/*'}", "{'Authorization': 'Bearer ***', 'Accept': '*/*'}"),
            ("[(b'Authorization', b'Bearer p4ss')]", "[(b'Authorization', b'Bearer ***')]"),
            ('{"x-api-key": "p4ss word", "a": 1}', '{"x-api-key": "***", "a": 1}'),
            (r'"{\"api_key\": \"p4ss\", \"a\": 1}"', r'"{\"api_key\": \"***\", \"a\": 1}"'),
            ("x-api-key: p4ss", "x-api-key: ***"),
            ("got 'Bearer p4ss'", "got 'Bearer ***'"),
            ("GET /v1?token=p4ss&page=2", "GET /v1?token=***&page=2"),
            ("GET /v1?a=1&access_token=p4ss", "GET /v1?a=1&access_token=***"),
            ("api_key=p4ss, apikey=p4ss; API-KEY=p4ss", "api_key=***, apikey=***; API-KEY=***"),
            ("AGENT_API_KEY=p4ss", "AGENT_API_KEY=***"),
            ("password='p4ss' pwd=p4ss", "password='***' pwd=***"),
            ("client_secret = p4ss", "client_secret = ***"),
        ],
    )
    def test_hides(self, text: str, shown: str) -> None:
        assert redact(text) == shown
        assert redact(shown) == shown

    @pytest.mark.parametrize(
        "text",
        [
            "[run 0198 daily] done: input_tokens=500 output_tokens: 20",
            "Access denied for user 'celery'@'db' (using password: YES)",
            "unexpected token: } in the answer",
            "http://agent:8003/users/joe@example.com",
            '{"url":"http://agent:80","mail":"a@b"}',
            "http://[::1]:8003/a@b",
            "primary key, foreign keys; the author is authorised",
            "日报 完成",
        ],
    )
    def test_leaves_alone(self, text: str) -> None:
        assert redact(text) == text

    @pytest.mark.parametrize("text", ["://a:" * 20_000, "token " * 50_000, "api_key" + " " * 100_000, "a" * 1_000_000])
    def test_a_hostile_text_costs_little(self, text: str) -> None:
        started = time.process_time()

        redact(text)

        assert time.process_time() - started < 2

    def test_hides_the_values_of_secret_settings(self, settled: pytest.MonkeyPatch) -> None:
        settled.setenv("AGENT_API_KEY", 'app-Zq"9/x+y')
        settled.setenv("API_TOKENS", "tok-alice:admin, tok-bob:viewer")
        settled.setenv("ALERT_URLS", "slack://T0AAAAAAA/B0AAAAAAA/abcdefghijklmnopqrstuvwx")
        settled.setenv("FLOWER_PASSWORD", "admin")
        settled.setenv("REDIS_PASSWORD", "-x-")
        setup_logging("test")

        assert redact('key app-Zq"9/x+y') == "key ***"
        assert redact(r'{"k": "app-Zq\"9/x+y"}') == '{"k": "***"}'
        assert redact("/a/app-Zq%229%2Fx%2By") == "/a/***"
        assert redact("tok-alice and tok-bob, viewer") == "*** and ***, viewer"
        assert redact("POST /services/T0/B0/abcdefghijklmnopqrstuvwx") == "POST /services/T0/B0/***"
        assert redact("admin, administrator, -x-") == "***, administrator, -x-"

    def test_covers_arguments_and_tracebacks(self) -> None:
        made = record("calling %s", "redis://:p4ss@host")
        try:
            raise ConnectionError("no route to mysql://u:p4ss@db with Bearer p4ss")
        except ConnectionError:
            made.exc_info = sys.exc_info()

        text = LineFormatter(SHANGHAI).format(made)

        assert "p4ss" not in text.replace('"no route to mysql://u:p4ss@db with Bearer p4ss"', "")
        assert text.splitlines()[-1] == "    ConnectionError: no route to mysql://u:***@db with Bearer ***"


class TestFiles:
    def handler(self, folder: Path, max_bytes: int = 1_000_000, keep: int = 30) -> DailyFileHandler:
        return DailyFileHandler(folder, LineFormatter(SHANGHAI), "test", max_bytes, keep)

    def names(self, folder: Path) -> list[str]:
        return sorted(path.name for path in folder.iterdir())

    def test_the_time_of_the_record_decides_its_file(self, tmp_path: Path) -> None:
        handler = self.handler(tmp_path)
        before = datetime(2026, 2, 28, 23, 59, 59, 999_999, SHANGHAI)
        midnight = datetime(2026, 3, 1, tzinfo=SHANGHAI)

        for message, at in [("one", before), ("two", midnight), ("late", before), ("three", midnight)]:
            handler.handle(record(message, at=at))
        handler.close()

        found = {path.name: [line.split()[-1] for line in path.read_text().splitlines()] for path in tmp_path.iterdir()}
        assert found == {"celery_20260228.log": ["one", "late"], "celery_20260301.log": ["two", "three"]}

    def test_thirty_files_are_kept_of_forty_days(self, tmp_path: Path) -> None:
        (tmp_path / "celery_notes.log").touch()
        handler = self.handler(tmp_path)

        for day in range(40):
            handler.handle(record("x", at=datetime.fromtimestamp(MOMENT.timestamp() + day * 86_400, UTC)))
        handler.close()

        found = self.names(tmp_path)
        assert found[-1] == "celery_notes.log"
        assert (len(found) - 1, found[0], found[-2]) == (30, "celery_20260311.log", "celery_20260409.log")

    def test_full_files_are_numbered_in_order_and_the_oldest_go(self, tmp_path: Path) -> None:
        handler = self.handler(tmp_path, max_bytes=200, keep=4)

        for number in range(30):
            handler.handle(record("%d %s", number, "x" * 20))
        handler.close()

        assert self.names(tmp_path) == ["celery_20260301.log", *(f"celery_20260301.log.{n}" for n in (12, 13, 14))]
        kept = [(tmp_path / f"celery_20260301.log{end}").read_text() for end in (".12", ".13", ".14", "")]
        assert [line.split()[-2] for line in "".join(kept).splitlines()] == [str(n) for n in range(22, 30)]
        assert max(len(text) for text in kept) <= 200

    def test_a_line_larger_than_a_file_is_kept_whole(self, tmp_path: Path) -> None:
        handler = self.handler(tmp_path, max_bytes=200)

        handler.handle(record("%s", "x" * 5_000))
        handler.handle(record("next"))
        handler.close()

        assert self.names(tmp_path) == ["celery_20260301.log", "celery_20260301.log.1"]
        assert (tmp_path / "celery_20260301.log.1").read_text().endswith("- " + "x" * 5_000 + "\n")

    def test_a_folder_removed_meanwhile_is_made_again(self, tmp_path: Path) -> None:
        handler = self.handler(tmp_path / "logs")
        handler.handle(record("one"))
        (tmp_path / "logs" / "celery_20260301.log").unlink()
        (tmp_path / "logs").rmdir()

        handler.handle(record("two"))
        handler.close()

        assert (tmp_path / "logs" / "celery_20260301.log").read_text().endswith("- two\n")

    def test_closed_it_opens_again(self, tmp_path: Path) -> None:
        handler = self.handler(tmp_path)
        handler.close()

        handler.handle(record("at exit"))
        handler.close()

        assert (tmp_path / "celery_20260301.log").read_text().endswith("- at exit\n")

    def test_a_full_disk_is_complained_of_once_and_the_lost_lines_are_counted(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        if not Path("/dev/full").exists():
            pytest.skip("no /dev/full here")
        handler = self.handler(tmp_path)
        live = tmp_path / "celery_20260301.log"
        live.symlink_to("/dev/full")

        for _ in range(50):
            handler.handle(record("lost"))
        live.unlink()
        for message in ("works again", "and again"):
            handler.handle(record(message, at=datetime.now(SHANGHAI)))
        handler.close()

        (complaint,) = capsys.readouterr().err.splitlines()
        assert complaint == f"test: cannot keep the log in {tmp_path}: [Errno 28] No space left on device"
        lines = "".join(path.read_text() for path in sorted(tmp_path.iterdir())).splitlines()
        ends = [line.rpartition(" - ")[2] for line in lines]
        assert ends == ["works again", "50 lines of test before this one could not be written here", "and again"]


class TestRunLogger:
    def test_messages_begin_with_the_run(self, caplog: pytest.LogCaptureFixture) -> None:
        log = run_logger(logging.getLogger("t"), "0198", "100% daily 日报")

        with caplog.at_level(logging.INFO):
            log.info("took %d s", 3)
            log.warning("50% done")

        prefix = run_prefix("0198", "100% daily 日报")
        assert prefix == "[run 0198 100% daily 日报]"
        assert caplog.messages == [f"{prefix} took 3 s", f"{prefix} 50% done"]

    def test_the_place_is_the_caller_s(self, caplog: pytest.LogCaptureFixture) -> None:
        log = run_logger(logging.getLogger("t"), "0198", "daily")

        with caplog.at_level(logging.INFO):
            log.info("here")
            log.error("there", extra={"attempt": 2})

        assert {(found.filename, found.funcName) for found in caplog.records} == {
            ("test_logger.py", "test_the_place_is_the_caller_s")
        }
        assert caplog.records[1].__dict__["attempt"] == 2


class TestSetup:
    def ours(self) -> list[logging.Handler]:
        return [h for h in logging.getLogger().handlers if isinstance(h, DailyFileHandler | ConsoleHandler)]

    def test_twice_is_as_once(self, settled: pytest.MonkeyPatch) -> None:
        setup_logging("first")
        before = self.ours()

        setup_logging("second")

        assert self.ours() == before
        assert [type(handler) for handler in before] == [DailyFileHandler, ConsoleHandler]

    def test_file_and_stderr_show_the_same_line(self, settled: pytest.MonkeyPatch, tmp_path: Path) -> None:
        console = io.StringIO()
        settled.setattr(sys, "stderr", console)
        setup_logging("test")

        logging.getLogger("scheduler").info("api_key=%s", "p4ss")

        (path,) = tmp_path.iterdir()
        assert path.read_text() == console.getvalue()
        assert re.fullmatch(
            rf"{STAMP.pattern} - scheduler - INFO - \[test_logger.py:\d+\] - api_key=\*\*\*\n", console.getvalue()
        )

    @pytest.mark.parametrize(("level", "quiet"), [("DEBUG", "WARNING"), ("INFO", "WARNING"), ("ERROR", "ERROR")])
    def test_noisy_libraries_speak_from_warning_on(self, settled: pytest.MonkeyPatch, level: str, quiet: str) -> None:
        settled.setenv("CELERY_LOG_LEVEL", level)

        setup_logging("test")

        assert logging.getLogger().level == logging.getLevelName(level)
        for name in ("httpx", "httpcore", "urllib3", "kombu"):
            assert logging.getLogger(name).getEffectiveLevel() == logging.getLevelName(quiet)

    def test_warnings_become_lines(self, settled: pytest.MonkeyPatch, tmp_path: Path) -> None:
        setup_logging("test")

        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(False)
            logging.captureWarnings(True)
            warnings.warn("old spelling", UserWarning, stacklevel=1)

        (path,) = tmp_path.iterdir()
        assert " - py.warnings - WARNING - " in path.read_text()

    def test_a_vanished_stderr_stops_nothing(self, settled: pytest.MonkeyPatch, tmp_path: Path) -> None:
        console = io.StringIO()
        settled.setattr(sys, "stderr", console)
        setup_logging("test")
        console.close()

        logging.getLogger("scheduler").info("still here")

        (path,) = tmp_path.iterdir()
        assert path.read_text().endswith(" - still here\n")
