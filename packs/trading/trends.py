"""Which stocks stand out on a day. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

LEAST_BARS: Final = 6  # the day, and the five before it


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a stock stands out, from 0 to 100.

    40 points for a move of 10 % on the day, 20 for one of 20 % in five days (up or down), 25 for three times the usual
    volume, 15 for ten articles; each in proportion below that, and no more above.
    """

    symbol: str
    change_1d: float
    change_5d: float
    volume_ratio: float
    articles: int

    @property
    def score(self) -> float:
        """The sum of the four."""
        return (
            40 * min(abs(self.change_1d) / 0.10, 1)
            + 20 * min(abs(self.change_5d) / 0.20, 1)
            + 25 * min(self.volume_ratio / 3, 1)
            + 15 * min(self.articles / 10, 1)
        )


def standing_of(symbol: str, closes: Sequence[float], volumes: Sequence[float], articles: int) -> Standing | None:
    """Judge a stock by its latest days, oldest first. None: too few."""
    if len(closes) < LEAST_BARS:
        return None
    usual = fmean(volumes[-6:-1])
    return Standing(
        symbol,
        change_1d=closes[-1] / closes[-2] - 1,
        change_5d=closes[-1] / closes[-6] - 1,
        volume_ratio=volumes[-1] / usual if usual else 0.0,
        articles=articles,
    )
