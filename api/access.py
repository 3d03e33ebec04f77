"""Who asks, and what a route asks of him: `caller: Operator` in a route's parameters is all it takes."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.routing import APIRoute

from store.audit import Actor


class Role(StrEnum):
    """What a caller may do; each role may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, wanted: "Role") -> bool:
        """True where this role may do what `wanted` may."""
        order = list(Role)
        return order.index(self) >= order.index(wanted)


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody the gate has let in."""

    name: str
    """Of the user or the token: what stands in `create_by`, `update_by` and the audit."""
    role: Role
    via: str
    """token, session."""
    user_id: int | None = None
    """Of a user who has logged in."""

    @property
    def actor(self) -> Actor:
        """The same for the audit."""
        return Actor(self.name, self.via)


def caller_of(request: Request) -> Caller:
    """Name who asks. The gate has seen to it that there is somebody."""
    caller: Caller = request.state.caller
    return caller


def requires(role: Role) -> Callable[[Request], Awaitable[Caller]]:
    """Make the dependency of a route that only this role and those above it may use; others get 403."""

    async def check(request: Request) -> Caller:  # a plain function would take a thread of the pool each time
        caller = caller_of(request)
        if not caller.role.covers(role):
            raise HTTPException(
                403, f"This needs the role {role}, and {caller.name!r} has the role {caller.role}; ask an admin."
            )
        return caller

    check.role = role  # type: ignore[attr-defined]
    return check


def document_roles(router: APIRouter, public: Collection[str]) -> None:
    """Say in the OpenAPI document which role each route asks for that is not public; a viewer may do the rest."""
    for route in router.routes:
        if isinstance(route, APIRoute) and route.path not in public:
            asked = [role for each in route.dependant.dependencies if (role := getattr(each.call, "role", None))]
            least = max(asked, key=list(Role).index, default=Role.VIEWER)
            route.openapi_extra = {**(route.openapi_extra or {}), "x-least-role": least.value}


#: A route's parameter of this type gets who asks, whose role suffices.
Viewer = Annotated[Caller, Depends(requires(Role.VIEWER))]
Operator = Annotated[Caller, Depends(requires(Role.OPERATOR))]
Admin = Annotated[Caller, Depends(requires(Role.ADMIN))]
