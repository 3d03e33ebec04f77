"""`after`: a row that starts when a run of another row has ended. What the key says, and which runs it means.

A row follows one other row, so what leads to it is a line and not a net: a loop is found by walking it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from core.lifecycle import Origin, State
from core.strict_json import shown

MAX_FOLLOWERS: Final = 100
"""Rows that may start after one row: what a single end may set off."""
MAX_DEPTH: Final = 20
"""Rows that may stand one after the other."""
MAX_NAME: Final = 200
KEYS: Final = ("task", "outcome", "pass_as")
EXAMPLE: Final = '{"task": "the name of a row", "outcome": "succeeded"}'
STARTS_AFTER: Final = "starts after "
"""How the hint of a row begins that has no moments of its own."""
NO_PARAMETER: Final = "use the name of a parameter, such as upstream"


class AfterFault(ValueError):
    """`after` cannot be used; the message says why and the mend."""


class Outcome(StrEnum):
    """Which ends of the other row's runs start this one."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ENDED = "ended"  #: succeeded, failed, or asked for a human


STATES: Final = {
    Outcome.SUCCEEDED: frozenset({State.SUCCESS}),
    Outcome.FAILED: frozenset({State.FAILURE}),
    Outcome.ENDED: frozenset({State.SUCCESS, State.FAILURE, State.REQUIRES_ACTION}),
}


@dataclass(frozen=True, slots=True)
class After:
    """The row to follow, by name. `pass_as`: the parameter by which a Celery task gets what the run came to."""

    task: str
    outcome: Outcome = Outcome.SUCCEEDED
    pass_as: str | None = None

    def __str__(self) -> str:
        return f"{STARTS_AFTER}{self.task!r} has {self.outcome}"


def read_after(raw: object) -> After:
    """Read the value of `after`: a name alone means that it has succeeded. Raises AfterFault."""
    if isinstance(raw, str):
        raw = {"task": raw}
    if not isinstance(raw, dict):
        raise AfterFault(f"after is {shown(raw)}; use {EXAMPLE}")
    for key in raw:
        if key not in KEYS:
            near = get_close_matches(str(key)[:64], KEYS, 1, 0.5)
            mend = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(KEYS)}"
            raise AfterFault(f"after has the unknown key {shown(key)}; {mend}")
    task, outcome, pass_as = raw.get("task"), raw.get("outcome", Outcome.SUCCEEDED), raw.get("pass_as")
    if not isinstance(task, str) or not 0 < len(task) <= MAX_NAME:
        raise AfterFault(f"after.task is {shown(task)}; use the name of a row")
    if outcome not in list(Outcome):
        raise AfterFault(f"after.outcome is {shown(outcome)}; use one of {', '.join(Outcome)}")
    if pass_as is not None and not (isinstance(pass_as, str) and re.fullmatch(r"[A-Za-z_]\w{0,63}", pass_as, re.ASCII)):
        raise AfterFault(f"after.pass_as is {shown(pass_as)}; {NO_PARAMETER}")
    return After(task, Outcome(outcome), pass_as)


def starts_others(state: str, origin: str, outcome: str) -> bool:
    """Tell whether a run that has ended starts a row that waits for `outcome`.

    A cancelled or skipped run starts nothing, nor does one of a backfill: old moments say nothing about today. However
    else a run came to be, at its moment, caught up, by hand, by the API or after another, its end counts.
    """
    return origin != Origin.BACKFILL and state in STATES[Outcome(outcome)]


def run_id_after(upstream_run: str, ended_at: datetime, task_id: int) -> str:
    """Name the run of a row after a run: always the same, so that the ledger's primary key admits one.

    A UUIDv7 of the moment when the other ended, and so beside the ids that are new then.
    """
    digest = blake2b(f"{upstream_run}:{task_id}".encode(), digest_size=16).digest()
    rest = int.from_bytes(digest) & ((1 << 80) - 1)
    milliseconds = int(ended_at.timestamp() * 1000)
    number = (milliseconds << 80) | (rest & ~(0xF << 76) & ~(0b11 << 62)) | (0x7 << 76) | (0b10 << 62)
    text = f"{number:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def loop_told(names: Sequence[str]) -> str:
    """Say which rows follow each other in a circle; `names` leads from the row back to it."""
    return f"after makes a loop: {' after '.join(repr(name) for name in names)}; take one of them out of it"
