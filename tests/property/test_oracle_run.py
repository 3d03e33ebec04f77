"""A long run of random cases against oracles that share no code with ours: ORACLE_CASES=100000 for the whole of it.

A case is a rule, a zone, a dst_policy and an instant; both neighbours of the instant are compared. ORACLE_SEED draws
others. Crontab: the days and times a rule was made of, one by one, and croniter where no clock changes. RRULE:
python-dateutil's own walk from DTSTART. The step from the wall clock to moments is clock_oracle's, by trial.
"""

import os
import re
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from croniter import CroniterBadDateError, croniter
from dateutil.rrule import rrulestr

from core.cadence import CadenceError, parse_crontab
from core.clock_change import DstPolicy
from core.recurrence import parse_rrule
from tests.property.clock_oracle import REACH, first_after, last_until, moments_of, shown
from tests.property.crontab_oracle import ZONES, Rule, any_rule, changes, is_known_to_croniter

CASES = int(os.environ.get("ORACLE_CASES", "100"))
SEED = int(os.environ.get("ORACLE_SEED", "1"))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
BASIC = "%Y%m%dT%H%M%S"
SHOWN_DIFFERENCES = 10

pytestmark = pytest.mark.timeout(0 if CASES > 1000 else 300)


def an_instant(dice: Random, zone: str) -> datetime:
    """Near a clock change of the zone in two of three cases, where it has any."""
    near = [change.moment for change in changes() if change.zone == zone]
    if near and dice.randint(0, 2):
        sides = [
            timedelta(minutes=dice.randint(-300, 300)),
            timedelta(seconds=dice.randint(-20_000, 20_000)),
            timedelta(),
        ]
        instant = dice.choice(near) + dice.choice(sides)
    else:
        instant = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=dice.randint(0, 7 * 365 * 86400))
    return instant + timedelta(microseconds=dice.choice([0, 0, -1, 1, 500_000]))


def times_of(rule: Rule) -> list[time]:
    seconds = sorted(rule.second.values) if rule.second else [0]
    hours, minutes = sorted(rule.hour.values), sorted(rule.minute.values)
    return [time(hour, minute, second) for hour in hours for minute in minutes for second in seconds]


def crontab_walls(rule: Rule, begin: datetime, step: int) -> Iterator[datetime]:
    """Name the rule's wall-clock times from `begin` on, or back, day by day over twelve years."""
    times = times_of(rule)
    for n in range(12 * 366):
        day = begin.date() + step * n * DAY
        if rule.is_on(day):
            for at in times[::step]:
                wall = datetime.combine(day, at)
                if (wall >= begin) if step > 0 else (wall <= begin):
                    yield wall


def crontab_case(dice: Random) -> str:
    rule, zone, policy = (
        any_rule(dice, with_seconds=not dice.randint(0, 9)),
        dice.choice(ZONES),
        dice.choice(list(DstPolicy)),
    )
    t = an_instant(dice, zone)
    try:
        cron = parse_crontab(str(rule), zone, policy)
    except CadenceError as error:
        return "refused" if "never comes" in str(error) else f"{rule} was refused: {error}"
    clock, local = ZoneInfo(zone), shown(t, ZoneInfo(zone))
    ahead = first_after(crontab_walls(rule, local - REACH, 1), t, clock, policy, fixed=rule.is_fixed)
    back = last_until(crontab_walls(rule, local + REACH, -1), t, clock, policy, fixed=rule.is_fixed)
    found = cron.after(t), cron.latest(t)
    if ahead is None or back is None:
        return "rare"  # not within twelve years
    if found != (ahead, back):
        return f"{rule} {zone} {policy} {t}: {found}, expected {(ahead, back)}"
    return "near a change" if near_change(t, zone) else "agrees"


def croniter_case(dice: Random) -> str:
    rule, t = any_rule(dice), an_instant(dice, "UTC")
    if not is_known_to_croniter(rule):
        return "read otherwise by croniter"
    try:
        cron = parse_crontab(str(rule), "UTC")
        oracle: Any = croniter(str(rule), t, implement_cron_bug=True)
        ahead = oracle.get_next(datetime)
        oracle.set_current(t + MICROSECOND)
        back = oracle.get_prev(datetime)
    except (CadenceError, CroniterBadDateError):
        return "refused"
    found = cron.after(t), cron.latest(t)
    return "agrees" if found == (ahead, back) else f"{rule} {t}: {found}, croniter {(ahead, back)}"


def near_change(t: datetime, zone: str) -> bool:
    return any(change.zone == zone and abs(change.moment - t) < timedelta(hours=6) for change in changes())


def _list(dice: Random, name: str, values: list[Any], share: float) -> str:
    if dice.random() >= share:
        return ""
    return f";{name}=" + ",".join(str(value) for value in dice.sample(values, dice.randint(1, min(3, len(values)))))


WEEKDAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
NTH = [f"{n}{day}" for n in (1, 2, -1) for day in WEEKDAYS]
# How far before the instant a rule may begin: dateutil walks from there.
BEGINS = {"YEARLY": 4000, "MONTHLY": 2000, "WEEKLY": 800, "DAILY": 500, "HOURLY": 40, "MINUTELY": 2}


