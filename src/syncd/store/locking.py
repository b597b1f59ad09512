"""The one order in which everybody locks on PostgreSQL: nesting of groups, groups, users, seat pools (docs/architecture.md).

SQLite has one writer, who has it all. Whoever finds out too late that it needs what comes before what it has does not wait for
it: its transaction is undone, and done again with that locked first (`Crossing`), where the transaction can be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from syncd.store import fact_queries as queries
from syncd.store import facts, raw
from syncd.store.raw import AGAIN, Crossing


@dataclass(frozen=True, slots=True)
class Needed:
    """What a change group has to lock before its users. `nesting`: "alone" for who changes groups, "shared" for who joins.

    `groups`: rows; `of`: users or groups, for the groups that they are in directly; `inside`: groups, for those in them.
    """

    workspace: str
    nesting: str | None = None
    groups: frozenset[str] = frozenset()
    of: frozenset[str] = frozenset()
    inside: frozenset[str] = frozenset()

    @property
    def rows(self) -> bool:
        return bool(self.groups or self.of or self.inside)

    def lock(self, conn: Connection) -> None:
        if self.nesting is not None:
            facts.lock(conn, self.workspace, "groups", shared=self.nesting == "shared")
        if self.rows:
            raw.rows(conn, queries.groups_locked(self._how), self._bound())

    def lock_at_once(self, conn: Connection) -> bool:
        """Without waiting; False if others have any of it."""
        if self.nesting is not None and not facts.locked(conn, self.workspace, "groups", self.nesting == "shared"):
            return False
        return not (self.rows and raw.rows(conn, queries.groups_left(self._how), self._bound()))

    @property
    def _how(self) -> str:
        return "named" if not (self.of or self.inside) else "beside"

    def _bound(self) -> dict[str, str]:
        named = {"workspace": self.workspace, "groups": queries.as_list(self.groups)}
        beside = {"ids": queries.as_list(self.of), "inside": queries.as_list(self.inside)}
        return named if self._how == "named" else named | beside


def before_users(conn: Connection, needed: Needed, have: Collection[str] = ()) -> None:
    """`have`: groups whose rows this transaction has locked already. Raises Crossing."""
    if conn.dialect.name != "postgresql":
        return
    wanted = Needed(needed.workspace, needed.nesting, needed.groups - set(have), needed.of, needed.inside)
    if not have or not conn.info.get(AGAIN):
        wanted.lock(conn)
    elif not wanted.lock_at_once(conn):
        again = Needed(needed.workspace, needed.nesting, needed.groups | set(have), needed.of, needed.inside)
        raise Crossing(again.lock)


def lock_users(conn: Connection, workspace: str, ids: Iterable[str]) -> None:
    """Their rows, in id order."""
    if conn.dialect.name == "postgresql" and (found := set(ids)):
        raw.rows(conn, queries.locked("user", "postgresql"), {"workspace": workspace, "ids": queries.as_list(found)})
