"""Nobody gives more than she holds: judged at the door on what edits turn out to give, by hand or by rule.

For people and applications that ask over the API; a connection's or directory's own limit is its `may_grant`, and who works
at the command line has the database in her hands. A role that follows by rule from a group or an attribute counts like one
given by hand, or a rule would be the way around. What is taken away by hand must be what she could give. Nor does she change
the name or address by which somebody above her signs in, and to which a link for a new password goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TypeGuard

from sqlalchemy import Connection

from syncd.core.access import OWNER
from syncd.core.actor import Actor
from syncd.core.change import STATUS_LOSSES, transition_of
from syncd.core.granting import Holder
from syncd.core.permission import ALL
from syncd.core.state import Grant, Group, User
from syncd.core.workspace import Workspace
from syncd.errors import Forbidden
from syncd.store import access
from syncd.store.drafts import Verdict
from syncd.store.made_roles import known

DOORS = frozenset({"api", "console"})


def holder_of(conn: Connection, workspace: Workspace, actor: Actor, now: datetime) -> Holder | None:
    """What the actor holds; None: she is not limited by it."""
    if actor.door not in DOORS or (actor.user is None and ALL in actor.allow):
        return None
    roles = known(conn, workspace)
    if actor.user is None:
        return Holder(f"token {actor.name}", known=roles)
    found = access.access(conn, workspace, actor.user, now)
    if found is None:
        return Holder(f"the user of token {actor.name}, who is gone,", person=True, known=roles)
    return Holder(found.user_name, True, frozenset(found.roles), found.patterns, found.scopes, roles)


def exceeded(holder: Holder | None, workspace: Workspace, verdict: Verdict, now: datetime) -> Forbidden | None:
    """The refusal if this verdict gives, or takes back by hand, what the holder does not have."""
    if holder is None:
        return None
    by_hand = {each[0] for edit in verdict.edits for each in (*(grant.id for grant in edit.grant), *edit.revoke)}
    for kind in sorted(by_hand):
        if not holder.manages(kind):
            return Forbidden(f"{holder.name} does not manage {_named(kind)}s: nothing was changed")
    for old, new in verdict.groups:  # a group that nobody is in yet gives nothing, and is judged all the same
        for grant, how in _moved(old, new):
            lacking = holder.lacks(grant.kind, grant.value, holder.known)
            if lacking is not None:
                known = new or old
                assert known is not None
                return Forbidden(
                    f"{holder.name} may not {how} group {known.name} the {_named(grant.kind)} {grant.value}: that needs "
                    f"{lacking}; nothing was changed"
                )
    for before, user in verdict.users:
        for grant, how in _moved(before, user):
            lacking = holder.lacks(grant.kind, grant.value, holder.known)
            if lacking is not None:
                through = {"rule": f" (by rule {grant.name})", "group": f" (by {grant.why})"}.get(grant.origin, "")
                return Forbidden(
                    f"{holder.name} may not {how} {user.name} the {_named(grant.kind)} {grant.value}{through}: that "
                    f"needs {lacking}; nothing was changed"
                )
        taken = None if OWNER in holder.roles else _of_an_owner(before, user)
        if taken is not None:
            return Forbidden(f"{holder.name} may not {taken} {user.name}, who is an owner: only an owner may")
        if _renamed(before, user):
            above = _above(holder, workspace, before, now)
            if above is not None:
                return Forbidden(
                    f"{holder.name} may not change the sign-in name or address of {before.name}, who has {above[0]}: that "
                    f"needs {above[1]}; nothing was changed"
                )
    return None


def _of_an_owner(before: User | None, after: User) -> str | None:
    """What would shut an owner out, or let somebody else come in by her name or address; None: nothing."""
    if before is None or not any((each.kind, each.value) == ("role", OWNER) for each in before.grants):
        return None
    loss = transition_of(before.status, after.status)
    if loss in STATUS_LOSSES:
        return loss
    return "rename" if _renamed(before, after) else None


def _renamed(before: User | None, after: User) -> TypeGuard[User]:
    """Whether another name or address is hers: that to which a link for a new password goes."""
    named = ("userName", "emails")
    return before is not None and any(before.values.get(path) != after.values.get(path) for path in named)


def _above(holder: Holder, workspace: Workspace, user: User, now: datetime) -> tuple[str, str] | None:
    """(what this user has that the holder lacks, what that would need); None: nothing."""
    for grant in user.grants:
        if grant.expires_at is not None and grant.expires_at <= now:
            continue
        lacking = holder.lacks(grant.kind, grant.value, holder.known)
        if lacking is not None:
            return f"the {_named(grant.kind)} {grant.value}", lacking
    return None


def outranked(conn: Connection, workspace: Workspace, actor: Actor, user: User, now: datetime) -> Forbidden | None:
    """The refusal if this user holds what the actor does not: whoever can sign in as her holds it too."""
    holder = holder_of(conn, workspace, actor, now)
    if holder is None:
        return None
    if not holder.manages("seat"):
        return Forbidden(f"{holder.name} does not manage users: nothing was changed")
    above = _above(holder, workspace, user, now)
    if above is not None:
        return Forbidden(
            f"{holder.name} may not sign in as {user.name}, who has {above[0]}: that needs {above[1]}; nothing was changed"
        )
    return None


def _moved(before: User | Group | None, after: User | Group | None) -> Iterator[tuple[Grant, str]]:
    """What is given, or given for longer; and what is taken back by hand, or with the group it came by."""
    earlier = {grant.id: grant for grant in before.grants} if before else {}
    later = {grant.id for grant in after.grants} if after else set()
    for grant in after.grants if after else ():
        old = earlier.get(grant.id)
        if old is None or (
            old.expires_at is not None and (grant.expires_at is None or grant.expires_at > old.expires_at)
        ):
            yield grant, "give"
    for id, grant in earlier.items():
        if id not in later and grant.origin in ("direct", "override", "group"):
            yield grant, "take from"


def _named(kind: str) -> str:
    return "data scope" if kind == "scope" else kind
