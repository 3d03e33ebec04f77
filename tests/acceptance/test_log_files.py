import fcntl
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from zlib import crc32
from zoneinfo import ZoneInfo

from logger import DailyFileHandler, LineFormatter

PROJECT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d - scheduler - INFO - \[w\.py:1\] - (\d+) (\d+) (\d+) ([\s\S]*)")
KOLKATA = ZoneInfo("Asia/Kolkata")  # its midnight is 18:30 UTC: nobody else's
MIDNIGHT = datetime(2026, 3, 1, tzinfo=KOLKATA)
NOON = MIDNIGHT.timestamp() + 12 * 3600

# argv: a JSON object. Writes lines `writer number checksum payload`; a line in seven is two seconds late.
WRITER = """
import json, logging, os, sys
from pathlib import Path
from zlib import crc32
from zoneinfo import ZoneInfo
from logger import DailyFileHandler, LineFormatter

job = json.loads(sys.argv[1])
handler = DailyFileHandler(
    Path(job["folder"]), LineFormatter(ZoneInfo("Asia/Kolkata")), "writer", job["max_bytes"], job["keep"]
)

def write(writer, numbers):
    for number in numbers:
        payload = "x" * (9_000 if number % 500 == 0 else number % 90)
        payload += "\\nline two" if number % 10 == 0 else ""
        message = f"{writer} {number} {crc32(payload.encode())} {payload}"
        record = logging.LogRecord("scheduler", logging.INFO, "w.py", 1, message, (), None)
        record.created = job["start"] + number * job["step"] - (2 if number % 7 == 0 else 0)
        handler.handle(record)

print("ready", flush=True)
sys.stdin.readline()
first = job["lines"] // 10
write(job["writer"], range(first))
for child in range(1, job["forks"] + 1):
    if os.fork() == 0:
        write(job["writer"] + child, range(first, job["lines"]))
        os._exit(0)
write(job["writer"], range(first, job["lines"]))
for child in range(job["forks"]):
    assert os.wait()[1] == 0
"""


def run_writers(folder: Path, writers: Iterable[int], **job: float) -> None:
    """Let processes write at the same moment, on machines whose own zone is another."""
    base = {"folder": str(folder), "max_bytes": 10**9, "keep": 30, "start": NOON, "step": 0, "forks": 0}
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WRITER, json.dumps({**base, **job, "writer": writer})],
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT), "TZ": "America/New_York"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for writer in writers
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        _, complaints = process.communicate(timeout=30)
        assert (process.returncode, complaints) == (0, "")


def records(path: Path) -> list[tuple[int, int]]:
    """Read a log file back as (writer, number) pairs; a torn or mixed line fails."""
    text = path.read_text()
    assert text.endswith("\n")
    found = []
    for line in re.split(r"\n(?!    )", text[:-1]):
        match = LINE.fullmatch(line)
        assert match, f"{path.name}: {line[:200]!r}"
        writer, number, checksum, payload = match.groups()
        assert crc32(payload.replace("\n    ", "\n").encode()) == int(checksum), line[:200]
        found.append((int(writer), int(number)))
    return found


def test_six_processes_across_midnight_leave_every_line_once_whole_and_in_its_day(tmp_path: Path) -> None:
    start = (MIDNIGHT - timedelta(seconds=15)).timestamp()

    run_writers(tmp_path, range(6), lines=3_000, start=start, step=0.01)

    found = {path.name: Counter(records(path)) for path in tmp_path.iterdir()}
    moments = {number: start + number * 0.01 - (2 if number % 7 == 0 else 0) for number in range(3_000)}
    owed = {
        "celery_20260228.log": {(w, n): 1 for w in range(6) for n, at in moments.items() if at < MIDNIGHT.timestamp()},
        "celery_20260301.log": {(w, n): 1 for w in range(6) for n, at in moments.items() if at >= MIDNIGHT.timestamp()},
    }
    assert found == owed


def test_four_processes_turning_small_files_lose_nothing(tmp_path: Path) -> None:
    run_writers(tmp_path, range(4), lines=1_500, max_bytes=20_000, keep=10_000)

    paths = sorted(tmp_path.iterdir())
    found = Counter(pair for path in paths for pair in records(path))
    assert found == {(writer, number): 1 for writer in range(4) for number in range(1_500)}
    assert len(paths) > 10
    assert min(path.stat().st_size for path in paths[1:]) > 10_000  # none but the last was turned before it was full


def test_four_processes_keep_the_newest_files_only(tmp_path: Path) -> None:
    run_writers(tmp_path, range(4), lines=1_500, max_bytes=20_000, keep=5)

    found = [pair for path in tmp_path.iterdir() for pair in records(path)]
    assert len(list(tmp_path.iterdir())) == 5
    assert max(Counter(found).values()) == 1
    assert 1_499 in {number for _, number in found}


