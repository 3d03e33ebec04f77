"""A run's answer as the seeds' APIs show it: a value, not text about one."""

from typing import Any, Final

from sqlalchemy import func

from api.masking import Mask
from core.task_config import CeleryConfig, readable_config
from store.database import AnyRow
from store.runs import R

#: What a list reads of an answer, which may be megabytes long: its beginning, 4,096 characters.
SHORT_RESULT: Final = func.substr(R.result, 1, 4096).label("result")


def answer_of(row: AnyRow, mask: Mask) -> Any:
    """Show what a Celery task returned as a value, what an agent or a workflow answered as text."""
    if isinstance(readable_config(row.config), CeleryConfig):
        return mask.answer_json(row.result_data)
    return mask.answer(row.result)
