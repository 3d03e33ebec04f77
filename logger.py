"""The application log: `logs/celery_YYYYMMDD.log`, written by every process at once.

concurrent-log-handler is not used: it names the live file without a date, turns it by the machine's clock and zone
instead of the record's, and takes a blocking lock for every line, so one frozen process stops all. Here a line is
one O_APPEND write, which a local disk (not NFS) never mixes with another; only renaming is locked, without waiting.
"""

import fcntl
import json
import logging
import os
import re
import sys
import time
from contextlib import suppress
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, Final, TextIO
from urllib.parse import quote
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from config import Settings, get_settings

LINE_FORMAT: Final = "%(asctime)s - %(name)s - %(levelname)s - [%(filename)s:%(lineno)d] - %(message)s"
COMPLAIN_EVERY_SECONDS: Final = 600.0
#: Libraries that tell every request or message: they speak from WARNING on, whatever our own level.
NOISY: Final = ("httpx", "httpcore", "aiohttp", "urllib3", "kombu", "amqp", "redis", "asyncio", "sqlalchemy", "apprise")

_FILE_NAME: Final = re.compile(r"celery_(\d{8})\.log(?:\.(\d+))?")
_CONTROL: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != ord("\t")}
_QUOTE: Final = r"""\\*['"]"""
# Digits up to a separator are a port; the second form is a password with an unescaped `/`.
_URL: Final = re.compile(
    r"""(://[^\s:/?#@\[\]'"]{0,99}:)(?!\d{1,5}[/?#'",\\\s])(?:[^\s/?#]{1,256}|[^\s'"]{1,256})(?=@)"""
)
# A header may stand as `name: value`; other names only as `name=value` or with quotes, else they are prose.
_NAMED: Final = re.compile(
    rf"""(?i)((?:(?:authorization|api[_-]?key){_QUOTE}?\s*[:=]|(?:authorization|(?:api|secret)[_-]?key|token|secret|"""
    rf"""passw(?:or)?d|pwd)(?:\s*=|{_QUOTE}\s*[:=,]))\s*(?:b?{_QUOTE})?(?:(?:bearer|basic|token|apikey)\s+)?|\bbearer\s+)"""
    r"""(?:(?<=['"])[^'"\\]+|[^\s'"&,;)}\]\\]+)"""
)
_RULES = (("://", _URL), *((word, _NAMED) for word in ("bearer", "key", "token", "auth", "secret", "pass", "pwd")))
_secrets: list[tuple[str, re.Pattern[str]]] = []


def redact(text: str) -> str:
    """Hide passwords in URLs, keys and tokens, and (after setup_logging) the values of secret settings."""
    for value, pattern in _secrets:
        if value in text:
            text = pattern.sub("***", text)
    lowered = text.lower()
    for word, rule in _RULES:
        if word in lowered:
            text = rule.sub(r"\1***", text)
    return text


def _patterns(settings: Settings) -> list[tuple[str, re.Pattern[str]]]:
    """Find every text that shows a secret setting: whole, in parts, and as URLs and JSON escape it; longest first."""
    found: set[str] = set()
    for name, value in settings:
        if isinstance(value, SecretStr):
            whole = value.get_secret_value()
            # The keys in ALERT_URLS come back inside other URLs; a piece with a dot is a host name.
            found |= {piece for piece in re.split(r"[\s,:/@?&=]+", whole) if len(piece) >= 16 and "." not in piece}
            found |= {whole, *(pair.rpartition(":")[0].strip() for pair in whole.split(",") if name == "api_tokens")}
    found |= {form for text in found for form in (quote(text, safe=""), json.dumps(text)[1:-1])}
    # Under 4 characters it is no secret, and hiding it would take the log apart; a short one is hidden as a word.
    known = sorted((form for form in found if len(form) >= 4), key=len, reverse=True)
    return [(f, re.compile(re.escape(f) if len(f) >= 8 else rf"(?<!\w){re.escape(f)}(?!\w)")) for f in known]


class LineFormatter(logging.Formatter):
    """One record, one line: redacted, further lines indented, control characters spelled out, so none is faked."""

    def __init__(self, zone: tzinfo) -> None:
        super().__init__(LINE_FORMAT)
        self._zone, self._last = zone, (-1, "")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Show the record's own time in the zone of the log; the last second is remembered."""
        last, second = self._last, int(record.created)
        if last[0] != second:
            last = self._last = (second, f"{datetime.fromtimestamp(second, self._zone):%Y-%m-%d %H:%M:%S}")
        return last[1]

    def format(self, record: logging.LogRecord) -> str:
        """Format once for all handlers that share this; arguments that do not fit their message cost no line."""
        done: tuple[LineFormatter, str] | None = record.__dict__.get("_line")
        if done is not None and done[0] is self:
            return done[1]
        try:
            text = super().format(record)
        except Exception as error:
            message = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
            told = f"{message} (the arguments of this log call do not fit: {type(error).__name__})"
            text = super().format(logging.makeLogRecord({**record.__dict__, "msg": told, "args": ()}))
        stamp, dash, tail = text.partition(" - ")
        tail = redact(tail)
        if not tail.isprintable():
            tail = "\n    ".join(line.translate(_CONTROL) for line in tail.splitlines())
        record.__dict__["_line"] = (self, stamp + dash + tail)
        return stamp + dash + tail


class ConsoleHandler(logging.StreamHandler[TextIO]):
    """Lines on stderr."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: stderr is gone, and the file has the line."""


