"""`/api/v2/tasks/parse`: a schedule in words, read into columns, or asked about, or refused by the word."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.access import Viewer
from api.problems import documented
from api.schedules import PATH, editor_of
from api.services import Ours, Services
from api.task_actions import NO_WORK, Preview, previewed
from core.arming import Surroundings, known_zone
from core.cadence import CadenceError
from core.phrases.reading import Read, Reading, read
from core.phrases.saying import SENTENCES, chinese, english
from core.phrases.scanning import MOST_CHARACTERS
from core.refused import Refused
from store.database import autocommit, read_clock

FIRES: Final = 5
FIRES_OF_A_CHOICE: Final = 2

router = APIRouter(tags=["tasks"], responses=documented(401, 422, 503))


class Phrase(BaseModel):
    """When, in words; Chinese or English, such as 每个交易日下午四点半 or weekdays at 8:30 New York time."""

    model_config = ConfigDict(extra="forbid")

    phrase: Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]
    timezone: Annotated[str | None, Field(max_length=64, description="zone of the row, if it has one")] = None


class Sentence(BaseModel):
    """The same in both languages; `key` stays when the words are mended."""

    key: str
    en: str
    zh: str


class Reads(BaseModel):
    """One way to read the phrase: the columns of a row that differ from the defaults, in words, and when it fires."""

    columns: dict[str, int | str]
    en: str
    zh: str
    notes: list[Sentence]
    preview: Preview


class Parsed(BaseModel):
    """`rule` has one choice, `ambiguous` several and a question, `unknown` none, and `reason` and `unknown` say why."""

    status: Literal["rule", "ambiguous", "unknown"]
    question: Sentence | None
    reason: Sentence | None
    unknown: list[str]
    choices: list[Reads]


@router.post(PATH + "/parse")
def parse(ours: Ours, _: Viewer, given: Phrase) -> Parsed:
    """Read a schedule in words. Changes nothing; every word counts, and what may mean two things is asked about."""
    return parsed(ours, given.phrase, given.timezone)


def parsed(ours: Services, phrase: str, timezone: str | None) -> Parsed:
    """Read a phrase for a row whose zone is `timezone` (None: the setting's). Raises Refused."""
    with autocommit(ours.engine) as connection:
        around, now = editor_of(ours, connection).around, read_clock(connection)
    try:
        zone = known_zone(timezone) if timezone else around.zone
    except CadenceError as error:
        raise Refused([{"field": "timezone", "message": str(error)}]) from None
    found = read(phrase, now, zone)
    return Parsed(
        status=found.status,
        question=_sentence(found.question),
        reason=_sentence(found.reason),
        unknown=list(found.unknown),
        choices=[_shown(each, found, timezone, around, now) for each in found.readings],
    )


def _sentence(key: str) -> Sentence | None:
    if not key:
        return None
    en, zh = SENTENCES[key]
    return Sentence(key=key, en=en, zh=zh)


def _shown(each: Read, found: Reading, timezone: str | None, around: Surroundings, now: datetime) -> Reads:
    count = FIRES if found.status == "rule" else FIRES_OF_A_CHOICE
    draft: dict[str, Any] = {"id": 0, "enabled": 1, "task_extra_config": NO_WORK, "timezone": timezone}
    notes = [_sentence(key) for key in each.notes]
    return Reads(
        columns={name: _written(value) for name, value in each.columns.items()},
        en=english(each.meaning),
        zh=chinese(each.meaning),
        notes=[note for note in notes if note is not None],
        preview=previewed({**draft, **each.columns}, around, None, now.astimezone(UTC), count),
    )


def _written(value: Any) -> int | str:
    """Write a column as a form and `POST /api/v2/tasks` take it."""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return value if isinstance(value, int) else str(value)
