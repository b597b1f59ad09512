"""What a directory that was taken out of the configuration still owns, let go when an admin says so.

Until then everything stays as it left it. Rules: whoever another source vouches for, or people made, loses what this one stated
and nothing else; whoever nobody else knows is deleted, which can be undone as any deletion; its groups go. An account that
it had ended is not opened by that: an admin's suspension stands in its place. It is a plan with guards like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from syncd.core.change import ChangeGroup, GroupEdit, UserEdit
from syncd.core.plan import LET_GO, Plan
from syncd.core.snapshot import Certificate
from syncd.core.state import Link
from syncd.core.workspace import Workspace
from syncd.store import facts, linked
from syncd.store.engine import Database
from syncd.store.spool import Spool


def plan(database: Database, workspace: Workspace, source: str, now: datetime) -> Plan:
    edits: Spool[ChangeGroup] = Spool()
    with database.reading() as conn:
        users = [row.key for row in linked.links(conn, workspace.name, source, "user")]
        groups = [row.resource_id for row in linked.links(conn, workspace.name, source, "group")]
        for keys in facts.batched(users):
            for edit in _people(conn, workspace.name, source, keys, now):
                edits.append((edit,))
    for id in groups:
        edits.append((GroupEdit(id, source, delete=True, why=_why(source)),))
    return Plan(source, edits, Certificate(users_read=len(users), groups_read=len(groups)), kind=LET_GO)


def _why(source: str) -> str:
    return f"{source} is not in the configuration any more"


def _people(conn: Any, workspace: str, source: str, keys: Iterable[str], now: datetime) -> Iterator[UserEdit]:
    mine = dict(linked.whole_links(conn, workspace, source, "user", keys))
    others = linked.links_beside(conn, workspace, source, mine)
    groups = linked.groups_each_is_in(conn, workspace, source, mine)
    suspended = linked.suspended(conn, workspace, mine)
    for id, link in sorted(mine.items()):
        if link.stage == "deleted":
            continue  # she went before; what is left of her is purged in its time
        bare = UserEdit(id, source, leave=tuple(sorted(groups.get(id, ()))), why=_why(source))
        if not _known_elsewhere(others.get(id, ())):
            yield replace(bare, link=replace(link, stage="deleted", missing_since=link.missing_since or now))
        elif _ended(link, now) and id not in suspended:
            held = f"{source} had ended her account before it was let go"
            yield replace(bare, drop_link=link.key, facts={"suspended": held})
        else:
            yield replace(bare, drop_link=link.key)


def _known_elsewhere(others: Iterable[Any]) -> bool:
    """By another source that still sees her, or by people who made her."""
    return any(other.stage != "deleted" and other.vouches for other in others)


def _ended(link: Link, now: datetime) -> bool:
    return link.enabled is False or (link.ends_at is not None and link.ends_at <= now)
