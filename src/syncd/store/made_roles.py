"""Which roles there are: built in, configured, and made by people; the last are read when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, select, type_coerce
from sqlalchemy.types import Text

from syncd.core.access import Role, listed
from syncd.core.workspace import Workspace
from syncd.store import raw
from syncd.store import tables as t
from syncd.store.fact_queries import WORKSPACE


@cache
def _all() -> Select[Any]:
    r = t.roles.c
    return select(r.name, type_coerce(r.permissions, Text), r.description).where(r.workspace == WORKSPACE)


def made(conn: Connection, workspace: str) -> dict[str, Role]:
    """Roles that people made, also one whose name the configuration has taken since."""
    rows = raw.rows(conn, _all(), {"workspace": workspace})
    return {
        name: Role(name, listed(permissions), made=True, description=description)
        for name, permissions, description in sorted(rows, key=lambda row: row[0])
    }


def known(conn: Connection, workspace: Workspace) -> Mapping[str, Role]:
    """Every role by name; on one name the configuration wins."""
    own = made(conn, workspace.name)
    return {**workspace.roles, **{name: role for name, role in own.items() if name not in workspace.roles}}
