"""What is limited: limits, prices and budgets as they stand in the tables, read every other second."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from typing import Final

from sqlalchemy import Connection

from core.budget import Budget, Prices, by, prices_of
from core.task_config import AnyConfig, CeleryConfig
from endpoints import OF_CELERY_TASKS, agent_of, name_of
from store import budgets
from store import endpoints as stored
from store.database import AnyRow
from worker.limits import Caps, Limits, LimitsAway, Scope

logger = logging.getLogger("admission")

RULES_SECONDS: Final = 2.0  # a change of a limit, a price or a budget takes effect so late
RULES_SHARE: Final = 20  # a look that took 1 s is followed by 20 s without
EACH_AGENT: Final = "*"


@dataclass(frozen=True, slots=True)
class Rules:
    """What is limited, as it was read last."""

    caps: Mapping[str, Caps] = field(default_factory=dict)
    agents: Mapping[str, Mapping[str, Caps]] = field(default_factory=dict)
    prices: Mapping[str, Prices] = field(default_factory=dict)
    of_endpoint: Mapping[str, tuple[Budget, ...]] = field(default_factory=dict)
    of_task: Mapping[int, tuple[Budget, ...]] = field(default_factory=dict)
    cooling: Mapping[str, float] = field(default_factory=dict)
    """Until when, by the monotonic clock."""

    def scope(self, endpoint: str, agent: str) -> Scope | None:
        """Name what a run counts against; None: nothing."""
        caps, agents = self.caps.get(endpoint, Caps()), self.agents.get(endpoint, {})
        agent_caps = agents.get(agent) or agents.get(EACH_AGENT, Caps()) if agent else Caps()
        return Scope(endpoint, caps, agent if agent_caps else "", agent_caps) if caps or agent_caps else None


@dataclass(frozen=True, slots=True)
class Terms:
    """What stands between one run and its start."""

    endpoint: str
    scope: Scope | None
    budgets: tuple[Budget, ...]
    cooling: float
    """Seconds."""


class RuleBook:
    """Remembers the rules, so that a run that nothing limits costs nothing. Thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.rules = Rules()
        self.stale_at = 0.0
        self._reading = Lock()
        self._cooling: dict[str, float] = {}

    def terms_of(self, connection: Connection, config: AnyConfig | None, task_id: int | None) -> Terms | None:
        """Say what stands between a run and its start; None, for most: nothing."""
        rules = self._current(connection)
        if isinstance(config, CeleryConfig):  # limited by its name; it has no endpoint that prices or throttles it
            scope = rules.scope(OF_CELERY_TASKS, config.task)
            return Terms(OF_CELERY_TASKS, scope, (), 0.0) if scope else None
        endpoint = name_of(config) if config is not None else None
        if config is None or endpoint is None:
            return None
        scope = rules.scope(endpoint, agent_of(config))
        of_run = rules.of_endpoint.get(endpoint, ())
        if task_id is not None:
            of_run += rules.of_task.get(task_id, ())
        until = max(rules.cooling.get(endpoint, 0.0), self._cooling.get(endpoint, 0.0))
        cooling = max(until - monotonic(), 0.0) if until else 0.0
        return Terms(endpoint, scope, of_run, cooling) if scope or of_run or cooling else None

    def cools_down(self, endpoint: str, seconds: float) -> None:
        """Nobody here is to call an endpoint for a while, whatever is read."""
        self._cooling[endpoint] = monotonic() + seconds

    def _current(self, connection: Connection) -> Rules:
        """Read the rules anew every other second; whoever comes meanwhile goes by the old ones."""
        if monotonic() >= self.stale_at and self._reading.acquire(blocking=not self.stale_at):
            try:
                if (begin := monotonic()) >= self.stale_at:
                    self.rules = self._read(connection)
                    self.stale_at = monotonic() + max(RULES_SECONDS, RULES_SHARE * (monotonic() - begin))
            finally:
                self._reading.release()
        return self.rules

    def _read(self, connection: Connection) -> Rules:
        rows = stored.rules(connection)
        agents: dict[str, dict[str, Caps]] = {}
        for row in stored.agent_limits(connection):
            agents.setdefault(row.endpoint, {})[row.agent] = _caps(row)
        known = budgets.every(connection)
        return Rules(
            caps={row.name: caps for row in rows if (caps := _caps(row))},
            agents=agents,
            prices={row.name: prices for row in rows if (prices := prices_of(row)) is not None},
            of_endpoint=by(known, "endpoint"),
            of_task=by(known, "periodic_task_id"),
            cooling=self._read_cooling(),
        )

    def _read_cooling(self) -> Mapping[str, float]:
        try:
            left = self._limits.cooling()
        except LimitsAway:  # who needs to be counted is told when it is counted; this may be no Redis at all
            return {}
        except Exception:  # a claim that nothing limits must not fail over this
            logger.exception("which endpoints throttle cannot be read")
            return {}
        return {endpoint: monotonic() + seconds for endpoint, seconds in left.items()}


def _caps(row: AnyRow) -> Caps:
    return Caps(row.max_concurrency, row.requests_per_minute, row.tokens_per_minute)
