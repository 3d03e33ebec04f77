"""Reads the old rows, lets core.legacy translate them, holds old and new against each other, and inserts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, inspect, select, text
from sqlalchemy.exc import DBAPIError

from config import Settings
from core.arming import Surroundings, what_is_wrong
from core.legacy import periodic_configs, scheduled_tasks
from core.legacy.celery_cron import CeleryCron
from core.legacy.endpoints import EndpointNames
from core.legacy.rows import MARK, ORIGIN, Problem, Rule, Translation, as_row, first_difference, new_cadence, next_fires
from endpoints import what_is_wrong_with_target
from scripts.legacy_report import Fires, Outcome, Report, Status
from store import schedules
from store.database import autocommit, is_duplicate, read_clock

TABLES: Final = (periodic_configs.TABLE, scheduled_tasks.TABLE)
SHOWN_FIRES: Final = 3
UTC_ZONE: Final = ZoneInfo("UTC")


class SourceMissing(Exception):
    """The source lacks the table that was asked for, or has neither."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator asked for."""

    apply: bool
    table: str | None
    only: frozenset[str]
    legacy_zone: str | None
    display_zone: str
    endpoint: str | None


class CeleryRule:
    """The five fields evaluated by Celery itself, in UTC, as the old beat did."""

    def __init__(self, fields: CeleryCron) -> None:
        from celery.schedules import crontab

        make: Any = crontab
        self._crontab = make(
            minute=fields.minute,
            hour=fields.hour,
            day_of_week=fields.day_of_week,
            day_of_month=fields.day_of_month,
            month_of_year=fields.month_of_year,
            app=_celery(),
            nowfun=lambda: datetime.now(UTC_ZONE),
        )

    def after(self, moment: datetime) -> datetime | None:
        """Ask Celery what it adds to a last run at `moment`."""
        last, delta, _ = self._crontab.remaining_delta(moment, tz=UTC_ZONE)
        found: datetime = last + delta
        return found


@cache
def _celery() -> Any:
    from celery import Celery

    app: Any = Celery("old", set_as_current=False)
    app.conf.timezone = "UTC"
    return app


class Importer:
    """Translates the rows of one source and puts them into one target."""

    def __init__(self, options: Options, settings: Settings, source: Engine, target: Engine) -> None:
        self.options, self.settings, self.source, self.target = options, settings, source, target
        with autocommit(target) as connection:
            self.now = read_clock(connection)
            known = schedules.endpoints(connection)
        self.endpoints = EndpointNames({name: row.base_url for name, row in known.items()})
        queues = frozenset(settings.queues)
        self.bare = Surroundings(settings.timezone, queues)
        self.full = Surroundings(
            settings.timezone, queues, check_target=lambda c: what_is_wrong_with_target(c, known, settings)
        )

    def run(self) -> Report:
        """Translate every row, and with `apply` insert what can be imported. Raises SourceMissing."""
        tables = self._read()
        # Rows that were not asked for are translated too: which endpoint gets which name depends on all of them.
        judged = [self._judge(table, row) for table, rows in tables.items() for row in rows]
        wanted = [one for one in judged if not self.options.only or one.translation.name in self.options.only]
        with autocommit(self.target) as connection:
            claimed: dict[str, Translation] = {}
            for outcome in wanted:
                if outcome.status is Status.IMPORT:
                    _check_name(connection, outcome, claimed)
                if outcome.status is Status.IMPORT and self.options.apply:
                    _insert(connection, outcome, self.now)
        return Report(
            source=place(self.source),
            target=place(self.target),
            applied=self.options.apply,
            now=self.now,
            display_zone=self.options.display_zone,
            zones={table: self._zone_of(table) for table in tables},
            outcomes=wanted,
        )

    def _zone_of(self, table: str) -> str:
        return self.options.legacy_zone or ("UTC" if table == periodic_configs.TABLE else self.settings.timezone)

    def _read(self) -> dict[str, Sequence[Any]]:
        with autocommit(self.source) as connection:
            there = set(inspect(connection).get_table_names())
            wanted = [self.options.table] if self.options.table else [table for table in TABLES if table in there]
            if not wanted or not there.issuperset(wanted):
                raise SourceMissing(f"the source, {place(self.source)}, has no table {' or '.join(wanted or TABLES)}")
            query = "SELECT * FROM {} ORDER BY id"  # for names from TABLES only
            return {table: connection.execute(text(query.format(table))).mappings().all() for table in wanted}

    def _judge(self, table: str, row: Mapping[str, Any]) -> Outcome:
        try:
            outcome = self._translate(table, row)
        except Exception as error:  # an edge: a row that nobody thought of must not hold up its neighbours
            outcome = Outcome(Translation(table, row.get("id"), str(row.get("task_name") or row.get("name"))))
            wrong = f"cannot be read ({type(error).__name__})"
            outcome.translation.problems.append(Problem("the row", wrong, "write it by hand"))
        if outcome.translation.finished:
            outcome.status, outcome.reason = Status.FINISHED, outcome.translation.finished
        elif outcome.translation.problems:
            outcome.status = Status.REFUSED
        return outcome

    def _translate(self, table: str, row: Mapping[str, Any]) -> Outcome:
        zone = self._zone_of(table)
        if table == periodic_configs.TABLE:
            outcome = Outcome(*periodic_configs.translate(row, zone, self.settings.timezone, self.endpoints))
        else:
            outcome = Outcome(scheduled_tasks.translate(row, zone, self.now, self.options.endpoint))
        found = outcome.translation
        if not (found.finished or found.problems):
            new_row = as_row(found.columns, self.now)
            wrong = what_is_wrong(new_row, self.bare)
            found.problems += [
                Problem("the new row", f"would be broken: {problem}", "mend the old one") for problem in wrong
            ]
            outcome.before_enabling = what_is_wrong(new_row, self.full)
        if not (found.finished or found.problems):
            self._put_fires(outcome)
        return outcome

    def _put_fires(self, outcome: Outcome) -> None:
        """Name the next moments of the old and of the new row; refuse a row whose rules part."""
        found = outcome.translation
        old: Rule = CeleryRule(found.old) if isinstance(found.old, CeleryCron) else found.old
        new = new_cadence(found.columns, self.now)
        limit = min(SHOWN_FIRES, found.columns.get("max_runs") or SHOWN_FIRES)
        outcome.fires = Fires(next_fires(old, self.now, limit), next_fires(new, self.now, limit))
        if found.table != periodic_configs.TABLE:
            return  # its rule was only said where it agrees with the old one
        if not isinstance(found.old, CeleryCron):
            self._hold(found, old, new)
            return
        # Whichever reading was chosen, the rule is held against Celery's in UTC, where that one ran.
        zone, other = found.columns["timezone"], "UTC"
        self._hold(found, old, new_cadence({**found.columns, "timezone": "UTC"}, self.now))
        if zone == "UTC":
            other = self.settings.timezone
        if other != zone:
            reading = new_cadence({**found.columns, "timezone": other}, self.now)
            outcome.fires.other_zone, outcome.fires.other = other, next_fires(reading, self.now, limit)

    def _hold(self, found: Translation, old: Rule, new: Rule) -> None:
        """Refuse a row whose new rule names other moments; an interval that counts from nothing known has none."""
        parted = first_difference(old, new, self.now, "UTC") if old.after(self.now) is not None else None
        if parted:
            moments = " and ".join(f"{moment:%Y-%m-%d %H:%M:%S}" if moment else "never" for moment in parted)
            wrong = f"would fire at other times than the old one (old and new: {moments} UTC)"
            found.problems.append(Problem("the new row", wrong, "write it by hand"))


