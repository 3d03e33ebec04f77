"""A run's answer as the seeds' APIs show it: a value, not text about one."""

from typing import Any

from api.masking import Mask
from core.task_config import CeleryConfig, readable_config
from store.database import AnyRow


def answer_of(row: AnyRow, mask: Mask) -> Any:
    """Show what a Celery task returned as a value, what an agent or a workflow answered as text."""
    if isinstance(readable_config(row.config), CeleryConfig):
        return mask.answer_json(row.result_data)
    return mask.answer(row.result)
