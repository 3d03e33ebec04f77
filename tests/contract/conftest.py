"""What every contract test shares."""

import pytest

from providers import polling


@pytest.fixture(autouse=True)
def _quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a remote run a hundred times as often: a fake agent needs no rest."""
    monkeypatch.setattr(polling, "FIRST_SECONDS", polling.FIRST_SECONDS / 100)
    monkeypatch.setattr(polling, "LONGEST_SECONDS", polling.LONGEST_SECONDS / 100)