class DailyFileHandler(logging.Handler):
    """`celery_YYYYMMDD.log` for the day of each record, shared by any number of threads, forks and processes.

    A file about to pass `max_bytes` becomes `….log.1`, the next one `….log.2`: a number, once given, stays. The
    newest `keep` files stay, whatever their days. A line that cannot be written is complained of on stderr (once
    in COMPLAIN_EVERY_SECONDS) and counted, and the log tells the count when it works again. Nothing is raised.
    """

    def __init__(self, folder: Path, formatter: LineFormatter, program: str, max_bytes: int, keep: int) -> None:
        super().__init__()
        self.folder, self.formatter, self.program = folder, formatter, program
        self.max_bytes, self.keep = max_bytes, keep
        self._fd, self._file = -1, (-1, -1)  # the file held open, by its device and inode
        self._cut, self._lost, self._complained = False, 0, -COMPLAIN_EVERY_SECONDS  # cut: our last line is a fragment

    def emit(self, record: logging.LogRecord) -> None:
        """Append the record to the file of the day that its line shows."""
        try:
            line = self.format(record)
            path = f"{self.folder}/celery_{line[:4]}{line[5:7]}{line[8:10]}.log"
            self._append(path, f"{line}\n".encode(errors="backslashreplace"))
        except Exception:
            self._lost += 1
            self.handleError(record)
            return
        if self._lost:
            (lost, self._lost), told = (self._lost, 0), "%d lines of %s before this one could not be written here"
            self.emit(logging.LogRecord(__name__, logging.WARNING, __file__, 0, told, (lost, self.program), None))

    def handleError(self, record: logging.LogRecord) -> None:
        """Complain on stderr, once in a while."""
        if time.monotonic() - self._complained >= COMPLAIN_EVERY_SECONDS and sys.stderr is not None:
            self._complained = time.monotonic()
            with suppress(OSError, ValueError):
                sys.stderr.write(f"{self.program}: cannot keep the log in {self.folder}: {sys.exc_info()[1]}\n")

    def close(self) -> None:
        """Close the file; a later record opens it again."""
        self.acquire()
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._file = -1, (-1, -1)
        self.release()
        super().close()

    def _append(self, path: str, text: bytes) -> None:
        size = self._follow(path)
        if size and size + len(text) > self.max_bytes:
            self._turn(path, len(text))
            self._follow(path)
        text = b"\n" + text if self._cut else text
        self._cut = os.write(self._fd, text) < len(text)
        if self._cut:
            raise OSError("a line was cut short")

    def _follow(self, path: str) -> int:
        """Hold the file that bears this name now, and say its size."""
        with suppress(FileNotFoundError):
            found = os.stat(path)
            if (found.st_dev, found.st_ino) == self._file:
                return found.st_size
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        except FileNotFoundError:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._turn(path, 0)
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        found = os.fstat(fd)
        old, self._fd, self._file, self._cut = self._fd, fd, (found.st_dev, found.st_ino), False
        if old >= 0:  # closed last: a fork in between must find a file that is open
            os.close(old)
        return found.st_size

    def _turn(self, path: str, room: int) -> None:
        """Number the file if it lacks the room, and remove the oldest ones, unless another process is at it."""
        try:
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.exists(path) and 0 < os.path.getsize(path) > self.max_bytes - room:
                    numbers = (int(other.rpartition(".")[2]) for other in self._others(path) if f"{path}." in other)
                    os.rename(path, f"{path}.{max(numbers, default=0) + 1}")
                others = self._others(path)
                for other in others[: max(len(others) - self.keep + 1, 0)]:
                    os.remove(other)
            finally:
                fcntl.flock(folder, fcntl.LOCK_UN)  # closing is not enough: a child forked meanwhile holds it too
                os.close(folder)
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                self.handleError(logging.makeLogRecord({}))

    def _others(self, path: str) -> list[str]:
        """Name our files but this one, oldest first; the one without a number is the newest of its day."""
        found = [match for name in os.listdir(self.folder) if (match := _FILE_NAME.fullmatch(name))]
        found.sort(key=lambda match: (match[1], float(match[2] or "inf")))
        return [other for match in found if (other := f"{self.folder}/{match[0]}") != path]


def setup_logging(program: str) -> None:
    """Send every record of this process to the log file and to stderr; calling it again changes nothing."""
    root, settings = logging.getLogger(), get_settings()
    if any(isinstance(handler, DailyFileHandler) for handler in root.handlers):
        return
    _secrets[:] = _patterns(settings)
    formatter, console = LineFormatter(ZoneInfo(settings.timezone)), ConsoleHandler(sys.stderr)
    console.setFormatter(formatter)
    root.addHandler(DailyFileHandler(settings.log_path, formatter, program, max_bytes=50 * 1024 * 1024, keep=30))
    root.addHandler(console)
    level = logging.getLevelNamesMapping()[settings.celery_log_level]
    root.setLevel(level)
    for name in NOISY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)


def run_prefix(run_id: object, task_name: str) -> str:
    """Say what every message about a run begins with."""
    return f"[run {run_id} {task_name}]"


class _RunLogger(logging.LoggerAdapter[logging.Logger]):
    prefix = ""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        prefix = self.prefix.replace("%", "%%") if args else self.prefix  # a task may be named `100% daily`
        self.logger.log(level, f"{prefix} {msg}", *args, **{**kwargs, "stacklevel": kwargs.get("stacklevel", 1) + 1})


def run_logger(logger: logging.Logger, run_id: object, task_name: str) -> logging.LoggerAdapter[logging.Logger]:
    """Give a logger whose messages begin with the prefix of one run."""
    adapter = _RunLogger(logger)
    adapter.prefix = run_prefix(run_id, task_name)
    return adapter
