"""What one user may do, for the application at each sign-in; and why, for whoever asks why."""

from __future__ import annotations

from typing import Any, cast

from pydantic import Field

from syncd.api.model import Instant, Model
from syncd.api.operation import Call, Operation
from syncd.api.users import EmailChangeShown, PasswordShown, SignInsShown, Status
from syncd.core.access import flags
from syncd.errors import NotFound
from syncd.store import access, describe
from syncd.store.read import Connection


class Flags(Model):
    """The permissions `data.admin`, `data.edit`, `data.delete` and `data.export`."""

    admin: bool = Field(description="Sees everything, whatever the data scopes say.")
    edit: bool
    delete: bool
    export: bool


class AccessShown(Model):
    """Access at this moment: the union of what is granted. Whoever may not sign in has none."""

    id: str
    userName: str
    status: Status
    may_sign_in: bool
    roles: tuple[str, ...]
    permissions: tuple[str, ...] = Field(
        description="Of the roles and given singly, such as `invoices.view`, `assets.*` or `nav.reports`; `*` is any text."
    )
    denied: tuple[str, ...] = Field(
        description="Come before `permissions`: what one of these matches is not permitted."
    )
    always: tuple[str, ...] = Field(
        description="Come before `denied`: what one of these matches is permitted, by an override, for a time."
    )
    data_scopes: dict[str, tuple[str, ...]] = Field(
        description="Which records she sees: kind -> values, `*` being every one. `admin` of the flags sees all."
    )
    seats: tuple[str, ...]
    waiting: tuple[str, ...] = Field(description="Seat pools in which she waits for a seat.")
    flags: Flags
    version: int = Field(description="Of the user. The configuration and time change access without it.")


class Reasoned(Model):
    """One grant and where it comes from."""

    value: str
    origin: str | None = Field(description="`direct`, `override`, `rule`, `group` or `source`.")
    name: str | None = Field(description="Who granted it, or which rule, group (its id: `why` names it) or source.")
    why: str = Field(description="The rule's condition or the path of groups; for a direct grant, what was said of it.")
    run: str | None
    since: Instant | None
    expires: Instant | None = None


class PermissionReasoned(Reasoned):
    role: str | None = Field(description="The role it comes with; null: given singly.")


class DenialReasoned(Reasoned):
    """What she does not have, whatever gives it."""

    kind: str
    taken: tuple[str, ...] = Field(description="Where she would have it from; none: she would not have it anyway.")


class Withheld(Model):
    """What she is not given, since only the word of sources leads there that may not grant it (`may_grant`)."""

    kind: str
    value: str
    through: str = Field(description="The rule, or `group NAME`.")
    sources: tuple[str, ...]


class ScopeReasoned(Reasoned):
    kind: str


class SeatReasoned(Reasoned):
    priority: int
    also: tuple[Reasoned, ...] = Field(description="Other grants of the same seat.")


class WaitReasoned(SeatReasoned):
    position: int
    queue: int
    needs: tuple[str, ...] = Field(description="Pools in which she first needs a seat.")


class GroupReasoned(Model):
    value: str
    display: str
    source: str
    type: str
    path: str
    via: tuple[str, ...] = Field(description="The groups in between, from hers upwards; the shortest way.")
    also: tuple[tuple[str, ...], ...] = Field(description="The same by every other group of hers that leads there.")
    origins: tuple[str, ...]


class LinkShown(Model):
    """What one source says of her."""

    source: str
    key: str
    dn: str | None
    enabled: bool | None
    because: str | None = Field(description="What it said when it disabled her, if it does.")
    authoritative: bool
    stage: str | None
    missing_since: Instant | None
    missing_reads: int
    starts_at: Instant | None
    ends_at: Instant | None
    locked_until: Instant | None = Field(description="When its lock-out ends; the year 9999: when it is lifted there.")
    since: Instant | None
    values: dict[str, Any]


class Aside(Model):
    source: str
    value: Any


class Owned(Model):
    """Whose value of an attribute is shown."""

    attribute: str
    source: str
    why: str = Field(description="Which order of `precedence` decided.")
    aside: tuple[Aside, ...] = Field(description="What other sources state, the next to be shown first.")


class Scheduled(Model):
    at: Instant | None = Field(description="null: when something else has happened.")
    what: str
    because: str


class LossHeld(Model):
    source: str
    kind: str
    guard: str
    why: str
    digest: str
    run: str | None
    since: Instant


class Explanation(Model):
    """Every grant with its reason, and what happens next; the same as `syncd explain --json`."""

    id: str
    userName: str | None
    displayName: str | None
    manager: str | None = Field(description="The userName of her manager.")
    status: Status
    enabled: bool
    suspended: bool
    suspended_because: str | None
    locked_until: Instant | None
    deleted_at: Instant | None
    password: PasswordShown | None
    email_change: EmailChangeShown | None
    sign_ins: SignInsShown
    roles: tuple[Reasoned, ...]
    permissions: tuple[PermissionReasoned, ...]
    data_scopes: tuple[ScopeReasoned, ...]
    seats: tuple[SeatReasoned, ...]
    waiting: tuple[WaitReasoned, ...]
    denials: tuple[DenialReasoned, ...] = Field(description="Roles, data scopes and seats that are denied.")
    reclaimed: tuple[str, ...] = Field(description="Pools of idle seats that come back with the next sign-in.")
    withheld: tuple[Withheld, ...]
    groups: tuple[GroupReasoned, ...]
    links: tuple[LinkShown, ...]
    scheduled: tuple[Scheduled, ...]
    held: tuple[LossHeld, ...]
    values: dict[str, Any]
    owners: tuple[Owned, ...]
    created_at: Instant | None
    version: int


def show(call: Call, conn: Connection) -> AccessShown:
    found = access.access(conn, call.workspace, call.id, call.now)
    if found is None:
        raise NotFound(f"there is no user {call.id[:64]!r}")
    return AccessShown(
        id=found.id,
        userName=found.user_name,
        status=cast(Status, found.status),
        may_sign_in=found.may_sign_in,
        roles=found.roles,
        permissions=found.permissions,
        denied=found.denied,
        always=found.always,
        data_scopes=dict(found.scopes),
        seats=found.seats,
        waiting=found.waiting,
        flags=Flags(**flags(found.patterns, found.always)),
        version=found.version,
    )


def explain(call: Call, conn: Connection) -> Explanation:
    return Explanation.model_validate(describe.explain(conn, call.workspace, call.id, call.now))


OPERATIONS = (
    Operation("GET", "/users/{id}/access", "users:read", show, "What a user may do now", answer=AccessShown),
    Operation(
        "GET",
        "/users/{id}/explain",
        "users:read",
        explain,
        "Why she may do it, and what happens next",
        answer=Explanation,
        beside=True,
    ),
)
