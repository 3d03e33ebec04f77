"""What a row of an older table comes to: a new row, or problems, each with its field and what to do about it."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final, NoReturn, Protocol
from zoneinfo import ZoneInfo

from core.arming import cadence_of
from core.cadence import Cadence

MAX_NAME: Final = 200
MAX_DESCRIPTION: Final = 16_000  # characters; TEXT holds 65,535 bytes, and a character may take four
ORIGIN: Final = re.compile(r"Imported from (\w+) (\d+)\b")
MARK: Final = "import"

#: A row as the database fills it in where nothing is given; imported rows wait for an operator to enable them.
DEFAULTS: Final[Mapping[str, Any]] = {
    "enabled": 0, "crontab": None, "interval_seconds": None, "rrule": None, "run_at": None, "timezone": None,
    "dst_policy": None, "calendar": None, "calendar_roll": "skip", "start_time": None, "end_time": None,
    "max_runs": None, "jitter_seconds": 0, "catch_up": "latest", "catch_up_window_seconds": 3600, "overlap": "skip",
    "task_extra_config": None, "next_run_at": None, "run_count": 0,
}  # fmt: skip

_DAY: Final = timedelta(days=1)
#: How far ahead an old and a new rule are compared: each month of a year, then each year past two leap days.
_SAMPLES: Final = (
    *(timedelta(days=30.4 * month) for month in range(13)),
    *(365 * _DAY * year for year in range(2, 10)),
)
_SAMPLE_LENGTH: Final = 3


class Problem(Exception):
    """One thing of a row that cannot be imported: its field, what is wrong with it, and what to do."""

    def __init__(self, field: str, wrong: str, mend: str) -> None:
        super().__init__(f"{field} {wrong}; {mend}")
        self.field, self.wrong, self.mend = field, wrong, mend


class Rule(Protocol):
    """When the old system would have fired; None where it never would again."""

    def after(self, moment: datetime) -> datetime | None:
        """Return the first moment strictly later than `moment`."""
        ...


@dataclass(slots=True)
class Translation:
    """One old row and what was made of it. It can be imported where `problems` and `finished` are empty."""

    table: str
    id: Any
    name: str = ""
    columns: dict[str, Any] = field(default_factory=dict)
    old: Any = None
    """The old rule: a Rule, or `CeleryCron`, which Celery itself knows how to read."""
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """Notes that many rows share."""
    problems: list[Problem] = field(default_factory=list)
    finished: str = ""
    """Why there is nothing left to import."""

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Keep a problem and go on, so that a row names all that is wrong with it at once."""
        try:
            yield
        except Problem as problem:
            self.problems.append(problem)

    def put_name(self, field: str, value: object) -> None:
        """Take over the name. Raises Problem where the new table does not hold it."""
        if not isinstance(value, str) or not value.strip():
            raise Problem(field, "is empty", "give the old row a name")
        self.name = value
        if len(value) > MAX_NAME:
            raise Problem(
                field, f"has {len(value)} characters, the new table holds {MAX_NAME}", "shorten it in the old table"
            )
        self.columns["name"] = value

    def put_description(self, was: str, text: object) -> None:
        """Say where the row came from, and after that what the old one said."""
        whole = f"Imported from {self.table} {self.id} ({was})." + (f" {text}" if text else "")
        if len(whole) > MAX_DESCRIPTION:
            self.notes.append(f"the description is cut to {MAX_DESCRIPTION} characters")
        self.columns["description"] = whole[:MAX_DESCRIPTION]


def as_row(columns: Mapping[str, Any], now: datetime) -> Any:
    """Show new columns the way arming reads a row."""
    return SimpleNamespace(**{**DEFAULTS, "create_time": now, **columns})


def new_cadence(columns: Mapping[str, Any], now: datetime) -> Cadence:
    """Build the rule of the new row. Raises CadenceError."""
    return cadence_of(as_row(columns, now), columns["timezone"])


def first_difference(old: Rule, new: Rule, now: datetime, zone: str) -> tuple[datetime | None, datetime | None] | None:
    """Find where two rules part: (old moment, new moment), or None where they agree over nine years of samples.

    The days around a clock change are left out: there the two systems differ by design.
    """
    for ahead in _SAMPLES:
        moment = now + ahead
        for _ in range(_SAMPLE_LENGTH):
            was, becomes = old.after(moment), new.after(moment)
            if was != becomes and not _near_clock_change(was or becomes or moment, zone):
                return was, becomes
            if was is None:
                break
            moment = was
    return None


def _near_clock_change(moment: datetime, zone: str) -> bool:
    local = ZoneInfo(zone)
    return (moment - _DAY).astimezone(local).utcoffset() != (moment + _DAY).astimezone(local).utcoffset()


def next_fires(rule: Rule, now: datetime, limit: int) -> list[datetime]:
    """Name at most `limit` moments after `now`."""
    found: list[datetime] = []
    moment = rule.after(now)
    while moment is not None and len(found) < limit:
        found.append(moment.astimezone(UTC))
        moment = rule.after(moment)
    return found


def read_json(field: str, value: object, kind: type[dict[str, Any]] | type[list[Any]]) -> Any:
    """Read a JSON column; NULL and blank text are empty. Raises Problem, which never quotes the text."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return kind()
    if isinstance(value, str | bytes):
        try:
            value = json.loads(value, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            where = f": {error.msg} at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
            raise Problem(field, f"is not JSON{where}", _mend_json(kind)) from error
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise Problem(field, f"is JSON, but no {'object' if kind is dict else 'list'}", _mend_json(kind))
    return value


def write_json(field: str, value: dict[str, Any]) -> str:
    """Write a config unescaped, so that `LIKE '%日报%'` finds it. Raises Problem for text no database stores."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Problem(field, "holds half of a character (\\ud800 to \\udfff)", "write the whole character") from error
    return text


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _mend_json(kind: type[Any]) -> str:
    return 'write an object such as {"task_type": "agent"}' if kind is dict else "write a list such as [1, 2]"


def read_whole(field: str, value: object, least: int, most: int) -> int:
    """Read a whole number, also one written as text. Raises Problem."""
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value):
        value = int(value)
    if (
        not isinstance(value, bool)
        and isinstance(value, int | float)
        and value == value // 1
        and least <= value <= most
    ):
        return int(value)
    raise Problem(field, f"is {shown(value)}", f"use a whole number from {least} to {most}")


def read_time(field: str, value: object, zone: str) -> datetime | None:
    """Read a DATETIME as the driver gives it, a zero date comes as text; or ISO 8601 text. Raises Problem.

    The answer is what the clock of `zone` shows; a value without an offset says just that.
    """
    if isinstance(value, str):
        with suppress(ValueError):
            value = datetime.fromisoformat(value.strip())
    if value is not None and not isinstance(value, datetime):
        raise Problem(field, f"is {shown(value)}, no date and time", "write one such as 2026-12-31 09:00:00")
    if value is not None and value.tzinfo is not None:
        try:
            return value.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        except OverflowError as error:  # beyond the years 1 to 9999
            raise Problem(field, f"is {shown(str(value))}", "write one such as 2026-12-31 09:00:00") from error
    return value


def at(local: datetime, zone: str) -> datetime:
    """Read a wall-clock time in a zone."""
    return local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def shown(value: object) -> str:
    """Quote a value that holds no secret, cut to a line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


Translate = Callable[[Mapping[str, Any]], Translation]
