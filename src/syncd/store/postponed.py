"""What requests done in one transaction (store/writer.py) leave for its end, where it is made and written together: the record
and the events of what they did, which none of them reads; and the new state of a user who stays who she is for all others, or
who is made and has to do with nobody yet.

The latter is held back until then or until anything else is read or written (`raw.settle`): only what a request about another
user asks first (store/opening.py) does not look at it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from sqlalchemy import Connection

from syncd.store import raw
from syncd.store.rows import Rows

POSTPONED: Final = "syncd_postponed"  # in `Connection.info`, while a request may leave something
Adding = Callable[[Rows], None]
# What one user has and nobody else may have: (workspace, source, key) of a link, or (workspace, name as it is compared).
Claim = tuple[str, ...]


class Postponed:
    """What is left so far. `ever`: how often something was left or written since the transaction began, so that whoever did is
    known by it, also if nothing came of it."""

    def __init__(self) -> None:
        self.ever = 0
        self._adding: list[tuple[str, Adding]] = []
        self._users: set[tuple[str, str]] = set()  # workspace, id
        self._claims: set[Claim] = set()  # of those who are made

    def add(self, workspace: str, adding: Adding) -> None:
        self.ever += 1
        self._adding.append((workspace, adding))

    def hold_back(self, conn: Connection, workspace: str, id: str, claims: Iterable[Claim], adding: Adding) -> None:
        self._users.add((workspace, id))
        self._claims.update(claims)
        self.add(workspace, adding)
        conn.info[raw.PENDING] = partial(self.write, conn)

    def holds_back(self, workspace: str, id: str) -> bool:
        return (workspace, id) in self._users

    def makes(self, claims: Iterable[Claim]) -> bool:
        return not self._claims.isdisjoint(claims)

    def write(self, conn: Connection) -> None:
        waiting, self._adding = self._adding, []
        self.ever += bool(waiting)
        self._users.clear()
        self._claims.clear()
        conn.info.pop(raw.PENDING, None)
        by_workspace: dict[str, Rows] = {}
        for workspace, adding in waiting:
            if workspace not in by_workspace:
                by_workspace[workspace] = Rows(workspace)
            adding(by_workspace[workspace])
        for rows in by_workspace.values():
            rows.write(conn)


def _of(conn: Connection) -> Postponed | None:
    return conn.info.get(POSTPONED)


def postpone(conn: Connection, workspace: str, adding: Adding) -> bool:
    """Leave new rows for the end of the transaction. False: nobody would write them there."""
    found = _of(conn)
    if found is not None:
        found.add(workspace, adding)
    return found is not None


def may_hold_back(conn: Connection) -> bool:
    return POSTPONED in conn.info


def hold_back(conn: Connection, workspace: str, id: str, claims: Iterable[Claim], adding: Adding) -> None:
    """The same for the rows of a user, until somebody may look at them. `claims`: of one who is made."""
    found = _of(conn)
    assert found is not None
    found.hold_back(conn, workspace, id, claims, adding)


def settle_user(conn: Connection, workspace: str, id: str) -> None:
    """Before she is read."""
    found = _of(conn)
    if found is not None and found.holds_back(workspace, id):
        found.write(conn)


def settle_claims(conn: Connection, *claims: Claim) -> None:
    """Before it is asked who has these."""
    found = _of(conn)
    if found is not None and found.makes(claims):
        found.write(conn)
