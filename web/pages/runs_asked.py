"""What the address of the list of runs asks for: the API's filters, with times as a person at a clock gives them."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from api.run_query import LARGEST_ID, QueueName, RunFilter, RunId, RunPage
from core.lifecycle import Origin, State
from core.outcome import ErrorKind

PAGE_SIZE: Final = 50
SPANS: Final = {
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
OWN_SPAN: Final = "own"


def _blank(value: Any) -> Any:
    """Take an empty field of a form as none."""
    return value or None


def _in_range(moment: datetime | None) -> datetime | None:
    if moment is not None and not 1970 <= moment.year < 9999:
        raise ValueError("use a time from 1970 to 9998")
    return moment


Blank = BeforeValidator(_blank)
Clock = Annotated[datetime | None, AfterValidator(_in_range), Blank]


class RunsAsked(BaseModel):
    """The filters of the page; empty ones ask nothing."""

    state: Annotated[list[State], Field(max_length=len(State))] = []
    task: Annotated[str | None, Field(max_length=200), Blank] = None
    task_id: Annotated[int | None, Field(ge=0, le=LARGEST_ID), Blank] = None
    by: Annotated[Literal["name"] | None, Blank] = None
    """Go by the name that each run has, though a task has it now."""
    origin: Annotated[Origin | None, Blank] = None
    queue: Annotated[QueueName | None, Blank] = None
    error_kind: Annotated[ErrorKind | None, Blank] = None
    span: Annotated[Literal["1h", "24h", "7d", "30d", "own"] | None, Blank] = None
    first: Clock = None
    last: Clock = None
    before: Annotated[RunId | None, Blank] = None

    @property
    def asks_anything(self) -> bool:
        """True where not every run is meant."""
        return bool(_set_fields(self) - {"before", "by"})

    @property
    def names_a_task(self) -> bool:
        """True where the task that has this name now is meant, if there is one."""
        return self.task is not None and self.task_id is None and self.by is None

    def filter(self, now: datetime, zone: ZoneInfo, named: int | None = None) -> RunFilter:
        """Say it in the API's words; times without an offset are those of the zone's clocks.

        `named` is the task that has the name: its runs are found by an index, a name is looked for run by run.
        """
        if self.span == OWN_SPAN:
            since, until = _instant(self.first, zone), _instant(self.last, zone)
        else:
            since, until = (now - SPANS[self.span] if self.span else None), None
        return RunFilter(
            state=self.state,
            task=self.task if named is None else None,
            task_id=self.task_id if named is None else named,
            origin=self.origin,
            queue=self.queue,
            error_kind=self.error_kind,
            since=since,
            until=until,
        )

    def on_clock(self, moment: datetime | None, zone: ZoneInfo) -> str:
        """Write one of the two times as a field for local times has it."""
        wall = moment.astimezone(zone) if moment is not None and moment.tzinfo is not None else moment
        return wall.strftime("%Y-%m-%dT%H:%M") if wall is not None else ""

    def page(self, now: datetime, zone: ZoneInfo, named: int | None = None) -> RunPage:
        """Say which page of the API's answer is meant."""
        return RunPage(**self.filter(now, zone, named).model_dump(), limit=PAGE_SIZE, before=self.before)

    def address(self, path: str, **changed: Any) -> str:
        """Write the address of the same question with some of it changed; None takes it away."""
        asked = {name: getattr(self, name) for name in _set_fields(self)} | {"before": None} | changed
        told = {name: _text(value) for name, value in asked.items() if value not in (None, [], "")}
        return f"{path}?{urlencode(told, doseq=True)}" if told else path


def _set_fields(asked: RunsAsked) -> set[str]:
    return {name for name in RunsAsked.model_fields if getattr(asked, name) not in (None, [])}


def _instant(moment: datetime | None, zone: ZoneInfo) -> datetime | None:
    return moment.replace(tzinfo=zone) if moment is not None and moment.tzinfo is None else moment


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value
