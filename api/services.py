"""What the routes of one application share."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine

from api.exposition import Exposition
from api.masking import Mask
from api.readiness import Readiness
from config import Settings
from store.overview import connect_bounded

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

    def close(self) -> None:
        """Let go of every connection."""
        self.readiness.close()
        self.exposition.close()
        self.engine.dispose()
        self.probe_engine.dispose()


def build_services(settings: Settings) -> Services:
    """Give probes connections of their own: a burst of requests must not make the service look dead."""
    probe_engine = connect_bounded(settings.database_url, pool_size=2, seconds=PROBE_SECONDS)
    readiness = Readiness(settings, probe_engine)
    return Services(
        engine=connect_bounded(settings.database_url, pool_size=10, seconds=REQUEST_SECONDS),
        probe_engine=probe_engine,
        mask=Mask(settings),
        readiness=readiness,
        exposition=Exposition(settings, probe_engine, readiness.broker),
    )


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


#: A route's parameter of this type gets the application's services.
Ours = Annotated[Services, Depends(_services)]
