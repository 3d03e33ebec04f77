"""What console tests share: one browser for each module."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.acceptance.console_site import EXPECTED, chromium
from tests.conftest import missing
from tests.services import ServiceMissing


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser that waits as long as a busy machine needs."""
    expect.set_options(timeout=EXPECTED)
    try:
        with chromium() as running:
            yield running
    except ServiceMissing as error:
        missing(error)
