"""Run a program of the product as `__main__`, changed before it begins: `python -m tests.faults.launch run_beat.py`.

By itself it changes one thing only: under libfaketime `time.sleep` waits by select. Python sleeps until a moment of
the monotonic clock, which libfaketime 0.9.10 takes for one of the shifted clock and refuses with EINVAL.
"""

import importlib
import os
import runpy
import select
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any


def run_program(command: Sequence[str]) -> None:
    """Run `command` in this process as if it had been started by itself."""
    if "faketime" in os.environ.get("LD_PRELOAD", ""):
        time.sleep = lambda seconds: select.select([], [], [], float(seconds)) and None
    sys.argv = list(command)
    runpy.run_path(command[0], run_name="__main__")


def replace(target: str, make: Callable[[Any], Any]) -> None:
    """Replace "module:name" or "module:Class.name" by what `make` makes of it. AttributeError: it is gone."""
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    setattr(owner, name, make(getattr(owner, name)))


if __name__ == "__main__":
    run_program(sys.argv[1:])
