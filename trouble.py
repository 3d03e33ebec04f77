"""A trouble that lasts, in the log: told once, again every minute, and once more when it is over."""

from logging import ERROR, Logger
from time import monotonic
from typing import Final

REPEAT_SECONDS: Final = 60.0


class Trouble:
    """One thing that may go wrong for a while. Not for several threads at once."""

    def __init__(self, logger: Logger, over: str, level: int = ERROR) -> None:
        self._logger = logger
        self._over = over
        self._level = level
        self._since: float | None = None
        self._told_at = 0.0
        self._kind: object = None

    @property
    def lasts(self) -> bool:
        """True between the first telling and the end."""
        return self._since is not None

    def goes_on(self, what: str, kind: object = None, *, traceback: bool = False) -> None:
        """Tell `what`, unless the same kind was told less than a minute ago."""
        now = monotonic()
        if self._since is None:
            self._since = now
            self._logger.log(self._level, "%s", what, exc_info=traceback)
        elif kind != self._kind or now - self._told_at >= REPEAT_SECONDS:
            self._logger.log(self._level, "%s (for %.0f s)", what, now - self._since, exc_info=traceback)
        else:
            return
        self._told_at, self._kind = now, kind

    def is_over(self) -> None:
        """Tell the end, if there was a beginning."""
        if self._since is not None:
            self._logger.warning("%s, after %.0f s", self._over, monotonic() - self._since)
            self._since = self._kind = None
