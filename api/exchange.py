"""Tasks as a file: `/api/v2/tasks/export` and `/api/v2/tasks/import`, YAML or CSV, the same names as the columns.

What is exported comes back as it was. Secrets are exported as ***; imported over the task they belong to, they stay.
In a CSV an empty cell is null and `\\e` an empty text; a text that a spreadsheet would take for a formula, or that
begins with a backslash, has a backslash before it.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from enum import StrEnum
from itertools import chain, islice
from time import monotonic
from typing import Annotated, Any, Final, TypeAlias

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from api.access import Caller, Operator
from api.problems import Refused, documented
from api.schedules import TaskFilter, edit, editor_of, insert
from api.services import Ours, Services
from api.task_edit import WALL_CLOCK, Editor
from api.task_models import NewTask
from core.after import After
from store import audit, tasks
from store.audit import Change
from store.database import AnyRow, autocommit, read_clock, transaction
from store.tasks import EDITABLE, editable

MOST_TASKS: Final = 10_000
MOST_VALUES: Final = 20_000
"""Of one task in a YAML file."""
READ_SECONDS: Final = 60.0
MOST_PROBLEMS: Final = 100
BATCH: Final = 500
YAML_TYPE, CSV_TYPE = "application/yaml", "text/csv"
NUMBERS: Final = frozenset({"interval_seconds", "max_runs", "jitter_seconds", "catch_up_window_seconds"})
FLAGS: Final[Mapping[str, bool]] = {"true": True, "1": True, "false": False, "0": False}
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\\")
EMPTY: Final = r"\e"
WHOLE_TASK: Final = {name: NewTask.model_fields[name].default for name in EDITABLE if name != "name"}

router = APIRouter(prefix="/api/v2/tasks", tags=["tasks"], responses=documented(401, 422, 503))


class Format(StrEnum):
    """How a file is written."""

    YAML = "yaml"
    CSV = "csv"


class Export(TaskFilter):
    """Which tasks, and how."""

    format: Format = Format.YAML


class Import(BaseModel):
    """What an import may do."""

    model_config = ConfigDict(extra="forbid")

    update: Annotated[bool, Field(description="change tasks that exist; else their names are a problem")] = False
    dry_run: Annotated[bool, Field(description="count, and change nothing")] = False


class Imported(BaseModel):
    """What was done, or would be."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0


Page: TypeAlias = Sequence[dict[str, Any]]

FILE: Final = {"content": {YAML_TYPE: {"schema": {"type": "string"}}, CSV_TYPE: {"schema": {"type": "string"}}}}


@router.get("/export", response_class=Response, responses={200: FILE | {"description": "The file"}})
def export_tasks(ours: Ours, wanted: Annotated[Export, Query()]) -> Response:
    """Write all the selected tasks as a file, by id. An import takes 10,000 of them at a time."""
    pages = _pages(ours, wanted)
    first = next(pages, [])  # so that a database that is away is a 503, and no empty file
    is_yaml = wanted.format is Format.YAML
    text = _as_yaml(first, pages) if is_yaml else _as_csv(first, pages)
    name = {"Content-Disposition": f'attachment; filename="tasks.{wanted.format}"'}
    return StreamingResponse(text, media_type=YAML_TYPE if is_yaml else CSV_TYPE, headers=name)


def _pages(ours: Services, wanted: Export) -> Iterator[Page]:
    """Read the tasks page by page, and hold no connection while the client reads."""
    last: int | None = 0
    while last is not None:
        with autocommit(ours.engine) as connection:
            found = tasks.page(connection, wanted.selection, last, BATCH)
        if found:
            yield [_entry(ours, row) for row in found]
        last = found[-1].id if len(found) == BATCH else None


def _entry(ours: Services, row: AnyRow) -> dict[str, Any]:
    values = editable(row)
    values["enabled"] = bool(values["enabled"])
    values["task_extra_config"] = ours.mask.config(values["task_extra_config"])
    times = {name: value.isoformat(sep=" ") for name, value in values.items() if isinstance(value, datetime)}
    return values | times


def _as_yaml(first: Page, further: Iterator[Page]) -> Iterator[str]:
    """Write one list, piece by piece. What is null is left out: a task is read by people."""
    yield _yaml_of(first)
    yield from map(_yaml_of, further)


