"""What import_legacy did or would do, for a person and as JSON. Values that may be secret are masked in both."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import zip_longest
from typing import Any, Final
from zoneinfo import ZoneInfo

from core.legacy.endpoints import Endpoint
from core.legacy.rows import Translation
from core.legacy.task_types import SECRET_NAME
from logger import redact

SCHEDULE: Final = ("crontab", "interval_seconds", "rrule", "run_at", "timezone", "start_time", "end_time", "max_runs")
LONGEST_LINE: Final = 500
OLD_ANCHOR_UNKNOWN: Final = "(from the old beat's start)"


class Status(StrEnum):
    """What became of a row."""

    IMPORT = "import"
    EXISTS = "exists"  #: imported before
    FINISHED = "finished"  #: it would never fire again
    TAKEN = "taken"  #: another row has its name
    REFUSED = "refused"  #: it cannot be translated


WORDS: Final = {
    Status.EXISTS: "SKIPPED, imported before",
    Status.FINISHED: "SKIPPED, nothing left to do",
    Status.TAKEN: "NOT IMPORTED",
    Status.REFUSED: "NOT IMPORTED",
}


@dataclass(slots=True)
class Fires:
    """The next moments of the old row, of the new one, and of the reading that was not chosen."""

    old: list[datetime]
    new: list[datetime]
    other_zone: str = ""
    other: list[datetime] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    """One old row and what became of it."""

    translation: Translation
    endpoint: Endpoint | None = None
    status: Status = Status.IMPORT
    reason: str = ""
    fires: Fires | None = None
    before_enabling: list[str] = field(default_factory=list)
    new_id: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """One run of the importer."""

    source: str
    target: str
    applied: bool
    now: datetime
    display_zone: str
    zones: Mapping[str, str]
    outcomes: list[Outcome]

    @property
    def failed(self) -> int:
        """How many rows an operator has to see to."""
        return sum(outcome.status in (Status.TAKEN, Status.REFUSED) for outcome in self.outcomes)

    @property
    def imported(self) -> list[Outcome]:
        """The rows that were, or would be, inserted."""
        return [outcome for outcome in self.outcomes if outcome.status is Status.IMPORT]

    def endpoints(self) -> list[Endpoint]:
        """The endpoints that the imported rows name and that are not entered yet."""
        named = dict.fromkeys(outcome.endpoint for outcome in self.imported if outcome.endpoint)
        return [endpoint for endpoint in named if not endpoint.is_entered]

    def remarks(self) -> Counter[str]:
        """What holds for many rows, and for how many."""
        return Counter(remark for outcome in self.imported for remark in dict.fromkeys(outcome.translation.remarks))

    def as_text(self) -> str:
        """Lay out the whole report."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"from {self.source}"
        yield f"to   {self.target}" + ("" if self.applied else "   DRY RUN: nothing is written, --apply writes")
        yield f"times are shown in {self.display_zone}; it is {self._shown(self.now)}"
        for table, zone in self.zones.items():
            yield f"{table}: its times are read in {zone}"
        for outcome in self.outcomes:
            yield ""
            yield from self._row(outcome)
        yield ""
        yield from self._summary()

    def _row(self, outcome: Outcome) -> Iterator[str]:
        found = outcome.translation
        done = f"imported as periodic_task {outcome.new_id}" if outcome.new_id is not None else "would be imported"
        yield _line(f"{found.table} {found.id}  {found.name}: {WORDS.get(outcome.status, done)}")
        if outcome.reason:
            yield _line(f"    {outcome.reason}")
        for problem in found.problems if outcome.status is Status.REFUSED else ():
            yield _line(f"    {problem.field} {problem.wrong}")
            yield _line(f"        to do: {problem.mend}")
        if outcome.status is not Status.IMPORT:
            return
        columns = found.columns
        yield _line("    " + "  ".join(f"{name}={columns[name]}" for name in SCHEDULE if columns.get(name) is not None))
        yield _line(f"    {shortened(json.dumps(masked_config(columns), ensure_ascii=False))}")
        if outcome.fires:
            yield from self._fires(outcome.fires, columns["timezone"])
        for note in found.notes:
            yield _line(f"    note: {note}")
        for problem_text in outcome.before_enabling:
            yield _line(f"    before you enable it: {problem_text}")

    def _fires(self, fires: Fires, zone: str) -> Iterator[str]:
        heads = ["old", "new" + (f", read in {zone}" if fires.other_zone else "")]
        columns = [fires.old, fires.new]
        if fires.other_zone:
            heads.append(f"if read in {fires.other_zone}")
            columns.append(fires.other)
        unknown = OLD_ANCHOR_UNKNOWN if fires.new and not fires.old else ""
        lines = [heads]
        for moments in zip_longest(*columns):
            shown = [self._shown(moment) if moment else "" for moment in moments]
            lines.append([shown[0] or unknown, *shown[1:]])
        widths = [max(map(len, cells)) + 3 for cells in zip(*lines, strict=True)]
        for line in lines:
            yield _line("    " + "".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))

    def _summary(self) -> Iterator[str]:
        for remark, rows in self.remarks().items():
            yield f"{rows} row{'s' if rows > 1 else ''}: {remark}"
        for endpoint in self.endpoints():
            yield f"endpoint {endpoint.name}: put the key into {endpoint.credential_env} of the workers' .env, and run"
            yield f"    {endpoint.sql}"
        counts = Counter(outcome.status for outcome in self.outcomes)
        done = "imported, disabled" if self.applied else "to import"
        yield (
            f"{counts[Status.IMPORT]} {done}; {counts[Status.EXISTS]} imported before; "
            f"{counts[Status.FINISHED]} with nothing left to do; {self.failed} not imported"
        )
        if self.imported and self.applied:
            yield "look at them, then: UPDATE periodic_task SET enabled = 1 WHERE create_by = 'import' AND name = '...'"

    def _shown(self, moment: datetime) -> str:
        return f"{moment.astimezone(ZoneInfo(self.display_zone)):%Y-%m-%d %a %H:%M:%S}"

    def as_json(self) -> dict[str, Any]:
        """The same as one object; moments are ISO 8601 in the display zone."""
        return {
            "source": self.source,
            "target": self.target,
            "applied": self.applied,
            "now": self._iso(self.now),
            "legacy_zones": dict(self.zones),
            "rows": [self._row_json(outcome) for outcome in self.outcomes],
            "remarks": [{"text": text, "rows": rows} for text, rows in self.remarks().items()],
            "endpoints": [
                {"name": one.name, "base_url": one.base_url, "credential_env": one.credential_env, "sql": one.sql}
                for one in self.endpoints()
            ],
            "counts": dict(Counter(outcome.status.value for outcome in self.outcomes)),
        }

    def _row_json(self, outcome: Outcome) -> dict[str, Any]:
        found, fires = outcome.translation, outcome.fires
        row: dict[str, Any] = {
            "table": found.table,
            "id": found.id,
            "name": found.name,
            "status": outcome.status.value,
            "reason": outcome.reason,
            "problems": [{"field": p.field, "wrong": redact(p.wrong), "to_do": p.mend} for p in found.problems],
        }
        if outcome.status is Status.IMPORT:
            columns = {name: _plain(value) for name, value in found.columns.items()}
            row |= {
                "new_id": outcome.new_id,
                "columns": columns | {"task_extra_config": masked_config(found.columns)},
                "notes": found.notes,
                "before_enabling": outcome.before_enabling,
            }
        if fires:
            row["fires"] = {"old": [*map(self._iso, fires.old)], "new": [*map(self._iso, fires.new)]}
            if fires.other_zone:
                row["fires"]["other"] = {"zone": fires.other_zone, "moments": [*map(self._iso, fires.other)]}
        return row

    def _iso(self, moment: datetime) -> str:
        return moment.astimezone(ZoneInfo(self.display_zone)).isoformat()


def masked_config(columns: Mapping[str, Any]) -> Any:
    """Show task_extra_config without the values whose names say that they are secret."""
    return _masked(json.loads(columns["task_extra_config"]))


def _masked(value: Any, name: str = "") -> Any:
    if SECRET_NAME.search(name):
        return "***"
    if isinstance(value, dict):
        return {key: _masked(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner) for inner in value]
    if name == "url" and isinstance(value, str) and "?" in value:
        return value.partition("?")[0] + "?***"
    return redact(value) if isinstance(value, str) else value


def shortened(text: str) -> str:
    """Keep a long message from filling the screen; --json has all of it."""
    return text if len(text) <= LONGEST_LINE else f"{text[: LONGEST_LINE - 3]}..."


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return redact(value) if isinstance(value, str) else value


def _line(text: str) -> str:
    """Keep a text on its line and secrets out of it: what it quotes comes from a table that anybody may write."""
    return redact("".join(one if one.isprintable() else " " for one in text)).rstrip()
