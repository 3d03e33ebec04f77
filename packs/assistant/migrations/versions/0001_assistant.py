"""Conversations, the inbox, contacts, and the knowledge base."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from column_types import LongText, UtcTime
from packs.schema import add_index
from packs.tables import OPTIONS, Id

revision = "0001"
down_revision = None


CELERY = "celery"
LIMIT = sa.table("agent_limit", sa.column("endpoint"), sa.column("agent"), sa.column("requests_per_minute"))
A_MINUTE = {
    "packs.assistant.ai_tasks.generate_ai_response": 10,
    "app.tasks.ai_tasks.generate_ai_response": 10,
    "packs.assistant.knowledge_tasks.vectorize_document": 5,
    "app.tasks.knowledge_tasks.vectorize_document": 5,
}
TABLES = (
    "knowledge_chunk",
    "knowledge_document",
    "knowledge_base",
    "assistant_delivery",
    "assistant_contact",
    "assistant_inbox",
    "assistant_message",
)


def upgrade() -> None:
    """Safe to repeat: MySQL commits each statement by itself."""
    _create(
        "assistant_message",
        sa.Column("id", Id, primary_key=True, autoincrement=True),
        sa.Column("conversation_id", _id(255), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("content", LongText, nullable=False),
        sa.Column("details", LongText),
        sa.Column("user_id", _id(191)),
        sa.Column("create_time", UtcTime(), nullable=False),
        sa.UniqueConstraint("run_id", "role", name="uq_assistant_message_run"),
    )
    _create(
        "assistant_inbox",
        sa.Column("id", Id, primary_key=True, autoincrement=True),
        sa.Column("user_id", _id(191), nullable=False),
        sa.Column("notification_type", sa.String(64), nullable=False),
        sa.Column("title", sa.String(500), nullable=False),
        sa.Column("message", LongText, nullable=False),
        sa.Column("data", LongText),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("create_time", UtcTime(), nullable=False),
        sa.Column("read_time", UtcTime()),
        sa.UniqueConstraint("run_id", name="uq_assistant_inbox_run"),
    )
    _create(
        "assistant_contact",
        sa.Column("user_id", _id(191), primary_key=True),
        sa.Column("channel", sa.String(16), primary_key=True),
        sa.Column("address", sa.String(500), nullable=False),
    )
    _create(
        "assistant_delivery",
        sa.Column("run_id", sa.String(36), primary_key=True),
        sa.Column("channel", sa.String(16), primary_key=True),
        sa.Column("sent_time", UtcTime(), nullable=False),
    )
    _create(
        "knowledge_base",
        sa.Column("id", _id(191), primary_key=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("update_time", UtcTime(), nullable=False),
    )
    _create(
        "knowledge_document",
        sa.Column("id", Id, primary_key=True, autoincrement=True),
        sa.Column("knowledge_base_id", _id(191), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("document_id", _id(191), nullable=False),
        sa.Column("file_path", sa.String(1000), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("chunk_size", sa.Integer(), nullable=False),
        sa.Column("chunk_overlap", sa.Integer(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("user_id", _id(191)),
        sa.Column("update_time", UtcTime(), nullable=False),
        sa.UniqueConstraint("knowledge_base_id", "generation", "document_id", name="uq_knowledge_document"),
    )
    _create(
        "knowledge_chunk",
        sa.Column("document", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("text", LongText, nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
    )
    add_index("ix_assistant_message_conversation", "assistant_message", ["conversation_id", "id"])
    add_index("ix_assistant_message_create_time", "assistant_message", ["create_time"])
    add_index("ix_assistant_inbox_user", "assistant_inbox", ["user_id", "id"])
    add_index("ix_assistant_inbox_create_time", "assistant_inbox", ["create_time"])
    add_index("ix_assistant_delivery_sent_time", "assistant_delivery", ["sent_time"])

    _limit()


def _limit() -> None:
    """Enter the limits that the tasks have unless an operator says otherwise, over all workers."""
    known = set(op.get_bind().execute(sa.select(LIMIT.c.agent).where(LIMIT.c.endpoint == CELERY)).scalars())
    for task, a_minute in A_MINUTE.items():
        if task not in known:
            op.execute(LIMIT.insert().values(endpoint=CELERY, agent=task, requests_per_minute=a_minute))


def _id(length: int) -> sa.types.TypeEngine[str]:
    """Make a column of callers' ids: `Zoe` is neither `zoe` nor `Zoë`, and does not read what theirs is."""
    return sa.String(length).with_variant(mysql.VARCHAR(length, collation="utf8mb4_bin"), "mysql", "mariadb")


def _create(name: str, *columns: sa.schema.SchemaItem) -> None:
    op.create_table(name, *columns, if_not_exists=True, **OPTIONS)


def downgrade() -> None:
    """Everything said, sent and learnt is forgotten."""
    op.execute(LIMIT.delete().where(LIMIT.c.endpoint == CELERY, LIMIT.c.agent.in_(list(A_MINUTE))))
    for table in TABLES:
        op.drop_table(table)