def _yaml_of(entries: Page) -> str:
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.allow_unicode = True
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    out = io.StringIO()
    writer.dump([{name: value for name, value in entry.items() if value is not None} for entry in entries], out)
    return out.getvalue()


def _as_csv(first: Page, further: Iterator[Page]) -> Iterator[str]:
    yield _csv_of([EDITABLE])
    for entries in chain([first], further):
        yield _csv_of([_cell(entry[name]) for name in EDITABLE] for entry in entries)


def _csv_of(lines: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(lines)
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return EMPTY if text == "" else f"\\{text}" if text.startswith(FORMULA) else text


@router.post(
    "/import",
    responses=documented(403, 413, 415),
    openapi_extra={"requestBody": {"required": True, **FILE}},
)
async def import_tasks(ours: Ours, caller: Operator, request: Request, how: Annotated[Import, Query()]) -> Imported:
    """Create tasks from a file, and change those that exist if told so; all of them, or none."""
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return await run_in_threadpool(_import, ours, caller, kind, body, how)


def _import(ours: Services, caller: Caller, kind: str, body: bytes, how: Import) -> Imported:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _wrong("file", f"the file is no UTF-8 text: byte {error.start} is wrong; save it as UTF-8") from None
    if kind == CSV_TYPE:
        entries = list(islice(_read_csv(text), MOST_TASKS + 1))
    elif kind in (YAML_TYPE, "application/x-yaml", "text/yaml"):
        entries = list(islice(_read_yaml(text), MOST_TASKS + 1))
    else:
        raise HTTPException(415, f"Send the file as Content-Type {YAML_TYPE} or {CSV_TYPE}.")
    if len(entries) > MOST_TASKS:
        raise _wrong("file", f"the file has more than {MOST_TASKS:,} tasks; send at most so many at a time")
    with transaction(ours.engine) as tx:
        return _store(tx, caller, editor_of(ours, tx), entries, how)


def _store(tx: Connection, caller: Caller, editor: Editor, entries: Sequence[Any], how: Import) -> Imported:
    """Judge every task, then write them. Raises Refused with the problems of all."""
    now, problems, done = read_clock(tx), list[dict[str, str]](), Imported()
    new: list[dict[str, Any]] = []
    changed: list[tuple[AnyRow, dict[str, Any]]] = []
    names = set[str]()
    editor = _knowing(editor, entries)
    for number, entry in enumerate(entries, start=1):
        try:
            given = _read_task(entry)
            if given.name in names:
                raise _wrong("name", f"name {given.name!r} is there twice")
            names.add(given.name)
            row = tasks.by_name(tx, given.name)
            if row is not None and not how.update:
                raise _wrong("name", f"there is a task {given.name!r} already; rename it, or import with update=true")
            values = WHOLE_TASK | {"enabled": 1} | editor.columns(given, row)
            editor.check(values, row, now)
            if row is None:
                new.append(values)
            else:
                changed.append((row, values))
        except Refused as error:
            problems += [
                {"field": f"task {number}: {each['field']}", "message": f"task {number}: {each['message']}"}
                for each in error.problems
            ]
        if len(problems) >= MOST_PROBLEMS:
            break
    if problems:
        raise Refused(problems[:MOST_PROBLEMS])
    done.created = len(new)
    done.updated = sum(any(getattr(row, name) != value for name, value in values.items()) for row, values in changed)
    done.unchanged = len(changed) - done.updated
    if not how.dry_run:
        _write(tx, caller, new, changed)
    return done


def _knowing(editor: Editor, entries: Sequence[Any]) -> Editor:
    """Let tasks start after others of the same file, in any order; a circle among them is for arming to tell."""
    names = {entry.get("name") for entry in entries if isinstance(entry, dict) and isinstance(entry.get("name"), str)}
    check = editor.around.check_upstream

    def check_upstream(row: Any, after: After) -> str | None:
        return None if after.task in names and after.task != row.name else check(row, after)

    return replace(editor, around=replace(editor.around, check_upstream=check_upstream))


def _write(
    tx: Connection, caller: Caller, new: Sequence[dict[str, Any]], changed: Sequence[tuple[AnyRow, dict[str, Any]]]
) -> None:
    with audit.silence_triggers(tx):
        rows = [insert(tx, values, caller) for values in new]
    created = [Change(action="task.create", subject=row.id, after=editable(row), note="import") for row in rows]
    audit.record(tx, caller.actor, *created)
    for row, values in changed:
        locked = tasks.lock(tx, [row.id]).get(row.id)
        if locked is None:
            raise HTTPException(409, f"Task {row.name!r} was deleted meanwhile; nothing was imported. Try again.")
        edit(tx, caller, locked, values, "task.update")


def _read_task(entry: Any) -> NewTask:
    """Read one task; what it leaves out is as in a new one. Raises Refused."""
    if not isinstance(entry, dict):
        raise _wrong("file", "this is no task; write a list of tasks, each with its columns by name")
    values = {
        name: str(value) if name in WALL_CLOCK and isinstance(value, date) else value for name, value in entry.items()
    }
    try:
        return NewTask.model_validate(values)
    except ValidationError as error:
        problems = [(".".join(str(part) for part in issue["loc"]) or "task", issue["msg"]) for issue in error.errors()]
        raise Refused([{"field": field, "message": f"{field}: {told}"} for field, told in problems]) from None


class _Plain(Composer):
    """Composes without aliases, a few lines of which stand for gigabytes, and no task of thousands of values."""

    values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose the next node. Raises ComposerError for an alias, and for a task that is too large."""
        mark = self.parser.peek_event().start_mark
        if self.parser.check_event(AliasEvent):
            raise ComposerError("while reading tasks", mark, "aliases (*name) are not supported; write it out", mark)
        self.values += 1
        if self.values > MOST_VALUES:
            raise ComposerError("while reading tasks", mark, f"a task has more than {MOST_VALUES:,} values", mark)
        return super().compose_node(parent, index)


def _read_yaml(text: str) -> Iterator[Any]:
    """Read task by task, so that no more of a file is ever in memory than was read. Raises Refused."""
    reader = YAML(typ="safe", pure=True)
    reader.Composer = _Plain
    until = monotonic() + READ_SECONDS
    try:
        constructor, parser = reader.get_constructor_parser(io.StringIO(text))
        for expected in (StreamStartEvent, DocumentStartEvent, SequenceStartEvent):
            if not parser.check_event(expected):
                raise _wrong("file", "the file is no list of tasks; begin each task with '- name: …'")
            if getattr(parser.get_event(), "tag", None) is not None:
                raise ValueError("the list of tasks has a tag; leave it out")
        while not parser.check_event(SequenceEndEvent):
            if monotonic() > until:
                raise _wrong("file", f"the file was not read within {READ_SECONDS:g} s; send fewer tasks at a time")
            reader.composer.values = 0
            yield constructor.construct_document(reader.composer.compose_node(None, None))
        parser.get_event()
        parser.get_event()
        if not parser.check_event(StreamEndEvent):
            raise _wrong("file", "the file holds more than one document; send them one by one")
    except (YAMLError, LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:  # odd tags
        raise _wrong("file", f"the file is no YAML that can be read: {error}") from None


def _read_csv(text: str) -> Iterator[dict[str, Any]]:
    try:
        lines = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        unknown = [name for name in lines.fieldnames or () if name not in EDITABLE]
        if unknown or not lines.fieldnames:
            raise _wrong("file", f"the first line must name columns; unknown: {', '.join(unknown) or 'it is empty'}")
        for number, line in enumerate(lines, start=1):
            if None in line or None in line.values():
                raise _wrong("file", f"task {number} has not as many cells as the first line has columns")
            found = {name: _value(name, cell) for name, cell in line.items()}
            yield {name: value for name, value in found.items() if value is not None}
    except csv.Error as error:
        raise _wrong("file", f"the file is no CSV that can be read: {error}") from None


def _value(name: str, cell: str) -> Any:
    """Read a cell. What is no number or flag stays text, and is told so."""
    if cell in ("", EMPTY):
        return "" if cell else None
    text = cell.removeprefix("\\")
    if name == "enabled":
        return FLAGS.get(text.lower(), text)
    if name in NUMBERS:
        try:
            return int(text)
        except ValueError:
            return text
    return text


def _wrong(field: str, message: str) -> Refused:
    return Refused([{"field": field, "message": message}])
