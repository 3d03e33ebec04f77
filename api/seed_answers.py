"""A run's answer as the seeds' APIs show it: a value, not text about one."""

from typing import Any, Final

from sqlalchemy import func

from api.masking import Mask
from core.task_config import CeleryConfig, readable_config
from store.database import AnyRow
from store.runs import R

LISTED_CHARS: Final = 4096
CUT: Final = "… (cut; ask for this run alone)"
#: What a list reads of an answer, which may be megabytes long: its beginning, and whether there is more.
SHORT_RESULT: Final = func.substr(R.result, 1, LISTED_CHARS + 1).label("result")
SHORT_DATA: Final = func.substr(R.result_data, 1, LISTED_CHARS + 1).label("result_data")


def listed_answer(row: AnyRow, mask: Mask) -> Any:
    """Show an answer as `answer_of` does; of a longer one the beginning as text, with a mark that says so."""
    is_value = isinstance(readable_config(row.config), CeleryConfig)
    text = row.result_data if is_value else row.result
    if isinstance(text, str) and len(text) > LISTED_CHARS:
        return f"{mask.answer(text[:LISTED_CHARS])}{CUT}"
    return answer_of(row, mask)


def answer_of(row: AnyRow, mask: Mask) -> Any:
    """Show what a Celery task returned as a value, what an agent or a workflow answered as text."""
    if isinstance(readable_config(row.config), CeleryConfig):
        return mask.answer_json(row.result_data)
    return mask.answer(row.result)
