"""Work that beat repeats in threads of its own: what waits there for somebody's lock must not hold up a fire."""

from collections.abc import Callable
from logging import getLogger
from threading import Event, Thread
from typing import TypeAlias

from sqlalchemy.exc import SQLAlchemyError

from store.database import in_words
from trouble import Trouble

logger = getLogger("jobs")

Work: TypeAlias = tuple[str, float, Callable[[], object]]
"""A name, the seconds between one time and the next, and what to do."""


class Job:
    """One piece of work, done every few seconds in a daemon thread. A failure is told, and the work goes on."""

    def __init__(self, name: str, every: float, work: Callable[[], object], *, told: Callable[[], bool]) -> None:
        """`every` is in seconds. `told`: somebody else tells already that the ledger is away."""
        self.name = name
        self._every = every
        self._work = work
        self._told = told
        self._trouble = Trouble(logger, f"{name} works again")
        self._failures = 0
        self._stopping = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin; begin again where the thread ended by itself."""
        if not self._stopping.is_set() and (self._thread is None or not self._thread.is_alive()):
            self._thread = Thread(target=self._loop, name=self.name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Do it no more; does not wait for what is under way."""
        self._stopping.set()

    def _loop(self) -> None:
        while not self._stopping.wait(self._every):
            self.run()

    def run(self) -> None:
        """Do it once, here and now. Raises nothing."""
        try:
            self._work()
        except Exception as error:  # the edge of the thread: beat without its jobs would seem dead
            self._failures += 1
            is_bug = not isinstance(error, SQLAlchemyError)
            if is_bug or (self._failures > 1 and not self._told()):  # one deadlock is no trouble
                self._trouble.goes_on(f"{self.name} fails: {in_words(error)}", type(error), traceback=is_bug)
        else:
            self._failures = 0
            self._trouble.is_over()