def test_forked_children_share_the_files(tmp_path: Path) -> None:
    run_writers(tmp_path, [0, 10], lines=1_000, forks=3, max_bytes=50_000, keep=10_000)

    found = Counter(pair for path in tmp_path.iterdir() for pair in records(path))
    parents = {(writer, number): 1 for writer in (0, 10) for number in range(1_000)}
    children = {(p + c, number): 1 for p in (0, 10) for c in (1, 2, 3) for number in range(100, 1_000)}
    assert found == {**parents, **children}


def test_a_process_frozen_while_turning_the_file_holds_up_nobody(tmp_path: Path) -> None:
    frozen = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(frozen, fcntl.LOCK_EX)

    run_writers(tmp_path, range(2), lines=200, max_bytes=1_000)

    (path,) = tmp_path.iterdir()
    assert len(records(path)) == 400
    os.close(frozen)
    run_writers(tmp_path, [2], lines=1, max_bytes=1_000)
    assert {path.name for path in tmp_path.iterdir()} == {"celery_20260301.log", "celery_20260301.log.1"}


def run_program(script: str, **environment: str) -> str:
    """Run a program of ours with these settings and hand back what it said on stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


SETUP = "import logging; from logger import setup_logging; setup_logging('run_beat')"


def test_the_day_is_that_of_the_timezone_setting_in_a_folder_with_a_space(tmp_path: Path) -> None:
    folder = tmp_path / "log files 日志"
    zone = ZoneInfo("Pacific/Kiritimati")  # always a later day than Pago Pago's
    before = datetime.now(zone)

    run_program(
        f"{SETUP}; logging.info('hi')", LOG_DIR=str(folder), TIMEZONE="Pacific/Kiritimati", TZ="Pacific/Pago_Pago"
    )

    (path,) = folder.iterdir()
    stamp = path.read_text()[:19]
    shown = datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S").replace(tzinfo=zone)
    assert before - timedelta(seconds=1) <= shown <= datetime.now(zone)
    assert path.name == f"celery_{shown:%Y%m%d}.log"


def test_importing_the_logger_reads_no_settings() -> None:
    run_program("import logger, config; assert config.get_settings.cache_info().misses == 0", TIMEZONE="Nowhere")


def test_a_folder_that_cannot_be_written_is_complained_of_once_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    script = f"{SETUP}\nfor n in range(100): logging.info('hi')"

    said = run_program(script, LOG_DIR=str(tmp_path / "file" / "logs")).splitlines()

    assert sum(line.endswith(" - hi") for line in said) == 100
    (complaint,) = [line for line in said if not line.endswith(" - hi")]
    assert complaint.startswith(f"run_beat: cannot keep the log in {tmp_path}/file/logs: ")


def test_a_folder_without_permission_stops_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    script = f"{SETUP}\nimport os\nif os.geteuid() == 0: os.setuid(65534)\nlogging.info('hi')"

    said = run_program(script, LOG_DIR=str(tmp_path)).splitlines()

    tmp_path.chmod(0o700)
    assert sum(line.endswith(" - hi") for line in said) == 1
    (complaint,) = [line for line in said if not line.endswith(" - hi")]
    assert complaint.startswith(f"run_beat: cannot keep the log in {tmp_path}: [Errno 13] Permission denied")
    assert [*tmp_path.iterdir()] == []


def test_a_line_cut_by_a_full_disk_does_not_swallow_the_next(tmp_path: Path) -> None:
    script = """
import logging, resource
from logger import setup_logging
setup_logging("run_worker")
resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))
for number in range(20):
    logging.info("%s-%d", "x" * 50, number)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
logging.info("works again")
"""
    said = run_program(script, LOG_DIR=str(tmp_path))

    (path,) = tmp_path.iterdir()
    *whole, cut, works, told = path.read_text().splitlines()
    assert [line.rpartition("-")[2] for line in whole] == ["0", "1"]
    assert re.match(r"\d{4}-", cut)
    assert works.endswith(" - works again")
    assert told.endswith(" - 18 lines of run_worker before this one could not be written here")
    assert said.count("cannot keep the log") == 1


def test_threads_share_one_handler(tmp_path: Path) -> None:
    handler = DailyFileHandler(tmp_path, LineFormatter(KOLKATA), "test", 5_000, 10_000)

    def write(writer: int) -> None:
        for number in range(300):
            record = logging.LogRecord("scheduler", logging.INFO, "w.py", 1, f"{writer} {number} 0 ", (), None)
            record.created = NOON
            handler.handle(record)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handler.close()

    found = Counter(pair for path in tmp_path.iterdir() for pair in records(path))
    assert found == {(writer, number): 1 for writer in range(4) for number in range(300)}
