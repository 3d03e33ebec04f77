"""The states of a run and the steps between them, in Celery's words.

A step that is not in NEXT does not exist: every state change in `store/` is one guarded UPDATE that
names the states it may leave, taken from here.
"""

from enum import StrEnum


class State(StrEnum):
    """Stored in `task_run.state`."""

    PENDING = "PENDING"  #: not yet on the broker; with ready_at NULL it is held
    QUEUED = "QUEUED"  #: on the broker
    STARTED = "STARTED"  #: claimed by a worker
    RETRY = "RETRY"  #: waits for ready_at
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    REVOKED = "REVOKED"  #: cancelled
    SKIPPED = "SKIPPED"  #: never ran; `error` says why
    REQUIRES_ACTION = "REQUIRES_ACTION"  #: the agent asks for a human


class Origin(StrEnum):
    """What made a run: stored in `task_run.origin`."""

    SCHEDULE = "schedule"
    MANUAL = "manual"
    API = "api"
    BACKFILL = "backfill"
    AFTER = "after"  #: the end of another row's run


FINAL = frozenset({State.SUCCESS, State.FAILURE, State.REVOKED, State.SKIPPED, State.REQUIRES_ACTION})
WAITING = frozenset({State.PENDING, State.QUEUED, State.RETRY})

NEXT: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.QUEUED, State.STARTED, State.REVOKED, State.SKIPPED}),
    State.QUEUED: frozenset({State.STARTED, State.REVOKED, State.SKIPPED, State.PENDING}),
    State.STARTED: frozenset({State.SUCCESS, State.FAILURE, State.REQUIRES_ACTION, State.RETRY, State.REVOKED}),
    State.RETRY: frozenset({State.QUEUED, State.STARTED, State.REVOKED}),
    **{state: frozenset() for state in FINAL},
}


def leading_to(target: State) -> list[str]:
    """Name the states that may step to `target`: the WHERE of its guarded UPDATE."""
    return sorted(state for state, steps in NEXT.items() if target in steps)
