"""What the routes of one application share."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine

from api.exposition import Exposition
from api.identities import Identities, parse_tokens
from api.masking import Mask
from api.readiness import Readiness
from api.remembered import Remembered, RememberedEach
from api.run_facets import Facets, remembered_facets
from api.run_live import LiveRuns
from api.run_watch import RunWatch
from api.seed_figures import Metrics, remembered_counts, remembered_metrics
from api.throttle import Throttle
from broker import Sender
from config import Settings
from core.lifecycle import State
from store.overview import connect_bounded
from store.run_search import Wanted
from submission import Submitter
from tasks import celery_app
from worker.limits import redis_address

REQUEST_SECONDS = 5
PROBE_SECONDS = 4


@dataclass(frozen=True, slots=True)
class Services:
    """Built once an application; nothing connects before the first question."""

    engine: Engine
    probe_engine: Engine
    mask: Mask
    readiness: Readiness
    exposition: Exposition
    settings: Settings
    identities: Identities
    throttle: Throttle
    watch: RunWatch
    live: LiveRuns
    submitter: Submitter
    trading_metrics: Remembered[Metrics]
    state_counts: Remembered[dict[State, int]]
    facets: RememberedEach[Wanted, Facets]

    def close(self) -> None:
        """Let go of every connection."""
        self.readiness.close()
        self.exposition.close()
        self.submitter.close()
        self.engine.dispose()
        self.probe_engine.dispose()


def build_services(settings: Settings) -> Services:
    """Give probes connections of their own: a burst of requests must not make the service look dead.

    Raises SettingsError.
    """
    grants = parse_tokens(settings.api_tokens.get_secret_value())
    engine = connect_bounded(settings.database_url, pool_size=10, seconds=REQUEST_SECONDS)
    probe_engine = connect_bounded(settings.database_url, pool_size=2, seconds=PROBE_SECONDS)
    readiness = Readiness(settings, probe_engine)
    mask, watch = Mask(settings), RunWatch(probe_engine)
    return Services(
        engine=engine,
        probe_engine=probe_engine,
        mask=mask,
        readiness=readiness,
        exposition=Exposition(settings, probe_engine, readiness.broker),
        settings=settings,
        identities=Identities(grants, engine),
        throttle=Throttle(),
        watch=watch,
        live=LiveRuns(redis_address(settings), watch, mask),
        submitter=Submitter(engine, Sender(celery_app), settings.queues),
        trading_metrics=remembered_metrics(engine, settings.timezone),
        state_counts=remembered_counts(engine),
        facets=remembered_facets(engine),
    )


async def _services(request: Request) -> Services:  # a plain function would take a thread of the pool each time
    services: Services = request.app.state.services
    return services


#: A route's parameter of this type gets the application's services.
Ours = Annotated[Services, Depends(_services)]
