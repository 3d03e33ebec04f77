"""What a wall-clock time stands for, told by trial: which instants show it, without folds and without our own code."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
REACH = timedelta(hours=4)  # twice the largest change of the zones drawn


def shown(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def moments_of(wall: datetime, zone: ZoneInfo, policy: str, *, fixed: bool) -> list[datetime]:
    """Name the moments of a wall-clock time under a dst_policy."""
    guess = wall.replace(tzinfo=UTC)
    early, late = (_offset(guess + side * 15 * HOUR, zone) for side in (-1, 1))
    return [guess - early] if early == late else list(_near_change(wall, zone, policy, fixed=fixed))


@lru_cache(maxsize=100_000)
def _near_change(wall: datetime, zone: ZoneInfo, policy: str, *, fixed: bool) -> tuple[datetime, ...]:
    guess = wall.replace(tzinfo=UTC)
    offsets = {_offset(guess + hours * HOUR, zone) for hours in range(-26, 27)}
    instants = sorted(instant for instant in {guess - offset for offset in offsets} if shown(instant, zone) == wall)
    if len(instants) == 1 or not fixed:
        return tuple(instants)
    if instants:
        return {"last": tuple(instants[-1:]), "twice": tuple(instants)}.get(policy, tuple(instants[:1]))
    after = (guess - max(offsets)).replace(second=0, microsecond=0) - 3 * HOUR
    while shown(after, zone) <= wall:
        after += MINUTE
    shifted = guess - _offset(after - MINUTE, zone)
    return {"skip": (), "shift": (shifted,)}.get(policy, (after,))


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def first_after(walls: Iterable[datetime], t: datetime, zone: ZoneInfo, policy: str, *, fixed: bool) -> datetime | None:
    """Find the first moment later than `t`; `walls` are named in order, from REACH before what `t` shows."""
    found = None
    for wall in walls:
        if found is not None and wall > shown(found, zone) + REACH:
            break
        for moment in moments_of(wall, zone, policy, fixed=fixed):
            if moment > t and (found is None or moment < found):
                found = moment
    return found


def last_until(walls: Iterable[datetime], t: datetime, zone: ZoneInfo, policy: str, *, fixed: bool) -> datetime | None:
    """Find the last moment up to `t`; `walls` are named the latest first, from REACH after what `t` shows."""
    found = None
    for wall in walls:
        if found is not None and wall < shown(found, zone) - REACH:
            break
        for moment in moments_of(wall, zone, policy, fixed=fixed):
            if moment <= t and (found is None or moment > found):
                found = moment
    return found
