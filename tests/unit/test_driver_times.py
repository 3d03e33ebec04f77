"""A DATETIME that is read is what the driver itself would make of it."""

import pytest
from pymysql.converters import convert_datetime

from store.database import _read_datetime


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22 15:36:48.508059", "2026-11-22 15:36:48", "1000-01-01 00:00:00.000000", "9999-12-31 23:59:59.999999",
        "2026-11-22 15:36:48.508", "0000-00-00 00:00:00", "2026-02-31 07:00:00", "2026-00-01 00:00:00.000000",
    ],
)  # fmt: skip
def test_a_time_is_read_as_the_driver_reads_it(text: str) -> None:
    assert _read_datetime(text) == convert_datetime(text)
