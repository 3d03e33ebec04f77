"""How long a run waits before it asks again for a place at its endpoint. Pure, and derived: a herd spreads itself."""

from datetime import timedelta
from typing import Final

from core.retries import derived_fraction

AWAY_SECONDS: Final = 5.0  # nobody counts just now
SLOT_SECONDS = 20.0  # whoever leaves wakes the next; this is for a wake that got lost
SLOT_MAX_SECONDS: Final = 120.0
SPREAD: Final = 0.2
SPREAD_MAX_SECONDS: Final = 30.0


def until_asked_again(run_id: str, why: str, seconds: float = 0.0, place: int = 0) -> timedelta:
    """Name the pause of a run that was not let in. `seconds`: as far as known, until there is room; `place` in line.

    The further behind, the later; the spread is derived from the run, up to a fifth more and at least a second's.
    """
    if why == "away":
        seconds = AWAY_SECONDS
    elif not seconds:
        seconds = min(SLOT_SECONDS + place / 2, SLOT_MAX_SECONDS)
    spread = max(1.0, min(seconds * SPREAD, SPREAD_MAX_SECONDS))
    return timedelta(seconds=seconds + spread * derived_fraction(f"{run_id}:{why}"))


def until_budget_is_asked_again(run_id: str, waited: timedelta) -> timedelta:
    """Name the pause of a run that waits for others to end: a quarter of what it has waited, 2 s to 60 s."""
    seconds = min(max(waited.total_seconds() / 4, 2.0), 60.0)
    return timedelta(seconds=seconds * (1 + derived_fraction(f"{run_id}:budget") / 2))
