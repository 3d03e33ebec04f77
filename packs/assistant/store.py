"""All SQL of the assistant pack: conversations, inbox, and the knowledge base. Vectors are opaque bytes here."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Table, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from packs.assistant.tables import (
    AssistantContact,
    AssistantDelivery,
    AssistantInbox,
    AssistantMessage,
    KnowledgeBase,
    KnowledgeChunk,
    KnowledgeDocument,
)
from store.database import AnyRow, is_duplicate, utc_now

MESSAGE: Table = AssistantMessage.__table__  # type: ignore[assignment]
INBOX: Table = AssistantInbox.__table__  # type: ignore[assignment]
CONTACT: Table = AssistantContact.__table__  # type: ignore[assignment]
DELIVERY: Table = AssistantDelivery.__table__  # type: ignore[assignment]
BASE: Table = KnowledgeBase.__table__  # type: ignore[assignment]
DOCUMENT: Table = KnowledgeDocument.__table__  # type: ignore[assignment]
CHUNK: Table = KnowledgeChunk.__table__  # type: ignore[assignment]
D = DOCUMENT.c

BATCH: Final = 500  # rows of a statement: a vector takes some kilobytes


# -- conversations ------------------------------------------------------------------------------------


def history(connection: Connection, conversation_id: str, limit: int) -> list[AnyRow]:
    """Read the newest messages of a conversation, the oldest of them first. Index ix_assistant_message_conversation."""
    newest = (
        select(MESSAGE.c.id, MESSAGE.c.role, MESSAGE.c.content)
        .where(MESSAGE.c.conversation_id == conversation_id)
        .order_by(MESSAGE.c.id.desc())
        .limit(limit)
    )
    return list(reversed(connection.execute(newest).all()))


def enter_exchange(
    tx: Connection, conversation_id: str, run_id: str, user_id: str | None, question: str, answer: str, details: Any
) -> None:
    """Enter what a run asked, was answered, and what that took; what it has entered before stands. Unique key."""
    said = (("user", question, None), ("assistant", answer, json.dumps(details, ensure_ascii=False)))
    for role, content, more in said:
        row = {
            "conversation_id": conversation_id,
            "run_id": run_id,
            "role": role,
            "content": content,
            "details": more,
            "user_id": user_id,
            "create_time": utc_now(),
        }
        _insert_once(tx, MESSAGE, row)


def answer_of(connection: Connection, run_id: str) -> AnyRow | None:
    """Read what a run was answered in an earlier attempt. Unique key uq_assistant_message_run."""
    query = select(MESSAGE.c.content, MESSAGE.c.details)
    return connection.execute(query.where(MESSAGE.c.run_id == run_id, MESSAGE.c.role == "assistant")).one_or_none()


def _insert_once(tx: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert a row. False: its unique key is taken."""
    try:
        with tx.begin_nested():
            tx.execute(insert(table).values(**row))
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        return False
    return True


# -- notifications ------------------------------------------------------------------------------------


def put_in_inbox(
    tx: Connection, user_id: str, run_id: str, *, notification_type: str, title: str, message: str, data: Any
) -> None:
    """Leave a message for a user; a run leaves one. Unique key uq_assistant_inbox_run."""
    row = {
        "user_id": user_id,
        "run_id": run_id,
        "notification_type": notification_type,
        "title": title,
        "message": message,
        "data": None if data is None else json.dumps(data, ensure_ascii=False),
        "create_time": utc_now(),
    }
    _insert_once(tx, INBOX, row)


def inbox(connection: Connection, user_id: str, *, unread_only: bool, before: int | None, limit: int) -> list[AnyRow]:
    """Read a user's messages, the newest first, older than the message `before`. Index ix_assistant_inbox_user."""
    query = select(INBOX).where(INBOX.c.user_id == user_id)
    if unread_only:
        query = query.where(INBOX.c.read_time.is_(None))
    if before is not None:
        query = query.where(INBOX.c.id < before)
    return list(connection.execute(query.order_by(INBOX.c.id.desc()).limit(limit)).all())


