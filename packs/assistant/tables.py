"""The assistant pack's tables, as the code sees them."""

from datetime import datetime

from sqlalchemy import BigInteger, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from column_types import LongText
from packs.tables import Id, PackBase


class AssistantMessage(PackBase):
    """What was said in a conversation. A run enters its question and its answer once.

    `details`: JSON, what an answer took.
    """

    __tablename__ = "assistant_message"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    conversation_id: Mapped[str] = mapped_column(String(255))
    run_id: Mapped[str] = mapped_column(String(36))
    role: Mapped[str] = mapped_column(String(16))
    content: Mapped[str] = mapped_column(LongText)
    details: Mapped[str | None] = mapped_column(LongText)
    user_id: Mapped[str | None] = mapped_column(String(191))
    create_time: Mapped[datetime]


class AssistantInbox(PackBase):
    """A user's messages inside the system: the channel `system`. `data` is JSON."""

    __tablename__ = "assistant_inbox"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(String(191))
    notification_type: Mapped[str] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(String(500))
    message: Mapped[str] = mapped_column(LongText)
    data: Mapped[str | None] = mapped_column(LongText)
    run_id: Mapped[str] = mapped_column(String(36))
    create_time: Mapped[datetime]
    read_time: Mapped[datetime | None]


class AssistantContact(PackBase):
    """Where a user is reached on a channel: an e-mail address, a telephone number, a device."""

    __tablename__ = "assistant_contact"

    user_id: Mapped[str] = mapped_column(String(191), primary_key=True)
    channel: Mapped[str] = mapped_column(String(16), primary_key=True)
    address: Mapped[str] = mapped_column(String(500))


class AssistantDelivery(PackBase):
    """A channel that a run has told already: its next attempt leaves it out."""

    __tablename__ = "assistant_delivery"

    run_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    channel: Mapped[str] = mapped_column(String(16), primary_key=True)
    sent_time: Mapped[datetime]


class KnowledgeBase(PackBase):
    """Which generation of vectors is searched, and by which model it was made."""

    __tablename__ = "knowledge_base"

    id: Mapped[str] = mapped_column(String(191), primary_key=True)
    generation: Mapped[int] = mapped_column(Integer)
    model: Mapped[str] = mapped_column(String(200))
    update_time: Mapped[datetime]


class KnowledgeDocument(PackBase):
    """A document in one generation of a knowledge base. `digest`: SHA-256 of the file that was read."""

    __tablename__ = "knowledge_document"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    knowledge_base_id: Mapped[str] = mapped_column(String(191))
    generation: Mapped[int] = mapped_column(Integer)
    document_id: Mapped[str] = mapped_column(String(191))
    file_path: Mapped[str] = mapped_column(String(1000))
    digest: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(200))
    chunk_size: Mapped[int] = mapped_column(Integer)
    chunk_overlap: Mapped[int] = mapped_column(Integer)
    chunks: Mapped[int] = mapped_column(Integer)
    user_id: Mapped[str | None] = mapped_column(String(191))
    update_time: Mapped[datetime]


class KnowledgeChunk(PackBase):
    """A piece of a document. `vector`: float32, little-endian, of length 1."""

    __tablename__ = "knowledge_chunk"

    document: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    text: Mapped[str] = mapped_column(LongText)
    vector: Mapped[bytes] = mapped_column(LargeBinary)
