"""What a request about one user needs to know, read once in its transaction: by the edge that turns it into an edit, by the
door that judges it (store/commit.py) and by the answer. Nothing of it is believed by another transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from sqlalchemy import Connection

from syncd.core.groups import Graph, GroupName
from syncd.core.ownership import Precedence
from syncd.core.state import User
from syncd.store import fact_queries as queries
from syncd.store import facts, raw
from syncd.store.postponed import settle_claims, settle_user
from syncd.store.raw import MOVED


@dataclass(slots=True)
class Opened:
    """What is in none of these was not looked for."""

    users: dict[str, User | None] = field(default_factory=dict)  # None: there is nobody of this id
    names: dict[str, str | None] = field(default_factory=dict)  # a name as it is compared -> who has it
    keys: dict[tuple[str, str, str], str | None] = field(default_factory=dict)  # source, resource, key -> who is linked
    held: Sequence[Sequence[Any]] = ()  # of `users`, as `fact_queries.held_of` has them
    rules: str | None = None  # the digest that `commit.rules_digest` keeps
    graph: Graph = field(default_factory=Graph)
    document: bytes = b""
    modified: int = 0  # microseconds since 1970
    locked: frozenset[str] = frozenset()  # groups whose rows this transaction has locked


def user(conn: Connection, workspace: str, id: str, precedence: Precedence, leaving: bool = False) -> Opened | None:
    """A user with all that hangs on her, her row locked. None: there is nobody of this id.

    `leaving`: she may leave all of her groups, so their rows are locked before hers.
    """
    bound = {"workspace": workspace, "id": id}
    if conn.dialect.name == "postgresql":
        own = queries.locked("user", "postgresql")
        if leaving:
            raw.locked_after(conn, queries.groups_locked("above"), queries.groups_left("above"), own, workspace, id)
        else:
            raw.locked(conn, own, "users", workspace, id)
    settle_user(conn, workspace, id)
    found = raw.rows(conn, queries.opened(conn.dialect.name), bound, apart=True)
    if not found:
        return None
    *row, document, modified, rules, held, count = found[0]
    known = facts.user_of(row, precedence)
    opened = Opened({id: known}, rules=rules, document=document, modified=modified)
    if held:
        opened.held = orjson.loads(held)
    groups = {each.group for each in known.memberships}
    if leaving:
        opened.locked = frozenset(groups)
    if groups:
        _nest(conn, workspace, groups, count, opened.graph)
    return opened


def nobody(conn: Connection, workspace: str, source: str, name: str, key: str | None) -> Opened:
    """Before a user is made: who has her name (as it is compared) and, if there is one, her key."""
    bound = {"workspace": workspace, "source": source, "resource": "user", "name": name, "key": key or ""}
    settle_claims(conn, (workspace, name), (workspace, source, key or ""))
    named, linked, rules = raw.beforehand(conn, queries.free(), bound, apart=True)[0]
    return Opened(names={name: named}, keys={(source, "user", key): linked} if key else {}, rules=rules)


# -- the nesting of groups, as this connection has seen it before ---------------------------------------------------------

_KEPT: Final = "syncd_nesting"  # in `Connection.info`
_MOST: Final = 20_000  # groups
Nested = tuple[GroupName, tuple[tuple[str, str], ...]]  # a group, and the groups it is in with who says so


def _nest(conn: Connection, workspace: str, groups: Iterable[str], count: int, graph: Graph) -> None:
    """`facts.extend_graph` for a graph that is empty, without a statement if the count of the workspace's groups still is what
    it was when this connection read them."""
    kept: dict[str, tuple[int, dict[str, Nested]]] = conn.info.setdefault(_KEPT, {})
    known = kept.get(workspace)
    if MOVED in conn.info or known is None or known[0] != count or len(known[1]) > _MOST:
        known = (count, {})
    todo, missing = list(groups), False
    while todo and not missing:
        id = todo.pop()
        if id in graph.names:
            continue
        found = known[1].get(id)
        if found is None:
            missing = True
            break
        graph.names[id] = found[0]
        for parent, origin in found[1]:
            graph.nest(id, parent, origin)
            todo.append(parent)
    if not missing:
        return
    for part in (graph.names, graph.parents, graph.stated):
        part.clear()
    facts.extend_graph(conn, workspace, graph, groups)
    if MOVED not in conn.info:
        for id, name in graph.names.items():
            parents = graph.parents.get(id, ())
            stated = ((parent, origin) for parent in sorted(parents) for origin in sorted(graph.stated[id, parent]))
            known[1][id] = (name, tuple(stated))
        kept[workspace] = known