def mark_read(connection: Connection, user_id: str, message_id: int) -> bool:
    """Note that a user has read a message; the first time counts. False: there is none of his. Primary key."""
    mine = (INBOX.c.id == message_id, INBOX.c.user_id == user_id)
    changed = connection.execute(
        update(INBOX).where(*mine, INBOX.c.read_time.is_(None)).values(read_time=utc_now())
    ).rowcount
    return bool(changed) or connection.execute(select(INBOX.c.id).where(*mine)).first() is not None


def contact(connection: Connection, user_id: str, channel: str) -> str | None:
    """Read where a user is reached on a channel. Primary key."""
    query = select(CONTACT.c.address).where(CONTACT.c.user_id == user_id, CONTACT.c.channel == channel)
    return connection.execute(query).scalar_one_or_none()


def delivered(connection: Connection, run_id: str) -> set[str]:
    """Name the channels that a run has told. Primary key."""
    return set(connection.execute(select(DELIVERY.c.channel).where(DELIVERY.c.run_id == run_id)).scalars())


def note_delivery(tx: Connection, run_id: str, channel: str) -> None:
    """Note that a run has told a channel. Primary key."""
    _insert_once(tx, DELIVERY, {"run_id": run_id, "channel": channel, "sent_time": utc_now()})


def forget(connection: Connection, before: datetime) -> dict[str, int]:
    """Delete messages of conversations and read messages of inboxes from before a moment; indexes on their times."""
    old = {
        "conversation_messages": delete(MESSAGE).where(MESSAGE.c.create_time < before),
        "inbox_messages": delete(INBOX).where(INBOX.c.create_time < before, INBOX.c.read_time.is_not(None)),
        "deliveries": delete(DELIVERY).where(DELIVERY.c.sent_time < before),
    }
    return {name: connection.execute(statement).rowcount for name, statement in old.items()}


# -- the knowledge base -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document whose vectors are to be stored."""

    knowledge_base_id: str
    document_id: str
    file_path: str
    digest: str
    model: str
    chunk_size: int
    chunk_overlap: int
    user_id: str | None
    texts: Sequence[str]
    vectors: Sequence[bytes]


def knowledge_base(connection: Connection, base_id: str) -> AnyRow | None:
    """Read a knowledge base. Primary key."""
    return connection.execute(select(BASE).where(BASE.c.id == base_id)).one_or_none()


def enter_base(tx: Connection, base_id: str, model: str) -> AnyRow:
    """Read a knowledge base and lock it; where there is none, enter it. Primary key."""
    row = lock_base(tx, base_id)
    if row is None:
        _insert_once(tx, BASE, {"id": base_id, "generation": 1, "model": model, "update_time": utc_now()})
        row = lock_base(tx, base_id)
    assert row is not None  # noqa: S101 - narrows the type only
    return row


def lock_base(tx: Connection, base_id: str) -> AnyRow | None:
    """Read a knowledge base and lock it until the transaction ends. Primary key."""
    return tx.execute(select(BASE).where(BASE.c.id == base_id).with_for_update()).one_or_none()


def replace_document(tx: Connection, generation: int, new: NewDocument) -> None:
    """Put a document's vectors in the place of those it had in a generation. Unique key uq_knowledge_document."""
    delete_document(tx, new.knowledge_base_id, new.document_id, generation)
    entered = tx.execute(
        insert(DOCUMENT).values(
            knowledge_base_id=new.knowledge_base_id,
            generation=generation,
            document_id=new.document_id,
            file_path=new.file_path,
            digest=new.digest,
            model=new.model,
            chunk_size=new.chunk_size,
            chunk_overlap=new.chunk_overlap,
            chunks=len(new.texts),
            user_id=new.user_id,
            update_time=utc_now(),
        )
    )
    key = entered.inserted_primary_key
    assert key is not None  # noqa: S101 - narrows the type only
    rows = [
        {"document": key[0], "position": at, "text": text, "vector": vector}
        for at, (text, vector) in enumerate(zip(new.texts, new.vectors, strict=True))
    ]
    for start in range(0, len(rows), BATCH):
        tx.execute(insert(CHUNK), rows[start : start + BATCH])


