"""Names of time zones, and what somebody who wrote a wrong one most likely meant."""

from difflib import get_close_matches
from functools import lru_cache
from zoneinfo import available_timezones

# Written often, and near to no right name, or only to one that is hours away.
MEANT = dict.fromkeys(("beijing", "peking", "china", "cst", "utc+8", "gmt+8", "+8", "+08:00", "8"), "Asia/Shanghai")


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Name every IANA zone of the installed data."""
    return frozenset(available_timezones())


@lru_cache(maxsize=1024)  # a thousand rows often share one wrong name, and the search for a near one takes 2 ms
def zone_hint(name: str) -> str:
    """Suggest a zone for a name that is none."""
    wrong = name.strip()[:64]
    meant = MEANT.get(wrong.lower().removeprefix("asia/")) or _by_spelling().get(wrong.lower().replace(" ", "_"))
    # An abbreviation or an offset looks like many that mean another time: no guess is better than a wrong one.
    if meant is None and "/" in wrong:
        meant = next(iter(get_close_matches(wrong, zone_names(), 1, 0.8)), None)
    return f"did you mean {meant!r}?" if meant else "use a name such as 'Asia/Shanghai'"


@lru_cache(maxsize=1)
def _by_spelling() -> dict[str, str]:
    """Map names in lower case, and the places in them, to names. Etc/GMT+9 is not what GMT+9 means: 9 hours west."""
    names = sorted(zone_names(), reverse=True)
    places = {name.lower().rpartition("/")[2]: name for name in names if not name.startswith("Etc/")}
    return places | {name.lower(): name for name in names}