def place(engine: Engine) -> str:
    """Name a database without its password or options."""
    return engine.url.set(query={}).render_as_string(hide_password=True)


def _check_name(connection: Connection, outcome: Outcome, claimed: dict[str, Translation]) -> None:
    """Skip a row whose name is there already: from an earlier import, somebody else's, or an earlier row's.

    `claimed` holds the rows that have their name, in this run or from an earlier one.
    """
    found, table = outcome.translation, schedules.T
    key = _name_key(connection, found.name)
    query = select(table.id, table.create_by, table.description).where(table.name == found.name)
    there = connection.execute(query).first()
    if there is None and key not in claimed:
        claimed[key] = found
    elif there is None:
        outcome.status = Status.TAKEN
        outcome.reason = f"{claimed[key].table} {claimed[key].id} has this name too: rename one of them"
    elif there.create_by == MARK and _came_from(found, there.description or "", is_free=key not in claimed):
        claimed[key] = found
        outcome.status, outcome.reason = Status.EXISTS, f"it is periodic_task {there.id}"
    else:
        outcome.status = Status.TAKEN
        outcome.reason = f"periodic_task {there.id} has this name and did not come from this row: rename one of them"


def _came_from(found: Translation, description: str, *, is_free: bool) -> bool:
    """Tell by the description, or where an operator rewrote it by nobody else's claim."""
    origin = ORIGIN.match(description)
    return is_free if origin is None else origin.groups() == (found.table, str(found.id))


def _name_key(connection: Connection, name: str) -> str:
    """What the unique key compares: for MySQL 'Report' and 'report' are one name."""
    if connection.dialect.name == "sqlite":
        return name
    weight = "HEX(WEIGHT_STRING(CAST(RTRIM(:name) AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_unicode_520_ci))"
    return str(connection.execute(text(f"SELECT {weight}"), {"name": name}).scalar_one())


def _insert(connection: Connection, outcome: Outcome, now: datetime) -> None:
    """Insert one row, in a transaction of its own: what the database refuses is reported and holds up no other.

    create_time is the `now` the shown moments were computed from: an interval without a start counts from it.
    """
    try:
        done = connection.execute(schedules.TABLE.insert().values(**outcome.translation.columns, create_time=now))
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        if is_duplicate(error):
            outcome.status, outcome.reason = Status.TAKEN, "the name was taken meanwhile: rename one of them"
            return
        outcome.status = Status.REFUSED
        wrong = f"was refused by the database: {error.orig}"
        outcome.translation.problems.append(Problem("the new row", wrong, "mend the old one"))
    else:
        outcome.new_id = done.inserted_primary_key[0] if done.inserted_primary_key else None
