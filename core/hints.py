"""Hints: what the operator of a sound row may not have meant. Warnings in its column `hint`; the row runs all the same.

The column has two parts. The first is about the row by itself, and arming writes it. What other rows make of it comes
last, after BESIDE; the lookout writes that, arming drops it, and firing leaves both alone.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from core.cadence import MACROS, Cadence, Jittered, reads_field
from core.planning import CatchUp, Overlap, Policy
from core.task_config import parse_task_config

HINT_CHARS: Final = 500
BESIDE: Final = "beside other rows: "
DEAF: Final = "notify names no channel: "
SHOWN_NAMES: Final = 3
GAPS_LOOKED_AT: Final = 3  # each costs a question to the cadence, and arming asks for every row with such a policy

CROWD: Final = 100
"""Rows in one second from which on it is worth a word."""
CROWD_STEPS: Final = (100, 200, 500, 1000, 2000, 5000)  # and not the count itself: it would change at every look

ONE_AT_A_TIME: Final = {
    Overlap.SKIP: "all but the first become SKIPPED",
    Overlap.BUFFER_ONE: "all but the first two become SKIPPED",
    Overlap.CANCEL_OTHER: "all but the last become SKIPPED",
}
UNITS: Final = (("second", "minute", 60), ("minute", "hour", 60), ("hour", "day", 24))
STEP: Final = re.compile(r"\*/(\d+)")
WEEKDAY_NUMBER: Final = re.compile(r"(?<![/#\d])[0-7](?=[-,/#L]|$)")
WEEKDAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


def hints_of(row: Any, cadence: Cadence, policy: Policy, moment: datetime) -> list[str]:
    """Name what is doubtful about a sound row whose next moment is `moment`, one sentence each."""
    found = [] if row.crontab is None else list(crontab_hints(row.crontab))
    if policy.catch_up is CatchUp.ALL and policy.overlap in ONE_AT_A_TIME:
        lost = ONE_AT_A_TIME[policy.overlap]
        found.append(
            f"catch_up=all with overlap={policy.overlap}: what an outage owes falls due at once, so {lost}; "
            "use overlap=buffer_all"
        )
    piles_up = policy.overlap is Overlap.ALLOW
    gap = _smallest_gap(cadence, moment) if piles_up or row.jitter_seconds else None
    if gap is None:
        return found
    seconds = gap.total_seconds()
    if piles_up and seconds < (timeout := parse_task_config(row.task_extra_config).timeout):
        found.append(f"fires every {seconds:g} s with timeout {timeout:g} and overlap=allow, so runs may pile up")
    if row.jitter_seconds >= seconds:
        found.append(
            f"jitter_seconds={row.jitter_seconds} is not below the {seconds:g} s to the following moment, "
            "so a run may start right before the next"
        )
    return found


def _smallest_gap(cadence: Cadence, moment: datetime) -> timedelta | None:
    """Look at the next few moments without their jitter; None where fewer than two follow."""
    rule = cadence.inner if isinstance(cadence, Jittered) else cadence
    moments: list[datetime] = []
    following = rule.after(moment)
    while following is not None and len(moments) < GAPS_LOOKED_AT:
        moments.append(following)
        following = rule.after(following) if len(moments) < GAPS_LOOKED_AT else None
    return min((later - earlier for earlier, later in pairwise(moments)), default=None)


def channel_hint(notify: Mapping[Any, Sequence[str]] | None, known: frozenset[str] | None) -> str | None:
    """Say which channels a row names that there are not: its runs go on, and nobody hears of them."""
    if not notify or known is None:
        return None
    missing = sorted({name for names in notify.values() for name in names} - known)
    if not missing:
        return None
    near = get_close_matches(missing[0], sorted(known), 1, 0.6)
    mend = f"did you mean {near[0]!r}?" if near else "add it: python -m scripts.channels add NAME"
    return f"{DEAF}{', '.join(map(repr, missing[:SHOWN_NAMES]))}; {mend}"


@lru_cache(maxsize=8192)
def crontab_hints(text: str) -> tuple[str, ...]:
    """Name what of a sound crontab is often meant in another way: Quartz's habits, and cron's own traps."""
    fields = MACROS.get(text.strip().lower(), text).split()
    return tuple(_quartz_habits(fields) + _cron_traps(fields))


def _quartz_habits(fields: list[str]) -> list[str]:
    found = []
    if "?" in fields:
        found.append("crontab: '?' is read as '*'")
    if len(fields) == 7:
        found.append("crontab: the seventh field, Quartz's year, is left out")
    weekday = fields[5] if len(fields) > 5 else fields[-1]
    if len(fields) > 5 or "?" in fields:
        found += _two_readings(weekday)
    return found


def _two_readings(weekday: str) -> list[str]:
    """Quartz counts weekdays from SUN=1, cron from SUN=0. 0 is no number of Quartz's, 1-7 is every day in both."""
    numbers = WEEKDAY_NUMBER.findall(weekday)
    if not numbers or "0" in numbers or weekday.startswith("1-7"):
        return []
    here = WEEKDAY_NUMBER.sub(lambda found: WEEKDAYS[int(found[0])], weekday)
    quartz = WEEKDAY_NUMBER.sub(lambda found: WEEKDAYS[int(found[0]) - 1], weekday)
    mend = f"write {here}" if reads_field("weekday", here) else "make sure that this is meant"
    return [f"crontab: weekday {weekday} is {here} here, and Quartz would mean {quartz}; {mend}"]


def _cron_traps(fields: list[str]) -> list[str]:
    found = []
    second, minute, hour, day, _, weekday = (fields if len(fields) > 5 else ["0", *fields])[:6]
    if not day.startswith(("*", "?")) and not weekday.startswith(("*", "?")):
        found.append(
            f"crontab: fires on day {day} and on every {weekday} as well; "
            "an rrule with BYMONTHDAY and BYDAY fires where both meet"
        )
    following = (minute, hour, "*")
    for (unit, of, size), field, then in zip(UNITS, (second, minute, hour), following, strict=True):
        step = STEP.fullmatch(field)
        if step and then.startswith("*") and size % int(step[1]):
            found.append(
                f"crontab: {unit} {field} begins anew every {of}, so its gaps differ; interval_seconds keeps them even"
            )
        elif field == "*" and then.isdigit():
            found.append(f"crontab: fires every {unit} of {of} {then}; write 0 for {unit} to fire once")
    return found


def crowd_hint(rows: int) -> str:
    """Say that at least CROWD rows fire in one second."""
    about = max(step for step in CROWD_STEPS if step <= rows)
    return f"{about:,} or more rows fire in this same second, set jitter_seconds to spread them"


def twin_hint(twin: int) -> str:
    """Say that an older row does the same at the same time."""
    return f"row {twin} does the same at the same times, disable one of the two"


def joined(hints: Iterable[str]) -> str | None:
    """Write hints about a row by itself; None where there are none."""
    return "; ".join(hints)[:HINT_CHARS] or None


def with_neighbours(hint: str | None, words: Iterable[str]) -> str | None:
    """Write another last part, about other rows, after what a hint says of the row by itself."""
    own = (hint or "").partition(BESIDE)[0].removesuffix("; ")
    beside = "; ".join(words)
    if not beside:
        return own or None
    beside = f"{BESIDE}{beside}"
    return f"{own[: HINT_CHARS - len(beside) - 2]}; {beside}" if own else beside
