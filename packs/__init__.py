"""Task packs: Celery tasks that come with the product, loaded where TASK_PACKS names them.

- `packs/<pack>/*_tasks.py`: the tasks; what they need beyond requirements.txt they load when they run (`extras`)
- `packs/<pack>/schedules.py`: SCHEDULES, the rows that `python -m packs install <pack>` puts into `periodic_task`
- `packs/<pack>/migrations/`: the pack's own tables
- `requirements-<pack>.txt`: what the pack needs besides
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent


def pack_modules(packs: Sequence[str]) -> list[str]:
    """Name the modules with the tasks of these packs, for Celery to load."""
    files = [file for pack in packs for file in sorted((HERE / pack).glob("*_tasks.py"))]
    return [f"packs.{file.parent.name}.{file.stem}" for file in files]
