"""Times and durations as people read them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from web.wording import Words

UNITS: Sequence[tuple[str, int]] = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def duration(words: Words, seconds: float) -> str:
    """Say how long: the two largest units, such as 3h 5m; below ten seconds with a tenth. console.js says the same."""
    if seconds < 10:
        return words("base.unit.s", n=f"{seconds:.1f}".removesuffix(".0"))
    left = round(seconds)
    parts: list[str] = []
    for unit, size in UNITS:
        if left >= size or parts:
            count, left = divmod(left, size)
            parts.append(words(f"base.unit.{unit}", n=count) if count else "")
        if len(parts) == 2:
            break
    return words("base.unit.join").join(part for part in parts if part)


def relative(words: Words, moment: datetime, now: datetime) -> str:
    """Say how far away a moment is, back or ahead."""
    apart = (moment - now).total_seconds()
    if abs(apart) < 1:
        return words("base.just_now")
    return words("base.in" if apart > 0 else "base.ago", duration=duration(words, abs(round(apart))))


def clock(moment: datetime, zone: ZoneInfo, now: datetime) -> str:
    """Show a moment on a zone's clock: the time today, with the date on other days, the year in others."""
    local, today = moment.astimezone(zone), now.astimezone(zone)
    if local.date() == today.date():
        return local.strftime("%H:%M:%S")
    near = abs(local.date() - today.date()) < timedelta(days=150) and local.year == today.year
    return local.strftime("%m-%d %H:%M" if near else "%Y-%m-%d %H:%M")


def exact(moment: datetime, zone: ZoneInfo) -> str:
    """Show a moment whole, with its offset: what a title says."""
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %z ") + str(zone)
