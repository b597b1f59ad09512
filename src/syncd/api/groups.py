"""Groups and their members. A group belongs to the source that made it; people make theirs here, as the source `local`.

Whoever is put into a group here is in it by the word of `local`, also where a directory owns the group; what another
source says of a membership is taken back there. Members join and leave by up to 1,000 at once, each answered by itself.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from syncd.api.each import Each, Ids, answers, unique
from syncd.api.grants import Kind
from syncd.api.model import Instant, Model, Name, Page, Paging, Reason, Text
from syncd.api.operation import Answer, Call, Operation
from syncd.api.paging import asked
from syncd.api.users import order
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.change import ChangeGroup, GroupEdit, UserEdit
from syncd.core.filter import parse_filter
from syncd.core.state import Link
from syncd.errors import Conflict, InvalidValue, NotFound, Refused
from syncd.store import groups as store
from syncd.store.groups import GroupSeen, MemberSeen
from syncd.store.pages import Window
from syncd.store.read import Connection

_READ: Final = "groups:read"


class GroupGives(Model):
    """What each of its effective members has by it."""

    kind: Kind
    value: str


class GroupShown(Model):
    id: str
    displayName: str
    source: str = Field(description="Who owns it; `local`: people, by this API or the command line.")
    users: int = Field(description="How many are in it directly.")
    groups: int = Field(description="How many groups are in it directly.")
    gives: tuple[GroupGives, ...] = Field(description="What people gave it: `GET /groups/{id}/grants`.")
    created_at: Instant
    modified_at: Instant
    version: int


class GroupPage(Page[GroupShown]):
    pass


class ListGroups(Paging):
    filter: Text | None = Field(default=None, description='SCIM filter, such as `displayName sw "crm"`.')
    source: Text | None = Field(default=None, description="Only those of this source.")
    sort: Text | None = Field(
        default=None, description="An attribute; with `-` in front, the last first. Default: by id."
    )


class CreateGroup(Model):
    displayName: Name = Field(description="Unique among the groups made here.")
    members: Ids = Field(default=(), description="Ids of users and groups.")
    reason: Text = ""


class RenameGroup(Model):
    displayName: Name
    reason: Text = ""


class MemberShown(Model):
    id: str
    kind: Literal["user", "group"]
    display: str
    status: str | None = Field(description="Of a user.")
    origins: tuple[str, ...] = Field(description="The sources that say so; none: she is in it through another group.")


class MemberPage(Page[MemberShown]):
    pass


class ListMembers(Paging):
    which: Literal["direct", "effective"] = Field(
        default="direct", description="`effective`: users, also those who are in it through other groups."
    )


class ChangeMembers(Model):
    """Who joins and who leaves; together up to 1,000."""

    add: Ids = ()
    remove: Ids = ()
    reason: Text = ""


# -- handlers --------------------------------------------------------------------------------------------------------------


def list_(call: Call, conn: Connection) -> GroupPage:
    query = call.asked(ListGroups)
    wanted = asked(call, query, "groups")
    type = call.workspace.types.group
    condition = parse_filter(query.filter, type) if query.filter else None
    window = Window(wanted.limit, keyset=True, after=wanted.after)
    found = store.page(conn, call.workspace, condition, query.source, order(query.sort, type), window)
    return wanted.page(GroupPage, map(shown, found.rows), found.more)


def create(call: Call, conn: Connection) -> Answer:
    said = call.said(CreateGroup)
    unique(said.members, "/members")
    id, why = call.ids(), said.reason or f"made by {call.actor.name}"
    kinds = store.kinds_of(conn, call.workspace.name, said.members)
    unknown = [each for each in said.members if each not in kinds]
    if unknown:
        raise InvalidValue(f"members: there is no user or group {', '.join(unknown[:5])}; nothing was made")
    link = Link(ADMIN_SOURCE, id, values={"displayName": said.displayName})
    made = GroupEdit(id, ADMIN_SOURCE, create=True, link=link, why=why)
    call.door(conn, [made, *(_member(kinds[each], each, why, join=(id,)) for each in said.members)])
    return _answered(call, conn, id, 201)


def show(call: Call, conn: Connection) -> Answer:
    return _answered(call, conn, call.id)


def change(call: Call, conn: Connection) -> Answer:
    said = call.said(RenameGroup)
    known = own(call, conn)
    if said.displayName != known.display_name:
        link = Link(ADMIN_SOURCE, known.id, values={"displayName": said.displayName})
        why = said.reason or f"renamed by {call.actor.name}"
        call.door(conn, [GroupEdit(known.id, ADMIN_SOURCE, link=link, why=why)], {known.id: known.version})
    return _answered(call, conn, known.id)


def delete(call: Call, conn: Connection) -> Answer:
    known = own(call, conn)
    why = call.asked(Reason).reason or f"deleted by {call.actor.name}"
    call.door(conn, [GroupEdit(known.id, ADMIN_SOURCE, delete=True, why=why)])
    return Answer()


def list_members(call: Call, conn: Connection) -> MemberPage:
    query = call.asked(ListMembers)
    found(call, conn)
    wanted = asked(call, query, "members")
    read = store.members if query.which == "direct" else store.effective_members
    here = read(conn, call.workspace.name, call.id, wanted.limit, wanted.after)
    return wanted.page(MemberPage, map(_member_shown, here.rows), here.more)


def change_members(call: Call, conn: Connection) -> Answer:
    said = call.said(ChangeMembers)
    unique((*said.add, *said.remove), "")
    group = found(call, conn)
    why = said.reason or f"changed by {call.actor.name}"
    kinds = store.kinds_of(conn, call.workspace.name, (*said.add, *said.remove))
    there = store.stated(conn, call.workspace.name, group.id, kinds)

    def edits(id: str) -> ChangeGroup:
        """Raises what this one is answered."""
        if id not in kinds:
            raise NotFound(f"there is no user or group {id[:64]!r}")
        origins = there.get(id, set())
        if id in said.add:
            if id == group.id:
                raise InvalidValue("a group cannot be a member of itself")
            return () if ADMIN_SOURCE in origins else (_member(kinds[id], id, why, join=(group.id,)),)
        if ADMIN_SOURCE in origins:
            return (_member(kinds[id], id, why, leave=(group.id,)),)
        if origins:
            raise Conflict(f"source {', '.join(sorted(origins))} says so: take it back there")
        return ()

    return Answer(answers(call, conn, (*said.add, *said.remove), edits))


# -- shared ------------------------------------------------------------------------------------------------------------------


def found(call: Call, conn: Connection) -> GroupSeen:
    """The group of this id, at the version that If-Match asks for. Raises NotFound."""
    known = store.get(conn, call.workspace.name, call.id)
    if known is None:
        raise NotFound(f"there is no group {call.id[:64]!r}")
    call.must_match(known.version)
    return known


def own(call: Call, conn: Connection) -> GroupSeen:
    """Raises Refused for a group that a directory or connection owns."""
    known = found(call, conn)
    if known.source != ADMIN_SOURCE:
        raise Refused(f"this group belongs to source {known.source}: change it there")
    return known


def _answered(call: Call, conn: Connection, id: str, status: int | None = None) -> Answer:
    known = store.get(conn, call.workspace.name, id)
    if known is None:
        raise NotFound(f"there is no group {id[:64]!r}")
    return Answer(shown(known), known.version, f"/groups/{id}", status)


def shown(group: GroupSeen) -> GroupShown:
    return GroupShown(
        id=group.id,
        displayName=group.display_name,
        source=group.source,
        users=group.users,
        groups=group.groups,
        gives=tuple(GroupGives(kind=kind, value=value) for kind, value, *_ in group.grants or ()),
        created_at=group.created_at,
        modified_at=group.modified_at,
        version=group.version,
    )


def _member_shown(member: MemberSeen) -> MemberShown:
    return MemberShown.model_validate(member, from_attributes=True)


def _member(kind: str, id: str, why: str, **change: Any) -> UserEdit | GroupEdit:
    return (UserEdit if kind == "user" else GroupEdit)(id, ADMIN_SOURCE, why=why, **change)


OPERATIONS = (
    Operation("GET", "/groups", _READ, list_, "Groups", answer=GroupPage, query=ListGroups, beside=True),
    Operation(
        "POST",
        "/groups",
        "groups:create",
        create,
        "A new group",
        answer=GroupShown,
        body=CreateGroup,
        status=201,
        versioned=True,
    ),
    Operation("GET", "/groups/{id}", _READ, show, "One group", answer=GroupShown, versioned=True),
    Operation(
        "PATCH",
        "/groups/{id}",
        "groups:update",
        change,
        "Rename a group",
        answer=GroupShown,
        body=RenameGroup,
        versioned=True,
    ),
    Operation("DELETE", "/groups/{id}", "groups:delete", delete, "Delete a group", query=Reason, versioned=True),
    Operation(
        "GET",
        "/groups/{id}/members",
        _READ,
        list_members,
        "Who is in it",
        answer=MemberPage,
        query=ListMembers,
        beside=True,
    ),
    Operation(
        "POST",
        "/groups/{id}/members",
        "groups:update",
        change_members,
        "Who joins and who leaves, each answered by itself",
        answer=Each,
        body=ChangeMembers,
    ),
)
