"""Users as lines of CSV, by pages: what `syncd import` reads back, and beside it what nobody states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, select

from syncd.core.filter import Filter
from syncd.core.schema import ENTERPRISE_USER, SYNCD_USER
from syncd.core.state import User
from syncd.core.userfile import MANAGER, written
from syncd.core.workspace import Workspace
from syncd.store import facts, people, signins
from syncd.store import tables as t
from syncd.store.pages import Order, Position, Window

PAGE: Final = 500
_SIMPLE: Final = (
    *("displayName", "name.givenName", "name.familyName", "title"),
    *(
        f"{ENTERPRISE_USER}:department",
        f"{SYNCD_USER}:kind",
        f"{SYNCD_USER}:secondFactor",
        "userType",
        "locale",
        "timezone",
        "preferredLanguage",
    ),
)
_LISTED: Final = (("emails", "work"), ("phoneNumbers", "work"), ("phoneNumbers", "mobile"), ("photos", "photo"))
_GIVEN: Final = (("roles", "role"), ("seats", "seat"), ("scopes", "scope"))
HEAD: Final = (
    *("id", "status", "lastSignIn", "userName"),
    *(path.rpartition(":")[2] for path in _SIMPLE),
    *(f"{path}.{kind}" for path, kind in _LISTED),
    *("manager", "roles", "seats", "scopes", "groups"),
)


def piece(
    conn: Connection, workspace: Workspace, condition: Filter | None, after: Position | None, now: datetime
) -> tuple[str, Position | None]:
    """The lines that follow a position, and where they end; None: those were the last. The first piece has the head."""
    found = people.page(conn, workspace, condition, Order(), Window(PAGE, keyset=True, after=after), now)
    ids = [each.id for each in found.rows]
    users = facts.load_users(conn, workspace.name, ids, workspace.precedence)
    signed_in = signins.of(conn, workspace.name, ids)
    managers = _names(conn, workspace.name, users.values())
    groups = _groups(conn, workspace.name, users.values())
    lines = [written(HEAD)] if after is None else []
    for each in found.rows:
        if each.id in users:
            last = signed_in[each.id].last_at if each.id in signed_in else None
            said = (each.id, each.status, "" if last is None else last.isoformat(timespec="seconds"))
            lines.append(written((*said, *_cells(users[each.id], managers, groups))))
    return "".join(lines), found.more


def _cells(user: User, managers: Mapping[str, str], groups: Mapping[str, str]) -> Iterator[str]:
    yield user.name
    for path in _SIMPLE:
        value = user.values.get(path, "")
        yield str(value).lower() if isinstance(value, bool) else str(value)
    for path, kind in _LISTED:
        yield _element(user.values.get(path) or (), kind)
    yield managers.get(str(user.values.get(MANAGER, "")), "")
    for _, kind in _GIVEN:
        yield "|".join(sorted({each.value for each in user.grants if each.kind == kind and each.origin == "direct"}))
    yield "|".join(sorted({groups[each.group] for each in user.memberships if each.group in groups}))


def _element(listed: Sequence[Mapping[str, Any]], kind: str) -> str:
    """That of this type; of addresses, else the first one."""
    typed = next((each for each in listed if str(each.get("type", "")).lower() == kind), None)
    first = next(iter(listed), {}) if kind == "work" and typed is None else typed or {}
    return str(first.get("value", ""))


def _names(conn: Connection, workspace: str, users: Any) -> dict[str, str]:
    wanted = {str(user.values[MANAGER]) for user in users if user.values.get(MANAGER)}
    u = t.users.c
    query = select(u.id, u.user_name).where(u.workspace == workspace, u.status != "deleted")
    return {
        row.id: row.user_name
        for ids in facts.batched(sorted(wanted))
        for row in conn.execute(query.where(u.id.in_(ids)))
    }


def _groups(conn: Connection, workspace: str, users: Any) -> dict[str, str]:
    """Names of groups that people put her in; what a directory states it states again."""
    wanted = {each.group for user in users for each in user.memberships if each.origin == "local"}
    g = t.groups.c
    query = select(g.id, g.display_name).where(g.workspace == workspace)
    return {
        row.id: row.display_name
        for ids in facts.batched(sorted(wanted))
        for row in conn.execute(query.where(g.id.in_(ids)))
    }
