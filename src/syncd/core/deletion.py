"""How a deletion ends: undone while its window is open, final after it. Pure.

The window is counted from the deletion. Who deleted says how long it is: the workspace for people and connections, the
ladder of each directory for an entry that is gone; of several the longest counts, and `never` outweighs all.
Whoever a directory still shows is not final: the next read would make her anew and undo what an admin decided.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from syncd.core.actor import ADMIN_SOURCE
from syncd.core.change import UserEdit
from syncd.core.lifecycle import vouches
from syncd.core.state import Link, User
from syncd.core.workspace import Workspace
from syncd.errors import Conflict

_PUSHED = ("scim", "local")


def marked_key(key: str, id: str) -> str:
    """The key of a link whose connection deleted the user: it says which deletion it is, so that the key is free."""
    return f"{key} (deleted {id})"


def unmarked_key(key: str, id: str) -> str:
    return key.removesuffix(f" (deleted {id})")


def final_at(user: User, since: datetime, workspace: Workspace) -> datetime | None:
    """When the deletion of `since` cannot be undone any more; None: never."""
    windows = [workspace.purge_after] if user.deleted_at is not None else []
    windows += [
        workspace.source(link.source).ladder.purge_after
        for link in user.links
        if link.stage == "deleted" and _read(link, workspace)
    ]
    known = [window for window in windows or [workspace.purge_after] if window is not None]
    return since + max(known) if len(known) == max(1, len(windows)) else None


def still_shown(user: User, workspace: Workspace) -> bool:
    """Whether a directory that is read still has an entry of this deleted user."""
    return any(link.stage != "deleted" and _read(link, workspace) for link in user.links)


def restoration(user: User, workspace: Workspace, now: datetime, why: str) -> tuple[UserEdit, ...]:
    """The change group that undoes a deletion. Raises Conflict with what stands in the way.

    A connection that deleted her sees her again, under the key it knew her by; that key may be taken by now, which is for
    the door to say. Whoever is not deleted, since another source vouches for her, is freed of what those said last who did
    delete her: nobody else could take it back.
    """
    undeleted = UserEdit(user.id, ADMIN_SOURCE, facts={"deleted_at": None}, why=why)
    if user.status != "deleted":
        return (undeleted, *(edit for link in user.links for edit in _silenced(user, link, why)))
    if user.deleted_at is not None:
        end = final_at(user, user.deleted_at, workspace)
        if end is not None and end <= now:
            days = (end - user.deleted_at).days
            raise Conflict(f"{user.name} was deleted on {user.deleted_at:%Y-%m-%d}: after {days} days that is final")
    vouching = [link for link in user.links if vouches(link, user.id)]
    gone = [link for link in vouching if link.stage == "deleted" and _read(link, workspace)]
    if gone and len(gone) == len(vouching):
        raise Conflict(f"{user.name} is deleted because its directory entry is gone: it is restored when that is")
    read = (edit for link in gone for edit in _silenced(user, link, why))
    return (undeleted, *_relinked(user, workspace, why), *read)


def _silenced(user: User, link: Link, why: str) -> Iterator[UserEdit]:
    """Of a link that has ended, it does not count any more that it is disabled, or till when. Its source says so anew if it
    shows her again."""
    if link.stage == "deleted" and (link.enabled is False or link.starts_at or link.ends_at or link.locked_until):
        silent = replace(link, enabled=None, starts_at=None, ends_at=None, locked_until=None)
        yield UserEdit(user.id, link.source, link=silent, why=why)


def _relinked(user: User, workspace: Workspace, why: str) -> Iterator[UserEdit]:
    for link in user.links:
        if link.stage == "deleted" and not _read(link, workspace):
            key = unmarked_key(link.key, user.id)
            back = replace(link, key=key, stage=None, missing_since=None)
            drop = link.key if link.key != key else None
            yield UserEdit(user.id, link.source, link=back, drop_link=drop, why=why)


def _read(link: Link, workspace: Workspace) -> bool:
    """Whether its source is one that is read. One that is not configured any more is not."""
    return link.source in workspace.sources and workspace.source(link.source).kind not in _PUSHED
