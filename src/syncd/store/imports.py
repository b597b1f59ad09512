"""A file of people as edits of `local`: who is there already is found by userName, everybody else is made.

Nothing is taken away: an empty cell says nothing, and roles, seats, groups and data scopes are given on top of what there is.
Faults are told with their place in the file; whoever asks applies nothing if there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from sqlalchemy import Connection, select

from syncd.core import userfile
from syncd.core.actor import ADMIN_SOURCE, Actor
from syncd.core.change import UserEdit
from syncd.core.granting import checked
from syncd.core.mail import address_of, is_address
from syncd.core.resource import canonical_value, fold, name_key
from syncd.core.state import Grant, Link, User
from syncd.core.userfile import MANAGER, Fault, People, Row
from syncd.core.workspace import Workspace
from syncd.errors import Conflict, InvalidValue, NotFound
from syncd.store import describe, facts, invitations
from syncd.store import tables as t
from syncd.store.commit import Ids

_KINDS: Mapping[str, str] = {"roles": "role", "seats": "seat", "scopes": "scope"}


@dataclass(frozen=True, slots=True)
class Line:
    """One person of the file. `edit` None: nothing of her changes."""

    line: int
    id: str
    name: str
    new: bool
    edit: UserEdit | None


@dataclass(slots=True)
class Import:
    """Reads the store, in the transaction it is given, and writes nothing."""

    conn: Connection
    workspace: Workspace
    actor: Actor
    people: People
    now: datetime
    ids: Ids
    why: str
    invite: bool = False
    _groups: dict[str, str] = field(default_factory=dict)  # as they are named -> id
    _known: dict[str, str] = field(default_factory=dict)  # userName, folded -> id
    _new: dict[str, str] = field(default_factory=dict)

    def lines(self) -> Iterator[Line]:
        """In the order of the file. Faults are added to those of the file as they are met."""
        self._known = _named(self.conn, self.workspace.name, (row.name for row in self.people.rows))
        self._new = {key: self.ids() for row in self.people.rows if (key := name_key(row.name)) not in self._known}
        for batch in facts.batched(self.people.rows):
            found = [self._known[key] for row in batch if (key := name_key(row.name)) in self._known]
            users = facts.load_users(self.conn, self.workspace.name, found, self.workspace.precedence)
            owners = _owners(self.conn, self.workspace.name, batch)
            for row in batch:
                yield self._line(row, users.get(self._known.get(name_key(row.name), "")), owners)

    def _line(self, row: Row, user: User | None, owners: Mapping[str, str]) -> Line:
        values = {**row.values, **({MANAGER: manager} if (manager := self._manager(row)) else {})}
        grants, joins = self._grants(row), self._joins(row)
        owner = owners.get(facts.email_key(row.address or ""))
        if owner is not None and (user is None or name_key(owner) != name_key(user.name)):
            self._fault(row, "emails", f"{row.address} is the address of {owner}: name her by her userName")
        if user is None:
            id = self._new[name_key(row.name)]
            return Line(row.line, id, row.name, True, self._made(row, id, values, grants, joins))
        return Line(row.line, user.id, user.name, False, self._changed(row, user, values, grants, joins))

    def _made(
        self, row: Row, id: str, values: Mapping[str, Any], grants: Sequence[Grant], joins: Sequence[str]
    ) -> UserEdit:
        stated = {**values, **{path: self._merged(path, (), parts) for path, parts in row.lists.items()}}
        if self.invite and row.address is None:
            self._fault(row, "emails", f"{row.name} cannot be invited without an e-mail address")
        known = {"invited": True} if self.invite else {}
        link = Link(ADMIN_SOURCE, id, values=stated)
        given = {"grant": tuple(grants), "join": tuple(joins), "facts": known, "why": self.why}
        return UserEdit(id, ADMIN_SOURCE, create=True, link=link, **given)  # type: ignore[arg-type]

    def _changed(
        self, row: Row, user: User, values: Mapping[str, Any], grants: Sequence[Grant], joins: Sequence[str]
    ) -> UserEdit | None:
        merged = {path: self._merged(path, user.values.get(path) or (), parts) for path, parts in row.lists.items()}
        stated = {path: value for path, value in {**values, **merged}.items() if path != "userName"}
        differing = {path: value for path, value in stated.items() if user.values.get(path) != value}
        if self.workspace.confirms_emails and "emails" in differing:
            old = address_of(user.values)
            if old is not None and address_of({**user.values, **differing}) != old:
                what = f"another address of {user.name} has to be confirmed: `syncd user change-email`"
                self._fault(row, "emails", what)
        has = {(each.kind, each.value) for each in user.grants if each.origin == "direct" and each.expires_at is None}
        giving = tuple(each for each in grants if (each.kind, each.value) not in has)
        joining = tuple(sorted({*joins} - {each.group for each in user.memberships}))
        if not (differing or giving or joining):
            return None
        edit = UserEdit(user.id, ADMIN_SOURCE, grant=giving, join=joining, why=self.why)
        if differing:
            own = user.link(ADMIN_SOURCE) or Link(ADMIN_SOURCE, user.id)
            edit = replace(edit, link=replace(own, values={**own.values, **differing}))
        return edit

    def _merged(self, path: str, listed: Sequence[Any], parts: Mapping[str, Mapping[str, Any]]) -> Any:
        """The list with the elements of these types changed or added."""
        resolved = self.workspace.types.user.resolve(path)
        assert resolved is not None
        found = [dict(each) for each in listed]
        for kind, said in parts.items():
            same = [each for each in found if fold(str(each.get("type", ""))) == fold(kind)]
            same = same or [each for each in found if "type" not in each]
            if same:
                same[0].update(said)
            elif not any(said.items() <= each.items() for each in found):  # there already, as of another type
                found.append({**said, **({"type": kind} if kind else {})})
        if path == "emails" and not listed:
            found[0]["primary"] = True
        return canonical_value(resolved, found)

    def one(self, user: User, cleared: Sequence[userfile.Column], renamed: str | None = None) -> UserEdit | None:
        """This user as the only row says, without what is cleared; None if nothing changes. `renamed`: another userName."""
        row = self.people.rows[0]
        self._known = {name_key(user.name): user.id}
        values = {**row.values, **({MANAGER: manager} if (manager := self._manager(row)) else {})}
        owner = _owners(self.conn, self.workspace.name, [row]).get(facts.email_key(row.address or ""))
        if owner is not None and name_key(owner) != name_key(user.name):
            self._fault(row, "emails", f"{row.address} is the address of {owner}")
        edit = self._changed(row, user, values, self._grants(row), self._joins(row))
        own = edit.link if edit is not None and edit.link is not None else user.link(ADMIN_SOURCE)
        stated = dict(own.values) if own is not None else {}
        before = dict(stated)
        for column in cleared:
            self._clear(column, user, stated)
        if renamed is not None:
            stated["userName"] = renamed
        if stated == before:
            return edit
        edit = edit or UserEdit(user.id, ADMIN_SOURCE, why=self.why)
        return replace(edit, link=replace(own or Link(ADMIN_SOURCE, user.id), values=stated))

    def _clear(self, column: userfile.Column, user: User, stated: dict[str, Any]) -> None:
        said = stated.get(column.path)
        if column.path == "userName":
            self.people.faults.append(Fault(column.place, "a user has a name"))
            return
        kept = said
        if isinstance(said, list | tuple):
            kept = [each for each in said if fold(str(each.get("type", ""))) != fold(column.kind)]
        elif said is not None:
            kept = None
        if kept == said:
            there = user.values.get(column.path) is not None
            what = "another source states it: take it away there" if there else "there is none"
            self.people.faults.append(Fault(column.place, what))
        stated.pop(column.path, None)
        if kept:
            stated[column.path] = kept

    # -- what a line names -------------------------------------------------------------------------------------------------

    def _grants(self, row: Row) -> list[Grant]:
        found = []
        for column, kind in _KINDS.items():
            for value in row.given.get(column, ()):
                try:
                    checked(kind, value, self.workspace.roles, self.workspace.pools)
                except InvalidValue as exc:
                    self._fault(row, column, f"{exc}{_close(value, self._choice(kind))}")
                    continue
                found.append(Grant(kind, value, "direct", self.actor.name, why=self.why, created_at=self.now))
        return found

    def _choice(self, kind: str) -> Iterable[str]:
        return {"role": self.workspace.roles, "seat": self.workspace.pools}.get(kind, ())

    def _joins(self, row: Row) -> list[str]:
        found = []
        for name in row.given.get("groups", ()):
            if name not in self._groups:
                try:
                    self._groups[name] = describe.find_group(self.conn, self.workspace.name, name)
                except (NotFound, Conflict) as exc:
                    self._fault(row, "groups", str(exc))
                    continue
            found.append(self._groups[name])
        return found

    def _manager(self, row: Row) -> str | None:
        """The id of the manager, who may stand in the same file."""
        if row.manager is None:
            return None
        key = name_key(row.manager)
        if key == name_key(row.name):
            self._fault(row, MANAGER, f"{row.name} cannot be her own manager")
            return None
        id = self._new.get(key) or self._known.get(key)
        id = id or describe.signs_in_as(self.conn, self.workspace.name, row.manager)
        if id is None:
            self._fault(row, MANAGER, f"there is no user {row.manager[:60]!r}, here or in the file")
        return id

    def _fault(self, row: Row, path: str, what: str) -> None:
        self.people.faults.append(Fault(row.at(path), what))


def _named(conn: Connection, workspace: str, names: Iterable[str]) -> dict[str, str]:
    """userName, folded -> id of each of these who is there."""
    u = t.users.c
    found: dict[str, str] = {}
    for keys in facts.batched(sorted({name_key(name) for name in names})):
        query = select(u.user_name_key, u.id).where(u.workspace == workspace, u.user_name_key.in_(keys))
        found |= {row.user_name_key: row.id for row in conn.execute(query.where(u.status != "deleted"))}
    return found


def _owners(conn: Connection, workspace: str, rows: Iterable[Row]) -> dict[str, str]:
    """Address, folded -> userName of somebody whose it is."""
    e, u = t.emails.c, t.users.c
    wanted = {facts.email_key(row.address): row.name for row in rows if row.address}
    found: dict[str, str] = {}
    for keys in facts.batched(sorted(wanted)):
        query = select(e.value, u.user_name).join(t.users, (u.workspace == e.workspace) & (u.id == e.user_id))
        query = query.where(e.workspace == workspace, e.value.in_(keys), u.status != "deleted").order_by(u.id)
        for row in conn.execute(query):
            mine = wanted.get(row.value)
            if row.value not in found or (mine is not None and name_key(mine) == name_key(row.user_name)):
                found[row.value] = row.user_name
    return found


def _close(value: str, choice: Iterable[str]) -> str:
    close = get_close_matches(value, list(choice), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def ask_in(
    conn: Connection, workspace: Workspace, actor: Actor, ids: Iterable[str], why: str, now: datetime, make_ids: Ids
) -> int:
    """An invitation for each of these who is pending and has none yet. Returns how many."""
    asked = 0
    for batch in facts.batched(ids):
        for user in facts.load_users(conn, workspace.name, batch, workspace.precedence).values():
            address = address_of(user.values)
            if user.present and user.invited and address is not None and is_address(address):
                asked += invitations.begin(conn, workspace, actor, user, address, why, now, make_ids)
    return asked
