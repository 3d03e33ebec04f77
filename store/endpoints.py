"""Queries on `agent_endpoint` and `agent_limit`: where platforms are, their keys, limits and prices."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, or_, select, update

from models import AgentEndpoint, AgentLimit
from store.database import AnyRow, utc_now

TABLE: Table = AgentEndpoint.__table__  # type: ignore[assignment]
E = TABLE.c
LIMITS: Table = AgentLimit.__table__  # type: ignore[assignment]

_LIMITS = (E.max_concurrency, E.requests_per_minute, E.tokens_per_minute)
_PRICES = (E.input_price, E.output_price, E.currency)


def read(connection: Connection, name: str) -> AnyRow | None:
    """Read one endpoint, its encrypted key too. Index uq_agent_endpoint_name."""
    rows = connection.execute(select(TABLE).where(E.name == name)).all()
    return next((row for row in rows if row.name == name), None)  # MySQL's comparison ignores case


def named(connection: Connection, name: str | None) -> Mapping[str, AnyRow]:
    """Read the endpoint of that name with its key; where there is none, those whose name may have been meant."""
    if name is None:
        return {}
    row = read(connection, name)
    return {name: row} if row is not None else {each.name: each for each in every(connection)}


def by_id(connection: Connection, endpoint_id: int, *, lock: bool = False) -> AnyRow | None:
    """Read one endpoint by its id. Primary key."""
    query = select(TABLE).where(E.id == endpoint_id)
    return connection.execute(query.with_for_update() if lock else query).one_or_none()


def every(connection: Connection) -> Sequence[AnyRow]:
    """Read every endpoint, by name."""
    return connection.execute(select(TABLE).order_by(E.name)).all()


def page(connection: Connection, after: int, limit: int) -> Sequence[AnyRow]:
    """Page through the endpoints by id. Primary key."""
    return connection.execute(select(TABLE).where(E.id > after).order_by(E.id).limit(limit)).all()


def rules(connection: Connection) -> Sequence[AnyRow]:
    """Read the limits and prices of every endpoint that has some."""
    has_some = or_(*(column.is_not(None) for column in (*_LIMITS, *_PRICES)))
    return connection.execute(select(E.name, *_LIMITS, *_PRICES).where(has_some)).all()


def agent_limits(connection: Connection) -> Sequence[AnyRow]:
    """Read the limits of every agent that has some."""
    return connection.execute(select(LIMITS).order_by(LIMITS.c.endpoint, LIMITS.c.agent)).all()


def limits_of(connection: Connection, endpoint: str) -> Sequence[AnyRow]:
    """Read the limits of one endpoint's agents. Primary key."""
    return connection.execute(select(LIMITS).where(LIMITS.c.endpoint == endpoint).order_by(LIMITS.c.agent)).all()


def add(tx: Connection, values: Mapping[str, Any]) -> int:
    """Enter an endpoint; return its id. Raises IntegrityError where its name is taken."""
    key = tx.execute(insert(TABLE).values(**values)).inserted_primary_key
    return int(key[0])  # type: ignore[index]


def change(tx: Connection, name: str, values: Mapping[str, Any]) -> bool:
    """Change columns of an endpoint. False: there is none of that name. Index uq_agent_endpoint_name."""
    return tx.execute(update(TABLE).where(E.name == name).values(**values, update_time=utc_now())).rowcount == 1


def replace_credential(connection: Connection, name: str, old: str, new: str) -> bool:
    """Write a key anew, unless somebody has changed it meanwhile. Index uq_agent_endpoint_name."""
    statement = update(TABLE).where(E.name == name, E.credential == old).values(credential=new)
    return connection.execute(statement).rowcount == 1


def remove(tx: Connection, name: str) -> bool:
    """Delete an endpoint and the limits of its agents. False: there is none of that name."""
    tx.execute(delete(LIMITS).where(LIMITS.c.endpoint == name))
    return tx.execute(delete(TABLE).where(E.name == name)).rowcount == 1


def limit_agent(tx: Connection, endpoint: str, agent: str, values: Mapping[str, int | None]) -> None:
    """Set the limits of one agent, in the place of those it had; all None: it has none any more. Primary key."""
    tx.execute(delete(LIMITS).where(LIMITS.c.endpoint == endpoint, LIMITS.c.agent == agent))
    if any(value is not None for value in values.values()):
        tx.execute(insert(LIMITS).values(endpoint=endpoint, agent=agent, **values))
