"""The knowledge base: documents become vectors, and what was asked finds the pieces that mean the same.

A document's vectors change in one transaction, so whoever searches sees all of the old ones or all of the new ones. A
rebuild fills a generation beside the one that is searched, and switches over when it is whole.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine

from core.outcome import AgentError, ErrorKind
from packs.assistant import chunking, documents, store
from packs.assistant.documents import DocumentFault
from packs.assistant.embeddings import AT_ONCE, REQUIREMENTS, Model, count_tokens
from packs.assistant.turns import in_turn
from packs.extras import load
from store.database import AnyRow, autocommit

DEFAULT_BASE: Final = "default"
CHUNK_SIZE: Final = 512
CHUNK_OVERLAP: Final = 50
MAX_FOUND: Final = 100
MAX_CHUNKS: Final = 20_000
MAX_ID_CHARS: Final = 191
MAX_PATH_CHARS: Final = 1000
MAX_ROUNDS: Final = 5

#: Called between two batches with what is done and what there is to do.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A document that is to be in a knowledge base, and how it is to be cut."""

    document_id: str
    file_path: str
    chunk_size: int = CHUNK_SIZE
    chunk_overlap: int = CHUNK_OVERLAP
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A piece of a document; `score` is the cosine, 1 for the same meaning."""

    document_id: str
    file_path: str
    position: int
    text: str
    score: float


@dataclass(slots=True)
class Changes:
    """What an update did, document by document."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    vectors: int = 0


