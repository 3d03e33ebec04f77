"""What is done with many tasks at once: counted first, with a reason, and undone by one press."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from api.access import Caller, Operator
from api.bulk import BulkOrder, BulkOutcome, ChangeId, TaskSelection, change_many, undo
from api.problems import Refused
from api.schedules import TaskFilter
from api.services import Ours, Services
from api.task_actions import RunNow, run_now
from api.task_models import TaskChange
from web.forms import refusal_of
from web.pages.tasks import PAGE
from web.rendering import reader_of, rendered, toast

PATH: Final = PAGE.path + "/bulk"
MOST_RUNS: Final = 200
CHANGED: Final = ("tasks:changed", "console:close")
NO_REASON_YET: Final = "…"  # a count changes nothing, so nobody reads it

router = APIRouter()

Text = Annotated[str, Field(max_length=500)]


class Asked(BaseModel):
    """What a form sends: which tasks, by `ids` or by the filters of the list, and what is to become of them."""

    model_config = ConfigDict(extra="ignore")

    action: Literal["pause", "resume", "run", "edit"]
    ids: Annotated[str, Field(pattern=r"^([0-9]{1,18}(,[0-9]{1,18})*)?$", max_length=200_000)] = ""
    all: Literal["", "true"] = ""
    name_contains: Text = ""
    tag: Text = ""
    owner: Text = ""
    enabled: Literal["", "true", "false"] = ""
    state: Text = ""
    broken: Literal["", "true", "false"] = ""
    reason: Text = ""
    new_owner: Text = ""
    new_tags: Text = ""
    queue: Text = ""
    priority: Text = ""
    timeout: Text = ""

    def task_ids(self) -> list[int]:
        """Name the tasks that were picked one by one."""
        return [int(each) for each in self.ids.split(",") if each]

    def selection(self) -> TaskSelection:
        """Say which tasks. Raises Refused where none is."""
        if not self.all:
            if not self.ids:
                raise Refused([{"field": "ids", "message": "no task is picked; pick some, or all that match"}])
            return TaskSelection(ids=self.task_ids())
        given = {name: value for name in TaskFilter.model_fields if (value := getattr(self, name, ""))}
        return TaskSelection.model_validate(given | {"everything": not given})

    def order(self, *, dry_run: bool) -> BulkOrder:
        """Say the same to the API. Raises Refused."""
        change, config = self._change(dry_run)
        try:
            return BulkOrder(select=self.selection(), change=TaskChange(**change), config=config, dry_run=dry_run)
        except ValueError as error:
            raise refusal_of(error) from None

    def _change(self, dry_run: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        if self.action == "resume":
            return {"enabled": True, "pause_reason": None}, {}
        if self.action == "pause":
            reason = self.reason.strip() or (NO_REASON_YET if dry_run else "")
            if not reason:
                raise Refused([{"field": "reason", "message": "a reason is needed: others will want to know"}])
            return {"enabled": False, "pause_reason": reason}, {}
        row = {"owner": self.new_owner.strip(), "tags": self.new_tags.strip()}
        numbers = {"priority": self.priority, "timeout": self.timeout}
        config: dict[str, Any] = {name: _number(name, text) for name, text in numbers.items() if text.strip()}
        if self.queue.strip():
            config["queue"] = self.queue.strip()
        return {name: text for name, text in row.items() if text}, config

    @property
    def has_change(self) -> bool:
        """False while an edit names nothing yet."""
        return self.action != "edit" or any(self._change(dry_run=True))


def _number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Refused([{"field": name, "message": f"{name} is a whole number"}]) from None


@router.post(PATH + "/ask")
def ask(ours: Ours, request: Request, _: Operator, asked: Annotated[Asked, Form()]) -> HTMLResponse:
    """Open the dialog of an action."""
    options = [("", reader_of(request).words("tasks.unchanged")), *((name, name) for name in ours.settings.queues)]
    return rendered(request, "tasks/_bulk.html", asked=asked, options=options)


@router.post(PATH + "/count")
def count(ours: Ours, request: Request, caller: Operator, asked: Annotated[Asked, Form()]) -> HTMLResponse:
    """Count what an action would do, and change nothing."""
    outcome = None
    if asked.action != "run" and asked.has_change:
        outcome = change_many(ours, caller, Response(), asked.order(dry_run=True))
    return rendered(request, "tasks/_counted.html", asked=asked, outcome=outcome, picked=len(asked.task_ids()))


@router.post(PATH)
def change(ours: Ours, request: Request, caller: Operator, asked: Annotated[Asked, Form()]) -> Response:
    """Do it, and offer to undo it."""
    words = reader_of(request).words
    answer = Response(status_code=204)
    if asked.action == "run":
        made, refused = _run(ours, caller, asked.task_ids())
        text = words.count("tasks.bulk.ran", made)
        if refused:
            text += words("tasks.bulk.ran_not", n=len(refused), first=refused[0])
        toast(answer, text, kind="warn" if refused else "ok", events=CHANGED)
        return answer
    outcome = change_many(ours, caller, Response(), asked.order(dry_run=False))
    text = words.count(f"tasks.bulk.did.{asked.action}", outcome.changed)
    undo_at = f"{PATH}/{outcome.id}/undo" if outcome.changed else None
    toast(answer, text + _left(words, outcome), kind="warn" if outcome.left else "ok", undo=undo_at, events=CHANGED)
    return answer


@router.post(PATH + "/{change_id}/undo")
def take_back(ours: Ours, request: Request, caller: Operator, change_id: ChangeId) -> Response:
    """Give each task back what it had."""
    outcome = undo(ours, caller, change_id)
    words = reader_of(request).words
    answer = Response(status_code=204)
    text = words.count("tasks.bulk.undone", outcome.changed) + _left(words, outcome)
    toast(answer, text, kind="warn" if outcome.left else "ok", events=CHANGED)
    return answer


def _left(words: Any, outcome: BulkOutcome) -> str:
    if not outcome.left:
        return ""
    first = outcome.left_tasks[0]
    told: str = words("tasks.bulk.left", n=outcome.left, first=f"{first.name}: {first.reason}")
    return told


def _run(ours: Services, caller: Caller, task_ids: Sequence[int]) -> tuple[int, list[str]]:
    """Run tasks once, each by itself: one that cannot run holds no other up. Raises Refused for too many."""
    if not 0 < len(task_ids) <= MOST_RUNS:
        told = f"pick from 1 to {MOST_RUNS} tasks to run at once; for more, change next_run_at of the rows"
        raise Refused([{"field": "ids", "message": told}])
    refused: list[str] = []
    for task_id in task_ids:
        try:
            run_now(ours, caller, task_id, RunNow())
        except (Refused, HTTPException) as error:
            refused.append(f"{task_id}: {error.detail if isinstance(error, HTTPException) else error}")
    return len(task_ids) - len(refused), refused