def delete_document(tx: Connection, base_id: str, document_id: str, generation: int | None = None) -> int:
    """Delete a document's vectors, of one generation or of all; return how many. Unique key uq_knowledge_document."""
    which = [D.knowledge_base_id == base_id, D.document_id == document_id]
    if generation is not None:
        which.append(D.generation == generation)
    keys = tx.execute(select(D.id).where(*which)).scalars().all()
    return _delete(tx, keys)


def _delete(tx: Connection, keys: Sequence[int]) -> int:
    if not keys:
        return 0
    count = tx.execute(delete(CHUNK).where(CHUNK.c.document.in_(keys))).rowcount
    tx.execute(delete(DOCUMENT).where(D.id.in_(keys)))
    return count


def documents(connection: Connection, base_id: str, generation: int) -> list[AnyRow]:
    """Read what stands in a generation, by document. Unique key uq_knowledge_document."""
    query = select(DOCUMENT).where(D.knowledge_base_id == base_id, D.generation == generation)
    return list(connection.execute(query.order_by(D.document_id)).all())


def has_document(connection: Connection, base_id: str, document_id: str, generation: int) -> bool:
    """Say whether a document stands in a generation. Unique key uq_knowledge_document."""
    which = (D.knowledge_base_id == base_id, D.generation == generation, D.document_id == document_id)
    return connection.execute(select(D.id).where(*which)).first() is not None


def switch_over(tx: Connection, base_id: str, generation: int, model: str) -> None:
    """Search another generation from now on. Primary key."""
    values = {"generation": generation, "model": model, "update_time": utc_now()}
    tx.execute(update(BASE).where(BASE.c.id == base_id).values(**values))


def delete_generations_before(tx: Connection, base_id: str, generation: int) -> int:
    """Delete the vectors of generations before one; return how many. Unique key uq_knowledge_document."""
    old = select(D.id).where(D.knowledge_base_id == base_id, D.generation < generation).limit(BATCH)
    count = 0
    while keys := tx.execute(old).scalars().all():
        count += _delete(tx, keys)
    return count


def vectors(connection: Connection, base_id: str, generation: int) -> Iterator[Sequence[AnyRow]]:
    """Read every vector of a generation, some thousand at a time, with its document and position."""
    query = (
        select(CHUNK.c.document, CHUNK.c.position, CHUNK.c.vector)
        .select_from(CHUNK.join(DOCUMENT, D.id == CHUNK.c.document))
        .where(D.knowledge_base_id == base_id, D.generation == generation)
    )
    yield from connection.execute(query.execution_options(yield_per=BATCH * 4)).partitions()


def chunk(connection: Connection, document: int, position: int) -> AnyRow | None:
    """Read one chunk with what it is of; None where it was replaced meanwhile. Primary keys."""
    query = (
        select(CHUNK.c.text, CHUNK.c.position, D.document_id, D.file_path)
        .select_from(CHUNK.join(DOCUMENT, D.id == CHUNK.c.document))
        .where(CHUNK.c.document == document, CHUNK.c.position == position)
    )
    return connection.execute(query).one_or_none()


def counts(connection: Connection) -> dict[str, int]:
    """Count knowledge bases, documents and chunks."""
    tables = {"knowledge_bases": BASE, "documents": DOCUMENT, "chunks": CHUNK}
    return {
        name: int(connection.execute(select(func.count()).select_from(table)).scalar_one())
        for name, table in tables.items()
    }
