"""What there is to be given: the roles and entitlements of a workspace, as draft-ietf-scim-roles-entitlements-01 shows them.

A role is published to a connection that may lead to it (`may_grant`; owner and admin only if named there). An entitlement is a
seat pool, with its numbers. Both are read-only: what is granted to whom is decided by rules and people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from syncd.core.access import Role
from syncd.core.schema import Attribute, Mutability, ResourceType, Schema, Type
from syncd.core.seats import Pool
from syncd.core.workspace import Workspace

ROLE_URN: Final = "urn:ietf:params:scim:schemas:core:2.0:Role"
ENTITLEMENT_URN: Final = "urn:ietf:params:scim:schemas:core:2.0:Entitlement"
SYNCD_ENTITLEMENT: Final = "urn:syncd:params:scim:schemas:extension:2.0:Entitlement"


def _told(name: str, description: str, type: Type = Type.STRING, **characteristics: Any) -> Attribute:
    return Attribute(name, type, description=description, mutability=Mutability.READ_ONLY, **characteristics)


def _attributes(what: str, kinds: str) -> tuple[Attribute, ...]:
    return (
        _told("value", f"Name of the {what}.", required=True),
        _told("display", "The name shown to people."),
        _told("type", kinds),
        _told("supported", "Whether it can be given.", Type.BOOLEAN, required=True),
        _told("limitedAssignmentsPermitted", "Whether only a number of users may have it.", Type.BOOLEAN),
    )


ROLE: Final = ResourceType(
    "Role",
    "/Roles",
    "Roles that this connection may lead to",
    Schema(ROLE_URN, "Role", "Role", _attributes("role", "built-in, or custom: of the configuration.")),
)
ENTITLEMENT: Final = ResourceType(
    "Entitlement",
    "/Entitlements",
    "Seat pools and what is left in them",
    Schema(
        ENTITLEMENT_URN,
        "Entitlement",
        "Entitlement",
        (
            *_attributes("seat pool", "internal, portal or add-on."),
            _told("totalAssignmentsPermitted", "How many users may hold a seat; none: unlimited.", Type.INTEGER),
            _told("totalAssignmentsUsed", "How many users hold a seat.", Type.INTEGER),
        ),
    ),
    (
        (
            Schema(
                SYNCD_ENTITLEMENT,
                "SyncdEntitlement",
                "What syncd knows of a seat pool beside the draft",
                (
                    _told("left", "How many seats are free; none: unlimited.", Type.INTEGER),
                    _told("waiting", "How many users wait for a seat.", Type.INTEGER),
                    _told("requires", "Pools in which one must hold a seat first.", multi_valued=True),
                ),
            ),
            False,
        ),
    ),
)
CATALOGUE: Final = (ROLE, ENTITLEMENT)


@dataclass(frozen=True, slots=True)
class Usage:
    """Seats of one pool: `used` are held, `waiting` is how many users wait."""

    used: int = 0
    waiting: int = 0


def roles(
    workspace: Workspace, source: str, base_url: str, there: Mapping[str, Role] | None = None
) -> list[dict[str, Any]]:
    """The roles that may follow from what this source states, as documents. `base_url`: of SCIM, without a slash at its end.

    `there`: every role; None: those that are built in and configured.
    """
    there = workspace.roles if there is None else there
    may = replace(workspace.may_grant, roles=there)
    return [
        {
            "schemas": [ROLE_URN],
            **_head(workspace, ROLE, name, base_url),
            "type": "built-in" if role.built_in else "custom",
            "supported": True,
            "limitedAssignmentsPermitted": False,
        }
        for name, role in there.items()
        if may.allowed("role", name, source)
    ]


def entitlements(workspace: Workspace, usage: Mapping[str, Usage], base_url: str) -> list[dict[str, Any]]:
    """The seat pools as documents. `usage`: by name; a pool nobody has used may be missing."""
    return [_entitlement(workspace, pool, usage.get(name, Usage()), base_url) for name, pool in workspace.pools.items()]


def _entitlement(workspace: Workspace, pool: Pool, usage: Usage, base_url: str) -> dict[str, Any]:
    numbers: dict[str, Any] = {"limitedAssignmentsPermitted": pool.capacity is not None}
    own: dict[str, Any] = {"waiting": usage.waiting}
    if pool.capacity is not None:
        numbers["totalAssignmentsPermitted"] = pool.capacity
        own = {"left": max(0, pool.capacity - usage.used), **own}
    if pool.requires:
        own["requires"] = list(pool.requires)
    return {
        "schemas": [ENTITLEMENT_URN, SYNCD_ENTITLEMENT],
        **_head(workspace, ENTITLEMENT, pool.name, base_url),
        "type": pool.kind,
        "supported": True,
        **numbers,
        "totalAssignmentsUsed": usage.used,
        SYNCD_ENTITLEMENT: own,
    }


def _head(workspace: Workspace, type: ResourceType, name: str, base_url: str) -> dict[str, Any]:
    id = _id(workspace.name, type.name, name)
    meta = {"resourceType": type.name, "location": f"{base_url}{type.endpoint}/{id}"}
    return {"id": id, "meta": meta, "value": name, "display": name}


def _id(workspace: str, type: str, name: str) -> str:
    """Opaque, and the same as long as the name is: on every process, after a restart, and in a copy of the database."""
    return hashlib.sha256(f"{workspace}\0{type}\0{name}".encode()).hexdigest()[:32]
