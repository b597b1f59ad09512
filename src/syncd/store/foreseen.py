"""What a plan decided, kept with its items, and whether it still holds when they are applied.

Deciding a batch takes as long as writing it, and a plan decided it before. Under the locks of the batch's transaction this
compares everything that a decision about people rests on with what it rested on then: their own facts, all of them and
not their versions alone; the groups; whose the names are; the seats that are taken; what is held of them; the roles that
people made; the rule set. Where anything is otherwise, or would be hard to tell, the batch is decided anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from syncd.core.access import Role
from syncd.core.change import ChangeGroup, GroupEdit, UserEdit
from syncd.core.resource import name_key
from syncd.core.state import Seat, User
from syncd.core.workspace import Workspace
from syncd.store import fact_queries as queries
from syncd.store import facts, locking, raw
from syncd.store import tables as t
from syncd.store.allocate import queue
from syncd.store.drafts import Verdict, shown_in, takes_name
from syncd.store.made_roles import known
from syncd.store.unmoved import Sight, unmoved

if TYPE_CHECKING:
    from syncd.store.plans import Item

Pair = tuple[User | None, User]
Used = Mapping[str, int]  # pool -> seats that are taken


@dataclass(slots=True)
class Basis:
    """What a whole plan was decided on."""

    groups: int = 0  # how often they had changed (Graph.epoch)
    rules_changed: bool = False
    roles: Mapping[str, Role] | None = None  # None: nobody asked
    used: dict[int, Used] = field(default_factory=dict)  # batch -> before it; {}: no seat moved so far
    people: dict[str, bytes] = field(default_factory=dict)  # everything that was known of each, as facts.printed
    sight: Sight | None = None  # of the database; only for the transaction in which the first batch is applied


@dataclass(slots=True)
class Foreseen:
    """One for as long as a plan is applied. `basis` None: of what was resumed nothing is known but its edits; `anew`: decides
    change groups on what the transaction sees."""

    workspace: Workspace
    basis: Basis | None
    anew: Callable[[Connection, Sequence[ChangeGroup]], list[Verdict]]

    def verdicts(self, conn: Connection, number: int, items: Sequence[Item]) -> tuple[list[Verdict], list[Item]]:
        """What this batch comes to, and items whose user is at another version by now, to be dropped."""
        kept = self.kept(conn, number, items)
        if kept is not None:
            return kept, []
        fresh, stale = _fresh(conn, self.workspace.name, items)
        verdicts = self.anew(conn, [item.edits for item in fresh])
        if self.basis is not None:
            self.basis.groups += sum(bool(verdict.groups) for verdict in verdicts)
        if not _as_promised(items, verdicts):
            self.basis = None  # what was decided of a group's members rests on what became of the group
        return verdicts, stale

    def kept(self, conn: Connection, number: int, items: Sequence[Item]) -> list[Verdict] | None:
        """As the plan decided; None if that may not hold any more. Takes the locks that deciding takes."""
        verdicts = [item.verdict for item in items if item.verdict is not None]
        if self.basis is None:
            return None
        sight, self.basis.sight = self.basis.sight, None
        if number not in self.basis.used or len(verdicts) < len(items):
            return None
        if unmoved(conn, sight):
            return verdicts
        pairs = [pair for verdict in verdicts for pair in verdict.users]
        moved = frozenset(group for old, new in pairs for group in shown_in(old) ^ shown_in(new))
        locking.before_users(conn, locking.Needed(self.workspace.name, "shared", moved))
        same = (
            self._groups_are(conn, self.basis)
            and self._people_are(conn, self.basis, pairs)
            and self._names_are_free(conn, pairs)
            and self._seats_are(conn, self.basis.used[number], pairs)
            and (self.basis.roles is None or known(conn, self.workspace) == self.basis.roles)
        )
        return verdicts if same else None

    def _groups_are(self, conn: Connection, basis: Basis) -> bool:
        return basis.groups == (raw.one(conn, queries.graph_count(), {"workspace": self.workspace.name}) or 0)

    def _people_are(self, conn: Connection, basis: Basis, pairs: Sequence[Pair]) -> bool:
        known = {old.id for old, _ in pairs if old is not None}
        if not known:
            return True
        asked = {"workspace": self.workspace.name, "ids": queries.as_list(known)}
        if raw.rows(conn, queries.held_of(conn.dialect.name), asked):
            return False
        there = facts.printed(conn, self.workspace.name, known, lock=True)
        return there.keys() == known and all(basis.people.get(id) == each for id, each in there.items())

    def _names_are_free(self, conn: Connection, pairs: Sequence[Pair]) -> bool:
        types = self.workspace.types
        if any(facts.claims(new, types).keys() - facts.claims(old, types).keys() for old, new in pairs):
            return False
        wanted = {name_key(new.name): new.id for old, new in pairs if takes_name(old, new)}
        asked = {"workspace": self.workspace.name, "ids": queries.as_list(wanted)}
        there = raw.rows(conn, queries.named(conn.dialect.name), asked) if wanted else ()
        return all(wanted[key] == id for key, id in there)

    def _seats_are(self, conn: Connection, used: Used, pairs: Sequence[Pair]) -> bool:
        """No other seats are taken than then, and nobody waits who could have one that these give up, or leave."""
        moving = [
            (old.seats if old else (), new.seats) for old, new in pairs if (old.seats if old else ()) != new.seats
        ]
        touched = {seat.pool for pair in moving for seats in pair for seat in seats}
        released = {pool for old, new in moving for pool in _held(old) - _held(new)}
        p = t.seat_pools.c
        query = select(p.name, p.used, p.waiting).where(p.workspace == self.workspace.name).order_by(p.name)
        rows = {row.name: row for row in conn.execute(query.with_for_update() if touched else query)}
        if conn.dialect.name == "postgresql" and touched - rows.keys():
            return False  # a row that is not there is locked by nobody
        taken = {name: row.used for name, row in rows.items()}
        if any(taken.get(pool, 0) != used.get(pool, 0) for pool in touched | used.keys()):
            return False
        waiting = {name for name, row in rows.items() if row.waiting and name in self.workspace.pools}
        return not any(
            self._next_is_there(conn, name) for name in waiting if name in released or self._room(name, taken)
        )

    def _room(self, pool: str, taken: Mapping[str, int]) -> bool:
        most = self.workspace.pools[pool].capacity
        return most is None or taken[pool] < most

    def _next_is_there(self, conn: Connection, pool: str) -> bool:
        """Somebody waits for the pool who could have a seat."""
        excluding = self.workspace.excluders.get(pool, frozenset())
        first = queue(self.workspace.name, pool, self.workspace.pools[pool].requires, excluding, 1)
        return conn.execute(first).first() is not None


def _held(seats: Sequence[Seat]) -> set[str]:
    return {seat.pool for seat in seats if seat.held}


def _fresh(conn: Connection, workspace: str, items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Items whose users are still at the version they were decided on, and the others. A group's version counts its
    members' moves."""
    user_ids = {edit.id for item in items for edit in item.edits if isinstance(edit, UserEdit)}
    u = t.users.c
    versions = {
        row.id: row.version
        for batch in facts.batched(sorted(user_ids))
        for row in conn.execute(select(u.id, u.version).where(u.workspace == workspace, u.id.in_(batch)))
    }
    fresh: list[Item] = []
    stale: list[Item] = []
    for item in items:
        same = all(versions.get(id, 0) == version for id, version in item.expected.items() if id in user_ids)
        (fresh if same else stale).append(item)
    return fresh, stale


def _as_promised(items: Sequence[Item], verdicts: Sequence[Verdict]) -> bool:
    """Whether the groups of a batch became what the plan said: what it decided of their members rests on that."""
    if not any(isinstance(edit, GroupEdit) for item in items for edit in item.edits):
        return True
    return len(items) == len(verdicts) and all(
        verdict.error is None and verdict.changes == item.changes for item, verdict in zip(items, verdicts, strict=True)
    )
