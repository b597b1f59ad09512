"""Users: list, create, show, change, delete. Attributes have the names of SCIM; what syncd knows beside them is ours.

What is stated here belongs to the source `local`; values that another source owns win or yield by the configured order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from syncd.api.model import Instant, Model, Page, Paging, Reason, Text
from syncd.api.operation import Answer, Call, Operation
from syncd.api.paging import asked
from syncd.api.problem import Fault, Invalid
from syncd.api.shape import misshapen
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.change import UserEdit
from syncd.core.filter import parse_filter
from syncd.core.mail import address_of, is_address
from syncd.core.resource import canonical, redeclared, unflatten
from syncd.core.schema import USER, Attribute, Mutability, ResourceType, Type, of_kind
from syncd.core.signins import SignIns
from syncd.core.state import Link, User
from syncd.errors import Conflict, InvalidSyntax, InvalidValue, NotFound
from syncd.store import describe, email_changes, passwords, people, signins
from syncd.store.email_changes import EmailChange
from syncd.store.pages import Order, Window
from syncd.store.passwords import Kept
from syncd.store.people import Person
from syncd.store.picked import Picked
from syncd.store.read import Connection

Status = Literal["active", "pending", "locked", "suspended", "inactive", "deleted"]
_OURS: Final = frozenset(
    {
        "id",
        "status",
        "suspended",
        "locked_until",
        "deleted_at",
        "created_at",
        "modified_at",
        "version",
        "sign_ins",
        "password",
        "email_change",
    }
)
# What SCIM clients state of themselves, or what here is a thing of its own.
_NOT_HERE: Final = {
    "active": "POST .../deactivate and .../reactivate state it",
    "externalId": "it belongs to a connection",
    "groups": "see /groups",
    "roles": "see .../grants",
    "entitlements": "see .../grants",
    "meta": "the version is `version` and the ETag",
    "schemas": "they follow from the attributes",
}


def _json_type(attribute: Attribute, nullable: bool) -> dict[str, Any]:
    """`nullable`: as it may be sent, so that null takes away and what is read only is not named."""
    kind: dict[str, Any]
    match attribute.type:
        case Type.COMPLEX:
            sent = [
                each for each in attribute.sub_attributes if not nullable or each.mutability is not Mutability.READ_ONLY
            ]
            subs = {each.name: _json_type(each, nullable) for each in sent}
            kind = {"type": "object", "properties": subs}
        case Type.BOOLEAN:
            kind = {"type": "boolean"}
        case Type.INTEGER:
            kind = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
        case Type.DECIMAL:
            kind = {"type": "number"}
        case Type.DATETIME:
            kind = {"type": "string", "format": "date-time"}
        case _:
            kind = {"type": "string"}
    if attribute.multi_valued:
        kind = {"type": "array", "items": kind}
    if nullable:
        kind = {"anyOf": [kind, {"type": "null"}]}
    return kind | ({"description": attribute.description} if attribute.description else {})


def _attributes(nullable: bool = False) -> dict[str, Any]:
    found = {each.name: each for each in USER.attributes if each.name not in (*_NOT_HERE, "id")}
    for schema, _ in USER.extensions:
        subs = tuple(each for each in schema.attributes if each.mutability is not Mutability.READ_ONLY)
        found[schema.id] = Attribute(schema.id, Type.COMPLEX, sub_attributes=subs, description=schema.description)
    return {name: _json_type(each, nullable) for name, each in found.items()}


def _with_attributes(schema: dict[str, Any]) -> None:
    schema["properties"] = {**_attributes(), **schema.get("properties", {})}


def _with_nullable_attributes(schema: dict[str, Any]) -> None:
    schema["properties"] = {**_attributes(nullable=True), **schema.get("properties", {})}


class SignInsShown(Model):
    """What the application reported of her signing in."""

    last_at: Instant | None
    last_address: str | None
    second_factor: bool | None = Field(description="Whether one was used at the last sign-in; null: nobody said.")
    failed_attempts: int = Field(description="Since the last success; an hour's pause or a lock ends the count.")
    failed_at: Instant | None
    failed_address: str | None


class PasswordShown(Model):
    """That there is a password, and nothing of it."""

    set_at: Instant
    source: str = Field(description="Who set it: `local`, or the connection that sent it.")
    must_change: bool = Field(description="Somebody else chose it, so that she has to choose another.")


class EmailChangeShown(Model):
    """`changed`: it is hers now. `pending`: it is when she follows the link. `expired`: the link was not followed in time."""

    user_id: str
    address: str
    state: Literal["changed", "pending", "expired"]
    asked_by: str
    asked_at: Instant
    sent_at: Instant | None
    expires_at: Instant | None
    mail: Literal["waiting", "sent", "refused", "failed", "void", "discarded"] | None
    mail_error: str | None = Field(description="What the mail server said, if it did not take the letter.")


class UserShown(BaseModel):
    """A user: the attributes of SCIM, and what syncd knows of her."""

    model_config = ConfigDict(extra="allow", frozen=True, title="User", json_schema_extra=_with_attributes)

    id: str
    status: Status
    suspended: str | None = Field(description="Why an admin holds her; null: nobody does.")
    locked_until: Instant | None
    deleted_at: Instant | None
    created_at: Instant
    modified_at: Instant
    version: int
    password: PasswordShown | None = Field(description="That syncd keeps one; changes without a new version.")
    sign_ins: SignInsShown = Field(description="They change without a new version.")
    email_change: EmailChangeShown | None = Field(description="The address that waits to be confirmed, if one does.")


class UserPage(Page[UserShown]):
    pass


class ListUsers(Paging):
    filter: Text | None = Field(
        default=None, description='SCIM filter, such as `title co "lead"` (RFC 7644 section 3.4.2.2).'
    )
    kind: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,50}$")] | None = Field(
        default=None,
        description="Only people of this kind, such as `internal` or `portal`; whoever has none is internal.",
    )
    status: Status | None = Field(default=None, description="Only these; without it, everybody who is not deleted.")
    role: Text | None = Field(default=None, description="Only who has it, however she came by it.")
    scope: Text | None = Field(default=None, description="Only who has this data scope, `kind=value`.")
    seat: Text | None = Field(default=None, description="Only who holds a seat in this pool, or waits for one.")
    group: Text | None = Field(default=None, description="Only who is in the group of this id, also through others.")
    source: Text | None = Field(default=None, description="Only whom this source states.")
    idle_days: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        description="Only who has not signed in for so long, as the application reports it.",
    )
    sort: Text | None = Field(
        default=None, description="An attribute; with `-` in front, the last first. Default: by id."
    )


class CreateUser(BaseModel):
    """The attributes of SCIM. `userName` is required and unique; null is as if it were left out."""

    model_config = ConfigDict(extra="allow", frozen=True, json_schema_extra=_with_nullable_attributes)

    userName: Text = Field(min_length=1)
    reason: Text = ""


class ChangeUser(BaseModel):
    """A JSON merge patch (RFC 7396) of the attributes: null takes away, an array is replaced whole."""

    model_config = ConfigDict(extra="allow", frozen=True, json_schema_extra=_with_nullable_attributes)


# -- handlers --------------------------------------------------------------------------------------------------------------


def list_(call: Call, conn: Connection) -> UserPage:
    query = call.asked(ListUsers)
    wanted = asked(call, query, "users")
    type = call.workspace.types.user
    asked_for = [f"({query.filter})"] if query.filter else []
    if query.filter:
        parse_filter(query.filter, type)  # by itself, so that brackets in it cannot reach beyond it
    asked_for += [of_kind(query.kind)] if query.kind else []
    condition = parse_filter(" and ".join(asked_for), type) if asked_for else None
    states = (query.status,) if query.status else ()
    window = Window(wanted.limit, keyset=True, after=wanted.after)
    idle_since = None if query.idle_days is None else call.now - timedelta(days=query.idle_days)
    picked = Picked(query.role, query.scope, query.seat, query.group, query.source, idle_since)
    found = people.page(conn, call.workspace, condition, order(query.sort, type), window, call.now, states, picked)
    return wanted.page(UserPage, shown(call, conn, found.rows), found.more)


def create(call: Call, conn: Connection) -> Answer:
    said = call.said(CreateUser)
    id = call.ids()
    values = canonical_of({"userName": said.userName, **(said.model_extra or {})}, call.workspace.types.user)
    why = said.reason or f"created by {call.actor.name}"
    edit = UserEdit(id, ADMIN_SOURCE, create=True, link=Link(ADMIN_SOURCE, id, values=values), why=why)
    call.door(conn, [edit])
    return answered(call, conn, id, status=201)


def show(call: Call, conn: Connection) -> Answer:
    return answered(call, conn, call.id)


def change(call: Call, conn: Connection) -> Answer:
    """What she is shown as, patched; every attribute that differs becomes a statement of `local`."""
    said = call.said(ChangeUser).model_extra or {}
    known = found(call, conn, call.id)
    before = unflatten(known.values, call.workspace.types.user)
    after = canonical_of(_merged(before, said), call.workspace.types.user)
    differing = {path: after.get(path) for path in {*after, *known.values} if after.get(path) != known.values.get(path)}
    if differing:
        if call.workspace.confirms_emails:
            _only_confirmed(known, {**known.values, **differing})
        own = known.link(ADMIN_SOURCE) or Link(ADMIN_SOURCE, known.id)
        values = {path: value for path, value in {**own.values, **differing}.items() if value is not None}
        why = f"changed by {call.actor.name}"
        edit = UserEdit(known.id, ADMIN_SOURCE, link=replace(own, values=values), why=why)
        call.door(conn, [edit], {known.id: known.version})
    return answered(call, conn, known.id)


def _only_confirmed(known: User, after: Mapping[str, Any]) -> None:
    """Where an address has to be confirmed, it changes that way only; and so does a name that is an address.

    Raises Conflict.
    """
    old, name = address_of(known.values), str(known.values.get("userName", ""))
    moved = old is not None and address_of(after) != old
    if moved or (is_address(name) and after.get("userName") != name):
        raise Conflict(
            f"the address by which {known.name} signs in has to be confirmed: POST .../users/{known.id}/email-change"
        )


def delete(call: Call, conn: Connection) -> Answer:
    known = found(call, conn, call.id)
    why = call.asked(Reason).reason or f"deleted by {call.actor.name}"
    call.door(conn, [UserEdit(known.id, ADMIN_SOURCE, facts={"deleted_at": call.now}, why=why)])
    return Answer()


# -- shared ------------------------------------------------------------------------------------------------------------------


def found(call: Call, conn: Connection, id: str, deleted: bool = False) -> User:
    """The user of this id, at the version that If-Match asks for. Raises NotFound; Conflict if she is deleted."""
    known = describe.user_facts(conn, call.workspace, id)
    call.must_match(known.version)
    if not known.present and not deleted:
        raise Conflict(f"{known.name} is deleted: POST {call.base_url}/users/{id}/restore brings her back")
    return known


def answered(call: Call, conn: Connection, id: str, status: int | None = None) -> Answer:
    person = people.get(conn, call.workspace, id, call.now)
    if person is None:
        raise NotFound(f"there is no user {id[:64]!r}")
    return Answer(shown(call, conn, [person])[0], person.version, f"/users/{id}", status)


def shown(call: Call, conn: Connection, people: Sequence[Person]) -> list[UserShown]:
    ids = [each.id for each in people]
    signed_in = signins.of(conn, call.workspace.name, ids)
    kept = passwords.of(conn, call.workspace.name, ids)
    asked = email_changes.of(conn, call.workspace.name, ids, call.now)
    type = call.workspace.types.user
    return [
        _shown(each, signed_in.get(each.id, signins.NONE), kept.get(each.id), asked.get(each.id), type)
        for each in people
    ]


def _shown(
    person: Person, signed_in: SignIns, password: Kept | None, waiting: EmailChange | None, type: ResourceType
) -> UserShown:
    said = redeclared(orjson.loads(person.document), type)
    document = {name: value for name, value in said.items() if name not in _NOT_HERE}
    beside: dict[str, BaseModel | None] = {"sign_ins": sign_ins_shown(signed_in), "password": password_shown(password)}
    beside |= {"email_change": None if waiting is None else email_change_shown(waiting)}
    ours = {name: getattr(person, name) for name in UserShown.model_fields if name not in beside}
    return UserShown(**{**document, **ours, **beside})


def email_change_shown(waiting: EmailChange) -> EmailChangeShown:
    told = {name: value for name, value in asdict(waiting).items() if name in EmailChangeShown.model_fields}
    return EmailChangeShown(**told)


def password_shown(kept: Kept | None) -> PasswordShown | None:
    if kept is None:
        return None
    return PasswordShown(set_at=kept.set_at, source=kept.source, must_change=kept.must_change)


def sign_ins_shown(known: SignIns) -> SignInsShown:
    return SignInsShown(
        last_at=known.last_at,
        last_address=known.last_address,
        second_factor=known.second_factor,
        failed_attempts=known.failures,
        failed_at=known.failed_at,
        failed_address=known.failed_address,
    )


def order(sort: str | None, type: ResourceType) -> Order:
    """Raises InvalidValue for what there is not, or cannot be sorted by."""
    if not sort:
        return Order()
    name = sort.removeprefix("-")
    resolved = type.resolve(name)
    if resolved is None or resolved.attribute.type is Type.COMPLEX:
        raise InvalidValue(f"sort: {name[:60]!r} is no simple attribute of a user, such as userName or name.familyName")
    return Order(resolved, sort.startswith("-"))


def canonical_of(document: Mapping[str, Any], type: ResourceType) -> dict[str, Any]:
    """The values of these attributes. Raises Invalid."""
    faults = [
        Fault(pointer=f"/{name}", detail=f"{name} cannot be stated here: {why}")
        for name, why in (*_NOT_HERE.items(), *((ours, "the server makes it") for ours in sorted(_OURS)))
        if name in document and name != "schemas"
    ]
    faults += misshapen(document, type)
    if faults:
        raise Invalid(faults[0].detail, tuple(faults))
    try:
        return canonical(document, type, "refuse")
    except (InvalidValue, InvalidSyntax) as exc:
        raise Invalid(str(exc), (Fault(pointer="", detail=str(exc)),)) from None


def _merged(document: Any, patch: Any) -> Any:
    """RFC 7396 section 2."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(document) if isinstance(document, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


OPERATIONS: tuple[Operation, ...] = (
    Operation("GET", "/users", "users:read", list_, "Users", answer=UserPage, query=ListUsers, beside=True),
    Operation(
        "POST",
        "/users",
        "users:create",
        create,
        "A new user",
        answer=UserShown,
        body=CreateUser,
        status=201,
        versioned=True,
    ),
    Operation("GET", "/users/{id}", "users:read", show, "One user", answer=UserShown, versioned=True),
    Operation(
        "PATCH",
        "/users/{id}",
        "users:update",
        change,
        "Change attributes",
        answer=UserShown,
        body=ChangeUser,
        versioned=True,
    ),
    Operation("DELETE", "/users/{id}", "users:delete", delete, "Delete a user; /restore undoes it", query=Reason),
)
