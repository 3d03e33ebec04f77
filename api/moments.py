"""Moments as clients write them: with an offset, in years that every database holds; UTC from here on."""

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime

EARLIEST, LATEST = 1970, 2200
TOLD: Final = f"use a year from {EARLIEST} to {LATEST - 1}"


def _in_utc(value: datetime) -> datetime:
    if not EARLIEST <= value.year < LATEST:
        raise ValueError(TOLD)
    return value.astimezone(UTC)


UtcMoment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
