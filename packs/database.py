"""The connections that a pack's tasks use: those of the worker that runs them, else a few of this process's own."""

import os
from threading import Lock
from typing import Final

from sqlalchemy import Engine

from config import get_settings
from store.database import connect
from worker.runtime import current_runtime

POOL_SIZE: Final = 2

_engines: dict[int, Engine] = {}
_building = Lock()


def engine() -> Engine:
    """Return the engine of DATABASE_URL, in AUTOCOMMIT; `store.database.transaction` opens a transaction on it."""
    if (worker := current_runtime()) is not None:
        return worker.engine
    with _building:
        if os.getpid() not in _engines:
            _engines.clear()  # a fork's: the connections are the parent's
            _engines[os.getpid()] = connect(get_settings().database_url, pool_size=POOL_SIZE)
        return _engines[os.getpid()]
