"""New rows that requests done in one transaction (store/writer.py) leave for its end, where they are made and written together:
the record and the events of what they did, which none of them reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection

from syncd.store.rows import Rows

POSTPONED: Final = "syncd_postponed"  # in `Connection.info`, while a request may leave something
Adding = Callable[[Rows], None]


class Postponed:
    """What is left so far."""

    def __init__(self) -> None:
        self._adding: list[tuple[str, Adding]] = []

    def __len__(self) -> int:
        return len(self._adding)

    def add(self, workspace: str, adding: Adding) -> None:
        self._adding.append((workspace, adding))

    def write(self, conn: Connection) -> None:
        waiting, self._adding = self._adding, []
        by_workspace: dict[str, Rows] = {}
        for workspace, adding in waiting:
            if workspace not in by_workspace:
                by_workspace[workspace] = Rows(workspace)
            adding(by_workspace[workspace])
        for rows in by_workspace.values():
            rows.write(conn)


def postpone(conn: Connection, workspace: str, adding: Adding) -> bool:
    """Leave it for the end of the transaction. False: nobody would write it there."""
    found: Postponed | None = conn.info.get(POSTPONED)
    if found is not None:
        found.add(workspace, adding)
    return found is not None
