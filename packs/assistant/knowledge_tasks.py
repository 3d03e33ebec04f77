"""Tasks of the knowledge base: documents in, documents out, updates, and the search."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any, Final

from celery.exceptions import SoftTimeLimitExceeded

from config import BASE_DIR, Settings, get_settings
from core.outcome import AgentError, ErrorKind
from packs.assistant.documents import DocumentFault
from packs.assistant.embeddings import model_of
from packs.assistant.knowledge import (
    CHUNK_OVERLAP,
    CHUNK_SIZE,
    DEFAULT_BASE,
    MAX_FOUND,
    Changes,
    KnowledgeBases,
    Wanted,
    as_result,
)
from packs.assistant.moments import timestamp
from packs.database import engine
from packs.task import AnyTask, pack_task
from store import runs
from store.database import autocommit, read_clock
from store.runs import new_run_id

HERE: Final = "packs.assistant.knowledge_tasks"
OLD: Final = "app.tasks.knowledge_tasks"
QUEUE: Final = "knowledge_default"
UPDATES: Final = ("full", "incremental", "rebuild")


@pack_task(
    f"{HERE}.vectorize_document",
    queue=QUEUE,
    aliases=(f"{OLD}.vectorize_document",),
    soft_time_limit=300,
    time_limit=600,
    max_retries=3,
    retry_backoff=120,
    retry_backoff_max=600,
)
def vectorize_document(
    self: AnyTask,
    document_id: str | int,
    file_path: str,
    chunk_size: int = CHUNK_SIZE,
    chunk_overlap: int = CHUNK_OVERLAP,
    knowledge_base_id: str | None = None,
    user_id: str | int | None = None,
) -> dict[str, Any]:
    """Read a file under KNOWLEDGE_ROOTS into a knowledge base, in the place of what the document said before.

    `chunk_size` and `chunk_overlap` are tokens.
    """
    began, base_id = monotonic(), knowledge_base_id or DEFAULT_BASE
    owner = None if user_id is None else str(user_id)
    wanted = Wanted(str(document_id), file_path, chunk_size, chunk_overlap, owner)
    with _faults_told():
        bases, model = _bases(self)
        count = bases.put(base_id, wanted, _progress(self, "chunks"))
    return {
        "document_id": document_id,
        "knowledge_base_id": base_id,
        "file_path": file_path,
        "total_chunks": count,
        "vectors_stored": count,
        "embedding_model": model,
        "processing_time": round(monotonic() - began, 3),
        "timestamp": timestamp(),
        "status": "success",
    }


@pack_task(
    f"{HERE}.update_knowledge_base",
    queue=QUEUE,
    aliases=(f"{OLD}.update_knowledge_base",),
    soft_time_limit=180,
    time_limit=300,
    max_retries=2,
    retry_backoff=180,
    retry_backoff_max=600,
)
def update_knowledge_base(
    self: AnyTask,
    knowledge_base_id: str,
    update_type: str = "full",
    document_ids: list[str] | None = None,
    user_id: str | None = None,
) -> dict[str, Any]:
    """Bring a knowledge base to what its files say: those that are in it, and those in KNOWLEDGE_ROOTS/<its id>/.

    `full` makes every vector anew, `incremental` those whose file has changed, `rebuild` makes all of them beside the
    old ones and switches over at the end. At the soft limit the run fails and may be tried again; documents that are
    done by then stay done.
    """
    if update_type not in UPDATES:
        raise AgentError(ErrorKind.INVALID, f"update_type is {update_type!r}; use {', '.join(UPDATES)}")
    if update_type == "rebuild" and document_ids is not None:
        raise AgentError(ErrorKind.INVALID, "a rebuild takes all documents; leave document_ids out")
    began, changes, generation = monotonic(), Changes(), None
    progress = _progress(self, "documents")
    with _faults_told():
        bases, model = _bases(self)
        try:
            if update_type == "rebuild":
                generation = bases.rebuild(knowledge_base_id, progress, changes)
            else:
                made_since = None if update_type == "incremental" else _asked_at(self)
                bases.update(knowledge_base_id, document_ids, progress, changes, made_since)
        except SoftTimeLimitExceeded:
            done = len(changes.added) + len(changes.updated) + len(changes.unchanged) + len(changes.removed)
            told = f"stopped at the soft limit with {done} documents done, which stay so"
            raise AgentError(ErrorKind.TIMEOUT, told) from None
    return {
        "knowledge_base_id": knowledge_base_id,
        "update_type": update_type,
        "added": changes.added,
        "updated": changes.updated,
        "unchanged": len(changes.unchanged),
        "removed": changes.removed,
        "failed": changes.failed,
        "vectors_stored": changes.vectors,
        "embedding_model": model,
        "generation": generation,
        "user_id": user_id,
        "processing_time": round(monotonic() - began, 3),
        "timestamp": timestamp(),
        "status": "partial" if changes.failed else "success",
    }


@pack_task(
    f"{HERE}.delete_knowledge_vectors",
    queue=QUEUE,
    aliases=(f"{OLD}.delete_knowledge_vectors",),
    time_limit=300,
    max_retries=2,
    retry_backoff=30,
    retry_backoff_max=600,
)
def delete_knowledge_vectors(
    self: AnyTask, document_id: str | int, knowledge_base_id: str | None = None, user_id: str | int | None = None
) -> dict[str, Any]:
    """Take a document out of a knowledge base; its file stays. One that is not there is 0 vectors, and no error."""
    base_id = knowledge_base_id or DEFAULT_BASE
    bases, _ = _bases(self)
    return {
        "document_id": document_id,
        "knowledge_base_id": base_id,
        "deleted_count": bases.remove(base_id, str(document_id)),
        "user_id": user_id,
        "timestamp": timestamp(),
        "status": "success",
    }


@pack_task(f"{HERE}.search_knowledge", queue=QUEUE, time_limit=60, max_retries=1)
def search_knowledge(self: AnyTask, query: str, knowledge_base_id: str | None = None, limit: int = 5) -> dict[str, Any]:
    """Find the pieces of a knowledge base that mean most nearly what is asked, the nearest first."""
    if not query.strip() or not 1 <= limit <= MAX_FOUND:
        raise AgentError(ErrorKind.INVALID, f"query must say something, and limit be 1 to {MAX_FOUND}")
    base_id = knowledge_base_id or DEFAULT_BASE
    bases, _ = _bases(self)
    found = bases.search(base_id, query, limit)
    return {"knowledge_base_id": base_id, "query": query, "results": [as_result(each) for each in found]}


def _bases(task: AnyTask) -> tuple[KnowledgeBases, str]:
    settings = get_settings()
    model = model_of(settings)
    run_id = task.request.id or new_run_id()
    return KnowledgeBases(engine(), _roots(settings), model, run_id), model.name


def _asked_at(task: AnyTask) -> datetime:
    """Tell when the run was asked for: what an earlier attempt of it has made needs not be made again."""
    with autocommit(engine()) as connection:
        row = runs.read(connection, task.request.id) if task.request.id else None
        asked_at: datetime = read_clock(connection) if row is None else row.scheduled_for
    return asked_at


def _roots(settings: Settings) -> list[Path]:
    return [BASE_DIR / name for name in settings.knowledge_roots]


def _progress(task: AnyTask, what: str) -> Callable[[int, int], None]:
    def tell(current: int, total: int) -> None:
        if task.request.id:
            task.update_state(state="PROGRESS", meta={"current": current, "total": total, "unit": what})

    return tell


@contextmanager
def _faults_told() -> Iterator[None]:
    """Turn what somebody must mend first into failures that are not tried again."""
    try:
        yield
    except (DocumentFault, ValueError) as fault:
        raise AgentError(ErrorKind.INVALID, str(fault)) from fault
