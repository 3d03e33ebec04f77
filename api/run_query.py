"""Which runs a caller asks for: the filters of `/api/v2/runs`, in an address or in a body."""

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from core.lifecycle import Origin, State
from core.outcome import ErrorKind
from core.task_config import QUEUE_NAME
from store.run_search import Wanted

RUN_ID: Final = r"^[!-~]{1,36}$"  # ASCII: the column is, and MySQL refuses to compare it with anything else
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST_ID: Final = 2**63 - 1


def _in_utc(moment: datetime) -> datetime:
    """Take a time without a zone as UTC. Ids hold the time since 1970."""
    if not 1970 <= moment.year < 9999:
        raise ValueError("use a time from 1970 to 9998")
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return max(moment, EPOCH)


Instant = Annotated[datetime, AfterValidator(_in_utc)]
RunId = Annotated[str, StringConstraints(pattern=RUN_ID)]
QueueName = Annotated[str, StringConstraints(pattern=QUEUE_NAME)]


class RunFilter(BaseModel):
    """Filters; a run must meet all that are given."""

    model_config = ConfigDict(extra="forbid")

    state: Annotated[list[State], Field(max_length=len(State), description="Any of these states")] = []
    task_id: Annotated[int | None, Field(ge=0, le=LARGEST_ID, description="Runs of this row of periodic_task")] = None
    task: Annotated[str | None, Field(max_length=200, description="Runs of tasks with exactly this name")] = None
    origin: Annotated[Origin | None, Field(description="What made the run")] = None
    queue: Annotated[QueueName | None, Field(description="Its queue")] = None
    error_kind: Annotated[ErrorKind | None, Field(description="The kind of its error")] = None
    since: Annotated[Instant | None, Field(description="Created then or later; UTC where no zone is given")] = None
    until: Annotated[Instant | None, Field(description="Created before; UTC where no zone is given")] = None

    def wanted(self) -> Wanted:
        """Say the same to the ledger."""
        return Wanted(
            states=tuple(dict.fromkeys(self.state)),
            task_id=self.task_id,
            task_name=self.task,
            origin=self.origin,
            queue=self.queue,
            error_kind=self.error_kind,
            since=self.since,
            until=self.until,
        )


class RunPage(RunFilter):
    """Which runs are asked for, and how many at once."""

    limit: Annotated[int, Field(ge=1, le=200, description="How many at most")] = 50
    before: Annotated[RunId | None, Field(description="Only runs created before this one")] = None