def any_rrule(dice: Random) -> str:
    frequency = dice.choice(list(BEGINS))
    parts = [f"FREQ={frequency}", f";INTERVAL={dice.choice([1, 1, 1, 2, 3, 5, 7, 13])}" if dice.randint(0, 2) else ""]
    parts.append(
        _list(dice, "BYDAY", NTH if frequency in ("MONTHLY", "YEARLY") and dice.randint(0, 1) else WEEKDAYS, 0.25)
    )
    parts.append(_list(dice, "BYMONTH", list(range(1, 13)), 0.1))
    if frequency != "WEEKLY":
        parts.append(_list(dice, "BYMONTHDAY", [*range(1, 32), -1, -2], 0.15))
    parts.append(_list(dice, "BYHOUR", [0, 1, 2, 3, 9, 23], 0.4))
    parts.append(_list(dice, "BYMINUTE", [0, 15, 30, 45, 59], 0.4))
    parts.append(dice.choice(["", "", ";WKST=SU", ";WKST=MO"]))
    if dice.randint(0, 9) == 0:
        parts.append(f";COUNT={dice.randint(1, 200)}")
    elif dice.randint(0, 9) == 0 and any("BYDAY" in part or "BYHOUR" in part for part in parts):
        parts.append(";BYSETPOS=" + dice.choice(["1", "-1", "1,-1"]))
    return "".join(parts)


def rrule_case(dice: Random) -> str:
    rule, zone, policy = any_rrule(dice), dice.choice(ZONES), dice.choice(list(DstPolicy))
    clock, t = ZoneInfo(zone), an_instant(dice, zone)
    local, frequency = shown(t, clock), rule[5:].split(";")[0]
    fixed = frequency not in ("HOURLY", "MINUTELY") or (
        "BYHOUR" in rule and ("BYMINUTE" in rule or frequency == "HOURLY")
    )
    start = (local - timedelta(seconds=dice.randint(-86400, BEGINS[frequency] * 86400))).replace(microsecond=0)
    start = dice.choice([start, start.replace(second=0), start.replace(minute=30, second=0)])
    begin = moments_of(start, clock, "cron", fixed=True)[0]
    excluded = [(local + n * HOUR).replace(minute=start.minute, second=start.second, microsecond=0) for n in (-1, 0, 1)]
    excluded = excluded if dice.randint(0, 4) == 0 else []
    extra = [(local + n * HOUR).replace(minute=30, second=0, microsecond=0) for n in (-1, 1)]
    extra = extra if dice.randint(0, 4) == 0 else []
    text = f"DTSTART:{start:{BASIC}}\nRRULE:{rule}"
    text += "".join(f"\nEXDATE:{wall:{BASIC}}" for wall in excluded) + "".join(
        f"\nRDATE:{wall:{BASIC}}" for wall in extra
    )
    try:
        cadence = parse_rrule(text, zone, begin, policy)
        found = cadence.after(t), cadence.latest(t)
    except CadenceError:
        return "refused"

    end = max(local, start) + timedelta(days=1500)
    counted = re.search(r";COUNT=(\d+)", rule)  # moments are counted (ADR 0013), so the walk itself must not end there
    oracle: Any = rrulestr(f"RRULE:{rule}".replace(counted[0] if counted else "", ""), dtstart=start)
    moments, kept, following = set(), set(), None
    for wall in oracle.replace(until=end):
        if following is not None and wall > shown(following, clock) + REACH:
            break
        for moment in moments_of(wall, clock, policy, fixed=fixed):
            if moment >= begin:
                moments.add(moment)
                kept |= {moment} if wall not in excluded else set()
                if moment > t and wall not in excluded:
                    following = moment if following is None else min(following, moment)
    listed = sorted(moments)
    is_cut = counted is None or len(listed) < int(counted[1])
    listed = listed[: int(counted[1])] if counted else listed
    extras = (m for wall in extra if wall not in excluded for m in moments_of(wall, clock, policy, fixed=True))
    listed = sorted({*kept.intersection(listed), *extras})
    place = bisect_right(listed, t)
    expected = listed[place] if place < len(listed) else None, listed[place - 1] if place else None
    if expected[0] is None and is_cut:
        return "rare"  # not within four years, or cut
    if found != expected:
        return f"{text!r} {zone} {policy} {t}: {found}, expected {expected}"
    return "near a change" if near_change(t, zone) else "agrees"


@pytest.mark.parametrize("case", [crontab_case, croniter_case, rrule_case])
def test_random_cases_agree_with_the_oracle(case: Callable[[Random], str], capsys: pytest.CaptureFixture[str]) -> None:
    dice, verdicts, differences = Random(f"{case.__name__} {SEED}"), Counter[str](), list[str]()
    for _ in range(CASES):
        verdict = case(dice)
        verdicts[verdict if len(verdict) < 30 else "differs"] += 1
        differences += [verdict] if len(verdict) >= 30 else []
    if CASES > 1000:
        with capsys.disabled():
            sys.stdout.write(f"\n{case.__name__}, {CASES} cases: {dict(verdicts)}\n")

    assert not differences, "\n".join(differences[:SHOWN_DIFFERENCES])
    assert verdicts["agrees"] + verdicts["near a change"] >= CASES / 2