class KnowledgeBases:
    """Reads documents from `roots` and keeps their vectors in the database."""

    def __init__(self, engine: Engine, roots: Sequence[Path], model: Model, run_id: str) -> None:
        self._engine, self._roots, self._model, self._run_id = engine, roots, model, run_id

    # -- one document -----------------------------------------------------------------------------

    def put(self, base_id: str, wanted: Wanted, progress: Progress) -> int:
        """Make a document's vectors anew and return how many. Raises AgentError, DocumentFault, ValueError."""
        return self._put(base_id, wanted, progress, must_stand=False) or 0

    def _put(self, base_id: str, wanted: Wanted, progress: Progress, *, must_stand: bool) -> int | None:
        """Do so; None, and nothing stored, where the document `must_stand` there and somebody has taken it out."""
        _check_ids(base_id, wanted.document_id)
        if len(wanted.file_path) > MAX_PATH_CHARS or len(wanted.user_id or "") > MAX_ID_CHARS:
            raise ValueError(f"file_path takes up to {MAX_PATH_CHARS} characters, and user_id {MAX_ID_CHARS}")
        base = in_turn(self._engine, lambda tx: store.enter_base(tx, base_id, self._model.name))
        self._check_model(base)
        made = self._vectorised(base_id, wanted, progress)

        def store_it(tx: Connection) -> int | None:
            base = store.enter_base(tx, base_id, self._model.name)  # locked: nobody switches over meanwhile
            self._check_model(base)
            if must_stand and not store.has_document(tx, base_id, wanted.document_id, base.generation):
                return None
            store.replace_document(tx, base.generation, made)
            return len(made.texts)

        return in_turn(self._engine, store_it)

    def remove(self, base_id: str, document_id: str) -> int:
        """Delete a document's vectors and return how many; of a document that is not there, none."""

        def delete_it(tx: Connection) -> int:
            store.lock_base(tx, base_id)  # a rebuild would switch over to a copy that it made meanwhile
            return store.delete_document(tx, base_id, document_id)

        return in_turn(self._engine, delete_it)

    def _check_model(self, base: AnyRow) -> None:
        if base.model != self._model.name:
            raise AgentError(
                ErrorKind.CONFIG,
                f"the vectors of knowledge base {base.id!r} were made by {base.model!r}, and the model is "
                f"{self._model.name!r} now: run update_knowledge_base with update_type 'rebuild'",
            )

    def _vectorised(self, base_id: str, wanted: Wanted, progress: Progress) -> store.NewDocument:
        path = documents.find(wanted.file_path, self._roots)
        document = documents.read(path)
        texts = chunking.chunks(
            document.text, wanted.chunk_size, wanted.chunk_overlap, count_tokens, headings=document.has_headings
        )
        if len(texts) > MAX_CHUNKS:
            raise DocumentFault(f"{path.name} makes {len(texts):,} chunks; split it, or take a larger chunk_size")
        vectors: list[bytes] = []
        for start in range(0, len(texts), AT_ONCE):
            progress(start, len(texts))
            vectors += self._model.documents(texts[start : start + AT_ONCE], self._run_id)
        return store.NewDocument(
            knowledge_base_id=base_id,
            document_id=wanted.document_id,
            file_path=wanted.file_path,
            digest=document.digest,
            model=self._model.name,
            chunk_size=wanted.chunk_size,
            chunk_overlap=wanted.chunk_overlap,
            user_id=wanted.user_id,
            texts=texts,
            vectors=vectors,
        )

    # -- many documents ---------------------------------------------------------------------------

    def update(
        self,
        base_id: str,
        only: Sequence[str] | None,
        progress: Progress,
        changes: Changes,
        made_since: datetime | None,
    ) -> None:
        """Bring documents to what their files say: those that are known, and those in the base's folder.

        Left out are those whose file is the same and whose vectors were made since `made_since`; None: whenever they
        were made. What has no file any more is removed. `changes` holds what was done, document by document, also where
        this is stopped in the middle. Raises AgentError.
        """
        base = in_turn(self._engine, lambda tx: store.enter_base(tx, base_id, self._model.name))
        self._check_model(base)
        with autocommit(self._engine) as connection:
            known = {row.document_id: row for row in store.documents(connection, base_id, base.generation)}
        todo = self._wanted(base_id, known, only)
        for done, wanted in enumerate(todo):
            progress(done, len(todo))
            row = known.get(wanted.document_id)
            is_fresh = row is not None and (made_since is None or row.update_time >= made_since)
            self._bring(base_id, wanted, row, changes, is_fresh)

    def rebuild(self, base_id: str, progress: Progress, changes: Changes) -> int:
        """Make every vector anew, with the model of now, and search them from then on; return the new generation.

        Where it was stopped in the middle the next call goes on. What comes in meanwhile is taken along. Raises
        AgentError where a document cannot be read: then the old vectors stay in use.
        """
        base = in_turn(self._engine, lambda tx: store.enter_base(tx, base_id, self._model.name))
        for _ in range(MAX_ROUNDS):
            with autocommit(self._engine) as connection:
                known = {row.document_id: row for row in store.documents(connection, base_id, base.generation)}
                ready = {row.document_id: row for row in store.documents(connection, base_id, base.generation + 1)}
            todo = self._wanted(base_id, known, None)
            kept = [wanted for wanted in todo if self._exists(wanted)]
            for done, wanted in enumerate(kept):
                progress(done, len(kept))
                if not self._is_current(wanted, ready.get(wanted.document_id)):
                    self._add_to_next(base, wanted, changes)
            if changes.failed:
                named = "; ".join(each["error"] for each in changes.failed[:5])
                raise AgentError(ErrorKind.INVALID, f"{base_id!r} is not rebuilt, its old vectors stay in use: {named}")
            if self._switch(base, {row.id for row in known.values()}, {wanted.document_id for wanted in kept}):
                changes.removed += sorted({wanted.document_id for wanted in todo if wanted not in kept})
                return int(base.generation) + 1
        raise AgentError(ErrorKind.BUSY, f"knowledge base {base_id!r} changes faster than it can be rebuilt")

    def _add_to_next(self, base: AnyRow, wanted: Wanted, changes: Changes) -> None:
        try:
            made = self._vectorised(base.id, wanted, _quietly)
        except (DocumentFault, ValueError) as fault:
            changes.failed.append({"document_id": wanted.document_id, "error": str(fault)})
            return

        def store_it(tx: Connection) -> None:
            self._check_generation(store.enter_base(tx, base.id, self._model.name), base.generation)
            store.replace_document(tx, base.generation + 1, made)

        in_turn(self._engine, store_it)
        changes.updated.append(wanted.document_id)
        changes.vectors += len(made.texts)

    def _switch(self, base: AnyRow, seen: set[int], kept: set[str]) -> bool:
        """Search the next generation from now on. False: documents came or went since they were `seen`."""
        following = base.generation + 1

        def switch(tx: Connection) -> bool:
            self._check_generation(store.enter_base(tx, base.id, self._model.name), base.generation)
            if {row.id for row in store.documents(tx, base.id, base.generation)} != seen:
                return False
            for row in store.documents(tx, base.id, following):  # of a rebuild that was stopped, and a file since gone
                if row.document_id not in kept:
                    store.delete_document(tx, base.id, row.document_id, following)
            store.switch_over(tx, base.id, following, self._model.name)
            return True

        if not in_turn(self._engine, switch):
            return False
        in_turn(self._engine, lambda tx: store.delete_generations_before(tx, base.id, following))
        return True

    def _check_generation(self, base: AnyRow, expected: int) -> None:
        if base.generation != expected:
            raise AgentError(ErrorKind.BUSY, f"knowledge base {base.id!r} was rebuilt by another run meanwhile")

    def _bring(self, base_id: str, wanted: Wanted, known: AnyRow | None, changes: Changes, is_fresh: bool) -> None:
        if not self._exists(wanted):
            self.remove(base_id, wanted.document_id)
            changes.removed.append(wanted.document_id)
            return
        try:
            if is_fresh and self._is_current(wanted, known):
                changes.unchanged.append(wanted.document_id)
                return
            made = self._put(base_id, wanted, _quietly, must_stand=known is not None)
        except (DocumentFault, ValueError) as fault:
            changes.failed.append({"document_id": wanted.document_id, "error": str(fault)})
            return
        if made is None:
            changes.removed.append(wanted.document_id)
            return
        changes.vectors += made
        (changes.added if known is None else changes.updated).append(wanted.document_id)

    def _wanted(self, base_id: str, known: dict[str, AnyRow], only: Sequence[str] | None) -> list[Wanted]:
        """Name the documents of a base: those in its folder (KNOWLEDGE_ROOTS/<base>/…), and those that are known."""
        _check_ids(base_id)
        found = {wanted.document_id: wanted for wanted in self._in_folder(base_id)}
        for row in known.values():
            found[row.document_id] = Wanted(
                row.document_id, row.file_path, row.chunk_size, row.chunk_overlap, row.user_id
            )
        if only is not None:
            unknown = sorted(set(only) - set(found))
            if unknown:
                raise AgentError(
                    ErrorKind.INVALID,
                    f"document_ids: {', '.join(unknown[:5])} are not in knowledge base {base_id!r}; "
                    "vectorize_document brings a document in",
                )
            found = {document_id: found[document_id] for document_id in only}
        return [found[document_id] for document_id in sorted(found)]

    def _in_folder(self, base_id: str) -> Iterator[Wanted]:
        for root in self._roots:
            folder = root / base_id
            if not folder.is_dir() or not folder.resolve().is_relative_to(root.resolve()):
                continue
            for path in documents.every(folder):
                name = path.relative_to(folder).as_posix()
                if len(name) <= MAX_ID_CHARS:
                    yield Wanted(name, str(path.relative_to(root)))

    def _exists(self, wanted: Wanted) -> bool:
        try:
            documents.find(wanted.file_path, self._roots)
        except DocumentFault:
            return False
        return True

    def _is_current(self, wanted: Wanted, known: AnyRow | None) -> bool:
        if known is None or known.model != self._model.name:
            return False
        if (known.chunk_size, known.chunk_overlap) != (wanted.chunk_size, wanted.chunk_overlap):
            return False
        return bool(documents.digest_of(documents.find(wanted.file_path, self._roots)) == known.digest)

    # -- search -----------------------------------------------------------------------------------

    def search(self, base_id: str, query: str, limit: int) -> list[Found]:
        """Find the `limit` pieces that mean most nearly what was asked, the nearest first. Raises AgentError."""
        with autocommit(self._engine) as connection:
            base = self._searched(connection, base_id)
            asked = self._model.query(query, self._run_id)
            for _ in range(MAX_ROUNDS):
                found = self._nearest(connection, base, asked, limit)
                after = self._searched(connection, base_id)
                if after.generation == base.generation and None not in found:
                    return [each for each in found if each is not None]
                base = after  # what was found is gone: it was replaced while it was compared
        raise AgentError(ErrorKind.BUSY, f"knowledge base {base_id!r} changes faster than it can be searched")

    def _searched(self, connection: Connection, base_id: str) -> AnyRow:
        base = store.knowledge_base(connection, base_id)
        if base is None:
            raise AgentError(ErrorKind.NOT_FOUND, f"there is no knowledge base {base_id!r}")
        self._check_model(base)
        return base

    def _nearest(self, connection: Connection, base: AnyRow, asked: bytes, limit: int) -> list[Found | None]:
        """Compare all vectors; None for a piece that was replaced meanwhile."""
        numpy = load("numpy", REQUIREMENTS)
        query = numpy.frombuffer(asked, dtype="<f4")
        best: list[tuple[float, int, int]] = []
        for rows in store.vectors(connection, base.id, base.generation):
            if any(len(row.vector) != len(asked) for row in rows):
                what = f"knowledge base {base.id!r} holds vectors of another length than {base.model!r} makes now"
                raise AgentError(ErrorKind.CONFIG, f"{what}: run update_knowledge_base with update_type 'full'")
            matrix = numpy.frombuffer(b"".join(row.vector for row in rows), dtype="<f4").reshape(len(rows), -1)
            scored = zip((matrix @ query).tolist(), rows, strict=True)
            best = heapq.nlargest(limit, [*best, *((score, row.document, row.position) for score, row in scored)])
        found = ((score, store.chunk(connection, document, position)) for score, document, position in best)
        return [
            None if row is None else Found(row.document_id, row.file_path, row.position, row.text, round(score, 6))
            for score, row in found
        ]


def _quietly(done: int, total: int) -> None:
    """Tell nobody."""


def _check_ids(*ids: str) -> None:
    """Raise ValueError for an id that cannot be stored, or that leads out of its folder."""
    for each in ids:
        if not each or len(each) > MAX_ID_CHARS or ".." in each.split("/") or each.startswith("/"):
            raise ValueError(f"{each[:40]!r} is no id: use 1 to {MAX_ID_CHARS} characters, and no '..' in it")


def as_result(found: Found) -> dict[str, Any]:
    """Write a piece for a task's result."""
    return {
        "document_id": found.document_id,
        "file_path": found.file_path,
        "chunk": found.position,
        "text": found.text,
        "score": found.score,
    }
