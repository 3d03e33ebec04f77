"""What a kind of fault is, and how a module of faults lists its own."""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

from tests.faults.cluster import Cluster
from tests.faults.members import Member

#: What a fault hits: one beat, one worker, the one whose clock can be set, or a service that everybody shares.
BEAT, WORKER, CLOCKED_BEAT, CLOCKED_WORKER = "beat", "worker", "clocked beat", "clocked worker"
DATABASE, BROKER, AGENT = "database", "broker", "agent"

Maker: TypeAlias = Callable[[Cluster, Member | None, random.Random], Iterator[None]]
SHORT: Final = (0.3, 3.0)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: a context manager that injects when entered and heals when left.

    `lasts`: seconds, from and to.
    """

    name: str
    hits: str
    lasts: tuple[float, float]
    make: Callable[[Cluster, Member | None, random.Random], AbstractContextManager[None]]


class Faults(dict[str, Kind]):
    """The kinds of one module."""

    def kind(self, name: str, hits: str, lasts: tuple[float, float] = SHORT) -> Callable[[Maker], Maker]:
        """List a generator function as a kind of fault."""

        def register(make: Maker) -> Maker:
            self[name] = Kind(name, hits, lasts, contextmanager(make))
            return make

        return register


def of(member: Member | None) -> Member:
    assert member is not None, "this fault hits one member"
    return member
